# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands in a Windows guest, by guest-exec: cmd.exe starts them, with their output in files, since no reply carries any size.

The command line is made here, as the program takes it apart, and reaches it in a variable: see ``cmd``.
"""

from __future__ import annotations

import contextlib
import io
import ntpath
import re
import typing as t

from .._agent.client import GuestAgent
from .._deadline import Deadline
from .._errors import (
    AgentDisappeared,
    CommandFailed,
    CommandTimeout,
    GuestAgentError,
    OutputCut,
    OutputTooLong,
    ProtocolError,
)
from .._inside import exec as _exec, passing
from .._inside.lanes import Reopened, Sink, ignore, opened
from .._inside.login_shell import REFUSALS, Command
from .._inside.shell import Result
from . import command_line, content
from .cmd import SHORT, Shell, check, native

_OUTPUT_MAX: t.Final = 512 * 1024 * 1024
#: In which a process that was killed lets go of its files.
_GONE_SECONDS: t.Final = 5.0
#: cmd.exe's exit code for a program that is not there.
_NO_PROGRAM: t.Final = 9009
#: The agent takes exit codes from 0xC0000000 on for signals, and tells them as the negative numbers that these are in 32 bits.
_CODES: t.Final = 2**32
_CODE: t.Final = re.compile("-?[0-9]{1,10}")
_MISSED: t.Final = 2
#: More than NTFS keeps beside a file's name: it takes a cluster of the disk.
_CLUSTER: t.Final = b" " * 4096
_PROBED: t.Final = ("guest-file-write", "guest-file-flush")


class Run:
    """One command from its start to the removal of its files."""

    def __init__(self, agent: GuestAgent, shell: Shell, command: Command, patience: float) -> None:
        check(command)
        self._agent, self._shell, self._command = agent, shell, command
        self._patience = patience
        self._line = command_line.of(command.argv)
        self._stem = shell.new_path()
        self._pid: int | None = None
        #: how often nothing has told how it ended
        self._missed = 0

    def execute(self, deadline: Deadline, sink: Sink | None) -> Result:
        """
        :raise CommandTimeout: it was still running at the deadline, and was killed with all that it had started.
        :raise AgentDisappeared: the agent ended meanwhile, and nothing tells how the command did.
        """
        try:
            self._start()
            result = self._result(self._wait(deadline), sink)
        except BaseException as error:
            self._agent.await_return(error)
            # What cannot be asked for goes on: neither is its time over, nor did the user say so.
            if self._pid is None or isinstance(error, CommandTimeout) or not isinstance(error, GuestAgentError):
                self._kill()
                self._tidy()
            raise
        self._tidy()
        return result

    def _start(self) -> None:
        command, words = self._command, ["!VIRTOPS!", f">{self._stem}.o", f"2>{self._stem}.e"]
        then = ["&", "echo", "!ERRORLEVEL!", f">{self._stem}.r", "&", "exit", "!ERRORLEVEL!"]
        if command.chdir and not self._shell.exists(ntpath.join(command.chdir, "*")):
            raise CommandFailed(REFUSALS["chdir"], domain=self._agent.name, command="guest-exec")
        if command.stdin:
            content.write(self._agent, f"{self._stem}.i", io.BytesIO(command.stdin), len(command.stdin), ignore)
            words.append(f"<{self._stem}.i")
        env = {**command.env, **self._line.env, "VIRTOPS": self._line.text}
        if command.chdir:
            words = ["cd", "/d", "!VIRTOPS_CHDIR!", "&&", *words]
            env["VIRTOPS_CHDIR"] = native(command.chdir)
        self._pid = self._shell.start([*words, *then], env, captures=False)

    def _wait(self, deadline: Deadline) -> int:
        for pause in _exec.pauses(0.0):
            deadline.sleep(pause)
            ended = passing.through(self._agent, self._ask, deadline, self._patience)
            if ended is not None:
                self._pid = None
                return ended
            if deadline.expired():
                break
        detail = f"{self._command.argv[0]} did not end within {deadline.seconds:g} s, and was killed"
        raise CommandTimeout(detail, domain=self._agent.name)

    def _ask(self) -> int | None:
        """The exit code; None while it runs, and -1 where nothing tells it."""
        try:
            ended = _exec.status(self._agent, self._pid or 0)
        except _exec.ProcessForgotten:
            return self._told_by_file()
        if ended is None:
            return None
        code = ended.rc if ended.signal is None else ended.signal % _CODES
        if code is None:
            raise ProtocolError("the agent's reply has no exit code", domain=self._agent.name, command="guest-exec-status")
        return code

    def _told_by_file(self) -> int | None:
        """The agent was restarted, or its word of the end got lost. What runs has its output open, which the agent then cannot."""
        for which in "ro":
            try:
                told = self._text(which)
            except CommandFailed as error:
                if content.NOT_OPENED not in error.detail:
                    raise
                continue
            if which == "r" and _CODE.fullmatch(told):
                return int(told) % _CODES
            return self._lost()
        return None if self._shell.exists(f"{self._stem}.o") else self._lost()

    def _lost(self) -> int | None:
        """Asked twice: between the end of a command and the note of it there is a moment."""
        self._missed += 1
        return None if self._missed < _MISSED else -1

    def _text(self, which: str) -> str:
        with opened(self._agent, f"{self._stem}.{which}", "r") as file:
            return file.read(0, 32).decode("ascii", "replace").strip()

    def _result(self, rc: int, sink: Sink | None) -> Result:
        agent = self._agent
        if rc < 0:
            detail = "the agent was restarted while the command ran, and how it ended is unknown"
            raise AgentDisappeared(detail, domain=agent.name, command="guest-exec-status")
        self._check_room(rc)
        stdout, stderr = self._output("o", sink), self._output("e", None)
        if rc == _NO_PROGRAM and not self._line.by_cmd:
            hint = "what cmd.exe itself does, such as dir, is for shell"
            raise CommandFailed(REFUSALS["program"], domain=agent.name, command="guest-exec", hint=hint)
        return Result(rc, None, stdout, stderr)

    def _check_room(self, rc: int) -> None:
        """On a full disk a command may well end with 0, and what it printed is cut or empty.

        :raise OutputCut: nothing can be kept where its output is.
        """
        if not all(map(self._agent.can, _PROBED)):
            return
        try:
            with contextlib.suppress(Reopened), opened(self._agent, f"{self._stem}.p", "w", self._patience) as file:
                file.write(0, _CLUSTER)
                file.flush(len(_CLUSTER))
        except CommandFailed as error:
            place = ntpath.dirname(self._stem)
            detail = (
                f"the command ended with exit code {rc}, but its output may be incomplete: {place} takes no file ({error.detail})"
            )
            raise OutputCut(detail, rc=rc, domain=self._agent.name, command="guest-exec") from error

    def _output(self, which: str, sink: Sink | None) -> bytes:
        parts: list[bytes] = []
        size = 0

        def take(data: bytes) -> None:
            nonlocal size
            size += len(data)
            if sink is not None:
                sink(data)
                return
            if size > _OUTPUT_MAX:
                detail = f"the command printed more than {_OUTPUT_MAX} bytes"
                raise OutputTooLong(detail, domain=self._agent.name, hint="write the output to a file, and fetch the file")
            parts.append(data)

        content.read(self._agent, self._shell, f"{self._stem}.{which}", take, self._patience)
        return b"".join(parts)

    def _kill(self) -> None:
        """End it with all that it has started. Its end is not waited for: what is left of it may hold the agent's pipes."""
        if self._pid is None or self._agent.silence is not None:
            return
        words = (rf"{self._shell.root}\System32\taskkill.exe", "/t", "/f", "/pid", str(self._pid))
        with contextlib.suppress(GuestAgentError):
            _exec.run(self._agent, words, SHORT)

    def _tidy(self) -> None:
        if self._agent.silence is not None:
            return
        with contextlib.suppress(GuestAgentError):
            # What was killed may hold them for a moment yet.
            for _turn in Deadline(_GONE_SECONDS).pauses(0.2, 1.0):
                self._shell.remove(*(f"{self._stem}.{which}" for which in "oeirp"))
                if self._pid is None or not self._shell.exists(f"{self._stem}.*"):
                    break
