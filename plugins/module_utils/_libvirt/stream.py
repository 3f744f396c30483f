# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""libvirt's stream to one virtio port, with deadlines.

A receive that blocks is nothing to build on: before libvirt 10.0 threads that share a connection lose wakeups, be the other one
libvirt's event loop, so that what has arrived is not seen. Hence the stream does not block when it receives, and a small request
makes the client read what has arrived. Sends block all the same: while no program in the guest reads, libvirtd reads nothing of the
connection, not even virStreamAbort(). What gets through is another connection that takes the channel over with force. So each
stream has a connection of its own.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import typing as t

from .._deadline import Deadline
from .._errors import AgentNotConfigured, ChannelBusy, GuestAgentError
from .threads import Worker

#: More in one call misbehaves in libvirt 9.0.
PIECE: t.Final = 64 * 1024
#: Between two looks for what has arrived.
_FIRST_PAUSE: t.Final = 0.0002
_PAUSE_GROWTH: t.Final = 1.5
_LONGEST_PAUSE: t.Final = 0.02
#: An abort takes a millisecond; one that takes longer waits for a send that the guest does not read.
_ABORT_SECONDS: t.Final = 1.0
#: virStreamFlags, and what a call returns that would block
_NONBLOCK: t.Final = 1
_WOULD_BLOCK: t.Final = -2
#: virDomainChannelFlags
_FORCE: t.Final = 1
#: virErrorNumber
_INTERNAL_ERROR: t.Final = 1
_OPERATION_FAILED: t.Final = 9
_CONFIG_UNSUPPORTED: t.Final = 67


class Opening:
    """The opening of a stream, which may succeed after its caller has given up."""

    def __init__(self, failed: type[Exception], domain: str, channel: str) -> None:
        """``failed``: what libvirt raises."""
        self._failed = failed
        self._domain = domain
        self._channel = channel
        self._lock = threading.Lock()
        self._given_up = False
        self._stream: t.Any = None
        self._handle: t.Any = None

    def open(self, connection: t.Any, uuid: str, force: bool) -> None:
        """
        :raise AgentUnavailable: there is no such channel, or another client holds it.
        """
        stream = connection.newStream(_NONBLOCK)
        try:
            self._handle = connection.lookupByUUIDString(uuid)
            self._handle.openChannel(self._channel, stream, _FORCE if force else 0)
        except self._failed as error:
            known = _refusal(t.cast(t.Any, error).get_error_code(), str(error), self._domain, self._channel)
            if known is None:
                raise
            raise known from error
        with self._lock:
            self._stream = stream
            if self._given_up:
                stream.abort()

    def give_up(self) -> None:
        """What opens from now on is closed again."""
        with self._lock:
            self._given_up = True

    def stream(self, disconnect: t.Callable[[], None], take_over: t.Callable[[], None]) -> ChannelStream:
        return ChannelStream(self._stream, lambda: self._handle.state(0), self._failed, disconnect, take_over)


class ChannelStream:
    """The host's end of a channel, for one thread at a time. Each call ends within its deadline.

    They raise TimeoutError when it is over, and ConnectionError when the stream is.
    """

    def __init__(
        self,
        stream: t.Any,
        pump: t.Callable[[], object],
        failed: type[Exception],
        disconnect: t.Callable[[], None],
        take_over: t.Callable[[], None],
    ) -> None:
        """``pump``: any request on the connection, which ``disconnect`` closes; ``take_over`` ends the stream by another one."""
        self._stream = stream
        self._pump = pump
        self._failed = failed
        self._disconnect = disconnect
        self._take_over = take_over
        self._calls = _Calls("virtops-stream")
        self._arrived = b""
        self._closed = False

    def send(self, data: bytes, deadline: Deadline) -> None:
        """After a TimeoutError any part of ``data`` may have been sent; the next call first waits for the rest to go."""
        self._calls.call(lambda: self._send(data), deadline)

    def receive(self, deadline: Deadline) -> bytes:
        """Some bytes, at most ``PIECE``. Not for while a send waits."""
        pause = _FIRST_PAUSE
        while not self._arrived:
            self._calls.call(self._receive, deadline)
            if not self._arrived:
                if deadline.expired():
                    raise TimeoutError
                deadline.sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * _PAUSE_GROWTH)
        data, self._arrived = self._arrived, b""
        return data

    def close(self) -> None:
        """The guest sees the end of the file, and nothing of this stream is left."""
        if self._closed:
            return
        self._closed = True
        abort = _Calls("virtops-abort")
        try:
            abort.call(self._abort, Deadline(_ABORT_SECONDS))
        except TimeoutError:
            with contextlib.suppress(GuestAgentError):
                self._take_over()
        abort.stop()
        self._calls.stop()
        self._disconnect()

    def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest and not self._closed:
            with self._errors():
                rest = rest[self._stream.send(bytes(rest[:PIECE])) :]

    def _receive(self) -> None:
        with self._errors():
            data = self._stream.recv(PIECE)
            if data == _WOULD_BLOCK:
                self._pump()
                data = self._stream.recv(PIECE)
        if not data:
            raise ConnectionError("the stream to the channel ended")
        if data != _WOULD_BLOCK:
            self._arrived = t.cast(bytes, data)

    def _abort(self) -> None:
        with contextlib.suppress(self._failed):
            self._stream.abort()

    @contextlib.contextmanager
    def _errors(self) -> t.Iterator[None]:
        try:
            yield
        except self._failed as error:
            raise ConnectionError("the stream to the channel ended") from error


class _Calls:
    """Calls one after the other in a thread of their own. One that took too long is waited for by the next caller."""

    def __init__(self, name: str) -> None:
        self._worker = Worker(name)
        self._running: concurrent.futures.Future[None] | None = None

    def call(self, function: t.Callable[[], None], deadline: Deadline) -> None:
        if self._running is not None:
            self._wait(self._running, deadline)
        self._running = self._worker.start(function)
        self._wait(self._running, deadline)

    def stop(self) -> None:
        self._worker.stop()

    def _wait(self, running: concurrent.futures.Future[None], deadline: Deadline) -> None:
        try:
            running.result(timeout=deadline.remaining())
        except concurrent.futures.TimeoutError:
            raise TimeoutError from None
        finally:
            if running.done():
                self._running = None


def _refusal(code: int | None, text: str, domain: str, channel: str) -> GuestAgentError | None:
    """The error for what libvirt says when it is to open ``channel``; None when that is nothing of the channel's."""
    if code == _OPERATION_FAILED and "Active channel stream" in text:
        return ChannelBusy(f"another client of libvirt uses the channel {channel}", domain=domain)
    if code == _INTERNAL_ERROR and "cannot find channel" in text:
        hint = f"add a virtio channel of type unix named {channel} to the domain"
        return AgentNotConfigured(f"the domain has no channel {channel}", domain=domain, hint=hint)
    if code == _CONFIG_UNSUPPORTED or "not using a UNIX socket" in text:
        return AgentNotConfigured(f"the channel {channel} is not of type unix", domain=domain, hint="make it one of type unix")
    return None
