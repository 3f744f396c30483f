# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Merge a snapshot's images back into what they stand on, while the guest works on."""

from __future__ import annotations

import contextlib
import typing as t

from .._deadline import Deadline
from .._errors import DiskBusy, DomainBusy, GuestAgentError, LibvirtFailure, NotMerged
from .._libvirt import disk_images
from .._libvirt.hypervisor import Domain
from .plan import Merge, Removal

_FIRST_PAUSE: t.Final = 0.05
_LONGEST_PAUSE: t.Final = 1.0
#: Under an image that is not written to, QEMU opens the base for writing anew, which the domain's profile may not allow.
_DENIED: t.Final = (
    "check for DENIED in the hypervisor's kernel log; when AppArmor refuses the images, allow them (rwk) in"
    " /etc/apparmor.d/local/abstractions/libvirt-qemu, or remove the snapshots that were taken later first"
)


def merge(domain: Domain, name: str, removal: Removal, deadline: Deadline) -> list[str]:
    """All of ``removal``, then take the snapshot off libvirt's record: what is interrupted can be taken up again.

    The files that libvirt did not remove are returned.

    :raise NotMerged: the time is over; the job that was at it has been ended, the chain is as it was.
    :raise LibvirtFailure: libvirt could not merge them.
    """
    left = [each.top for each in removal.merges if not _merge(domain, each, deadline)]
    domain.storage.forget(name)
    return left


def _merge(domain: Domain, merge: Merge, deadline: Deadline) -> bool:
    """Whether libvirt removes the file too."""
    storage = domain.storage
    deletes = not merge.begun and _begin(domain, merge)
    pause, busy = _FIRST_PAUSE, ""
    while merge.top in (disk := _disk(domain, merge)).chain:
        ready = merge.active and disk.job_ready
        if ready:
            busy = _pivot(domain, merge)
        elif not storage.working(merge.target) and merge.top in _disk(domain, merge).chain:
            detail = f"the images of disk {merge.target} could not be merged"
            raise LibvirtFailure(detail, domain=domain.name, hint="" if merge.active else _DENIED)
        if deadline.expired() and (busy or not ready):
            with contextlib.suppress(GuestAgentError):
                storage.abort(merge.target)
            raise NotMerged(f"disk {merge.target} was not merged within {deadline.seconds:g} s{busy}", domain=domain.name)
        deadline.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
    return deletes


def _begin(domain: Domain, merge: Merge) -> bool:
    """Whether libvirt removes the file too: before 6.0, and with QEMU before 4.2, it refuses to."""
    try:
        domain.storage.commit(merge.target, merge.top, merge.active, delete=True)
    except DomainBusy:
        raise
    except LibvirtFailure:
        try:
            domain.storage.commit(merge.target, merge.top, merge.active, delete=False)
        except LibvirtFailure as error:
            if not merge.active and "ermission denied" in error.detail:
                error.hint = _DENIED
            raise
        return False
    return True


def _pivot(domain: Domain, merge: Merge) -> str:
    """Why not yet: what the guest has written since the job was ready has to be copied first."""
    try:
        domain.storage.pivot(merge.target)
    except DiskBusy as error:
        return f" ({error.detail})"
    return ""


def _disk(domain: Domain, merge: Merge) -> disk_images.Disk:
    disk = disk_images.disks(domain.xml()).get(merge.target)
    if disk is None:
        raise LibvirtFailure(f"disk {merge.target} is gone", domain=domain.name)
    return disk
