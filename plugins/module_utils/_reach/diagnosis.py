# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why an agent refuses what is needed, and what to do about it in that very guest. For the path of failure only."""

from __future__ import annotations

import contextlib
import re
import typing as t

from .._agent.client import GuestAgent
from .._commands import system as _system
from .._errors import (
    CommandBlocked,
    CommandFailed,
    CommandRefused,
    CommandUnanswered,
    CommandUnknown,
    GuestAgentError,
    ProtocolError,
)
from . import advice
from .advice import EXEC, FILES

_ELSEWHERE: t.Final = "this is only possible in guests of another system"
_ENFORCE: t.Final = "/sys/fs/selinux/enforce"
#: strerror(EACCES) at the end of what qemu-ga says; it does not translate. What a module adds stands behind a semicolon.
_DENIED: t.Final = re.compile(r"Permission denied\W*(;|$)")
_MISSING: t.Final = re.compile(r"No such file or directory\W*$")


class Reason(t.NamedTuple):
    detail: str
    hint: str


class GuestOs(t.NamedTuple):
    """ID and VERSION_ID of the guest's os-release, and the system: Linux, Windows, ..., "" where nothing tells."""

    id: str | None = None
    version_id: str | None = None
    system: str = ""


class Refused(t.NamedTuple):
    """Commands that an agent does not accept, by what is known of why."""

    #: it has them, and does not accept them
    blocked: list[str]
    #: it does not have them
    unknown: list[str]
    #: it says nothing when it is asked
    unanswered: list[str]

    def all(self) -> list[str]:
        return [*self.blocked, *self.unknown, *self.unanswered]


def refusal(refused: Refused, agent_version: str, os: GuestOs) -> Reason:
    """What to say of commands that an agent does not accept, and what to do. Pure."""
    details, hints = [], []
    blocked, unknown = (
        [name for name in names if not advice.impossible(os.system, name, agent_version)]
        for names in (refused.blocked, refused.unknown)
    )
    impossible = [name for name in (*refused.blocked, *refused.unknown) if name not in (*blocked, *unknown)]
    if blocked:
        details.append(f"the agent's configuration blocks {', '.join(blocked)}")
        hints.append(advice.allow_commands(os.id, os.version_id, blocked))
    if impossible:
        details.append(f"qemu-ga {agent_version}".rstrip() + f" cannot do {', '.join(impossible)} on {os.system}")
    if unknown:
        details.append(f"qemu-ga {agent_version}".rstrip() + f" has no {', '.join(unknown)}")
        hints.append(CommandUnknown.default_hint)
    if refused.unanswered:
        details.append(f"the agent does not answer {', '.join(refused.unanswered)}")
        hints.append(CommandUnanswered.default_hint)
    return Reason(", and ".join(details), "; ".join(hints))


def missing(agent: GuestAgent, needed: t.Iterable[str]) -> Refused:
    """Those of ``needed`` that the agent is known not to accept; asks nothing."""
    commands = agent.known_commands()
    wanted = list(dict.fromkeys(needed)) if commands else []
    return Refused([name for name in wanted if commands.get(name) is False], [name for name in wanted if name not in commands], [])


def version(agent: GuestAgent) -> str:
    """The agent's, where it is known; asks nothing."""
    return agent.capabilities().version if agent.known_commands() else ""


def guest_os(agent: GuestAgent) -> GuestOs:
    """One command; nothing is known of a guest that does not say."""
    with contextlib.suppress(GuestAgentError):
        info = _system.os_info(agent)
        return os_of(info)
    return GuestOs()


def os_of(info: _system.OsInfo) -> GuestOs:
    return GuestOs(info["id"], info["version_id"], _system.system(info))


def selinux_state(agent: GuestAgent) -> str | None:
    """enforcing, permissive or off; None where the agent does not say. At most three commands."""
    from .._inside import files  # what is dear to load, and seldom needed

    try:
        return {b"0": "permissive", b"1": "enforcing"}.get(files.read_small(agent, _ENFORCE, 16).strip())
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
            return _refused(agent, error, needed)
        if isinstance(error, CommandFailed) and _DENIED.search(error.detail):
            return _rewritten(error, Reason(error.detail, confinement(agent, error.command) or error.hint))
    return error


def limits(agent: GuestAgent) -> Reason | None:
    """Why an agent whose commands are known runs no programs or gives no files; None for one that does both."""
    refused = missing(agent, (*EXEC, *FILES))
    return refusal(refused, version(agent), guest_os(agent)) if refused.all() else None


def confinement(agent: GuestAgent, command: str) -> str:
    """The hint for a permission that root was denied by ``command``, or in a program that it ran; "" where it is no such case."""
    return advice.unconfine(guest_os(agent).id, selinux_state(agent), command)


def refused_by(errors: t.Iterable[CommandRefused]) -> Refused:
    """The commands of these errors."""
    found = Refused([], [], [])
    for error in errors:
        unknown = found.unanswered if isinstance(error, CommandUnanswered) else found.unknown
        kind = found.blocked if isinstance(error, CommandBlocked) else unknown
        if error.command not in kind:
            kind.append(error.command)
    return found


def joined(first: Refused, second: Refused) -> Refused:
    """Both, each command once."""
    known = first.all()
    return Refused(*([*names, *(name for name in more if name not in known)] for names, more in zip(first, second)))


def _refused(agent: GuestAgent, error: CommandRefused, needed: t.Sequence[str]) -> GuestAgentError:
    with contextlib.suppress(CommandRefused, ProtocolError):
        agent.capabilities()
    os = guest_os(agent)
    refused = joined(refused_by([error]), missing(agent, (error.command, *needed)))
    reason = refusal(refused, version(agent), os)
    if error.hint and error.hint != type(error).default_hint:
        reason = reason._replace(hint=error.hint)  # the place that raised it knew better
    if advice.impossible(os.system, error.command, version(agent)):
        # No configuration would help: an agent of this platform does not have it, however it says so.
        error = CommandUnknown(error.detail, domain=error.domain, command=error.command, hint=reason.hint or _ELSEWHERE)
        reason = reason._replace(hint=error.hint)
    return _rewritten(error, reason)


def _rewritten(error: GuestAgentError, reason: Reason) -> GuestAgentError:
    return type(error)(reason.detail, domain=error.domain, command=error.command, hint=reason.hint)
