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
from .._commands.system import OsInfo
from .._errors import (
    AgentUnavailable,
    CommandBlocked,
    CommandRefused,
    CommandUnknown,
    DomainNotRunning,
    GuestAgentError,
    GuestFrozen,
    HypervisorUnreachable,
    PermissionDenied,
    ProtocolError,
    UnknownOutcome,
)
from .._reach import advice, diagnosis
from . import record
from .subsets import DEFAULTS, SUBSETS

# Collections are compiled anew at each start: what runs programs in a guest is read only by who asks for that.
if t.TYPE_CHECKING:
    from .._inside.exec import Probe

#: After one of these there is no use in asking on.
_STOP: t.Final = (UnknownOutcome, AgentUnavailable, DomainNotRunning, HypervisorUnreachable, PermissionDenied, GuestFrozen)

#: What every record has, and what tells of the agent itself.
_NEEDED: t.Final = ("guest-info", *(SUBSETS[name].command for name in DEFAULTS))


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
            yield name, functools.partial(SUBSETS[name].read, agent)
    if probes:
        yield "probes", lambda: _run_probes(agent, probes, answers)


def _run_probes(agent: GuestAgent, probes: t.Mapping[str, Probe], answers: dict[str, t.Any]) -> dict[str, t.Any]:
    """What was found until the agent fell silent is kept."""
    from .._inside.exec import run_probe

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
    """status, reason and hint from what went wrong. What costs one command only, such as an answer that makes no sense beside
    others that do, leaves the agent connected, with a reason.
    """
    refused = [trouble for trouble in troubles if isinstance(trouble, (CommandBlocked, CommandUnknown))]
    others = [diagnosis.explain(agent, trouble, ()) for trouble in troubles if trouble not in refused]
    reasons = [diagnosis.Reason(f"{e.command}: {e.detail}" if e.command else e.detail, e.hint) for e in others]
    reasons += [diagnosis.Reason(sentence, "") for sentence in agent.left_out()]
    told = [trouble.status for trouble in others if trouble.status and not (_is_odd(trouble) and answers)]
    refusal, lacks = _refusal(agent, refused, () if told else _NEEDED, answers.get("os"))
    if refusal.detail:
        reasons.insert(0, refusal)
    return {
        "connected": not any(isinstance(trouble, (AgentUnavailable, DomainNotRunning)) for trouble in troubles),
        "status": told[0] if told else "restricted" if lacks else "connected",
        "reason": "; ".join(dict.fromkeys(reason.detail for reason in reasons)),
        "hint": "; ".join(dict.fromkeys(reason.hint for reason in reasons if reason.hint)),
    }


def _families() -> tuple[t.Sequence[str], ...]:
    """Commands of which none is of use without the others."""
    from .._inside.small_files import READING

    return advice.EXEC, READING


def _is_odd(trouble: GuestAgentError) -> bool:
    return isinstance(trouble, ProtocolError)


def _refusal(
    agent: GuestAgent, troubles: t.Sequence[CommandRefused], needed: t.Sequence[str], os_info: OsInfo | None
) -> tuple[diagnosis.Reason, bool]:
    """What to say of the commands that the agent does not accept, and whether one is among them that every record needs. These are
    looked for also where they were not asked: the status is the guest's, and not the question's.
    """
    refused = diagnosis.joined(diagnosis.refused_by(troubles), diagnosis.missing(agent, needed))
    for family in _families() if troubles else ():
        if {*family} & {trouble.command for trouble in troubles}:
            # The first that is refused hides the others.
            refused = diagnosis.joined(refused, diagnosis.missing(agent, family))
    if not refused.all():
        return diagnosis.Reason("", ""), False
    guest_os = diagnosis.os_of(os_info) if os_info else diagnosis.guest_os(agent)
    lacks = any(name in _NEEDED and not advice.impossible(guest_os.system, name) for name in refused.all())
    return diagnosis.refusal(refused, diagnosis.version(agent), guest_os), lacks
