# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Take a snapshot of a group of domains at one moment: all of them, or none."""

from __future__ import annotations

import typing as t

from .._deadline import Deadline
from .._errors import GuestAgentError, HypervisorUnreachable
from .._freeze import group as _group, moment
from .._freeze.watchdog import Watchdog
from .._libvirt import disk_images
from .._libvirt.hypervisor import Domain
from .._libvirt.threads import each
from . import images, merge as _merge, plan as _plan

_UNDO_SECONDS: t.Final = 60.0


class Subject(moment.Subject):
    """One domain of the group, and the images that are to be put over its disks."""

    def __init__(self, domain: Domain, found: _plan.Found, overlays: dict[str, str]) -> None:
        super().__init__(domain)
        self.found = found
        self.overlays = overlays
        self.taken = False


class Wish(t.NamedTuple):
    name: str
    description: str
    required: bool


def look_at(domains: t.Sequence[Domain], name: str) -> list[_plan.Found]:
    """
    :raise GuestAgentError: one of them cannot be looked at.
    """
    found = []
    for seen in each(lambda domain: look(domain, name), domains):
        if isinstance(seen, GuestAgentError):
            raise seen
        found.append(seen)
    return found


def look(domain: Domain, name: str) -> _plan.Found:
    """The domain as it is: three requests, and one for each snapshot that it has."""
    record = domain.storage.snapshots().get(name)
    snapshot = None if record is None else images.parse_snapshot(record)
    return _plan.Found(domain.name, domain.state(), disk_images.disks(domain.xml()), snapshot)


def take(group: t.Sequence[Subject], wish: Wish, watchdogs: t.Sequence[Watchdog], terms: _group.Terms) -> GuestAgentError | None:
    """Freeze, snapshot, thaw. What the subjects then say is how it went; the error is why no snapshot was taken, or is left.

    With ``wish.required`` every guest must have been frozen from before the snapshot until after it.
    """
    failure, begun = moment.capture(
        group, lambda subject, deadline: _take(subject, wish, deadline), watchdogs, terms, wish.required, "snapshot"
    )
    if failure is None:
        return moment.not_thawed(group)
    return _undone(group, wish.name, failure) if begun else failure


class Removed(t.NamedTuple):
    """By the names of the domains: why it could not be done, and the files that libvirt did not remove."""

    failures: t.Mapping[str, GuestAgentError] = {}
    left: t.Mapping[str, t.Sequence[str]] = {}


def remove(domains: t.Sequence[Domain], removals: t.Mapping[str, _plan.Removal], name: str, seconds: float) -> Removed:
    """Merge the snapshot of the domains that are named in ``removals``."""
    deadline = Deadline(seconds)
    having = [domain for domain in domains if domain.name in removals]
    failures: dict[str, GuestAgentError] = {}
    left: dict[str, list[str]] = {}
    merged = each(lambda domain: _merge.merge(domain, name, removals[domain.name], deadline), having)
    for domain, files in zip(having, merged):
        if isinstance(files, GuestAgentError):
            failures[domain.name] = files
        else:
            left[domain.name] = files
    return Removed(failures, left)


def _take(subject: Subject, wish: Wish, deadline: Deadline) -> None:
    others = [target for target in subject.found.disks if target not in subject.overlays]
    xml = images.snapshot_xml(wish.name, wish.description, subject.overlays, others)
    subject.taken = True  # for all that we know, until it is undone
    for last in (False, True):
        try:
            subject.domain.storage.take(xml, max(deadline.remaining(), 1.0))
        except GuestAgentError as error:
            # libvirt, or the link to it, may be back while the guest is frozen, and the request may have got through.
            if not last and not isinstance(error, HypervisorUnreachable):
                raise
            if _look_again(subject.domain, wish.name, deadline).record is None:
                if last:
                    raise
                continue
        return


def _look_again(domain: Domain, name: str, deadline: Deadline) -> _plan.Found:
    """As ``look``, over another connection where this one is lost."""
    return moment.reach_again(domain, deadline, lambda: look(domain, name))


def _undone(group: t.Sequence[Subject], name: str, failure: GuestAgentError) -> GuestAgentError:
    """Take back what was taken, also where libvirt did not say whether it was, and say in the error how that went."""
    deadline = Deadline(_UNDO_SECONDS)

    def undo(subject: Subject) -> list[str]:
        found = _look_again(subject.domain, name, deadline)
        files = [] if found.record is None else _merge.merge(subject.domain, name, _plan.removal(found), deadline)
        subject.taken = False
        return files

    left, files = [], []
    for subject, undone in zip(group, each(undo, group)):
        if isinstance(undone, GuestAgentError):
            left.append(f"{subject.domain.name} ({', '.join(subject.overlays.values())})")
        else:
            files += undone
    outcome = f"what remains is the snapshot of {', '.join(left)}" if left else "no snapshot is left"
    unused = f", and {', '.join(sorted(files))} can be removed" if files else ""
    failure.detail = f"{failure.detail}; {outcome}{unused}"
    return failure
