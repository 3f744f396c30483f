# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bytes of the guest's files, by guest-file-open, -seek, -read, -write and -close (qemu-ga 0.15)."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import typing as t
import zlib

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._deadline import SYSTEM_CLOCK, Clock, Deadline
from .._errors import (
    AgentTimeout,
    AgentUnavailable,
    CommandFailed,
    GuestAgentError,
    InvalidInput,
    LaneFailed,
    NoSpace,
    ProtocolError,
    StillInFlight,
    UnknownOutcome,
)
from . import passing

#: Raw bytes in one request; in base64 and with what surrounds them they stay below what libvirt can be given.
WRITE_MAX: t.Final = 95 * 1024
#: Raw bytes in one reply; libvirt's time for a reply grows with the square of its size.
READ_MAX: t.Final = 256 * 1024
#: Bytes from which on a lane that takes a program of its own in the guest is the faster one.
_LARGE: t.Final = 1024 * 1024
#: Seconds for which an agent may be out of reach for no known reason: what it has begun to take is given up after that.
PATIENCE: t.Final = 45.0
#: Seconds for which a guest may be paused or frozen in the middle of a transfer.
_LONGEST: t.Final = 3600.0
#: Bytes after which what was written is given to the system.
_FLUSHED: t.Final = 8 * 1024 * 1024
#: Seconds for what is asked of an agent that was silent for all of its timeout: one that is well again answers at once.
_AFTER_SILENCE: t.Final = 2
#: How often a file is opened. An agent that ends at each request, or lies, would let that be done for ever.
_OPENED_MAX: t.Final = 100

#: The agent's own lane goes on where the other one cannot.
_LANE_TROUBLES: t.Final = (LaneFailed, AgentUnavailable, UnknownOutcome)

#: What the agent says, in the words of the C library, which it does not translate; and what it says when it cannot note in its own
#: directory that it is going to open a file.
_NO_SPACE: t.Final = re.compile("No space left on device|Disk quota exceeded")
_NO_STATE: t.Final = "failed to commit persistent state to disk"

Sink = t.Callable[[bytes], object]
Progress = t.Callable[[int], object]
T = t.TypeVar("T")


class Lane(t.Protocol):
    """A way for the content of files."""

    @property
    def name(self) -> str:
        """What it is called at -vvv."""

    def write(self, path: str, source: t.BinaryIO, size: int, progress: Progress) -> None:
        """Fill the existing, empty file ``path`` of the guest with the next ``size`` bytes of ``source``."""

    def read(self, path: str, size: int, sink: Sink, offset: int = 0) -> None:
        """Hand ``size`` bytes of the guest's file from ``offset`` on to ``sink``, in order."""


