# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands run in the guest as a user would after a login, with input and output of any size (guest-exec, qemu-ga 2.5).

In the usual case this takes one guest-exec and as many guest-exec-status as it needs to see the end; input that does not fit into
one request takes two requests more, or a file that is filled before.

What runs is ended by its own deadline or by the user. While its agent cannot be asked it is asked for again (``passing``); where
the agent knows nothing of it any more, its files in the guest tell.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import re
import secrets
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._agent.protocol import REQUEST_MAX
from .._deadline import SYSTEM_CLOCK, Clock, Deadline
from .._errors import (
    AgentDisappeared,
    AgentUnavailable,
    CommandFailed,
    CommandRefused,
    CommandTimeout,
    GuestAgentError,
    InvalidInput,
    OutputTooLong,
    UnknownOutcome,
)
from . import exec as _exec, login_shell, passing, refusals, report, scripts, spool
from .lanes import AgentLane, Lane, Progress, Sink, ignore
from .login_shell import Answer, Command, Input
from .refusals import PACKER, Unpackable

__all__ = ("PACKER", "Answer", "Command", "CommandTimeout", "Result", "Staged", "Unpackable", "by_shell", "execute", "stage")

#: A command without a deadline of its own: a day.
TIMEOUT: t.Final = 24 * 3600.0
#: What a request has beside the script and the input.
_FRAME: t.Final = 1024
#: Where a script leaves less room for input than this, all input is staged.
_ROOM_MIN: t.Final = 8 * 1024
#: What fits into a pipe. A program that ends with more than that unread makes qemu-ga spin for ever: it waits to write into the
#: full pipe, and poll() reports at once, again and again, that there is no reader.
_UNREAD_MAX: t.Final = 60 * 1024
#: More output of one stream than the controller should hold in memory.
_OUTPUT_MAX: t.Final = 512 * 1024 * 1024
#: How long it is tried to end what cannot be reached: the user who asks for that waits.
_KILL_SECONDS: t.Final = 5.0
_NAME: t.Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UMASK: t.Final = re.compile("[0-7]{3,4}")


class Result(t.NamedTuple):
    #: exit code; 128 and the signal's number where one ended the command, as shells say it
    rc: int
    signal: int | None
    stdout: bytes
    stderr: bytes
    #: how long it took by the guest's clock, with all that is around it; 0 where the guest does not tell
    seconds: float = 0.0


class Staged(t.NamedTuple):
    """Input that waits in a private file of the guest."""

    nonce: str
    path: str
    packed: bool = False


def execute(
    agent: GuestAgent,
    command: Command,
    timeout: float = TIMEOUT,
    lane: Lane | None = None,
    staged: Staged | None = None,
    expected: float = 0.0,
    first: float = _exec.FIRST_PAUSE,
    patience: float = passing.PATIENCE,
    clock: Clock = SYSTEM_CLOCK,
    sink: Sink | None = None,
) -> Result:
    """Run ``command`` and wait for its end. Children that it leaves in the background are not waited for.

    :param lane: the way for input and output that are too large for one message
    :param staged: input that is in the guest already, instead of ``command.stdin``
    :param expected: the seconds that it will likely take, and ``first`` those after which it is first asked for where that is not
        known: see ``_exec.pauses``
    :param patience: for how many seconds the agent may be out of reach while it runs
    :param sink: gets what the command prints, piece by piece, instead of the result
    :raise CommandTimeout: it was still running after ``timeout`` seconds; its processes have been killed.
    :raise CommandFailed: it could not be started; the sentence says why.
    :raise UnknownOutcome: the agent was silent for longer than that, and the command goes on; or nothing tells how it ended.
    """
    check(command)
    deadline = Deadline(timeout, clock)
    lane = lane or AgentLane(agent)
    pace = _Pace(expected, first)
    other = agent.windows or (agent.resident if staged is None else None)
    if other is not None and (ended := other.execute(command, deadline, patience, sink)) is not None:
        return t.cast(Result, ended)
    try:
        return _execute(agent, _Run(agent, command, staged, patience, clock), deadline, lane, pace, sink)
    except Unpackable:
        if staged is not None:
            raise
    # It has not run, and is not packed again.
    return _execute(agent, _Run(agent, command, staged, patience, clock), deadline, lane, pace, sink)


