# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may log in by SSH: guest-ssh-{get,add,remove}-authorized-keys (qemu-ga 5.2), on a user's ~/.ssh/authorized_keys."""

from __future__ import annotations

import re
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._errors import CommandFailed, ProtocolError, UserNotFound

GET: t.Final = "guest-ssh-get-authorized-keys"
ADD: t.Final = "guest-ssh-add-authorized-keys"
REMOVE: t.Final = "guest-ssh-remove-authorized-keys"
_LINES_MAX: t.Final = 4096
_LINE_MAX: t.Final = 64 * 1024
#: The agent's own words; those after them are the C library's, which it does not translate.
_NO_USER: t.Final = re.compile(r"the agent says: (?:failed to lookup user |User .* was not found$)")
_NO_FILE: t.Final = re.compile(r"the agent says: failed to read .*No such file or directory\W*$")


def authorized_keys(agent: GuestAgent, user: str) -> list[str]:
    """The lines of the file without blanks around them, in its order; empty ones and comments are not told, and no file is no line.

    What a line says is the guest's: anything, but one string each.

    :raise UserNotFound: the guest has no such user.
    :raise CommandFailed: the file cannot be read.
    """
    try:
        reply = untrusted.mapping(_call(agent, GET, user))
    except UserNotFound:
        raise
    except CommandFailed as error:
        if _NO_FILE.match(error.detail):
            return []
        raise
    lines = reply.get("keys")
    if not isinstance(lines, list) or len(lines) > _LINES_MAX:
        raise ProtocolError(f"the keys are not a list of at most {_LINES_MAX} lines", domain=agent.name, command=GET)
    if not all(isinstance(line, str) and len(line) <= _LINE_MAX for line in lines):
        raise ProtocolError("a key is not a text, or too long", domain=agent.name, command=GET)
    return lines[::-1]


def add(agent: GuestAgent, user: str, keys: t.Sequence[str]) -> None:
    """Append ``keys``, but for lines that are there already. The directory and the file are made where they are missing.

    The agent adds no line that is there already, not even the empty one that ends the file with a newline: empty lines go first.
    """
    if agent.can(REMOVE):
        _call(agent, REMOVE, user, keys=[""])
    _call(agent, ADD, user, keys=_ending(keys))


def replace(agent: GuestAgent, user: str, keys: t.Sequence[str]) -> None:
    """Let the file be ``keys`` and nothing else. The old file is there until the new one takes its place."""
    _call(agent, ADD, user, keys=_ending(keys), reset=True)


def remove(agent: GuestAgent, user: str, keys: t.Sequence[str]) -> None:
    """Take all lines out that are one of ``keys`` to the last blank."""
    _call(agent, REMOVE, user, keys=list(keys))


def _ending(keys: t.Sequence[str]) -> list[str]:
    """With an empty line, or else the file ends without a newline, and what others append becomes a part of the last key."""
    return [*keys, ""] if keys else []


def _call(agent: GuestAgent, command: str, user: str, **arguments: t.Any) -> t.Any:
    try:
        return agent.call(command, {"username": user, **arguments})
    except CommandFailed as error:
        if _NO_USER.match(error.detail):
            detail = f"the guest has no user {untrusted.clean(user, 64)!r}"
            raise UserNotFound(detail, domain=agent.name, command=command) from error
        raise
