# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bytes of the guest's files, by guest-file-open, -seek, -read, -write and -close (qemu-ga 0.15)."""

from __future__ import annotations

import base64
import binascii
import contextlib
import typing as t

from .. import _untrusted
from .._client import GuestAgent
from .._errors import AgentTimeout, CommandFailed, GuestAgentError, InvalidInput, LaneFailed, ProtocolError, StillInFlight

#: Raw bytes in one request; in base64 and with what surrounds them they stay below what libvirt can be given.
WRITE_MAX: t.Final = 95 * 1024
#: Raw bytes in one reply; libvirt's time for a reply grows with the square of its size.
READ_MAX: t.Final = 256 * 1024
#: Bytes from which on a lane that takes a program of its own in the guest is the faster one.
_LARGE: t.Final = 1024 * 1024
#: How often the same piece is asked for when no reply comes.
_ATTEMPTS: t.Final = 3
#: Seconds for what is asked of an agent that was silent for all of its timeout: one that is well again answers at once.
_AFTER_SILENCE: t.Final = 2

Sink = t.Callable[[bytes], object]
Progress = t.Callable[[int], object]
T = t.TypeVar("T")


class Lane(t.Protocol):
    """A way for the content of files."""

    @property
    def name(self) -> str: ...

    def write(self, path: str, source: t.BinaryIO, size: int, progress: Progress) -> None:
        """Fill the existing, empty file ``path`` of the guest with the next ``size`` bytes of ``source``."""

    def read(self, path: str, size: int, sink: Sink, offset: int = 0) -> None:
        """Hand ``size`` bytes of the guest's file from ``offset`` on to ``sink``, in order."""


class AgentLane:
    """JSON and base64 through the agent: slow, and there where the agent is.

    Both methods raise CommandFailed where the guest's file system does not play along, and UnknownOutcome when the agent stays
    silent.
    """

    name = "agent"

    def __init__(self, agent: GuestAgent) -> None:
        self._agent = agent

    def write(self, path: str, source: t.BinaryIO, size: int, progress: Progress) -> None:
        with _opened(self._agent, path, "r+") as file:
            for offset, data in _pieces(source, size):
                file.write(offset, data)
                progress(len(data))

    def read(self, path: str, size: int, sink: Sink, offset: int = 0) -> None:
        with _opened(self._agent, path, "r") as file:
            if offset:
                file.seek(offset)
            end = offset + size
            while offset < end:
                data = file.read(offset, min(READ_MAX, end - offset))
                if not data:
                    detail = f"{path} ends at {offset} bytes, and {end} were expected"
                    raise CommandFailed(detail, domain=self._agent.name, command="guest-file-read")
                sink(data)
                offset += len(data)


def ignore(_count: int) -> None:
    """A progress that nobody watches."""


def _pieces(source: t.BinaryIO, size: int) -> t.Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < size:
        data = source.read(min(WRITE_MAX, size - offset))
        if not data:
            raise InvalidInput(f"the source was {size} bytes long, and ended at {offset}")
        yield offset, data
        offset += len(data)


class Preferred:
    """The first lane for what is large, and the second one for what is not and where the first one fails."""

    def __init__(self, first: Lane, second: Lane) -> None:
        self._first = first
        self._second = second

    @property
    def name(self) -> str:
        return self._first.name

    def write(self, path: str, source: t.BinaryIO, size: int, progress: Progress) -> None:
        if size < _LARGE:
            self._second.write(path, source, size, progress)
            return
        start = source.tell()
        done = 0

        def count(written: int) -> None:
            nonlocal done
            done += written
            progress(written)

        try:
            self._first.write(path, source, size, count)
        except LaneFailed:
            progress(-done)
            source.seek(start)
            self._second.write(path, source, size, progress)

    def read(self, path: str, size: int, sink: Sink, offset: int = 0) -> None:
        if size < _LARGE:
            self._second.read(path, size, sink, offset)
            return
        done = 0

        def count(data: bytes) -> None:
            nonlocal done
            sink(data)
            done += len(data)

        try:
            self._first.read(path, size, count, offset)
        except LaneFailed:
            self._second.read(path, size - done, sink, offset + done)


