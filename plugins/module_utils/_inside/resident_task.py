# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One command that the resident of a guest runs, from its request to its end."""

from __future__ import annotations

import contextlib
import json
import secrets
import struct
import typing as t
import zlib

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._deadline import Deadline
from .._errors import (
    AgentDisappeared,
    CommandFailed,
    CommandTimeout,
    GuestAgentError,
    HypervisorUnreachable,
    OutputTooLong,
    ProtocolError,
)
from . import exec as _exec, lanes, login, login_shell, passing, processes, refusals, report, scripts
from .lanes import Sink
from .login_shell import Command
from .resident import PROCESS, Ended, Resident, Unavailable, frame
from .resident_program import wire

#: A module that is longer than this goes the way that it goes without: the resident holds all of it.
_MODULE_MAX: t.Final = 4 * 1024 * 1024
_BODY_MAX: t.Final = 32 * 1024
#: Of input, what is packed at once.
_PACKED: t.Final = 256 * 1024
_TAKEN: t.Final = struct.Struct(">Q")
_HAVE: t.Final = struct.Struct(">QQ")
#: Bytes of output after which it is told that they have arrived.
_CONFIRMED: t.Final = 128 * 1024
#: Seconds between two looks where output is arriving.
_MORE_PAUSE: t.Final = 0.002
#: Seconds of silence after which the resident is asked whether it is there, and after which its process is looked for.
_QUIET: t.Final = 5.0
_DEAD: t.Final = 10.0
#: How long a command that is to be ended may take for it.
_KILL_SECONDS: t.Final = 8.0
_OUTPUT_MAX: t.Final = 512 * 1024 * 1024
#: The process of this number, if it is still the one that started then.
_ITSELF: t.Final = 'G={0}; IFS= read -r l 2>/dev/null </proc/$G/stat; set -- ${{l##*) }}; [ "${{20}}" = {1} ] || G=\n'


class Outcome(t.NamedTuple):
    """How a command ended: its exit code, or the signal that ended it."""

    code: int
    signal: int | None
    seconds: float
    stdout: bytes
    stderr: bytes


def run(
    resident: Resident,
    agent: GuestAgent,
    command: Command,
    deadline: Deadline,
    patience: float,
    pace: tuple[float, float] = (0.0, _exec.FIRST_PAUSE),
    sink: Sink | None = None,
) -> Outcome:
    """Run ``command`` and wait for its end.

    :param pace: as ``_exec.pauses`` has it
    :raise Unavailable: it was not run.
    :raise CommandTimeout: its processes were killed.
    :raise CommandFailed: it cannot be run as it is.
    :raise AgentDisappeared: the resident was killed while it ran.
    """
    if command.script_of is not None and len(command.stdin) > _MODULE_MAX:
        raise Unavailable
    resident.reach()
    task = _Task(resident, agent, command, patience, sink)
    try:
        task.begin()
        return task.wait(deadline, pace)
    except (Unavailable, CommandFailed):
        raise
    except BaseException:
        task.end()
        resident.close()
        raise


