# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A master of OpenSSH's in this process, as far as its control socket is concerned (PROTOCOL.mux), and daemons to forward to."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import typing as t

HELLO, OPEN, CLOSE, STOP = 0x1, 0x10000006, 0x10000007, 0x10000009
OK, FAILURE = 0x80000001, 0x80000003
GREETING = b"libvirtd"


class Listener:
    """Serves each who connects to ``path`` in a thread of its own, until it is closed."""

    def __init__(self, path: str, serve: t.Callable[[socket.socket], None], backlog: int = 64) -> None:
        self.path = path
        self._serve = serve
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen(backlog)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._socket.accept()
                threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, struct.error):
            self._serve(client)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def daemon(path: str) -> Listener:
    """What a forward leads to: it says a word to each who comes."""
    return Listener(path, lambda client: client.sendall(GREETING))


class FakeMaster:
    def __init__(self, control: str, version: int = 4, refuses: bool = False, silent: frozenset[int] = frozenset()) -> None:
        """``silent``: messages that it does not answer. Its forwards lead to daemons of this computer."""
        self.said: list[int] = []
        self.forwards: dict[str, Listener] = {}
        self._version = version
        self._refuses = refuses
        self._silent = silent
        self._gate = threading.Event()
        self._listener = Listener(control, self._serve)
        self.control = control

    def close(self) -> None:
        self._gate.set()
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.control)

    def _serve(self, client: socket.socket) -> None:
        self._receive(client)
        if HELLO in self._silent:
            self._gate.wait(60)
            return
        self._send(client, struct.pack(">II", HELLO, self._version))
        while True:
            packet = self._receive(client)
            what, request = struct.unpack(">II", packet[:8])
            self.said.append(what)
            if what in self._silent:
                self._gate.wait(60)
                return
            self._do(what, packet[8:])
            refusal = b"\0\0\0\x02no"
            answer = struct.pack(">II", FAILURE, request) + refusal if self._refuses else struct.pack(">II", OK, request)
            self._send(client, answer)

    def _do(self, what: int, about: bytes) -> None:
        if what == STOP:
            self.close()
        elif what in (OPEN, CLOSE) and not self._refuses:
            kind, local, port, remote, remote_port = _forward(about)
            assert (kind, port, remote_port) == (1, 0xFFFFFFFE, 0xFFFFFFFE)
            if what == CLOSE:
                self.forwards.pop(local).close()
            else:
                self.forwards[local] = Listener(local, lambda client: _joined(client, remote))

    @staticmethod
    def _receive(client: socket.socket) -> bytes:
        (length,) = struct.unpack(">I", client.recv(4, socket.MSG_WAITALL))
        return client.recv(length, socket.MSG_WAITALL)

    @staticmethod
    def _send(client: socket.socket, packet: bytes) -> None:
        client.sendall(struct.pack(">I", len(packet)) + packet)


def _forward(about: bytes) -> tuple[int, str, int, str, int]:
    (kind,) = struct.unpack(">I", about[:4])
    place = 4
    found: list[t.Any] = []
    for _side in range(2):
        (length,) = struct.unpack(">I", about[place : place + 4])
        path = about[place + 4 : place + 4 + length].decode()
        (port,) = struct.unpack(">I", about[place + 4 + length : place + 8 + length])
        found += [path, port]
        place += 8 + length
    local, port, remote, remote_port = found
    return kind, local, port, remote, remote_port


def _joined(client: socket.socket, remote: str) -> None:
    """One way is enough: from the daemon to its client."""
    with socket.socket(socket.AF_UNIX) as daemon_socket:
        daemon_socket.connect(remote)
        while said := daemon_socket.recv(1024):
            client.sendall(said)
