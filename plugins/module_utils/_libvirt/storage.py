# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Snapshots and block jobs of one domain, a request each. Knows libvirt's numbers, not libvirt."""

from __future__ import annotations

import typing as t

from .backups import Backups

T = t.TypeVar("T")

#: virDomainStatsTypes, virConnectGetAllDomainStatsFlags
_STATS_BLOCK: t.Final = 32
_STATS_BACKING: t.Final = 1 << 30
#: virDomainSnapshotCreateFlags
_REDEFINE: t.Final = 1
_CURRENT: t.Final = 2
_DISK_ONLY: t.Final = 16
_ATOMIC: t.Final = 128
#: virDomainSnapshotXMLFlags
_WITH_PASSWORDS: t.Final = 1
#: virDomainSnapshotRevertFlags
_RUNNING: t.Final = 1
_RESET_NVRAM: t.Final = 8
#: virDomainSnapshotDeleteFlags
_METADATA_ONLY: t.Final = 2
#: virDomainBlockCommitFlags
_SHALLOW: t.Final = 1
_DELETE: t.Final = 2
_ACTIVE: t.Final = 4
#: virDomainBlockJobAbortFlags
_PIVOT: t.Final = 2


class Size(t.NamedTuple):
    """Bytes for the guest, and bytes that are occupied; None where libvirt does not know it."""

    capacity: int | None
    allocation: int | None


class Storage:
    """Every method raises what ``Domain``'s do. ``call`` makes one request, within seconds if given."""

    def __init__(self, handle: t.Any, call: t.Callable[..., t.Any]) -> None:
        self._handle = handle
        self._call = call

    @property
    def backups(self) -> Backups:
        """Its backup job and checkpoints."""
        return Backups(self._handle, self._call)

    def snapshots(self) -> dict[str, str]:
        """Name -> XML of the snapshots that libvirt has on record (virDomainListAllSnapshots, 0.9.13)."""
        found = self._call(lambda: [(each.getName(), each.getXMLDesc(0)) for each in self._handle.listAllSnapshots(0)])
        return dict(found)

    def images(self) -> dict[str, Size]:
        """Path -> size of the images of all chains that libvirt knows (virDomainListGetStats, 1.2.8; chains 1.2.9)."""
        stats = self._call(lambda: self._handle.connect().domainListGetStats([self._handle], _STATS_BLOCK, _STATS_BACKING))
        found = stats[0][1] if stats else {}
        numbers = range(found.get("block.count", 0))
        return {
            found.get(f"block.{number}.path", ""): Size(*(found.get(f"block.{number}.{word}") for word in Size._fields))
            for number in numbers
        }

    def take(self, xml: str, seconds: float) -> None:
        """Put new images over the disks, all of them or none (virDomainSnapshotCreateXML, 0.9.10 with these flags)."""
        self._call(lambda: self._handle.snapshotCreateXML(xml, _DISK_ONLY | _ATOMIC), seconds)

    def current_snapshot(self) -> str:
        """Name of the snapshot that the domain's images stand on, as libvirt sees it; "" for none (virDomainSnapshotCurrent)."""
        if not self._call(lambda: self._handle.hasCurrentSnapshot(0)):
            return ""
        return t.cast(str, self._call(lambda: self._handle.snapshotCurrent(0).getName()))

    def snapshot_record(self, name: str) -> str:
        """The XML of one snapshot, whole: with the passwords that its domain's XML has, so that it can be given back."""
        return t.cast(str, self._call(lambda: self._handle.snapshotLookupByName(name, 0).getXMLDesc(_WITH_PASSWORDS)))

    def redefine_current(self, xml: str) -> None:
        """Replace the record of the current snapshot of disks (virDomainSnapshotCreateXML, 0.9.5 with the flag)."""
        self._call(lambda: self._handle.snapshotCreateXML(xml, _REDEFINE | _CURRENT | _DISK_ONLY))

    def revert(self, name: str, running: bool, reset_nvram: bool, seconds: float) -> None:
        """Stop the domain, take its definition and its disks back to a snapshot, and let it run if so wished.

        Of external snapshots libvirt 9.9 and newer can (virDomainRevertToSnapshot). It puts a new image over every disk that the
        domain had then, and removes the images that were written to since.
        """
        flags = (_RUNNING if running else 0) | (_RESET_NVRAM if reset_nvram else 0)
        self._call(lambda: self._handle.revertToSnapshot(self._handle.snapshotLookupByName(name, 0), flags), seconds)

    def forget(self, name: str) -> None:
        """Take a snapshot off libvirt's record, and leave its images alone (virDomainSnapshotDelete)."""
        self._call(lambda: self._handle.snapshotLookupByName(name, 0).delete(_METADATA_ONLY))

    def commit(self, target: str, top: str, active: bool, delete: bool) -> None:
        """Begin to copy the image ``top`` into the one under it (virDomainBlockCommit, 0.10.2; active 1.2.9).

        The image under it is not named, since of volumes, RBD or NBD libvirt knows no name. The job on an ``active`` image, which
        is written to, waits for ``pivot`` when it is ready. With ``delete`` libvirt removes the file of ``top`` in the end.
        """
        flags = _SHALLOW | (_ACTIVE if active else 0) | (_DELETE if delete else 0)
        self._call(lambda: self._handle.blockCommit(target, None, top, 0, flags))

    def working(self, target: str) -> bool:
        """Whether there is a job on the disk (virDomainGetBlockJobInfo, 0.9.4)."""
        return bool(self._call(lambda: self._handle.blockJobInfo(target, 0)))

    def pivot(self, target: str) -> None:
        """End a commit that is ready: from now on the base is written to (virDomainBlockJobAbort, 0.9.12 with the flag)."""
        self._call(lambda: self._handle.blockJobAbort(target, _PIVOT))

    def abort(self, target: str) -> None:
        """End the job on the disk; the chain stays as it is."""
        self._call(lambda: self._handle.blockJobAbort(target, 0))
