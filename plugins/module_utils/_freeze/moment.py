# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One moment of several domains: all guests frozen, something taken of each domain, all guests thawed."""

from __future__ import annotations

import typing as t

from .._deadline import Deadline
from .._errors import GuestAgentError, HypervisorUnreachable
from .._libvirt.hypervisor import Domain
from .._libvirt.threads import each
from .._reach.guest import Guest
from . import group as _group
from .watchdog import Watchdog

#: What must be left of the watchdogs' time when libvirt is given up, so that it is us who thaw.
_THAW_SECONDS: t.Final = 2.0
_PAUSE: t.Final = 0.5
#: Less than this leaves no time for anything while the guests are frozen.
MAX_SECONDS_LEAST: t.Final = 5

T = t.TypeVar("T")


class Subject:
    """One domain of the group. member: its guest, None where that is not to be frozen; why_not says why."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.member: _group.Member | None = None
        self.why_not = "it was not asked for"

    @property
    def quiesced(self) -> bool:
        return self.member is not None and self.member.trouble is None

    @property
    def reason(self) -> str:
        return self.why_not if self.member is None else str(self.member.trouble or "")

    @property
    def seconds(self) -> float | None:
        return None if self.member is None else self.member.seconds

    @property
    def unfrozen(self) -> list[str]:
        """The firmware's own filesystems, which no agent freezes."""
        return list(self.member.extent.spared) if self.member else []


S = t.TypeVar("S", bound=Subject)


class Moment(t.NamedTuple):
    """How it went. begun: something may have been taken, which has to be undone where there is a ``failure``."""

    failure: GuestAgentError | None
    begun: bool


def prepare(group: t.Sequence[Subject], guests: t.Mapping[str, Guest], required: bool, what: str) -> None:
    """Find out which guests can be frozen for a ``what``; ``guests`` are found by UUID.

    :raise GuestAgentError: one cannot, and must.
    """

    def meet(subject: Subject) -> None:
        member = _group.Member(guests[subject.domain.uuid].require_agent(), subject.domain.uuid)
        member.check()
        subject.member = member

    for subject, trouble in zip(group, each(meet, group)):
        if trouble is not None and required:
            trouble.detail += f"; no guest was frozen and no {what} taken"
            raise trouble
        subject.why_not = str(trouble or "")


def capture(
    group: t.Sequence[S],
    take: t.Callable[[S, Deadline], None],
    watchdogs: t.Sequence[Watchdog],
    terms: _group.Terms,
    required: bool,
    what: str,
) -> Moment:
    """Freeze, ``take`` a ``what`` of each, thaw. What the subjects then say is how it went with their guests.

    Where it is ``required`` every guest must have been frozen from before the first ``take`` until after the last.
    """
    members = [subject.member for subject in group if subject.member is not None]
    deadline = Deadline(terms.max_seconds - _THAW_SECONDS)
    try:
        _group.freeze_all(members, watchdogs, terms)
        not_frozen = first(member.not_frozen for member in members)
        if required and not_frozen is not None:
            not_frozen.detail += f"; no {what} was taken"
            return Moment(not_frozen, False)
        failures = each(lambda subject: take(subject, deadline), group)
    finally:
        _group.thaw_all(members, terms.timeout)
    return Moment(first(failures) or (first(member.trouble for member in members) if required else None), True)


def not_thawed(group: t.Iterable[Subject]) -> GuestAgentError | None:
    """Of a guest that may be frozen still; its watchdog goes on trying."""
    return first(subject.member.not_thawed for subject in group if subject.member is not None)


def warnings(group: t.Iterable[Subject]) -> t.Iterator[str]:
    """Of thaws that were done although an agent reports a failure."""
    for subject in group:
        if subject.member is not None and subject.member.warning:
            detail = subject.member.warning
            yield f"Domain {subject.domain.name}: the guest is thawed, and its agent reports a failure: {detail}"


def reach_again(domain: Domain, deadline: Deadline, question: t.Callable[[], T]) -> T:
    """The answer to ``question``, over another connection where this one is lost, as soon as libvirt gives it.

    :raise GuestAgentError: it does not, or the domain is gone or off.
    """
    while True:
        try:
            domain.renew(max(deadline.remaining(), 1.0))
            return question()
        except HypervisorUnreachable:
            if deadline.expired():
                raise
            deadline.sleep(_PAUSE)


def first(errors: t.Iterable[GuestAgentError | None]) -> GuestAgentError | None:
    return next((error for error in errors if error is not None), None)
