# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest that stays warm: commands run by a program that stays there between tasks (``resident_program``).

It is never needed. Where it is not there, is another one's, or cannot run a command, nothing has been done, and the command is run
as without it. Where it has been told to run one, that is never run again: it is asked for until it answers or is known to be gone.
"""

from __future__ import annotations

import inspect
import re
import secrets
import shlex
import typing as t

from .._agent.client import GuestAgent
from .._deadline import SYSTEM_CLOCK, Clock, Deadline
from .._errors import (
    GuestAgentError,
    HypervisorUnreachable,
    ProtocolError,
)
from . import exec as _exec, login_shell, passing, scripts
from .lanes import read_beginning
from .resident_link import Link
from .resident_program import command, interpreter as interpreter_, keeper, links, processes, session, wire

_FRAME_MAX: t.Final = 1024 * 1024
#: Seconds for the resident to answer to a greeting, and those for one that is there and has no time.
_GREETING_SECONDS: t.Final = 2.0
_BUSY_SECONDS: t.Final = 15.0
_FIRST_LOOK: t.Final = 0.5
#: A process: its number, and when it started by its kernel's clock. After the guest's next boot another one has the number.
PROCESS: t.Final = re.compile("[0-9]{1,10}:[0-9]{1,20}")
_PROCESSES: t.Final = re.compile(f"({PROCESS.pattern}) ({PROCESS.pattern})".encode())
#: Of what stands after the name in /proc/PID/stat (proc(5)): the time of its start.
_STARTED: t.Final = 19
#: The files of the program, each after those that it takes names from.
_PARTS: t.Final = (wire, processes, links, interpreter_, command, session, keeper)
_FROM_ANOTHER: t.Final = re.compile(r"^from \..*\n", re.MULTILINE)
#: Bytes of an earlier connection that may stand before the answer.
_STALE_MAX: t.Final = 8 * 1024 * 1024


class Unavailable(Exception):
    """The resident has not run it, and will not."""


class Ended(HypervisorUnreachable):
    """What was at the other end is gone."""


class Resident:
    """The resident of one guest, for one thread at a time."""

    def __init__(self, agent: GuestAgent, connect: t.Callable[[], Link], clock: Clock = SYSTEM_CLOCK) -> None:
        """``connect`` raises GuestAgentError where there is no way to it."""
        self._agent = agent
        self._connect = connect
        self._clock = clock
        self._link: Link | None = None
        #: the process that runs commands, as PROCESS has it; "" as long as it has not said so
        self.session = ""
        #: the process that waits for controllers
        self.keeper = ""
        self._buffer = b""
        #: the beginning of the answer that a new connection waits for, and for how long; what is sent with the next bytes
        self._answer = b""
        self._greeted = Deadline(0.0, clock)
        self._unsent = b""
        #: seconds without an answer after which its process is looked for
        self._look_after = _FIRST_LOOK
        self._heard = 0.0

    def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.send_last(frame(b"Q"))
            link.close()

    def reach(self) -> None:
        """
        :raise Unavailable: there is no way to it, or nothing at its end.
        """
        if self._link is None:
            self.session = ""
        try:
            self.greet(waits=not self.keeper)
        except GuestAgentError:
            self.drop()
            self._agent.retry()
            raise Unavailable from None

    def greet(self, waits: bool = True) -> None:
        """Begin a connection where there is none.

        :param waits: whether for the answer. Where the keeper is known, what comes next can be sent with it: it will answer, or has
            ended, and its pipes and its port with it.
        :raise GuestAgentError: there is no way, or nothing at its end.
        """
        if self._link is None:
            self._link = self._connect()
            greeting = b"%s%s %d" % (wire.MARK, secrets.token_hex(16).encode(), wire.VERSION)
            self._answer, self._buffer, self._greeted = greeting + b" ", b"", Deadline(_BUSY_SECONDS, self._clock)
            self._heard, self._look_after = self._clock.monotonic(), _FIRST_LOOK
            self._unsent = greeting + b"\n"
        if not waits:
            return
        self.send(b"")
        for pause in _exec.pauses(0.0, 0.005):
            if self._answered(_GREETING_SECONDS):
                return
            if self._link.polls:
                self._greeted.sleep(pause)
        raise AssertionError("the pauses never end")

    def _answered(self, seconds: float) -> bool:
        """Whether the connection has begun at its other end, too."""
        if not self._answer:
            return True
        if self._has_come(max(0.01, min(seconds, _FIRST_LOOK, self._greeted.remaining()))):
            return True
        if self._greeted.elapsed() > self._look_after:
            self._look_after = self._greeted.elapsed() * 2
            if self._is_gone(self.keeper) if self.keeper else self._greeted.elapsed() > _GREETING_SECONDS:
                if self._has_come(0.01):  # its last words
                    return True
                raise Ended("the resident has ended", domain=self._agent.name)
        if len(self._buffer) > _STALE_MAX:
            raise Ended("the resident does not answer", domain=self._agent.name)
        if self._greeted.expired():
            raise HypervisorUnreachable("the resident does not answer", domain=self._agent.name)
        return False

    def _has_come(self, seconds: float) -> bool:
        self._buffer += t.cast(Link, self._link).receive(seconds)
        line, newline, rest = self._buffer.partition(self._answer)[2].partition(b"\n")
        said = _PROCESSES.fullmatch(line) if newline else None
        if said is None:
            return False
        self.session, self.keeper, self._buffer, self._answer = said[1].decode(), said[2].decode(), rest, b""
        self._heard = self._clock.monotonic()
        return True

    def drop(self) -> None:
        """The link is of no use any more."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def send(self, data: bytes) -> None:
        data, self._unsent = self._unsent + data, b""
        t.cast(Link, self._link).send(data)

    @property
    def connected(self) -> bool:
        return self._link is not None

    @property
    def polls(self) -> bool:
        return self._link is None or self._link.polls

    def frames(self, seconds: float) -> list[tuple[bytes, bytes]]:
        """Those that have arrived."""
        if not self._answered(seconds):
            return []
        found = self._parsed()
        if not found and (data := t.cast(Link, self._link).receive(seconds)):
            self._heard = self._clock.monotonic()
            self._buffer += data
            found = self._parsed()
        return found

    def _parsed(self) -> list[tuple[bytes, bytes]]:
        found, start = [], 0
        while len(self._buffer) - start >= wire.FRAME.size:
            kind, length = wire.FRAME.unpack_from(self._buffer, start)
            if length > _FRAME_MAX:
                raise ProtocolError("the resident sent a frame that is too long", domain=self._agent.name)
            end = start + wire.FRAME.size + length
            if len(self._buffer) < end:
                break
            found.append((kind, self._buffer[start + wire.FRAME.size : end]))
            start = end
        self._buffer = self._buffer[start:]
        return found

    def quiet(self) -> float:
        """Seconds since something was heard of it."""
        return self._clock.monotonic() - self._heard

    def gone(self) -> bool:
        """Whether the process that runs the command has ended."""
        if not self.session:
            return False
        self._agent.retry()  # it may have been silent while the guest began anew
        return self._is_gone(self.session)

    def _is_gone(self, process: str) -> bool:
        number, _sign, started = process.partition(":")
        try:
            words = read_beginning(self._agent, f"/proc/{number}/stat", 512).rpartition(b")")[2].split()
        except passing.PASSES:
            return False
        except GuestAgentError:
            return True
        return words[:1] in ([b"Z"], [b"X"]) or words[_STARTED : _STARTED + 1] != [started.encode()]


