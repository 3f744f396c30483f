# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask one guest for its part of the record. Never raises for what an agent can do wrong: that is what a record is for."""

from __future__ import annotations

import contextlib
import datetime
import functools
import typing as t

from . import _diagnosis, _record
from ._client import GuestAgent
from ._commands import exec as _exec, small_files
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
    for name, read in _readers(agent, part, subsets, probes, answers):
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


class _Domain(t.Protocol):
    def balloon_bytes(self) -> int | None: ...


def complete(parts: _record.GuestParts, domain: _Domain) -> None:
    """Add to the guest's answers what libvirt alone knows."""
    if "memory" in parts:
        with contextlib.suppress(GuestAgentError):
            parts["memory"]["balloon_bytes"] = domain.balloon_bytes()


def _readers(
    agent: GuestAgent,
    part: _record.AgentPart,
    subsets: t.Iterable[str],
    probes: t.Mapping[str, _exec.Probe],
    answers: dict[str, t.Any],
) -> t.Iterator[tuple[str, t.Callable[[], t.Any]]]:
    yield "agent", lambda: _introduce(agent, part)
    for name in SUBSETS:
        if name in subsets:
            yield name, functools.partial(SUBSETS[name].read, agent)
    if probes:
        yield "probes", lambda: _run_probes(agent, probes, answers)


def _run_probes(agent: GuestAgent, probes: t.Mapping[str, _exec.Probe], answers: dict[str, t.Any]) -> dict[str, t.Any]:
    """What was found until the agent fell silent is kept."""
    found: dict[str, t.Any] = {}
    for name, probe in probes.items():
        found[name] = _exec.run_probe(agent, probe)
        answers["probes"] = found
    return found


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
    refused = [trouble for trouble in troubles if isinstance(trouble, (CommandBlocked, CommandUnknown))]
    others = [_diagnosis.explain(agent, trouble, ()) for trouble in troubles if trouble not in refused]
    reasons = [_diagnosis.Reason(f"{e.command}: {e.detail}" if e.command else e.detail, e.hint) for e in others]
    if refused:
        reasons.insert(0, _refusal(agent, refused, os_info))
    worst = next((trouble for trouble in (*others, *refused) if trouble.status), troubles[0])
    return {
        "connected": not any(isinstance(trouble, (AgentUnavailable, DomainNotRunning)) for trouble in troubles),
        "status": worst.status or "connected",
        "reason": "; ".join(dict.fromkeys(reason.detail for reason in reasons)),
        "hint": "; ".join(dict.fromkeys(reason.hint for reason in reasons if reason.hint)),
    }


def _refusal(agent: GuestAgent, troubles: t.Sequence[GuestAgentError], os_info: OsInfo | None) -> _diagnosis.Reason:
    blocked = list(dict.fromkeys(trouble.command for trouble in troubles if isinstance(trouble, CommandBlocked)))
    unknown = list(dict.fromkeys(trouble.command for trouble in troubles if isinstance(trouble, CommandUnknown)))
    for family in (_diagnosis.EXEC, small_files.READING):
        if {*family} & {*blocked, *unknown}:
            # The first that is refused hides the others.
            for refused, more in zip((blocked, unknown), _diagnosis.missing(agent, family)):
                refused += [command for command in more if command not in refused]
    guest_os = _diagnosis.GuestOs(os_info["id"], os_info["version_id"]) if os_info else _diagnosis.guest_os(agent)
    return _diagnosis.refusal(blocked, unknown, _diagnosis.version(agent), guest_os)
