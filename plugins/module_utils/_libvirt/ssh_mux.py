# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What OpenSSH's client says through the control socket of a master (PROTOCOL.mux): are you there, forward this, stop."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import struct
import typing as t

from .._deadline import Deadline

_VERSION: t.Final = 4
_HELLO: t.Final = 0x00000001
_OPEN_FORWARD: t.Final = 0x10000006
_CLOSE_FORWARD: t.Final = 0x10000007
_STOP_LISTENING: t.Final = 0x10000009
_OK: t.Final = 0x80000001
_LOCAL: t.Final = 1
#: In the place of a port: the address is the path of a socket.
_IS_PATH: t.Final = 0xFFFFFFFE
#: No answer of a master is longer than a sentence.
_LONGEST: t.Final = 64 * 1024
#: Of a socket's path that ``forwarded`` makes, after the master's own.
SUFFIX: t.Final = 9


class Refused(OSError):
    """The master does not do it, or does not speak as expected."""


class Master:
    """One conversation with a master. All methods raise OSError."""

    def __init__(self, control: str, seconds: float) -> None:
        """``seconds``: how long each answer may take."""
        self._control = control
        self._requests = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(seconds)
            self._connect(seconds)
            self._send(struct.pack(">II", _HELLO, _VERSION))
            if self._receive()[:8] != struct.pack(">II", _HELLO, _VERSION):
                raise Refused("another version of the protocol")
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    @contextlib.contextmanager
    def forwarded(self, remote: str) -> t.Iterator[str]:
        """The path of a socket here that leads to the socket ``remote`` there, for who connects meanwhile."""
        local = f"{self._control}-{secrets.token_hex(SUFFIX // 2)}"
        forward = struct.pack(">I", _LOCAL) + _address(local) + _address(remote)
        self._ask(_OPEN_FORWARD, forward)
        try:
            yield local
        finally:
            with contextlib.suppress(OSError):
                os.unlink(local)
            # Where the master is gone, so is its forward.
            with contextlib.suppress(OSError):
                self._ask(_CLOSE_FORWARD, forward)

    def stop(self) -> None:
        """No further client is let in, and the master ends when the last of its connections does."""
        self._ask(_STOP_LISTENING, b"")

    def _connect(self, seconds: float) -> None:
        deadline = Deadline(seconds)
        for _turn in deadline.pauses(0.01, 0.1):
            try:
                self._socket.connect(self._control)
                return
            except BlockingIOError:  # 64 others have come, and it has not let them in yet
                if deadline.expired():
                    raise

    def _ask(self, what: int, about: bytes) -> None:
        self._requests += 1
        self._send(struct.pack(">II", what, self._requests) + about)
        answer = self._receive()
        if answer[:8] != struct.pack(">II", _OK, self._requests):
            raise Refused(answer[12:].decode(errors="replace"))

    def _send(self, packet: bytes) -> None:
        self._socket.sendall(struct.pack(">I", len(packet)) + packet)

    def _receive(self) -> bytes:
        (length,) = struct.unpack(">I", self._bytes(4))
        if length > _LONGEST:
            raise Refused("no answer of a master")
        return self._bytes(length)

    def _bytes(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            more = self._socket.recv(count - len(found))
            if not more:
                raise Refused("the master is gone")
            found += more
        return found


def _address(path: str) -> bytes:
    encoded = os.fsencode(path)
    return struct.pack(">I", len(encoded)) + encoded + struct.pack(">I", _IS_PATH)
