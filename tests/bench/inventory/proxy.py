# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A unix socket that delays what passes in both directions without throttling it, and counts libvirt's requests."""

from __future__ import annotations

import collections
import select
import socket
import struct
import threading
import time
from pathlib import Path

_CALL = 0
_KEEPALIVE = 0x6B656570
_HEADER = struct.Struct(">7I")  # length, program, version, procedure, type, serial, status
_REMOTE, _QEMU = 0x20008086, 0x20008087
# As libvirt's remote_protocol.x and qemu_protocol.x name them: those that an inventory has been seen to use.
_PROCEDURES = {
    (_REMOTE, 1): "connect_open",
    (_REMOTE, 2): "connect_close",
    (_REMOTE, 14): "domain_get_xml_desc",
    (_REMOTE, 59): "connect_get_hostname",
    (_REMOTE, 60): "connect_supports_feature",
    (_REMOTE, 66): "auth_list",
    (_REMOTE, 273): "connect_list_all_domains",
    (_REMOTE, 344): "connect_get_all_domain_stats",
    (_REMOTE, 353): "domain_interface_addresses",
    (_QEMU, 3): "qemu_domain_agent_command",
}


def procedure_name(program: int, procedure: int) -> str:
    return _PROCEDURES.get((program, procedure), f"{program:#x}/{procedure}")


class _Pipe:
    """One direction: bytes with the time at which they are due."""

    def __init__(self, source: socket.socket, target: socket.socket, delay: float) -> None:
        self.source, self.target, self._delay = source, target, delay
        self.queue: collections.deque[tuple[float, bytes]] = collections.deque()
        self.ended = False

    def receive(self) -> bytes:
        try:
            data = self.source.recv(1 << 18)
        except OSError:
            data = b""
        self.ended = not data
        self.queue.append((time.monotonic() + self._delay, data))
        return data

    def deliver(self) -> bool:
        """Whether the connection goes on."""
        while self.queue and self.queue[0][0] <= time.monotonic():
            data = self.queue.popleft()[1]
            if not data:
                return False
            try:
                self.target.sendall(data)
            except OSError:
                return False
        return True


class DelayProxy:
    """Listens on ``path`` for ``target``; ``calls`` counts (program, procedure)."""

    def __init__(self, path: Path, target: Path, delay: float) -> None:
        self.calls: collections.Counter[tuple[int, int]] = collections.Counter()
        self._target, self._delay = str(target), delay
        self._pipes: list[_Pipe] = []
        self._unread: dict[_Pipe, bytes] = {}
        self._stop = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._thread = threading.Thread(target=self._serve, name="bench-proxy", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            due = min((pipe.queue[0][0] for pipe in self._pipes if pipe.queue), default=time.monotonic() + 0.2)
            readers = {pipe.source: pipe for pipe in self._pipes if not pipe.ended}
            ready = select.select([self._listener, *readers], [], [], min(0.2, max(0.0, due - time.monotonic())))[0]
            for each in ready:
                if each is self._listener:
                    self._accept()
                    continue
                pipe = readers[each]
                data = pipe.receive()
                if pipe in self._unread:
                    self._count(pipe, data)
            for pipe in list(self._pipes):
                if pipe in self._pipes and not pipe.deliver():
                    self._drop(pipe)

    def _accept(self) -> None:
        client = self._listener.accept()[0]
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._target)
        there, back = _Pipe(client, server, self._delay), _Pipe(server, client, self._delay)
        self._pipes += [there, back]
        self._unread[there] = b""

    def _drop(self, pipe: _Pipe) -> None:
        for each in [other for other in self._pipes if other.source in (pipe.source, pipe.target)]:
            self._pipes.remove(each)
            self._unread.pop(each, None)
        pipe.source.close()
        pipe.target.close()

    def _count(self, pipe: _Pipe, data: bytes) -> None:
        unread = self._unread[pipe] + data
        while len(unread) >= _HEADER.size:
            length, program, _version, procedure, kind, _serial, _status = _HEADER.unpack_from(unread)
            if len(unread) < length:
                break
            if kind == _CALL and program != _KEEPALIVE:
                self.calls[program, procedure] += 1
            unread = unread[length:]
        self._unread[pipe] = unread
