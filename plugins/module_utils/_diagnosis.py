# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why an agent refuses what is needed, and what to do about it in that very guest. For the path of failure only."""

from __future__ import annotations

import contextlib
import re
import typing as t

from . import _advice
from ._client import GuestAgent
from ._commands import files as _files, system as _system
from ._errors import CommandBlocked, CommandFailed, CommandRefused, CommandUnknown, GuestAgentError, ProtocolError

EXEC: t.Final = ("guest-exec", "guest-exec-status")
FILES: t.Final = (
    "guest-file-open",
    "guest-file-close",
    "guest-file-read",
    "guest-file-write",
    "guest-file-seek",
    "guest-file-flush",
)
_ENFORCE: t.Final = "/sys/fs/selinux/enforce"
#: strerror(EACCES) at the end of what qemu-ga says; it does not translate.
_DENIED: t.Final = re.compile(r"Permission denied\W*$")
_MISSING: t.Final = re.compile(r"No such file or directory\W*$")


class Reason(t.NamedTuple):
    detail: str
    hint: str


class GuestOs(t.NamedTuple):
    """ID and VERSION_ID of the guest's os-release."""

    id: str | None = None
    version_id: str | None = None


def refusal(blocked: t.Sequence[str], unknown: t.Sequence[str], agent_version: str, os: GuestOs) -> Reason:
    """What to say of commands that an agent has and does not accept, and of those that it does not have. Pure."""
    details, hints = [], []
    if blocked:
        details.append(f"the agent's configuration blocks {', '.join(blocked)}")
        hints.append(_advice.allow_commands(os.id, os.version_id, blocked))
    if unknown:
        details.append(f"qemu-ga {agent_version}".rstrip() + f" has no {', '.join(unknown)}")
        hints.append(CommandUnknown.default_hint)
    return Reason(", and ".join(details), "; ".join(hints))


def missing(agent: GuestAgent, needed: t.Iterable[str]) -> tuple[list[str], list[str]]:
    """Those of ``needed`` that the agent is known to block, and those that it is known not to have; asks nothing."""
    commands = agent.known_commands()
    wanted = list(dict.fromkeys(needed)) if commands else []
    return [name for name in wanted if commands.get(name) is False], [name for name in wanted if name not in commands]


def version(agent: GuestAgent) -> str:
    """The agent's, where it is known; asks nothing."""
    return agent.capabilities().version if agent.known_commands() else ""


def guest_os(agent: GuestAgent) -> GuestOs:
    """One command; nothing is known of a guest that does not say."""
    with contextlib.suppress(GuestAgentError):
        info = _system.os_info(agent)
        return GuestOs(info["id"], info["version_id"])
    return GuestOs()


def selinux_state(agent: GuestAgent) -> str | None:
    """enforcing, permissive or off; None where the agent does not say. At most three commands."""
    try:
        return {b"0": "permissive", b"1": "enforcing"}.get(_files.read_small(agent, _ENFORCE, 16).strip())
    except CommandFailed as error:
        # The file is everybody's to read: only SELinux itself denies it.
        if _DENIED.search(error.detail):
            return "enforcing"
        return "off" if _MISSING.search(error.detail) else None
    except GuestAgentError:
        return None


def explain(agent: GuestAgent, error: GuestAgentError, needed: t.Sequence[str]) -> GuestAgentError:
    """``error``, or one of the same class that says all there is to say about it.

    ``needed``: every command that what failed takes (``EXEC``, ``FILES``), of which the first that was refused is in
    ``error``. An agent that does not answer these questions leaves the error as it was: this never raises.
    """
    with contextlib.suppress(GuestAgentError):
        if isinstance(error, (CommandBlocked, CommandUnknown)):
            return _rewritten(error, _refused(agent, error, needed))
        if isinstance(error, CommandFailed) and _DENIED.search(error.detail):
            return _rewritten(error, Reason(error.detail, confinement(agent, error.command) or error.hint))
    return error


def limits(agent: GuestAgent) -> Reason | None:
    """Why an agent whose commands are known runs no programs or gives no files; None for one that does both."""
    blocked, unknown = missing(agent, (*EXEC, *FILES))
    return refusal(blocked, unknown, version(agent), guest_os(agent)) if blocked or unknown else None


def confinement(agent: GuestAgent, command: str) -> str:
    """The hint for a permission that root was denied by ``command``, or in a program that it ran; "" where it is no such case."""
    return _advice.unconfine(guest_os(agent).id, selinux_state(agent), command)


def _refused(agent: GuestAgent, error: CommandRefused, needed: t.Sequence[str]) -> Reason:
    with contextlib.suppress(CommandRefused, ProtocolError):
        agent.capabilities()
    blocked, unknown = missing(agent, (error.command, *needed))
    refused = blocked if isinstance(error, CommandBlocked) else unknown
    if error.command not in refused:
        refused.insert(0, error.command)
    return refusal(blocked, unknown, version(agent), guest_os(agent))


def _rewritten(error: GuestAgentError, reason: Reason) -> GuestAgentError:
    return type(error)(reason.detail, domain=error.domain, command=error.command, hint=reason.hint)