class _Pace(t.NamedTuple):
    expected: float
    first: float


def _execute(agent: GuestAgent, run: _Run, deadline: Deadline, lane: Lane, pace: _Pace, sink: Sink | None) -> Result:
    command = run.command
    try:
        run.start(lane)
        ended = run.wait(deadline, *pace)
        if ended is None:
            detail = f"{command.argv[0]} did not end within {deadline.seconds:g} s, and was killed"
            raise CommandTimeout(detail, domain=agent.name)
    except BaseException as error:
        if not run.goes_on:
            agent.await_return(error, run.clock)
            run.kill()  # costs nothing where it is the agent that went silent
        raise
    return _result(agent, lane, run, ended, sink)


def by_shell(agent: GuestAgent, text: str, executable: str | None) -> list[str]:
    """The words that let a shell of the guest run ``text``.

    :raise InvalidInput: the guest has no such shell.
    """
    if agent.windows is not None:
        return t.cast("list[str]", agent.windows.by_shell(text, executable))
    return [executable or "/bin/sh", "-c", text]


def stage(agent: GuestAgent, lane: Lane, source: t.BinaryIO, size: int, progress: Progress) -> Staged:
    """Bring the next ``size`` bytes of ``source`` into a private file of the guest, for ``execute`` to use up."""
    nonce = secrets.token_hex(16)
    try:
        return Staged(nonce, scripts.stored(agent, lane, nonce, source, size, progress))
    except BaseException as error:
        agent.await_return(error)
        scripts.remove(agent, login_shell.discard(nonce))
        raise


