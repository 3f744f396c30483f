# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Merge a snapshot's images back into what they stand on, while the guest works on."""

from __future__ import annotations

import contextlib
import typing as t

from . import _disk_images
from ._deadline import Deadline
from ._errors import GuestAgentError, LibvirtFailure, NotMerged
from ._hypervisor import Domain
from ._snapshot_plan import Merge, Removal

_FIRST_PAUSE: t.Final = 0.05
_LONGEST_PAUSE: t.Final = 1.0


def merge(domain: Domain, name: str, removal: Removal, deadline: Deadline) -> None:
    """All of ``removal``, then take the snapshot off libvirt's record: what is interrupted can be taken up again.

    :raise NotMerged: the time is over; the job that was at it has been ended, the chain is as it was.
    :raise LibvirtFailure: libvirt could not merge them.
    """
    for each in removal.merges:
        _merge(domain, each, deadline)
    domain.storage.forget(name)


def _merge(domain: Domain, merge: Merge, deadline: Deadline) -> None:
    storage = domain.storage
    if not merge.begun:
        storage.commit(merge.target, merge.base, merge.top, merge.active)
    pause = _FIRST_PAUSE
    while merge.top in (disk := _disk(domain, merge)).chain:
        if merge.active and disk.job_ready:
            storage.pivot(merge.target)
        elif not storage.working(merge.target) and merge.top in _disk(domain, merge).chain:
            raise LibvirtFailure(f"the images of disk {merge.target} could not be merged", domain=domain.name)
        elif deadline.expired():
            with contextlib.suppress(GuestAgentError):
                storage.abort(merge.target)
            raise NotMerged(f"disk {merge.target} was not merged within {deadline.seconds:g} s", domain=domain.name)
        deadline.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _disk(domain: Domain, merge: Merge) -> _disk_images.Disk:
    disk = _disk_images.disks(domain.xml()).get(merge.target)
    if disk is None:
        raise LibvirtFailure(f"disk {merge.target} is gone", domain=domain.name)
    return disk
