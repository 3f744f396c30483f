# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""cmd.exe of a Windows guest, by guest-exec, for lines of our own.

The agent quotes the arguments of what it runs: empty ones vanish, and cmd.exe does not know its way to quote a quote. So what is
not a plain word is the value of an environment variable. cmd.exe replaces !NAME! (/v:on) when it has taken its own line apart:
nothing in the value means anything to it. The agent replaces the whole environment, so that is asked for before.
"""

from __future__ import annotations

import re
import secrets
import typing as t

from .._agent.client import GuestAgent
from .._deadline import Deadline
from .._errors import InvalidInput, ProtocolError, WaitTimeout
from .._inside import exec as _exec
from .._inside.login_shell import Command

#: Of our own short commands.
SHORT: t.Final = 60.0
#: An exit code that none of cmd.exe's own is.
YES: t.Final = 90
#: What the agent has lost of a program's output, it may have of the next one's.
_TURNS: t.Final = 3
#: No user on Windows: "root" is the default of options, and means whom the agent runs as.
_AGENTS_OWN: t.Final = ("", "root")
_ROOT: t.Final = re.compile(r'[A-Za-z]:\\[^\s"%^&|<>!()]{1,64}')
_VARIABLE: t.Final = re.compile(r"([^=\0]{1,255})=([^\0]{0,32766})")


def native(path: str) -> str:
    return path.replace("/", "\\")


class Shell:
    """cmd.exe of one guest, with what has been asked of it."""

    def __init__(self, agent: GuestAgent) -> None:
        self._agent = agent
        self._base: dict[str, str] = {}

    def environment(self) -> dict[str, str]:
        """What the agent's own programs have. cmd.exe tells it in UTF-16 (/u), whatever its code page is."""
        for _turn in range(_TURNS):
            if _ROOT.fullmatch(self.root):
                break
            told = _exec.run(self._agent, ("cmd.exe", "/u", "/d", "/c", "set"), SHORT).stdout.decode("utf-16-le", "replace")
            found = (_VARIABLE.fullmatch(line) for line in told.split("\r\n"))
            self._base = {variable[1]: variable[2] for variable in found if variable}
        if not _ROOT.fullmatch(self.root):
            raise ProtocolError("the guest's environment does not say where Windows is", domain=self._agent.name)
        return self._base

    @property
    def root(self) -> str:
        """The directory of Windows itself, by whichever letters it is written."""
        return {name.lower(): value for name, value in self._base.items()}.get("systemroot", "")

    def new_path(self, ending: str = "") -> str:
        """A name that cannot be guessed, where only the agent's user and administrators may read what it makes."""
        self.environment()
        return rf"{self.root}\Temp\virtops-{secrets.token_hex(16)}{ending}"

    def start(self, words: t.Sequence[str], env: t.Mapping[str, str], captures: bool) -> int:
        """``words`` for cmd.exe, as they are, with !NAME! for what is in ``env``. Names on Windows are the same in all letters."""
        given = {name.upper() for name in env}
        base = {name: value for name, value in self.environment().items() if name.upper() not in given}
        return _exec.start(
            self._agent, (rf"{self.root}\System32\cmd.exe", "/d", "/v:on", "/c", *words), {**base, **env}, captures=captures
        )

    def ask(self, *words: str, **env: str) -> int:
        """The exit code of cmd.exe, for a line that is done at once. What it prints is not asked for: the agent may lose that."""
        ended = _exec.wait(self._agent, self.start(words, env, captures=False), Deadline(SHORT))
        if ended is None:
            raise WaitTimeout(f"cmd.exe did not end within {SHORT:g} s", domain=self._agent.name, command="guest-exec")
        return ended.rc or 0

    def exists(self, pattern: str) -> bool:
        """Whether there is a file or directory of this name, in which * and ? stand for others."""
        return self.ask("if", "exist", "!VIRTOPS!", "exit", str(YES), VIRTOPS=f'"{native(pattern)}"') == YES

    def put(self, verb: str, source: str, target: str) -> bool:
        """Whether cmd.exe could copy or move the file, over one that is there."""
        words = (*verb.split(), "/y", "!VIRTOPS_FROM!", "!VIRTOPS_TO!", ">nul", "2>nul", "&&", "exit", str(YES))
        return self.ask(*words, VIRTOPS_FROM=f'"{source}"', VIRTOPS_TO=f'"{target}"') == YES

    def remove(self, *paths: str) -> None:
        """Without an error where there are none."""
        self.ask("del", "/f", "/q", "!VIRTOPS!", ">nul", "2>nul", VIRTOPS=" ".join(f'"{path}"' for path in paths))


def check(command: Command) -> None:
    """
    :raise InvalidInput: the command asks for something that Windows, or its agent, cannot do.
    """
    check_user(command.user)
    if command.umask:
        raise InvalidInput("Windows has no umask", hint="leave it out")
    if command.answer is not None:
        raise InvalidInput("become with a password is not possible on Windows")


def check_user(user: str) -> None:
    """
    :raise InvalidInput: it is another one than the agent's.
    """
    if user not in _AGENTS_OWN:
        raise InvalidInput("on Windows everything runs as the agent's own user, usually SYSTEM", hint="leave out user")