class _Task:
    """One command on its way through the resident."""

    def __init__(self, resident: Resident, agent: GuestAgent, command: Command, patience: float, sink: Sink | None) -> None:
        self._resident = resident
        self._agent = agent
        self._command = command
        self._input = _Input(command.stdin)
        self._patience = patience
        self._sink = sink
        self._id = secrets.token_hex(16)
        self._begun = False
        self._lost = False
        self._process = ""
        self._parts: tuple[list[bytes], list[bytes]] = ([], [])
        self._have = [0, 0]
        self._confirmed = [0, 0]
        self._end: dict[str, t.Any] | None = None
        self._refused: CommandFailed | None = None
        self._pinged = False
        #: whether output is arriving: there is more of it then, or the end
        self._more = False

    def begin(self) -> None:
        try:
            self._resident.send(self._request() + self._input.due())
        except GuestAgentError:
            # What arrived of it is told when it is asked for.
            self._resident.drop()

    def wait(self, deadline: Deadline, pace: tuple[float, float]) -> Outcome:
        pauses = _exec.pauses(*pace)
        while True:
            passing.through(self._agent, lambda: self._look(deadline), deadline, self._patience)
            if self._refused is not None:
                raise self._refused
            if self._end is not None:
                return self._outcome(self._end)
            if self._lost:
                self._clean_up()
                raise AgentDisappeared(
                    "the resident was killed while the command ran, and how it ended is unknown",
                    domain=self._agent.name,
                    command="guest-exec",
                )
            if deadline.expired():
                detail = f"{self._command.argv[0]} did not end within {deadline.seconds:g} s, and was killed"
                raise CommandTimeout(detail, domain=self._agent.name)
            if self._more:
                pauses = _exec.pauses(0.0, _MORE_PAUSE)
            elif self._resident.polls:
                deadline.sleep(next(pauses))

    def end(self) -> None:
        """The command's processes are ended."""
        deadline = Deadline(_KILL_SECONDS)
        with contextlib.suppress(GuestAgentError, Unavailable):
            self._resident.greet()
            self._resident.send(self._again() + frame(b"K"))
            while self._end is None and not self._lost and not deadline.expired():
                self._look(deadline)
                if self._resident.polls:
                    deadline.sleep(0.05)

    def _look(self, deadline: Deadline) -> None:
        """What has happened since the last look.

        :raise Unavailable: it was not run.
        """
        try:
            if not self._resident.connected:
                self._found_again()
            self._exchange(deadline)
        except Ended:
            # What it answered before it began anything is still in a pipe; of a port that is not sure.
            has_all = self._resident.polls
            self._resident.drop()
            if has_all and not self._begun and not self._resident.session:
                raise Unavailable from None
            self._lost = True
            return
        except GuestAgentError as error:
            self._resident.drop()
            self._look_for_it()
            if self._lost:
                return
            if isinstance(error, CommandFailed):  # the agent has lost its handles, and can have others
                raise HypervisorUnreachable(f"the way to the resident is lost: {error.detail}", domain=self._agent.name) from error
            raise
        if self._resident.quiet() > _DEAD and self._resident.gone():
            self._lost = True

    def _exchange(self, deadline: Deadline) -> None:
        """Send what is due, and take what has arrived."""
        if self._resident.quiet() > _QUIET and not self._pinged:
            self._resident.send(frame(b"P"))
            self._pinged = True
        self._more = False
        for kind, body in self._resident.frames(max(0.01, min(1.0, deadline.remaining()))):
            self._more = self._more or kind in (b"A", b"O", b"X")
            self._pinged = False
            self._take(kind, body)
        due = self._input.due() if self._begun and self._end is None else b""
        if due:
            self._resident.send(due)

    def _found_again(self) -> None:
        """Over a new link, what has arrived over the old one is said first."""
        try:
            self._resident.greet()
            self._resident.send(self._again())
        except GuestAgentError:
            self._resident.drop()
            raise

    def _look_for_it(self) -> None:
        with contextlib.suppress(GuestAgentError):
            self._agent.renew(10.0)
            self._lost = self._lost or self._resident.gone()

    def _take(self, kind: bytes, body: bytes) -> None:
        if kind == b"S":
            said = self._mapping(body)
            self._begun, self._process = True, str(said.get("process"))
            if "received" in said:
                self._input.taken(untrusted.integer(said.get("taken"), "the input that was passed on", 0))
                self._input.found(untrusted.integer(said["received"], "the input that has arrived", 0), said.get("open") is True)
        elif kind == b"A":
            if len(body) != _TAKEN.size:
                raise ProtocolError("the resident's answer has no number", domain=self._agent.name)
            self._input.taken(*_TAKEN.unpack(body))
        elif kind in (b"O", b"X"):
            self._keep(int(kind == b"X"), body)
        elif kind == b"Z":
            self._end = self._mapping(body)
        elif kind == b"N":
            self._not_run(self._mapping(body))

    def _keep(self, place: int, data: bytes) -> None:
        self._have[place] += len(data)
        if place == 0 and self._sink is not None:
            self._sink(data)
        else:
            self._parts[place].append(data)
            if self._have[place] > _OUTPUT_MAX:
                detail = f"the command printed more than {_OUTPUT_MAX} bytes"
                raise OutputTooLong(
                    detail, domain=self._agent.name, command="guest-exec", hint="write the output to a file, and fetch the file"
                )
        if sum(self._have) - sum(self._confirmed) >= _CONFIRMED:
            self._confirmed = list(self._have)
            self._resident.send(frame(b"C", _HAVE.pack(*self._have)))

    def _not_run(self, said: dict[str, t.Any]) -> None:
        why = said.get("why")
        if why == "refused":
            listed = said.get("words")
            words = [untrusted.text(word, "a reason", 64) for word in (listed[:8] if isinstance(listed, list) else [])]
            self._refused = refusals.refusal(self._agent, report.Refused(words[0] if words else "", tuple(words[1:])))
        elif why == "lost" or self._begun:
            self._lost = True
        else:
            raise Unavailable

    def _outcome(self, end: dict[str, t.Any]) -> Outcome:
        signal = untrusted.optional_integer(end, "signal")
        code = report.SIGNALLED + signal if signal else untrusted.integer(end.get("code"), "an exit code", 0, 255)
        seconds = end.get("seconds")
        return Outcome(
            code,
            signal,
            float(seconds) if isinstance(seconds, (int, float)) and 0 <= seconds < 1e9 else 0.0,
            b"".join(self._parts[0]),
            b"".join(self._parts[1]),
        )

    def _clean_up(self) -> None:
        if PROCESS.fullmatch(self._process):
            number, _sign, started = self._process.partition(":")
            scripts.remove(self._agent, f"{_ITSELF.format(number, started)}{processes.end()}")

    def _mapping(self, body: bytes) -> dict[str, t.Any]:
        try:
            return untrusted.mapping(json.loads(body))
        except (ValueError, RecursionError) as error:
            raise ProtocolError("the resident's answer is no JSON", domain=self._agent.name) from error

    def _request(self) -> bytes:
        command = self._command
        request: dict[str, t.Any] = {
            "id": self._id,
            "argv": command.argv,
            "stdin": bool(command.stdin),
            "env": dict(command.env),
            "chdir": command.chdir,
            "user": command.user,
            "umask": command.umask,
            "exact": command.tells_signals and command.answer is None,
            "grace": self._patience,
            "login": [*login_shell.ARGUMENTS, login.told(command.user), login_shell.TOOLS_PATH],
            "login_files": login.FILES,
            "end": processes.end(),
        }
        if command.script_of is not None:
            request["python"], request["python_env"] = command.script_of[0], dict(command.script_of[1])
        if command.answer is not None:
            request["answer"] = command.answer._asdict()
        return frame(b"R", json.dumps(request).encode())

    def _again(self) -> bytes:
        return frame(b"R", json.dumps({"id": self._id, "have": self._have, "grace": self._patience}).encode())


