# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask one guest for its part of the record. Never raises for what an agent can do wrong: that is what a record is for."""

from __future__ import annotations

import datetime
import functools
import typing as t

from . import _diagnosis, _record
from ._client import GuestAgent
from ._commands import exec as _exec
from ._commands.system import OsInfo
from ._errors import (
    AgentUnavailable,
    CommandBlocked,
    CommandUnknown,
    DomainNotRunning,
    GuestAgentError,
    GuestFrozen,
    HypervisorUnreachable,
    PermissionDenied,
    UnknownOutcome,
)
from ._subsets import SUBSETS

#: After one of these there is no use in asking on.
_STOP: t.Final = (UnknownOutcome, AgentUnavailable, DomainNotRunning, HypervisorUnreachable, PermissionDenied, GuestFrozen)


def ask(
    agent: GuestAgent, subsets: t.Iterable[str], probes: t.Mapping[str, _exec.Probe], now: datetime.datetime
) -> tuple[_record.AgentPart, _record.GuestParts]:
    """The agent's state and its answers to ``subsets`` and ``probes``: guest-info first, then one command each."""
    part = _record.agent_part()
    part["connected"], part["last_probe_time"] = True, now.strftime("%Y-%m-%dT%H:%M:%SZ")
    answers: dict[str, t.Any] = {}
    troubles: list[GuestAgentError] = []
    for name, read in _readers(agent, part, subsets, probes):
        try:
            answers[name] = read()
        except _STOP as error:
            troubles = [error]
            break
        except GuestAgentError as error:
            troubles.append(error)
    part.update(_verdict(agent, troubles, answers.get("os")))
    answers.pop("agent", None)
    return part, t.cast(_record.GuestParts, answers)


def _readers(
    agent: GuestAgent, part: _record.AgentPart, subsets: t.Iterable[str], probes: t.Mapping[str, _exec.Probe]
) -> t.Iterator[tuple[str, t.Callable[[], t.Any]]]:
    yield "agent", lambda: _introduce(agent, part)
    for name in SUBSETS:
        if name in subsets:
            yield name, functools.partial(SUBSETS[name].read, agent)
    if probes:
        yield "probes", lambda: {name: _exec.run_probe(agent, probe) for name, probe in probes.items()}


def _introduce(agent: GuestAgent, part: _record.AgentPart) -> None:
    """What the agent is and can do; raises GuestFrozen for one that is frozen."""
    capabilities = agent.capabilities()
    part["version"] = capabilities.version
    part["blocked_commands"] = capabilities.blocked
    part["can_exec"] = all(capabilities.commands.get(command, False) for command in _diagnosis.EXEC)
    if capabilities.looks_frozen() and agent.frozen():
        part["blocked_commands"] = []
        raise GuestFrozen("the guest's filesystems are frozen")


def _verdict(agent: GuestAgent, troubles: t.Sequence[GuestAgentError], os_info: OsInfo | None) -> t.Any:
    """status, reason and hint from what went wrong. A command that merely failed leaves the agent connected, with a reason."""
    if not troubles:
        return {"status": "connected", "reason": "", "hint": ""}
    first = troubles[0]
    if isinstance(first, (CommandBlocked, CommandUnknown)):
        reason = _refusal(agent, troubles, os_info)
        return {"status": first.status, "reason": reason.detail, "hint": reason.hint}
    first = _diagnosis.explain(agent, first, ())
    place = f"{first.command}: " if first.command else ""
    connected = not isinstance(first, (AgentUnavailable, DomainNotRunning))
    return {
        "connected": connected,
        "status": first.status or "connected",
        "reason": f"{place}{first.detail}",
        "hint": first.hint,
    }


def _refusal(agent: GuestAgent, troubles: t.Sequence[GuestAgentError], os_info: OsInfo | None) -> _diagnosis.Reason:
    blocked = [trouble.command for trouble in troubles if isinstance(trouble, CommandBlocked)]
    unknown = [trouble.command for trouble in troubles if isinstance(trouble, CommandUnknown)]
    if "guest-exec" in (*blocked, *unknown):
        # The first that is refused hides the second.
        for refused, more in zip((blocked, unknown), _diagnosis.missing(agent, _diagnosis.EXEC)):
            refused += [command for command in more if command not in refused]
    guest_os = _diagnosis.GuestOs(os_info["id"], os_info["version_id"]) if os_info else _diagnosis.guest_os(agent)
    return _diagnosis.refusal(blocked, unknown, _diagnosis.version(agent), guest_os)
