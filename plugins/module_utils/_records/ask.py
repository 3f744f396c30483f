# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask one guest for its part of the record. Never raises for what an agent can do wrong: that is what a record is for."""

from __future__ import annotations

import contextlib
import datetime
import functools
import typing as t

from .._agent.client import GuestAgent
from .._errors import (
    AgentUnavailable,
    DomainNotRunning,
    GuestAgentError,
    GuestFrozen,
    HypervisorUnreachable,
    PermissionDenied,
    UnknownOutcome,
)
from .._reach import advice
from .._windows.recognised import recognise
from . import record
from .subsets import NEEDED, SUBSETS

# Collections are compiled anew at each start: what runs programs in a guest is read only by who asks for that.
if t.TYPE_CHECKING:
    from .._inside.exec import Probe

#: After one of these there is no use in asking on.
_STOP: t.Final = (UnknownOutcome, AgentUnavailable, DomainNotRunning, HypervisorUnreachable, PermissionDenied, GuestFrozen)


def ask(
    agent: GuestAgent, subsets: t.Iterable[str], probes: t.Mapping[str, Probe], now: datetime.datetime
) -> tuple[record.AgentPart, record.GuestParts]:
    """The agent's state and its answers to ``subsets`` and ``probes``: guest-info first, then one command each."""
    part = record.agent_part()
    part["connected"], part["last_probe_time"] = True, now.strftime("%Y-%m-%dT%H:%M:%SZ")
    answers: dict[str, t.Any] = {}
    troubles: list[GuestAgentError] = []
    for name, read in _readers(agent, part, subsets, probes, answers):
        try:
            with agent.named():
                answers[name] = read()
        except _STOP as error:
            troubles = [error]
            break
        except GuestAgentError as error:
            troubles.append(error)
    part.update(_verdict(agent, troubles, answers))
    answers.pop("agent", None)
    return part, t.cast(record.GuestParts, answers)


class _Domain(t.Protocol):
    def balloon_bytes(self) -> int | None:
        """What the balloon leaves to the guest, or None where libvirt does not know."""


def complete(parts: record.GuestParts, domain: _Domain) -> None:
    """Add to the guest's answers what libvirt alone knows."""
    if "memory" in parts:
        with contextlib.suppress(GuestAgentError):
            parts["memory"]["balloon_bytes"] = domain.balloon_bytes()


def _readers(
    agent: GuestAgent,
    part: record.AgentPart,
    subsets: t.Iterable[str],
    probes: t.Mapping[str, Probe],
    answers: dict[str, t.Any],
) -> t.Iterator[tuple[str, t.Callable[[], t.Any]]]:
    yield "agent", lambda: _introduce(agent, part)
    for name in SUBSETS:
        if name in subsets:
            yield name, functools.partial(_read, agent, name, answers)
    if probes:
        yield "probes", lambda: _run_probes(agent, probes, answers)


def _read(agent: GuestAgent, name: str, answers: t.Mapping[str, t.Any]) -> t.Any:
    if SUBSETS[name].goes_inside:
        _recognise(agent, answers)
    return SUBSETS[name].read(agent)


def _recognise(agent: GuestAgent, answers: t.Mapping[str, t.Any]) -> None:
    recognise(agent, answers["os"]["id"] if "os" in answers else None)


def _run_probes(agent: GuestAgent, probes: t.Mapping[str, Probe], answers: dict[str, t.Any]) -> dict[str, t.Any]:
    """What was found until the agent fell silent is kept."""
    from .._inside.exec import run_probe

    _recognise(agent, answers)
    found: dict[str, t.Any] = {}
    for name, probe in probes.items():
        found[name] = run_probe(agent, probe)
        answers["probes"] = found
    return found


def _introduce(agent: GuestAgent, part: record.AgentPart) -> None:
    """What the agent is and can do; raises GuestFrozen for one that is frozen."""
    capabilities = agent.capabilities()
    part["version"] = capabilities.version
    part["blocked_commands"] = capabilities.blocked
    part["can_exec"] = all(capabilities.commands.get(command, False) for command in advice.EXEC)
    if capabilities.looks_frozen() and agent.frozen():
        part["blocked_commands"] = []
        raise GuestFrozen("the guest's filesystems are frozen")


def _verdict(agent: GuestAgent, troubles: t.Sequence[GuestAgentError], answers: t.Mapping[str, t.Any]) -> t.Any:
    """status, reason and hint."""
    if troubles or agent.left_out() or not all(map(agent.known_commands().get, NEEDED)):
        from .verdict import verdict

        return verdict(agent, troubles, answers)
    return {"connected": True, "status": "connected", "reason": "", "hint": ""}