class _Input:
    """A command's input on its way: packed piece by piece, and each piece kept until the guest has passed it on."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._read = 0
        self._pack = zlib.compressobj(1 if lanes.shrinks(data[:_PACKED]) else 0)
        #: what is packed and not passed on; where in all of it that begins, and up to where it has been sent
        self._kept = bytearray()
        self._base = 0
        self._sent = 0
        self._ended = not data

    def due(self) -> bytes:
        """What can be sent now, in frames."""
        frames = []
        while self._sent - self._base < wire.WINDOW and not self._ended:
            if self._sent == self._base + len(self._kept):
                self._pack_more()
            start = self._sent - self._base
            piece = bytes(self._kept[start : start + _BODY_MAX])
            self._sent += len(piece)
            self._ended = not piece
            frames.append(frame(b"I", piece))
        return b"".join(frames)

    def _pack_more(self) -> None:
        before = len(self._kept)
        while self._read < len(self._data) and len(self._kept) == before:
            piece = self._data[self._read : self._read + _PACKED]
            self._read += len(piece)
            self._kept += self._pack.compress(piece)
            if self._read == len(self._data):
                self._kept += self._pack.flush()

    def taken(self, count: int) -> None:
        """The guest has passed on so many packed bytes of it."""
        new = max(0, min(count - self._base, len(self._kept)))
        del self._kept[:new]
        self._base += new
        self._sent = max(self._sent, self._base)

    def found(self, received: int, is_open: bool) -> None:
        """What has arrived over links that were lost; the rest of it is sent again."""
        self._sent = min(max(received, self._base), self._base + len(self._kept))
        self._ended = not is_open
