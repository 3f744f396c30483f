# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wait for the agent of a domain that was just brought to run."""

from __future__ import annotations

import typing as t

from .._deadline import Deadline
from .._errors import AgentNotConfigured, DomainNotFound, GuestAgentError, NotStarted
from .._inside import passing
from .._libvirt import domain_xml
from .._reach.guest import Guest
from .._reach.preflight import preflight
from .wait_for_guest import Readiness, Wanted

#: States that a domain does not leave by itself once it has run.
_OVER: t.Final = ("shutoff", "crashed")
#: Between two looks where libvirt has no event for what is missing (seconds).
_PAUSE: t.Final = 2.0


class Answer(t.NamedTuple):
    """What became of the domain. ``agent``: whether its agent has answered."""

    state: str
    agent: bool
    boot_id: str | None = None
    failure: GuestAgentError | None = None
    #: what to warn of where the domain has no agent to wait for
    warning: str = ""


def answer(guest: Guest, deadline: Deadline) -> Answer:
    """Wait until the agent answers, until the domain is off again, or until the deadline."""
    domain = guest.domain
    try:
        passing.state(domain, deadline)
        missing = preflight("running", domain_xml.parse(domain.xml()))
        if isinstance(missing, AgentNotConfigured):
            warning = f"Domain {domain.name}: {missing.detail}. Its agent is not waited for."
            return Answer("running", False, warning=warning)
        readiness = Readiness(guest, Wanted())
        look = readiness.wait(deadline, _PAUSE, over=_OVER)
    except DomainNotFound:
        return Answer("gone", False, failure=_ended(guest, "gone", deadline))
    failure: GuestAgentError | None = None
    if look.state in _OVER:
        failure = _ended(guest, look.state, deadline)
    elif look.missing:
        failure = readiness.failure(look, round(deadline.elapsed(), 1))
    return Answer(look.state, not look.missing, look.found.get("boot_id"), failure)


def _ended(guest: Guest, state: str, deadline: Deadline) -> NotStarted:
    """That the domain did not stay on while its agent was waited for."""
    detail = f"the domain is {state} again, {deadline.elapsed():.0f} s after the task began"
    return NotStarted(detail, domain=guest.domain.name)
