# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs run in the guest: guest-exec and guest-exec-status (qemu-ga 2.5)."""

from __future__ import annotations

import base64
import binascii
import json
import math
import secrets
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._deadline import SYSTEM_CLOCK, Clock, Deadline
from .._errors import AgentDisappeared, CommandFailed, GuestAgentError, InvalidInput, ProtocolError, WaitTimeout

#: What a probe may print; one reply stays far below libvirt's limits.
PROBE_OUTPUT_MAX: t.Final = 64 * 1024
#: Runs "$@" for at most $1 seconds, where the guest has timeout(1) as coreutils, busybox and the BSDs do. Its output, cut to
#: size, comes on stdout and its exit code on stderr, after the mark that is the script's name.
_PROBE_SCRIPT: t.Final = (
    'echo "$0" >&2; limit=$1; shift; command -v timeout >/dev/null && set -- timeout -s KILL "$limit" "$@";'
    ' { "$@" 2>/dev/null </dev/null; echo $? >&2; } | head -c '
)
#: Exit codes of the shell and of timeout(1) that say something about the probe itself.
_PROBE_ERRORS: t.Final = {
    None: "it reported no exit code",
    126: "it cannot be executed in the guest",
    127: "the guest has no such program",
    137: "it was killed, most likely because its time limit had passed",
}
_PROBE_GRACE: t.Final = 1.0
#: How many older processes of one number are looked behind.
_OLDER_MAX: t.Final = 4
#: Seconds between two questions whether a process has ended.
FIRST_PAUSE: t.Final = 0.02
_LONGEST_PAUSE: t.Final = 1.25
#: Seconds before the first question, however long the like of it took: so much later the end of a quick one is seen at most.
_FIRST_MAX: t.Final = 0.2


class Probe(t.NamedTuple):
    """A user-defined statistic: a program with its arguments, and how long it may take (seconds)."""

    argv: tuple[str, ...]
    timeout: float = 5.0


class ProbeResult(t.TypedDict):
    rc: int | None
    output: str
    json: t.Any
    error: str | None


class ExecResult(t.NamedTuple):
    #: exit code; None where a signal ended the process
    rc: int | None
    signal: int | None
    stdout: bytes
    stderr: bytes


class ProcessForgotten(AgentDisappeared):
    """The agent knows nothing of the process: it was restarted, or has told the end already and the answer was lost."""


def start(
    agent: GuestAgent, argv: t.Sequence[str], env: t.Mapping[str, str] | None = None, stdin: bytes = b"", captures: bool = True
) -> int:
    """Start ``argv`` as the agent's user and give its process id back. ``env`` replaces the agent's environment.

    qemu-ga writes ``argv`` to the guest's log. What it prints is kept for ``status``: at most 16 MiB of each stream, of which
    libvirt carries 3 MiB, so only for programs that print little.

    :param captures: whether what it prints is kept; its end then is that of all who may still print
    :raise CommandFailed: there is no such program.
    """
    arguments: dict[str, t.Any] = {"path": argv[0], "arg": list(argv[1:]), "capture-output": captures}
    if env is not None:
        arguments["env"] = [f"{name}={value}" for name, value in env.items()]
    if stdin:
        arguments["input-data"] = base64.b64encode(stdin).decode("ascii")
    reply = untrusted.mapping(agent.call("guest-exec", arguments))
    return untrusted.integer(reply.get("pid"), "a process id", 0)


def status(agent: GuestAgent, pid: int, mark: bytes = b"") -> ExecResult | None:
    """How the process ended and what it printed; None while it runs. The agent tells an end once and then forgets it.

    It keeps an end that was never asked for: of a task that was killed, or whose answer was lost. Once the guest's kernel gives
    the number of that process again, it tells the old end first. So an end without ``mark`` is one of another process, unless the
    agent knows no other of this number.

    :param mark: what this process prints and no other. Without one, each end costs a second question
    :raise ProcessForgotten: the agent does not know the process, since it has been restarted or its answer was lost.
    """
    ended = _status(agent, pid)
    for _older in range(_OLDER_MAX):
        if ended is None or (mark and (mark in ended.stderr or mark in ended.stdout)):
            break
        try:
            ended = _status(agent, pid)
        except ProcessForgotten:
            break
        except GuestAgentError:
            if mark:
                raise
            break  # It is told once: who asks again would hear that there is no such process.
    return ended


def _status(agent: GuestAgent, pid: int) -> ExecResult | None:
    try:
        reply = untrusted.mapping(agent.call("guest-exec-status", {"pid": pid}))
    except CommandFailed as error:
        detail = "the agent was restarted while the command ran, and how it ended is unknown"
        raise ProcessForgotten(detail, domain=agent.name, command="guest-exec-status") from error
    return _result(reply) if untrusted.boolean(reply.get("exited"), "exited") else None