def frame(kind: bytes, body: bytes = b"") -> bytes:
    """As ``wire.plain`` reads it: no greeting can stand in it."""
    stuffed = body.replace(b"\0\1", b"\0\1\1").replace(b"\0v", b"\0\1v")
    return wire.FRAME.pack(kind, len(stuffed)) + stuffed


def start(agent: GuestAgent, interpreter: str, directory: str, port: str, idle: int) -> int:
    """Start it, and do not wait until it is there; the process id of what guest-exec has started.

    :param directory: for the named pipes; ``port`` is used instead where it is not ""
    """
    config = {"directory": directory, "port": port, "idle": idle}
    text = f"{_program()}\n\nmain({config!r})\n"
    return scripts.start(agent, _START.format(interpreter=shlex.quote(interpreter)), text.encode())


def _program() -> str:
    """One text, in which all names are there already that a part has from another."""
    return "\n\n".join(_FROM_ANOTHER.sub("", inspect.getsource(part)) for part in _PARTS)


_START: t.Final = (
    login_shell.LEAVE_AGENT.replace("{", "{{").replace("}", "}}")
    + """
cd /
for p in {interpreter} python3 /usr/libexec/platform-python; do
  command -v "$p" >/dev/null 2>&1 && exec "$p"
done
exit 127
"""
)
