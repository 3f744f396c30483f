# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a snapshot would do to a domain's chains of images, and whether one that is there is the one that is meant. Pure."""

from __future__ import annotations

import posixpath
import typing as t

from .._errors import DiskBusy, DomainNotRunning, InvalidInput, SnapshotForeign, SnapshotPartial
from .._libvirt import disk_images
from .._libvirt.disk_images import QEMU_RUNS, Disk
from .images import Snapshot

Chains = dict[str, list[str]]


class Found(t.NamedTuple):
    """One domain as it was found. ``record``: the snapshot of the name in question, None where it has none."""

    name: str
    state: str
    disks: dict[str, Disk]
    record: Snapshot | None

    @property
    def chains(self) -> Chains:
        return {target: disk.chain for target, disk in self.disks.items()}

    def bases(self) -> dict[str, str]:
        """Disk -> the image that keeps the moment of the snapshot, which is another one when older snapshots were merged.

        Of a domain that is off libvirt tells no chain: there it is what was noted with the snapshot.
        """
        found = {}
        for target, overlay in self.record.overlays.items() if self.record else ():
            chain = self.chains.get(target, [])
            noted = self.record.bases.get(target, "") if self.record else ""
            found[target] = chain[chain.index(overlay) + 1] if overlay in chain[:-1] else noted
        return found


class Merge(t.NamedTuple):
    """The image ``top`` of a disk goes into the one under it. active: it is the one that is written to."""

    target: str
    top: str
    active: bool
    #: whether libvirt is at it already
    begun: bool


class Removal(t.NamedTuple):
    merges: list[Merge]
    #: disk -> the image that is not in its chain any more: it was merged before, its file may be there still
    merged: dict[str, str]


def overlays(found: Found, name: str, disks: t.Sequence[str] | None, directory: str | None) -> dict[str, str]:
    """Disk -> the path of the new image over it.

    :raise InvalidInput: there is no such disk, none at all, or no place for the image.
    :raise DiskBusy: libvirt copies between the images of one of them.
    """
    chosen = disk_images.chosen(found.name, found.disks, disks, "snapshot")
    return {disk.target: _overlay(found.name, disk, name, directory) for disk in chosen}


def image_name(domain: str, target: str, name: str) -> str:
    """What the new image over a disk is called."""
    return f"{domain}-{target}.{name}.qcow2"


def all_there(found: t.Sequence[Found], name: str, disks: t.Sequence[str] | None) -> bool:
    """Whether all of the domains have the snapshot; False where none has it.

    :raise SnapshotPartial: some have it, so that those and new ones would show different moments.
    :raise SnapshotForeign: one has another one of this name.
    """
    have = [each.name for each in found if is_there(each, disks)]
    lack = [each.name for each in found if each.name not in have]
    if have and lack:
        raise SnapshotPartial(f"it has the snapshot {name}, which is missing in {', '.join(lack)}", domain=have[0])
    return not lack


def is_there(found: Found, disks: t.Sequence[str] | None) -> bool:
    """Whether the domain has the snapshot, as one that keeps its disks' content of that moment.

    :raise SnapshotForeign: it has another one of this name.
    """
    record = found.record
    if record is None:
        return False
    check_external(found.name, record)
    if disks is not None and set(disks) != set(record.overlays):
        detail = f"the snapshot exists, but of the disks {', '.join(sorted(record.overlays))}"
        raise SnapshotForeign(detail, domain=found.name, hint="choose another name, or remove it first (state=absent)")
    for target, overlay in record.overlays.items():
        if found.state in QEMU_RUNS and overlay not in found.chains.get(target, []):
            detail = f"a snapshot of this name is on record, but {overlay} is not in use for disk {target} any more"
            raise SnapshotForeign(detail, domain=found.name, hint="remove the record first (state=absent)")
    return True


def removal(found: Found) -> Removal:
    """What is left to do until the snapshot is merged back into what it stands on.

    :raise SnapshotForeign: it is none of those that can be merged.
    :raise DomainNotRunning: libvirt merges the images of running domains only.
    :raise DiskBusy: libvirt copies between the images of one of its disks, for another reason.
    """
    record = found.record or Snapshot(True, {}, {})
    check_external(found.name, record)
    if record.overlays and found.state not in QEMU_RUNS:
        detail = f"the domain is {found.state}, and libvirt merges the images of running domains only"
        raise DomainNotRunning(detail, domain=found.name)
    merges, merged = [], {}
    for target, overlay in record.overlays.items():
        chain = found.chains.get(target, [])
        if overlay in chain[:-1]:
            merges.append(_merge(found, target, overlay))
        elif record.bases.get(target) in chain:
            merged[target] = overlay
        else:
            detail = f"neither {overlay} nor what it stood on is in use for disk {target}"
            raise SnapshotForeign(detail, domain=found.name)
    return Removal(merges, merged)


def without(chains: Chains, removed: Removal) -> Chains:
    """The chains when all is merged."""
    gone = {merge.top for merge in removed.merges}
    return {target: [path for path in chain if path not in gone] for target, chain in chains.items()}


def with_overlays(chains: Chains, new: t.Mapping[str, str]) -> Chains:
    return {target: [new[target], *chain] if target in new else chain for target, chain in chains.items()}


def _merge(found: Found, target: str, overlay: str) -> Merge:
    disk = found.disks[target]
    position = disk.chain.index(overlay)
    begun = disk.job == "active-commit" and position == 0
    if disk.job and not begun:
        raise DiskBusy(f"a block job ({disk.job}) runs on disk {target}", domain=found.name)
    return Merge(target, overlay, position == 0, begun)


def check_external(domain: str, record: Snapshot) -> None:
    """
    :raise SnapshotForeign: it is no external one of disks only.
    """
    if not record.external:
        detail = "a snapshot of this name exists, but is not an external one of disks only"
        raise SnapshotForeign(detail, domain=domain)


def _overlay(domain: str, disk: Disk, name: str, directory: str | None) -> str:
    image = disk.images[0]
    if directory is None and image.kind != "file":
        detail = f"the image of disk {disk.target} is not a file ({image.kind}), so a new image cannot be beside it"
        raise InvalidInput(detail, domain=domain, hint="set directory for the new images, or leave the disk out of disks")
    return posixpath.join(directory or posixpath.dirname(image.path), image_name(domain, disk.target, name))