class AgentLane:
    """JSON and base64 through the agent: slow, and there where the agent is.

    Both methods go on through troubles that pass, and raise CommandFailed where the guest's file system does not play along, and
    UnknownOutcome when the agent stays silent for ``patience`` seconds.
    """

    name = "agent"

    def __init__(self, agent: GuestAgent, patience: float | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._agent = agent
        self._patience = PATIENCE if patience is None else patience
        self._clock = clock

    def write(self, path: str, source: t.BinaryIO, size: int, progress: Progress) -> None:
        start, offset, safe = source.tell(), 0, 0
        with _room(path), self._opened(path, "r+") as file:
            while offset < size:
                data = _piece(source, size, offset)
                try:
                    file.write(offset, data)
                    offset += len(data)
                    progress(len(data))
                    if offset == size or offset - safe >= _FLUSHED:
                        file.flush(offset)
                        safe = offset
                except Reopened:
                    # What an agent that has ended had not yet given to the system is lost.
                    progress(safe - offset)
                    source.seek(start + safe)
                    offset = safe

    def read(self, path: str, size: int, sink: Sink, offset: int = 0) -> None:
        with _room(path), self._opened(path, "r") as file:
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

    def _opened(self, path: str, mode: str) -> t.ContextManager[File]:
        return opened(self._agent, path, mode, self._patience, self._clock)


@contextlib.contextmanager
def _room(path: str) -> t.Iterator[None]:
    """Says so where there is none."""
    try:
        yield
    except CommandFailed as error:
        if _NO_SPACE.search(error.detail):
            detail = f"no space in {untrusted.clean(path.rpartition('/')[0] or '/', 255)}"
        elif _NO_STATE in error.detail:
            detail = "no space where the agent keeps its state (/run or /var/lib/qemu-ga, as its service says): it opens no file"
        else:
            raise
        raise NoSpace(detail, domain=error.domain, command=error.command) from error


def shrinks(sample: bytes) -> bool:
    """Whether content that begins so is worth packing: the agent's parser is slower than any packer."""
    return len(zlib.compress(sample, 1)) < 0.7 * len(sample)


def ignore(_count: int) -> None:
    """A progress that is not reported."""


def _piece(source: t.BinaryIO, size: int, offset: int) -> bytes:
    data = source.read(min(WRITE_MAX, size - offset))
    if not data:
        raise InvalidInput(f"the source was {size} bytes long, and ended at {offset}")
    return data


class Preferred:
    """The first lane for what is large, and the second one for what is not and where the first one fails."""

    def __init__(self, first: Lane, second: Lane) -> None:
        self._first = first
        self._second = second
        #: Name of a lane -> bytes that it has carried.
        self.carried = {second.name: 0, first.name: 0}

    @property
    def name(self) -> str:
        return self._first.name

    def write(self, path: str, source: t.BinaryIO, size: int, progress: Progress) -> None:
        if size < _LARGE:
            self._write_second(path, source, size, progress)
            return
        start = source.tell()
        done = 0

        def count(written: int) -> None:
            nonlocal done
            done += written
            progress(written)

        try:
            self._first.write(path, source, size, count)
            self.carried[self._first.name] += size
        except _LANE_TROUBLES:
            progress(-done)
            source.seek(start)
            self._write_second(path, source, size, progress)

    def _write_second(self, path: str, source: t.BinaryIO, size: int, progress: Progress) -> None:
        self._second.write(path, source, size, progress)
        self.carried[self._second.name] += size

    def read(self, path: str, size: int, sink: Sink, offset: int = 0) -> None:
        if size < _LARGE:
            self._read_second(path, size, sink, offset)
            return
        done = 0

        def count(data: bytes) -> None:
            nonlocal done
            sink(data)
            done += len(data)
            self.carried[self._first.name] += len(data)

        try:
            self._first.read(path, size, count, offset)
        except _LANE_TROUBLES:
            self._read_second(path, size - done, sink, offset + done)

    def _read_second(self, path: str, size: int, sink: Sink, offset: int) -> None:
        self._second.read(path, size, sink, offset)
        self.carried[self._second.name] += size


def read_beginning(agent: GuestAgent, path: str, count: int) -> bytes:
    """What the first reply carries of a file, at most ``count`` bytes.

    :raise CommandFailed: it does not exist or cannot be read.
    """
    with opened(agent, path, "r") as file:
        return file.read(0, count)


class Reopened(Exception):
    """The file is open anew, at its beginning: the agent that had it open has ended, or may still do what it was told before."""


class File:
    def __init__(self, agent: GuestAgent, path: str, mode: str, patience: float = 0, clock: Clock = SYSTEM_CLOCK) -> None:
        self._agent = agent
        self._path, self._mode = path, mode
        self._patience, self._clock = patience, clock
        #: whether the agent may be at another place of the file than it should
        self._astray = False
        #: whether a request may still be done later, at the place of this handle; and how often the file was opened
        self._adrift, self._opened = False, 0
        # Where the answer is lost, a handle stays with the agent that nothing in the guest tells.
        self._handle = self._through(self._open)

    def _open(self) -> int:
        self._opened += 1
        if self._opened > _OPENED_MAX:
            raise ProtocolError(f"the agent has lost its place in the file {_OPENED_MAX} times", domain=self._agent.name)
        return untrusted.integer(self._agent.call("guest-file-open", {"path": self._path, "mode": self._mode}), "a file handle")

    def seek(self, offset: int, timeout: int | None = None) -> None:
        arguments = {"handle": self._handle, "offset": offset, "whence": 0}
        reply = untrusted.mapping(self._agent.call("guest-file-seek", arguments, timeout))
        if untrusted.integer(reply.get("position"), "a position") != offset:
            raise ProtocolError("the agent moved to another position in the file than requested", domain=self._agent.name)

    def write(self, offset: int, data: bytes) -> None:
        """All of ``data``: the agent may take less at a time.

        :raise Reopened: what was written before may be lost.
        """
        done = 0
        while done < len(data):
            done += self._persistently(offset + done, lambda rest=data[done:]: self._write(rest))  # type: ignore[misc]

    def flush(self, offset: int) -> None:
        """What was written is the system's then, and survives the agent."""
        self._persistently(offset, lambda: self._agent.call("guest-file-flush", {"handle": self._handle}))

    def read(self, offset: int, count: int) -> bytes:
        """At most ``count`` bytes; none at the end of the file."""
        while True:
            with contextlib.suppress(Reopened):
                return self._persistently(offset, lambda: self._read(count))

    def _write(self, data: bytes) -> int:
        arguments = {"handle": self._handle, "buf-b64": base64.b64encode(data).decode("ascii")}
        reply = untrusted.mapping(self._agent.call("guest-file-write", arguments))
        return untrusted.integer(reply.get("count"), "the number of written bytes", 1, len(data))

    def _read(self, count: int) -> bytes:
        reply = untrusted.mapping(self._agent.call("guest-file-read", {"handle": self._handle, "count": count}))
        data = decoded(reply.get("buf-b64"))
        if len(data) > count:
            raise ProtocolError("the agent returned more of the file than requested", domain=self._agent.name)
        return data

    def _persistently(self, offset: int, ask: t.Callable[[], T]) -> T:
        """``ask`` again after a trouble that has passed: whether it was done then does not matter, for the place in the file is
        known, and an agent that finds it has done all that it was told before.

        :raise Reopened: it was another agent that found the file, or what was asked before may be done yet.
        """

        def question() -> T:
            if self._adrift:
                self._take_another_handle()
            if self._astray:
                self._return_to(offset)
            self._astray = True
            try:
                answer = ask()
            except StillInFlight:
                self._adrift = True
                raise
            self._astray = False
            return answer

        return self._through(question)

    def _through(self, question: t.Callable[[], T]) -> T:
        def decided() -> T:
            try:
                return question()
            except ProtocolError as error:
                raise _Final(error) from error

        deadline = Deadline(_LONGEST if self._patience else 0, self._clock)
        try:
            return passing.through(self._agent, decided, deadline, self._patience, self._clock)
        except _Final as final:
            raise final.error from final

    def _take_another_handle(self) -> None:
        """What is done late at the old one moves no place of the new one, and writes the same bytes where they belong.

        The old one is closed first, because Windows opens no file twice that is open for writing.
        """
        with contextlib.suppress(CommandFailed):
            self.close()
        self._handle = self._open()
        self._adrift, self._astray = False, True
        raise Reopened

    def _return_to(self, offset: int) -> None:
        try:
            self.seek(offset, self._after_silence())
        except CommandFailed:
            self._handle = self._open()
            raise Reopened from None

    def _after_silence(self) -> int:
        return min(_AFTER_SILENCE, self._agent.timeout)

    def finish(self) -> None:
        """Close it. One that is not open any more has been closed, or its agent has ended."""
        asked = False

        def question() -> None:
            nonlocal asked
            try:
                self.close()
            except CommandFailed:
                if not asked:
                    raise
            finally:
                asked = True

        self._through(question)

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


class _Final(Exception):
    def __init__(self, error: GuestAgentError) -> None:
        super().__init__()
        self.error = error


@contextlib.contextmanager
def opened(agent: GuestAgent, path: str, mode: str, patience: float = 0, clock: Clock = SYSTEM_CLOCK) -> t.Iterator[File]:
    """The open file. What was written is in it for sure once closing it has raised nothing."""
    file = File(agent, path, mode, patience, clock)
    try:
        yield file
        file.finish()
    except BaseException as error:
        file.abandon(error)
        raise


def decoded(value: object) -> bytes:
    """What a reply has in base64."""
    if not isinstance(value, str):
        raise ProtocolError("the agent's reply is not base64")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtocolError("the agent's reply is not base64") from error
