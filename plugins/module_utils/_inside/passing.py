# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs in a guest goes on while its agent cannot be asked: a question that changes nothing is asked again until it can."""

from __future__ import annotations

import contextlib
import typing as t

from .._agent.client import GuestAgent
from .._deadline import SYSTEM_CLOCK, Clock, Deadline
from .._errors import (
    AgentUnavailable,
    CommandBlocked,
    DomainNotRunning,
    DomainOff,
    GuestAgentError,
    GuestFrozen,
    HypervisorUnreachable,
    LibvirtFailure,
    PermissionDenied,
    ProtocolError,
    UnknownOutcome,
)

if t.TYPE_CHECKING:
    from .._libvirt.hypervisor import Domain

T = t.TypeVar("T")

#: How long an agent may be out of reach for no known reason. A libvirtd that is upgraded, a guest that hardly gets a processor and
#: a restarting agent are back long before; a guest that hangs for good is given up after it.
PATIENCE: t.Final = 600
#: libvirt or the agent itself says what is in the way, and that it lasts until it is taken away: paused, suspended, frozen.
_TOLD: t.Final = (DomainNotRunning, GuestFrozen)
#: Answers out of turn pass; an agent that gives nothing else is faulty. A thaw between a command and the question why it is
#: blocked makes a frozen agent look like a restricted one; one that stays so is one.
_ODD: t.Final = (CommandBlocked, ProtocolError)
_ODD_MAX: t.Final = 3
#: What was allowed before is refused while polkit, or libvirt's socket, is made anew.
PASSES: t.Final = (*_TOLD, *_ODD, AgentUnavailable, HypervisorUnreachable, LibvirtFailure, PermissionDenied, UnknownOutcome)
#: Seconds between two questions: the first pause, how it grows, and the longest.
_FIRST, _GROWTH, _LONGEST = 0.5, 1.6, 5.0
#: What a new connection may take; one over SSH to a busy host takes seconds.
_RECONNECT_MIN: t.Final = 10.0


def through(
    agent: GuestAgent, question: t.Callable[[], T], deadline: Deadline, patience: float = PATIENCE, clock: Clock = SYSTEM_CLOCK
) -> T:
    """What ``question`` gives, asked again through troubles that pass, over new connections where the old ones are lost.

    :raise GuestAgentError: the last trouble, when ``deadline`` has passed or ``patience`` seconds of silence have; at once what
        does not pass, such as a domain that is off.
    """
    trouble = _Trouble(patience, clock)
    again, pause = False, _FIRST
    while True:
        try:
            return _again(agent, question, deadline) if again else question()
        except DomainOff:
            raise
        except PASSES as error:
            if deadline.expired() or not trouble.may_pass(error):
                raise
        deadline.sleep(pause)
        again, pause = True, min(_LONGEST, pause * _GROWTH)


def state(domain: Domain, deadline: Deadline) -> str:
    """The state of a domain that is waited for, over new connections where libvirtd restarts or the link is cut.

    :raise HypervisorUnreachable: there is still none at the deadline.
    :raise DomainNotFound: the domain went with it.
    """
    while True:
        try:
            return domain.state()
        except HypervisorUnreachable:
            if deadline.expired():
                raise
        deadline.sleep(_FIRST)
        with contextlib.suppress(HypervisorUnreachable, PermissionDenied, DomainOff):
            domain.renew(min(_RECONNECT_MIN, max(1.0, deadline.remaining())))


class _Trouble:
    """What has been in the way since the last answer."""

    def __init__(self, patience: float, clock: Clock) -> None:
        self._patience = patience
        self._clock = clock
        self._silence: Deadline | None = None
        self._odd = 0

    def may_pass(self, error: GuestAgentError) -> bool:
        if isinstance(error, _ODD):
            self._odd += 1
            return self._odd < _ODD_MAX
        if isinstance(error, _TOLD):
            self._silence = None
            return True
        if self._silence is None:
            self._silence = Deadline(self._patience, self._clock)
        return not self._silence.expired()


def _again(agent: GuestAgent, question: t.Callable[[], T], deadline: Deadline) -> T:
    agent.renew(min(max(_RECONNECT_MIN, agent.timeout), max(1.0, deadline.remaining())))
    return question()
