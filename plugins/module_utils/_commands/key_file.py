# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a user's authorized_keys are read and changed: in the file itself, with the user's rights, or by the agent's commands.

The agent's commands work in the user's directory as root and follow what they find there, so they are for guests only that run
no programs for us. They also take out empty lines where they add one.
"""

from __future__ import annotations

import io
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._errors import CommandFailed, FileFailed, FileMissing, UserNotFound
from .._inside import files, shell
from . import ssh_keys

EXECUTING: t.Final = ("guest-exec", "guest-exec-status")
_NAME: t.Final = ".ssh/authorized_keys"
_SECONDS: t.Final = 60.0
_FILE_MAX: t.Final = 4 * 1024 * 1024
_NEW: t.Final = files.Attributes(mode="0600")
_NO_USER: t.Final = "no such user"
#: Prints the user's home. With $1 the directory of the file is made.
_HOME: t.Final = """
[ -d "$HOME" ] || exit 3
[ -z "$1" ] || [ -e "$HOME/.ssh" ] || mkdir -m 700 -- "$HOME/.ssh" || exit 4
printf %s "$HOME"
"""


class Keys(t.Protocol):
    """The lines of a user's keys, without comments, empty lines and blanks around them."""

    by_file: bool

    def lines(self) -> list[str]:
        """In the order of the file."""

    def add(self, keys: t.Sequence[str]) -> None:
        """Those that are not there yet, at the end."""

    def remove(self, keys: t.Sequence[str]) -> None:
        """Those that are there."""

    def replace(self, keys: t.Sequence[str]) -> None:
        """The file has these and no others."""


def keys_of(agent: GuestAgent, user: str) -> Keys:
    """
    :raise UserNotFound: the guest has no such user.
    """
    if agent.windows is None and all(map(agent.can, EXECUTING)):
        try:
            return _ByFile(agent, user, _home(agent, user, ""))
        except (FileFailed, UserNotFound):
            raise
        except CommandFailed:  # no shell
            if not agent.can(ssh_keys.GET):
                raise
    agent.require(ssh_keys.GET)
    return _ByAgent(agent, user)


class _ByAgent:
    by_file = False

    def __init__(self, agent: GuestAgent, user: str) -> None:
        self._agent, self._user = agent, user

    def lines(self) -> list[str]:
        return ssh_keys.authorized_keys(self._agent, self._user)

    def add(self, keys: t.Sequence[str]) -> None:
        ssh_keys.add(self._agent, self._user, keys)

    def remove(self, keys: t.Sequence[str]) -> None:
        ssh_keys.remove(self._agent, self._user, keys)

    def replace(self, keys: t.Sequence[str]) -> None:
        ssh_keys.replace(self._agent, self._user, keys)


class _ByFile:
    by_file = True

    def __init__(self, agent: GuestAgent, user: str, home: str) -> None:
        self._agent, self._user = agent, user
        self._where = files.Where(f"{home}/{_NAME}", user, "all")

    def lines(self) -> list[str]:
        found = (line.strip() for line in self._text().split("\n"))
        return [line for line in found if line and not line.startswith("#")]

    def add(self, keys: t.Sequence[str]) -> None:
        text = self._text()
        between = "" if text.endswith("\n") or not text else "\n"
        self._write(f"{text}{between}{_joined(keys)}")

    def remove(self, keys: t.Sequence[str]) -> None:
        kept = [line for line in self._text().split("\n") if line.strip() not in keys]
        self._write("\n".join(kept))

    def replace(self, keys: t.Sequence[str]) -> None:
        self._write(_joined(keys))

    def _text(self) -> str:
        parts: list[bytes] = []
        try:
            files.pull(self._agent, self._where, parts.append)
        except FileMissing:
            return ""
        except FileFailed as error:
            if error.reason == "parent":
                return ""
            raise
        return b"".join(parts)[:_FILE_MAX].decode("utf-8", "surrogateescape")

    def _write(self, text: str) -> None:
        """With the user's rights; as root, and following no link, where the file is root's."""
        _home(self._agent, self._user, "made")
        content = io.BytesIO(text.encode("utf-8", "surrogateescape"))
        there = files.stat(self._agent, self._where)
        attributes = files.Attributes() if there else _NEW
        try:
            files.push(self._agent, content, self._where, attributes)
        except FileFailed as error:
            if error.reason != "create":
                raise
            content.seek(0)
            files.push(self._agent, content, self._where._replace(user="root", links="none"), attributes)


def _home(agent: GuestAgent, user: str, making: str) -> str:
    command = shell.Command(("/bin/sh", "-c", _HOME, "sh", making), user=user, tells_signals=False)
    try:
        found = shell.execute(agent, command, _SECONDS)
    except CommandFailed as error:
        if _NO_USER in error.detail:
            detail = f"the guest has no user {untrusted.clean(user, 64)!r}"
            raise UserNotFound(detail, domain=agent.name, command=error.command) from error
        raise
    home = found.stdout.decode("utf-8", "surrogateescape")
    if found.rc or not home.startswith("/"):
        problem = "has no home" if found.rc == 3 else "may not create the directory .ssh in the home"
        raise FileFailed(f"the user {untrusted.clean(user, 64)!r} {problem}", domain=agent.name)
    return home.rstrip("/")


def _joined(keys: t.Sequence[str]) -> str:
    return "".join(f"{key}\n" for key in keys)