class _Run:
    """One run of a command: what was started in the guest for it, so that it can be ended and nothing is left."""

    def __init__(self, agent: GuestAgent, command: Command, staged: Staged | None, patience: float, clock: Clock) -> None:
        self._agent = agent
        self.command = command
        self._staged = staged
        #: for how many seconds the agent may be out of reach, also when what is left of the output is asked for
        self.patience = patience
        self.nonce = staged.nonce if staged else secrets.token_hex(16)
        #: whether an end by a signal is told from an exit code
        self.exact = command.tells_signals and command.answer is None
        #: whether something of it may be in the guest
        self._came = staged is not None
        self._feeder: int | None = None
        #: the process of the shell around the command, and that which is asked for its end
        self._group = 0
        self._pid: int | None = None
        self.clock = clock
        self._since = clock.monotonic()
        #: why it is not known whether it was started
        self._unheard: UnknownOutcome | None = None
        #: it is not ours to end, for neither its time is over nor did the user say so
        self.goes_on = False

    def start(self, lane: Lane) -> None:
        if self._staged is not None:
            self._begin(Input(staged=True, packed=self._staged.packed))
            return
        data = self.command.stdin
        longest = login_shell.surround(self.nonce, self.command, Input(staged=True, inline=True, packed=True))
        room = min(_UNREAD_MAX, _room(longest))
        if len(data) <= room:
            self._begin(Input(inline=bool(data)), data)
        elif self.exact or PACKER in self._agent.missing:
            self._stage(data, lane)
            self._begin(Input(staged=True))
        else:
            data = gzip.compress(data, 6)
            before, inline = data[: max(0, len(data) - room)], data[max(0, len(data) - room) :]
            if before:
                self._stage(before, lane)
            self._begin(Input(bool(before), bool(inline), packed=True), inline)

    def wait(self, deadline: Deadline, expected: float, first: float) -> _exec.ExecResult | None:
        """How it ended, or None when the deadline comes first."""
        ended = None
        for pause in _exec.pauses(expected, first):
            deadline.sleep(pause)
            ended = self._look(deadline)
            if ended is not None or deadline.expired():
                break
        if ended is not None and self._feeder is not None:
            self._ask_feeder()
        return ended

    def _ask_feeder(self) -> None:
        """
        :raise NoSpace: the input could not be kept.
        """
        fed = None
        with contextlib.suppress(GuestAgentError):
            fed = _exec.status(self._agent, self._feeder or 0, self.nonce.encode())
        said = report.stored(self.nonce, fed.stdout) if fed is not None else None
        if isinstance(said, report.Refused) and said.word == "space":
            raise refusals.no_space(self._agent, said.more)

    def kill(self) -> None:
        """End the command's processes, remove its files, and let the agent forget it."""
        if not self._came:
            return
        script = login_shell.kill(self._group, self.nonce, self._age())
        if self._agent.silence is None:
            with contextlib.suppress(GuestAgentError):
                passing.through(self._agent, lambda: scripts.run(self._agent, script), Deadline(_KILL_SECONDS, self.clock))
        for pid in {self._group or None, self._pid, self._feeder} - {None}:
            with contextlib.suppress(GuestAgentError):
                _exec.wait(self._agent, t.cast(int, pid), Deadline(2.0))

    def _look(self, deadline: Deadline) -> _exec.ExecResult | None:
        """How it ended; None while it runs."""
        try:
            ended = passing.through(self._agent, self._ask, deadline, self.patience, self.clock)
        except GuestAgentError:
            self.goes_on = not deadline.expired()
            raise
        if ended is None or not isinstance(report.read(self.nonce, ended.stderr), report.Lost):
            return ended
        if self._unheard is not None:
            raise self._unheard
        self.goes_on = True
        scripts.remove(self._agent, login_shell.clean_up(self.nonce))
        detail = "the agent was restarted while the command ran, and how it ended is unknown"
        raise AgentDisappeared(detail, domain=self._agent.name, command="guest-exec-status")

    def _ask(self) -> _exec.ExecResult | None:
        if self._pid is not None:
            with contextlib.suppress(_exec.ProcessForgotten):
                return _exec.status(self._agent, self._pid, self.nonce.encode())
        self._pid = scripts.start(self._agent, login_shell.await_end(self._group, self.nonce, self._age()))
        return None

    def _age(self) -> int:
        return int(self.clock.monotonic() - self._since)

    def _begin(self, source: Input, stdin: bytes = b"") -> None:
        silence, came = self._agent.silence, self._came
        self._came = True
        try:
            self._pid = self._group = scripts.start(self._agent, login_shell.surround(self.nonce, self.command, source), stdin)
        except (CommandRefused, AgentUnavailable):
            self._came = came
            raise
        except UnknownOutcome as error:
            if error is silence:  # nothing was sent
                raise
            self._unheard = error
            if not self._agent.answered:  # Whether it is there, it was not asked before: one that hangs costs what that would have.
                self.patience = min(self.patience, self._agent.timeout)

    def _stage(self, data: bytes, lane: Lane) -> None:
        """``data`` into the file that the command reads first. One request, which nothing waits for, where it fits."""
        self._came = True
        script = spool.store(self.nonce, len(data))
        if len(data) <= _room(script):
            self._feeder = scripts.start_short(self._agent, script, data)
        else:
            scripts.stored(self._agent, lane, self.nonce, io.BytesIO(data), len(data), ignore)


def check(command: Command) -> None:
    """
    :raise InvalidInput: something in it cannot be.
    """
    answer = command.answer or ()
    for text in (*command.argv, *command.env.values(), command.chdir, command.user, *answer):
        if "\0" in text:
            raise InvalidInput("a command, its environment and its directory cannot hold NUL characters")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidInput("the agent accepts a command, its environment and its directory in UTF-8 only") from None
    for name in command.env:
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"{untrusted.clean(name, 64)} cannot be the name of an environment variable")
    if not command.user or set(command.user) & {":", "\n"}:
        raise InvalidInput(f"{untrusted.clean(command.user, 64)!r} cannot be the name of a user")
    if command.umask and not _UMASK.fullmatch(command.umask):
        raise InvalidInput("a umask has three or four octal digits")


def _room(script: str) -> int:
    """How many raw bytes of input fit into a request beside ``script``; 0 where it is not worth it."""
    left = (REQUEST_MAX - _FRAME - len(json.dumps(script))) // 4 * 3
    return left if left >= _ROOM_MIN else 0


