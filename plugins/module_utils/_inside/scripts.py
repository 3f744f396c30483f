# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our own scripts, run in the guest by the agent's user, and the private files that they make there."""

from __future__ import annotations

import contextlib
import re
import secrets
import typing as t

from .._agent.client import GuestAgent
from .._deadline import Deadline
from .._errors import CommandFailed, GuestAgentError, NoSpace, WaitTimeout
from . import exec as _exec, login_shell, refusals, report, spool
from .lanes import Lane, Progress

#: For those that have nothing to wait for.
_SHORT: t.Final = 30.0
_NO_PROGRAM: t.Final = re.compile(f"{login_shell.PROGRAM}.*No such file or directory")


def start(agent: GuestAgent, script: str, stdin: bytes = b"") -> int:
    """In a session of its own, which what it starts can be ended by."""
    if login_shell.PROGRAM not in agent.missing:
        try:
            return _exec.start(agent, (login_shell.PROGRAM, *login_shell.ARGUMENTS), _environment(script), stdin)
        except CommandFailed as error:
            if not _NO_PROGRAM.search(error.detail):
                raise
            agent.missing.add(login_shell.PROGRAM)
    return _exec.start(agent, login_shell.WITHOUT_PROGRAM, _environment(script), stdin)


def start_short(agent: GuestAgent, script: str, stdin: bytes = b"") -> int:
    """What ends by itself, and soon, needs no session."""
    return _exec.start(agent, login_shell.ARGUMENTS, _environment(script), stdin)


def _environment(script: str) -> dict[str, str]:
    return {"VIRTOPS": script, "PATH": login_shell.TOOLS_PATH}


def run(agent: GuestAgent, script: str) -> _exec.ExecResult:
    """Its end; the first line of what it printed on stderr is ours."""
    mark = secrets.token_hex(16)
    pid = start_short(agent, f"echo {mark} >&2\n{script}")
    ended = _exec.wait(agent, pid, Deadline(_SHORT), mark=mark.encode())
    if ended is None:
        raise WaitTimeout(f"a script of a few lines did not end within {_SHORT:g} s", domain=agent.name, command="guest-exec")
    return ended


def remove(agent: GuestAgent, script: str) -> None:
    with contextlib.suppress(GuestAgentError):
        run(agent, script)


def spooled(agent: GuestAgent, nonce: str, path: str) -> str:
    """A name of ours, as the guest gives it: the agent is root, and reads and writes what it is told to."""
    if path not in spool.stems(nonce):
        raise refusals.unreadable(agent, "the place of a command's files")
    return path


def stored(agent: GuestAgent, lane: Lane, nonce: str, source: t.BinaryIO, size: int, progress: Progress) -> str:
    """The path of the file; a directory that is full is left for the next one."""
    start, moved = source.tell(), 0
    full: list[str] = []

    def count(written: int) -> None:
        nonlocal moved
        moved += written
        progress(written)

    while True:
        said = report.stored(nonce, run(agent, spool.store(nonce, size, full)).stdout)
        if isinstance(said, report.Refused) and said.word == "space":
            raise refusals.no_space(agent, [*(f"{place}:full" for place in full), *said.more])
        path = spooled(agent, nonce, said.stem if isinstance(said, report.Stored) else "") + ".i"
        if path.rpartition("/")[0] in full:  # it was told to skip that, and would be for ever
            raise refusals.unreadable(agent, "the place of a command's files")
        try:
            lane.write(path, source, size, count)
            return path
        except NoSpace as error:
            if error.command == "guest-file-open":
                raise  # it is the agent's own directory
        run(agent, login_shell.discard(nonce))
        full.append(path.rpartition("/")[0])
        progress(-moved)
        moved = 0
        source.seek(start)