def wait(
    agent: GuestAgent, pid: int, deadline: Deadline, expected: float = 0.0, first: float = FIRST_PAUSE, mark: bytes = b""
) -> ExecResult | None:
    """The end of the process, or None when the deadline comes first. See ``pauses`` and ``status``."""
    for pause in pauses(expected, first):
        deadline.sleep(pause)
        result = status(agent, pid, mark)
        if result is not None or deadline.expired():
            return result
    raise AssertionError("the pauses never end")


def pauses(expected: float, first: float = FIRST_PAUSE) -> t.Iterator[float]:
    """Seconds before each question whether a process has ended. The guest writes each into its log: they cost it CPU time.

    After the first, none is longer than the process has run, nor than ``_LONGEST_PAUSE``, whatever was expected of it.

    :param expected: how long the like of it took; it is asked for at that moment, and often after it. 0 where that is not known
    :param first: the first pause, where nothing is expected
    """
    asked = max(FIRST_PAUSE, min(expected, _FIRST_MAX)) if expected else first
    step = max(FIRST_PAUSE, expected / 16)
    yield asked
    while True:
        pause = min(asked, _LONGEST_PAUSE)
        if asked < expected:
            pause = min(pause, max(FIRST_PAUSE, expected - asked))
        elif expected:
            pause, step = min(pause, step), step * 2
        yield pause
        asked += pause


def run(agent: GuestAgent, argv: t.Sequence[str], timeout: float, clock: Clock = SYSTEM_CLOCK, mark: bytes = b"") -> ExecResult:
    """Run ``argv`` as the agent's user and wait for its end. For output that surely fits into one reply. See ``status``.

    :raise WaitTimeout: it was still running after ``timeout`` seconds; it goes on in the guest.
    """
    pid = start(agent, argv)
    result = wait(agent, pid, Deadline(timeout, clock), mark=mark)
    if result is None:
        raise WaitTimeout(f"{argv[0]} did not end within {timeout:g} s", domain=agent.name, command="guest-exec")
    return result


def run_limited(agent: GuestAgent, argv: t.Sequence[str], timeout: float, most: int) -> tuple[int | None, bytes]:
    """The exit code of ``argv`` and the first ``most`` bytes that it printed on its standard output.

    Where the guest has timeout(1) the program is killed after ``timeout`` seconds.

    :raise CommandFailed: there is no POSIX shell, and the guest is not Windows.
    :raise WaitTimeout: it was still running after ``timeout`` seconds.
    """
    if agent.windows is not None:
        limited: tuple[int | None, bytes] = agent.windows.run_limited(argv, timeout, most)
        return limited
    mark = f"probe-{secrets.token_hex(16)}"
    script = ("/bin/sh", "-c", f"{_PROBE_SCRIPT}{most}", mark, str(math.ceil(timeout)), *argv)
    result = run(agent, script, math.ceil(timeout) + _PROBE_GRACE, mark=mark.encode())
    rc = (result.stderr.split() or [b""])[-1]
    return int(rc) if rc.isdigit() and len(rc) < 4 else None, result.stdout[:most]


def run_probe(agent: GuestAgent, probe: Probe) -> ProbeResult:
    """What the probe printed; what is JSON is given as data too. A probe that fails says so and stops no other one.

    :raise UnknownOutcome: the agent itself went silent.
    """
    try:
        code, printed = run_limited(agent, probe.argv, probe.timeout, PROBE_OUTPUT_MAX)
    except (CommandFailed, WaitTimeout, ProtocolError, InvalidInput) as error:
        return {"rc": None, "output": "", "json": None, "error": error.detail}
    output = printed.decode("utf-8", "replace")
    return {
        "rc": code,
        "output": untrusted.clean(output.strip(), PROBE_OUTPUT_MAX),
        "json": as_json(output),
        "error": _PROBE_ERRORS.get(code),
    }


def as_json(output: str) -> t.Any:
    """What it is as plain, bounded data, or None where it is no JSON."""
    try:
        return untrusted.plain(json.loads(output), 8)
    except (ValueError, RecursionError):
        return None


def _result(status: dict[str, t.Any]) -> ExecResult:
    return ExecResult(
        rc=untrusted.optional_integer(status, "exitcode"),
        # The agent on Windows takes large exit codes for signals, as negative numbers.
        signal=untrusted.optional_integer(status, "signal", -(2**31)),
        stdout=_bytes(status.get("out-data")),
        stderr=_bytes(status.get("err-data")),
    )


def _bytes(value: object) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, str):
        raise ProtocolError("the agent's reply has output that is not base64")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtocolError("the agent's reply has output that is not base64") from error
