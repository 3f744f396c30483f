# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A socket between a client and libvirt that a test can make slow, silent or broken, and that counts and refuses calls."""

from __future__ import annotations

import collections
import contextlib
import select
import socket
import struct
import threading
import time
from pathlib import Path
from types import TracebackType

_CHUNK = 1 << 18
_CALL = 0
_KEEPALIVE = 0x6B656570
_HEADER = struct.Struct(">7I")  # length, program, version, procedure, type, serial, status
_REPLY, _FAILED = 1, 1
#: virErrorDomain and virErrorLevel of what the QEMU driver says
_FROM_QEMU, _AN_ERROR = 10, 2
#: Seconds after which the loop looks whether it is to end.
_TURN = 0.2


class Wire:
    """Carries each connection to ``path`` on to ``target``.

    delay: seconds that all data takes, each way; much may be on its way at a time. calls: of each (program, procedure).
    """

    def __init__(self, path: Path, target: Path, delay: float = 0.0) -> None:
        self.delay = delay
        self.calls: collections.Counter[tuple[int, int]] = collections.Counter()
        self._refused: dict[tuple[int, bytes], bytes] = {}
        self._target = str(target)
        self._going, self._stop = threading.Event(), threading.Event()
        self._going.set()
        self._pipes: list[_Pipe] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        path.chmod(0o777)
        self._thread = threading.Thread(target=self._serve, name="wire", daemon=True)
        self._thread.start()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(5)
        self._listener.close()
        for pipe in self._pipes:
            pipe.source.close()

    def hold(self) -> None:
        """Half open: it takes everything and delivers nothing."""
        self._going.clear()

    def cut(self) -> None:
        """Break the connections there are. What is on its way is lost."""
        for pipe in list(self._pipes):
            with contextlib.suppress(OSError):
                pipe.source.shutdown(socket.SHUT_RDWR)
        self._going.set()

    def mend(self) -> None:
        """What was held back goes on; what was cut stays so."""
        self.delay = 0.0
        self._going.set()

    def refuse(self, procedure: int, subject: bytes, code: int, text: str) -> None:
        """Answer each call of ``procedure`` whose arguments hold ``subject`` with libvirt's error ``code``, instead of libvirt."""
        said = text.encode()
        message = struct.pack(">IIII", code, _FROM_QEMU, 1, len(said)) + said + bytes(-len(said) % 4)
        nothing_more = struct.pack(">IIIIIiiI", _AN_ERROR, 0, 0, 0, 0, -1, -1, 0)
        self._refused[procedure, subject] = message + nothing_more

    def allow(self) -> None:
        """Refuse nothing any more."""
        self._refused = {}

    def _serve(self) -> None:
        while not self._stop.is_set():
            waiting = [pipe.queue[0][0] for pipe in self._pipes if pipe.queue and not pipe.blocked and self._going.is_set()]
            pause = min(_TURN, max(0.0, min(waiting, default=time.monotonic() + _TURN) - time.monotonic()))
            readers = {pipe.source: pipe for pipe in self._pipes if not pipe.ended}
            writers = [pipe.sink for pipe in self._pipes if pipe.blocked and self._going.is_set()]
            ready = select.select([self._listener, *readers], writers, [], pause)[0]
            for each in ready:
                if each is self._listener:
                    self._accept()
                else:
                    pipe = readers[each]
                    data = pipe.receive()
                    if pipe.unread is not None:
                        data = self._sift(pipe, data) if data else data
                    if data or pipe.ended:
                        pipe.queue.append((time.monotonic() + self.delay, data))
            for pipe in list(self._pipes):
                if self._going.is_set() and pipe in self._pipes and not pipe.deliver():
                    self._drop(pipe)

    def _accept(self) -> None:
        near = self._listener.accept()[0]
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(self._target)
        except OSError:
            near.close()
            far.close()
            return
        self._pipes += [_Pipe(near, far, b""), _Pipe(far, near, None)]

    def _drop(self, pipe: _Pipe) -> None:
        self._pipes = [other for other in self._pipes if other.source not in (pipe.source, pipe.sink)]
        pipe.source.close()
        pipe.sink.close()

    def _sift(self, pipe: _Pipe, data: bytes) -> bytes:
        """What of ``data`` goes on to libvirt at once: calls that are whole, are counted, and are not refused."""
        unread = (pipe.unread or b"") + data
        passed = b""
        while len(unread) >= _HEADER.size:
            length, program, version, procedure, kind, serial, _status = _HEADER.unpack_from(unread)
            length = max(length, _HEADER.size)
            if len(unread) < length:
                break
            call, unread = unread[:length], unread[length:]
            if kind == _CALL and program != _KEEPALIVE:
                self.calls[program, procedure] += 1
            refusals = [said for (number, subject), said in self._refused.items() if number == procedure and subject in call]
            answer = refusals[0] if refusals and kind == _CALL else None
            if answer is None:
                passed += call
                continue
            header = _HEADER.pack(_HEADER.size + len(answer), program, version, procedure, _REPLY, serial, _FAILED)
            back = next(other for other in self._pipes if other.source is pipe.sink)
            back.queue.append((time.monotonic() + self.delay, header + answer))
        pipe.unread = unread
        return passed


class _Pipe:
    """One direction: bytes with the time at which they are due. ``unread``: the begin of a call; None where none are read."""

    def __init__(self, source: socket.socket, sink: socket.socket, unread: bytes | None) -> None:
        self.source, self.sink, self.unread = source, sink, unread
        self.queue: collections.deque[tuple[float, bytes]] = collections.deque()
        self.ended = self.blocked = False

    def receive(self) -> bytes:
        try:
            data = self.source.recv(_CHUNK)
        except OSError:
            data = b""
        self.ended = not data
        return data

    def deliver(self) -> bool:
        """Pass on what is due and what the other side takes. Whether the connection goes on."""
        self.blocked = False
        while self.queue and self.queue[0][0] <= time.monotonic():
            due, data = self.queue.popleft()
            if not data:
                return False
            try:
                taken = self.sink.send(data, socket.MSG_DONTWAIT)
            except BlockingIOError:
                taken = 0
            except OSError:
                return False
            if taken < len(data):
                self.queue.appendleft((due, data[taken:]))
                self.blocked = True
                break
        return True
