# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bring domains back to a snapshot, by libvirt's own revert. It stops a domain before it finds out that it cannot: look first.

libvirt reverts all disks of a domain, also those without a part in the snapshot. Media are taken out of the snapshot's record for
that, and put into their drives again; nothing is done to a domain with another such disk.
"""

from __future__ import annotations

import contextlib
import typing as t

from .._errors import DiskBusy, DomainNotFound, GuestAgentError, InvalidInput, LibvirtFailure, SnapshotForeign
from .._libvirt import disk_images
from .._libvirt.disk_images import QEMU_RUNS
from .._libvirt.hypervisor import Connection, Domain
from .._libvirt.threads import each
from . import images
from .plan import Chains, Found, check_external

#: What a check mode calls the image whose name libvirt chooses.
NEW_IMAGE: t.Final = "a new image"
#: What libvirt from 9.9 on answers before it does anything, if it cannot do it with a snapshot of disks only (seen of 10.0).
_REFUSED: t.Final = "Refusing snapshot reversion"


class Wish(t.NamedTuple):
    name: str
    #: whether the domains run afterwards
    running: bool
    reset_nvram: bool
    #: how long each request to libvirt may take
    seconds: float


class Subject(t.NamedTuple):
    """One domain that is to be reverted, as it was found."""

    domain: Domain
    found: Found
    persistent: bool
    #: name of the snapshot that libvirt takes its images to stand on
    current: str
    #: snapshot -> the one before it
    parents: t.Mapping[str, str]
    #: the drives that its definition has a medium for, each as XML; they are to have them afterwards
    media: t.Sequence[str] = ()

    @property
    def had_media(self) -> bool:
        """Whether there was a medium in a drive at the moment of the snapshot."""
        return self.found.record is not None and any(disk.removable for disk in self.found.record.disks)


def require_revert(connection: Connection) -> None:
    """
    :raise LibvirtFailure: this libvirt cannot revert external snapshots.
    """
    if not connection.reverts_external_snapshots():
        detail = f"libvirt {connection.version()} at {connection.uri} cannot revert external snapshots, which takes 9.9"
        hint = "update libvirt there, or copy the image that keeps the moment (base) back while the domain is off"
        raise LibvirtFailure(detail, hint=hint)


def look(domain: Domain, name: str) -> Subject:
    """Up to eight requests, and one for each snapshot of the domain."""
    records = {each: images.parse_snapshot(xml) for each, xml in domain.storage.snapshots().items()}
    found = Found(domain.name, domain.state(), disk_images.disks(domain.xml()), records.get(name))
    parents = {each: record.parent for each, record in records.items()}
    subject = Subject(domain, found, domain.persistent(), domain.storage.current_snapshot(), parents)
    return subject._replace(media=images.media_of(domain.definition())) if subject.had_media and subject.persistent else subject


def check(subject: Subject, wish: Wish) -> None:
    """
    :raise InvalidInput: there is no such snapshot, later ones stand on it, or libvirt cannot revert it without harm.
    :raise SnapshotForeign: it is another one than those of this collection, or its images are not in use any more.
    :raise DiskBusy: libvirt copies between the images of one of its disks.
    """
    found, record = subject.found, subject.found.record
    if record is None:
        have = ", ".join(sorted(subject.parents)) or "none"
        raise InvalidInput(f"the domain has no snapshot {wish.name}", domain=found.name, hint=f"the domain has {have}")
    check_external(found.name, record)
    # Without a current snapshot libvirt 11.3 crashes; the images of another one it removes.
    later = [name for name, parent in subject.parents.items() if parent == wish.name]
    if later or subject.current != wish.name:
        raise InvalidInput(
            f"the domain has been changed since by the snapshot {', '.join(later) or subject.current or '(none on record)'}",
            domain=found.name,
            hint="remove later snapshots first (state=absent)",
        )
    _check_disks(found)
    if not subject.persistent and (subject.had_media or not wish.running):
        what = "with a medium in a drive" if subject.had_media else "that is to be stopped"
        raise InvalidInput(f"a transient domain {what} cannot be reverted", domain=found.name, hint="define the domain first")


def _check_disks(found: Found) -> None:
    record = found.record or images.Snapshot(True, {}, {})
    for disk in record.disks:
        if disk.target not in record.overlays and not disk.removable:
            detail = f"libvirt reverts all disks of a domain, and {disk.target} has no part in the snapshot"
            raise InvalidInput(detail, domain=found.name, hint="restore the images of the snapshot by hand (base)")
        if disk.target in record.overlays and disk.images[0].kind != "file":
            detail = f"libvirt makes a new image beside that of disk {disk.target} only if that is a file ({disk.images[0].kind})"
            raise InvalidInput(detail, domain=found.name)
    for target, overlay in record.overlays.items():
        disk_now = found.disks.get(target)
        if disk_now is None or disk_now.chain[0] != overlay:
            now = disk_now.chain[0] if disk_now else "no image"
            detail = f"disk {target} is written to {now}, and not to {overlay} of the snapshot"
            raise SnapshotForeign(detail, domain=found.name)
        if disk_now.job:
            raise DiskBusy(f"a block job ({disk_now.job}) runs on disk {target}", domain=found.name)
        noted = record.bases.get(target, "")
        if found.state in QEMU_RUNS and noted not in disk_now.chain[1:2]:
            detail = (
                f"{overlay} of disk {target} does not stand on {noted or 'any image on record'}, which libvirt would go back to"
            )
            raise SnapshotForeign(detail, domain=found.name)


def revert(subjects: t.Sequence[Subject], wish: Wish) -> dict[str, GuestAgentError]:
    """Stop and revert all of them. By name of the domain, what could not be done."""
    return _failures(subjects, each(lambda subject: _revert(subject, wish), subjects))


def finish(subjects: t.Sequence[Subject], wish: Wish) -> dict[str, GuestAgentError]:
    """Put the media into the drives of those that were reverted, and start them if so wished. By name, what could not be done."""
    return _failures(subjects, each(lambda subject: _finish(subject, wish), subjects))


def _failures(subjects: t.Sequence[Subject], errors: t.Sequence[GuestAgentError | None]) -> dict[str, GuestAgentError]:
    return {subject.found.name: error for subject, error in zip(subjects, errors) if error is not None}


def _revert(subject: Subject, wish: Wish) -> None:
    storage = subject.domain.storage
    if subject.had_media:
        storage.redefine_current(images.without_media(storage.snapshot_record(wish.name)))
    try:
        # A transient domain cannot be off.
        storage.revert(wish.name, not subject.persistent, wish.reset_nvram and not subject.persistent, wish.seconds)
    except LibvirtFailure as error:
        error.hint = error.hint or _advice(subject, error)
        raise


def _advice(subject: Subject, error: LibvirtFailure) -> str:
    if _REFUSED in error.detail:
        return "a newer libvirt can (11.3 does)"
    with contextlib.suppress(GuestAgentError):
        if subject.found.state in QEMU_RUNS and subject.domain.state() not in QEMU_RUNS:
            return "the domain is off now, and its images are as they were; start it (virtops.guest_agent.start)"
    return ""


def _finish(subject: Subject, wish: Wish) -> None:
    for medium in subject.media:
        subject.domain.change_in_definition(medium)
    if not wish.running or not subject.persistent:
        return
    if wish.reset_nvram:
        subject.domain.start_with_new_nvram(wish.seconds)
    else:
        subject.domain.start(wish.seconds)


def foreseen(found: Found) -> Chains:
    """The chains as they will be."""
    overlays = found.record.overlays if found.record else {}
    return {target: [NEW_IMAGE, *chain[1:]] if target in overlays else chain for target, chain in found.chains.items()}


def seen(subject: Subject) -> Chains:
    """The chains as they are now; of a domain that is off libvirt tells the first image only."""
    chains = foreseen(subject.found)
    with contextlib.suppress(DomainNotFound):  # a transient domain that did not stay on
        runs = subject.domain.state() in QEMU_RUNS
        for target, disk in disk_images.disks(subject.domain.xml()).items():
            chains[target] = disk.chain if runs else [disk.chain[0], *chains.get(target, [])[1:]]
    return chains