def read_beginning(agent: GuestAgent, path: str, count: int) -> bytes:
    """What the first reply carries of a file, at most ``count`` bytes.

    :raise CommandFailed: it does not exist or cannot be read.
    """
    with _opened(agent, path, "r") as file:
        return file.read(0, count)


class _File:
    def __init__(self, agent: GuestAgent, handle: int) -> None:
        self._agent = agent
        self._handle = handle

    def seek(self, offset: int, timeout: int | None = None) -> None:
        arguments = {"handle": self._handle, "offset": offset, "whence": 0}
        reply = _untrusted.mapping(self._agent.call("guest-file-seek", arguments, timeout))
        if _untrusted.integer(reply.get("position"), "a position") != offset:
            raise ProtocolError("the agent went to another place of the file than it was told", domain=self._agent.name)

    def write(self, offset: int, data: bytes) -> None:
        """All of ``data``: the agent may take less at a time."""
        done = 0
        while done < len(data):
            done += self._persistently(offset + done, lambda rest=data[done:]: self._write(rest))  # type: ignore[misc]

    def read(self, offset: int, count: int) -> bytes:
        """At most ``count`` bytes; none at the end of the file."""
        return self._persistently(offset, lambda: self._read(count))

    def _write(self, data: bytes) -> int:
        arguments = {"handle": self._handle, "buf-b64": base64.b64encode(data).decode("ascii")}
        reply = _untrusted.mapping(self._agent.call("guest-file-write", arguments))
        return _untrusted.integer(reply.get("count"), "the number of written bytes", 1, len(data))

    def _read(self, count: int) -> bytes:
        reply = _untrusted.mapping(self._agent.call("guest-file-read", {"handle": self._handle, "count": count}))
        data = decoded(reply.get("buf-b64"))
        if len(data) > count:
            raise ProtocolError("the agent gave more of the file than it was asked for", domain=self._agent.name)
        return data

    def _persistently(self, offset: int, ask: t.Callable[[], T]) -> T:
        """``ask`` again when no reply came: whether it was done then does not matter, for the place in the file is known.

        An agent that does not even find that place is not asked a third time: it hangs.
        """
        for _attempt in range(1, _ATTEMPTS):
            try:
                return ask()
            except StillInFlight:
                raise  # it could be done later, at another place
            except AgentTimeout:
                self._agent.retry()
                self.seek(offset, self._after_silence())
        return ask()

    def _after_silence(self) -> int:
        return min(_AFTER_SILENCE, self._agent.timeout)

    def close(self, timeout: int | None = None) -> None:
        self._agent.call("guest-file-close", {"handle": self._handle}, timeout)

    def abandon(self, error: BaseException) -> None:
        """Close it whatever has happened: a handle that is left open stays so until the agent is restarted."""
        self._agent.await_return(error)
        for timeout in [self._after_silence()] if isinstance(error, AgentTimeout) else [None, self._after_silence()]:
            self._agent.retry()
            try:
                self.close(timeout)
            except AgentTimeout:
                continue
            except GuestAgentError:
                pass
            return


@contextlib.contextmanager
def _opened(agent: GuestAgent, path: str, mode: str) -> t.Iterator[_File]:
    """The open file. What was written is in it for sure once closing it has raised nothing."""
    handle = _untrusted.integer(agent.call("guest-file-open", {"path": path, "mode": mode}), "a file handle")
    file = _File(agent, handle)
    try:
        yield file
        file.close()
    except BaseException as error:
        file.abandon(error)
        raise


def decoded(value: object) -> bytes:
    """What a reply has in base64."""
    if not isinstance(value, str):
        raise ProtocolError("the agent's reply has something else where base64 should be")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtocolError("the agent's reply has something else where base64 should be") from error
