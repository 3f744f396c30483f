# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What to say of an agent that did not answer all that it was asked, or cannot. For the path of failure only."""

from __future__ import annotations

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
    ProtocolError,
)
from .._inside import small_files
from .._reach import advice, diagnosis
from .subsets import NEEDED


def verdict(agent: GuestAgent, troubles: t.Sequence[GuestAgentError], answers: t.Mapping[str, t.Any]) -> t.Any:
    """status, reason and hint from what went wrong. What costs one command only, such as an answer that makes no sense beside
    others that do, leaves the agent connected, with a reason.
    """
    refused = [trouble for trouble in troubles if isinstance(trouble, (CommandBlocked, CommandUnknown))]
    others = [diagnosis.explain(agent, trouble, ()) for trouble in troubles if trouble not in refused]
    reasons = [diagnosis.Reason(f"{e.command}: {e.detail}" if e.command else e.detail, e.hint) for e in others]
    reasons += [diagnosis.Reason(sentence, "") for sentence in agent.left_out()]
    told = [trouble.status for trouble in others if trouble.status and not (_is_odd(trouble) and answers)]
    refusal, lacks = _refusal(agent, refused, () if told else NEEDED, answers.get("os"))
    if refusal.detail:
        reasons.insert(0, refusal)
    return {
        "connected": not any(isinstance(trouble, (AgentUnavailable, DomainNotRunning)) for trouble in troubles),
        "status": told[0] if told else "restricted" if lacks else "connected",
        "reason": "; ".join(dict.fromkeys(reason.detail for reason in reasons)),
        "hint": "; ".join(dict.fromkeys(reason.hint for reason in reasons if reason.hint)),
    }


def _is_odd(trouble: GuestAgentError) -> bool:
    return isinstance(trouble, ProtocolError)


def _refusal(
    agent: GuestAgent, troubles: t.Sequence[CommandRefused], needed: t.Sequence[str], os_info: OsInfo | None
) -> tuple[diagnosis.Reason, bool]:
    """What to say of the commands that the agent does not accept, and whether one is among them that every record needs. These are
    looked for also where they were not asked: the status is the guest's, and not the question's.
    """
    refused = diagnosis.joined(diagnosis.refused_by(troubles), diagnosis.missing(agent, needed))
    for family in (advice.EXEC, small_files.READING):
        if {*family} & {trouble.command for trouble in troubles}:
            # The first that is refused hides the others.
            refused = diagnosis.joined(refused, diagnosis.missing(agent, family))
    if not refused.all():
        return diagnosis.Reason("", ""), False
    guest_os = diagnosis.os_of(os_info) if os_info else diagnosis.guest_os(agent)
    lacks = any(name in NEEDED and not advice.impossible(guest_os.system, name) for name in refused.all())
    return diagnosis.refusal(refused, diagnosis.version(agent), guest_os), lacks