def _result(agent: GuestAgent, lane: Lane, run: _Run, ended: _exec.ExecResult, sink: Sink | None) -> Result:
    """What the scripts of ``login_shell`` say of the command that they ran."""
    said = report.read(run.nonce, ended.stderr)
    if isinstance(said, report.Ended):
        signal = said.signal if run.exact else None
        result = Result(said.rc, signal, ended.stdout, said.stderr, said.seconds)
        return _delivered(agent, lane, run, said.files, result, sink)
    if said is None and ended.signal is not None:  # it has taken the shell with it
        return _delivered(agent, lane, run, *_collected(agent, run.nonce, ended.signal), sink)
    if isinstance(said, report.Refused):
        raise refusals.refusal(agent, said)
    detail = f"the shell that starts commands failed: {untrusted.clean(ended.stderr.decode('utf-8', 'replace').strip(), 300)}"
    raise CommandFailed(detail, domain=agent.name, command="guest-exec")


def _collected(agent: GuestAgent, nonce: str, signal: int) -> tuple[report.Files, Result]:
    """The files of a command that ``signal`` has ended with the shell around it, and what is in them."""
    try:
        found = scripts.run(agent, login_shell.collect(nonce))
    except BaseException:
        scripts.remove(agent, login_shell.clean_up(nonce))
        raise
    said = report.read(nonce, found.stderr)
    if not isinstance(said, report.Collected):
        raise refusals.unreadable(agent, "the output of a command")
    if signal >= report.SIGNALLED:
        raise refusals.unreadable(agent, "the end of a command")
    return said.files, Result(report.SIGNALLED + signal, signal, found.stdout, said.stderr)


def _delivered(agent: GuestAgent, lane: Lane, run: _Run, files: report.Files, result: Result, sink: Sink | None) -> Result:
    """``result`` with all that the command printed; nothing of it stays in the guest."""
    if not files.whole:
        scripts.remove(agent, login_shell.clean_up(run.nonce))
        raise refusals.cut(agent, files.stem, result.rc)
    if max(len(result.stdout), len(result.stderr)) >= login_shell.INLINE_OUTPUT:
        return _completed(agent, lane, run, scripts.spooled(agent, run.nonce, files.stem), result, sink)
    if files.kept:
        scripts.remove(agent, login_shell.clean_up(run.nonce))
    if sink is not None:
        sink(result.stdout)
        return result._replace(stdout=b"")
    return result


def _completed(agent: GuestAgent, lane: Lane, run: _Run, place: str, result: Result, sink: Sink | None) -> Result:
    try:
        sizes = _sizes(agent, run)
        if any(
            len(found) >= max(size + 1, login_shell.INLINE_OUTPUT) for found, size in zip((result.stdout, result.stderr), sizes)
        ):
            raise refusals.unreadable(agent, "the output of a command")
        stdout = _whole(agent, lane, f"{place}.o", result.stdout, sizes[0], sink)
        return result._replace(stdout=stdout, stderr=_whole(agent, lane, f"{place}.e", result.stderr, sizes[1]))
    finally:
        scripts.remove(agent, login_shell.clean_up(run.nonce))


def _sizes(agent: GuestAgent, run: _Run) -> tuple[int, int]:
    deadline = Deadline(run.patience, run.clock)
    found = passing.through(agent, lambda: scripts.run(agent, login_shell.sizes(run.nonce)), deadline, run.patience, run.clock)
    sizes = report.sizes(found.stdout)
    if sizes is None:
        raise refusals.unreadable(agent, "the size of a command's output")
    return sizes


def _whole(agent: GuestAgent, lane: Lane, path: str, beginning: bytes, size: int, sink: Sink | None = None) -> bytes:
    """``beginning`` and what the file has after it, where it was left since it has more; nothing where ``sink`` gets it."""
    if sink is None and size > _OUTPUT_MAX:
        detail = f"the command printed {size} bytes, and at most {_OUTPUT_MAX} are accepted"
        raise OutputTooLong(detail, domain=agent.name, command="guest-exec", hint="write the output to a file, and fetch the file")
    parts: list[bytes] = []
    take: Sink = sink or parts.append
    take(beginning)
    if size > len(beginning):
        lane.read(path, size - len(beginning), take, len(beginning))
    return b"".join(parts)
