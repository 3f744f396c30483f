# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The backup job and the checkpoints of one domain, a request each. Knows libvirt's numbers, not libvirt."""

from __future__ import annotations

import typing as t

from .._errors import LibvirtFailure

#: virDomainBackupBeginFlags
_REUSE_EXTERNAL: t.Final = 1
#: virDomainJobOperation
_BACKUP: t.Final = 9
#: virDomainJobType
_NONE: t.Final = 0
_COMPLETED: t.Final = 3
_OTHER_ENDS: t.Final = {4: "it failed", 5: "it was cancelled"}
#: virDomainGetJobStatsFlags
_OF_COMPLETED: t.Final = 1
_KEEP: t.Final = 2
#: virDomainCheckpointDeleteFlags
_METADATA_ONLY: t.Final = 2
#: virDomainCheckpointListFlags
_TOPOLOGICAL: t.Final = 2
#: virDomainCheckpointXMLFlags
_NO_DOMAIN: t.Final = 2
_SIZE: t.Final = 4


class Job(t.NamedTuple):
    """A job that occupies the domain. ``total`` is 0 as long as libvirt does not know it."""

    backup: bool
    done: int
    total: int


class Backups:
    """Every method raises what ``Domain``'s do. ``call`` makes one request, within seconds if given."""

    def __init__(self, handle: t.Any, call: t.Callable[..., t.Any]) -> None:
        self._handle = handle
        self._call = call

    def begin(self, xml: str, checkpoint: str, seconds: float) -> None:
        """Begin to copy the disks as they are now into images that are there, and make a checkpoint, unless that is "".

        The images must have the size of the disks (virDomainBackupBegin, 6.0).
        """
        self._call(lambda: self._handle.backupBegin(xml, checkpoint or None, _REUSE_EXTERNAL), seconds)

    def capacity(self, target: str) -> int:
        """How many bytes a disk has for its guest (virDomainGetBlockInfo, 0.8.1)."""
        return t.cast(int, self._call(lambda: self._handle.blockInfo(target, 0))[0])

    def job(self) -> Job | None:
        """What occupies the domain now (virDomainGetJobStats, 1.0.3)."""
        stats = self._call(lambda: self._handle.jobStats(0))
        if stats.get("type", _NONE) == _NONE:
            return None
        return Job(stats.get("operation") == _BACKUP, stats.get("disk_processed", 0), stats.get("disk_total", 0))

    def forget_end(self) -> None:
        """Of an earlier job, so that what ``end`` says is about the next one."""
        self._call(lambda: self._handle.jobStats(_OF_COMPLETED))

    def end(self) -> str:
        """Why the last backup is not whole; "" where it is (virDomainGetJobStats with the flag)."""
        stats = self._call(lambda: self._handle.jobStats(_OF_COMPLETED | _KEEP))
        if stats.get("operation") != _BACKUP:
            return "libvirt does not tell how it ended"
        if stats.get("type") == _COMPLETED:
            return ""
        said = stats.get("errmsg") or ""
        return f"{_OTHER_ENDS.get(stats.get('type'), 'it did not end well')}{said and f' ({said})'}"

    def running(self) -> str:
        """The XML of the backup job, "" where there is none (virDomainBackupGetXMLDesc, 6.0)."""
        try:
            return t.cast(str, self._call(lambda: self._handle.backupGetXMLDesc(0)))
        except LibvirtFailure:
            if (job := self.job()) is not None and job.backup:
                raise
            return ""

    def abort(self) -> None:
        """End the domain's job; the images of a backup stay (virDomainAbortJob)."""
        self._call(self._handle.abortJob)

    def checkpoints(self) -> dict[str, str]:
        """Name -> XML, the older before the newer (virDomainListAllCheckpoints, 5.6)."""
        found = self._call(
            lambda: [(each.getName(), each.getXMLDesc(_NO_DOMAIN)) for each in self._handle.listAllCheckpoints(_TOPOLOGICAL)]
        )
        return dict(found)

    def noted(self, checkpoint: str) -> str:
        """A checkpoint's XML with the size of what was written since to each disk of which that is known (7.0 with the flag)."""
        return t.cast(str, self._call(lambda: self._handle.checkpointLookupByName(checkpoint, 0).getXMLDesc(_NO_DOMAIN | _SIZE)))

    def forget(self, checkpoint: str) -> None:
        """Remove a checkpoint and its bitmaps, or what is there of them (virDomainCheckpointDelete, 5.6)."""
        try:
            self._delete(checkpoint, 0)
        except LibvirtFailure:
            self._delete(checkpoint, _METADATA_ONLY)

    def _delete(self, checkpoint: str, flags: int) -> None:
        self._call(lambda: self._handle.checkpointLookupByName(checkpoint, 0).delete(flags))
