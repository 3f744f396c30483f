# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module ``snapshot_info`` says of one domain: chains with their sizes, snapshots, checkpoints."""

from __future__ import annotations

import datetime
import posixpath
import typing as t

from .._backup import documents
from .._errors import GuestAgentError, LibvirtLacks
from .._libvirt import disk_images
from .._libvirt.hypervisor import Domain
from .._libvirt.storage import Size
from .._snapshot import images, plan

T = t.TypeVar("T")

_UNKNOWN: t.Final = Size(None, None)


def of_domain(domain: Domain) -> dict[str, t.Any]:
    """Four requests, and one for each snapshot and checkpoint."""
    state, disks = domain.state(), disk_images.disks(domain.xml())
    sizes = _if_possible(domain.storage.images)
    snapshots = {name: images.parse_snapshot(xml) for name, xml in _if_possible(domain.storage.snapshots).items()}
    of_backups = _if_possible(domain.storage.backups.checkpoints)
    checkpoints = {name: documents.parse_checkpoint(xml) for name, xml in of_backups.items()}
    found = plan.Found(domain.name, state, disks, None)
    return {
        "domain": domain.name,
        "uuid": domain.uuid,
        "state": state,
        "disks": [_disk(disk, sizes) for disk in disks.values()],
        "snapshots": [_snapshot(found._replace(record=record), name) for name, record in snapshots.items()],
        "checkpoints": [
            {"name": name, "disks": list(each.disks), "directory": each.directory} for name, each in checkpoints.items()
        ],
    }


def _if_possible(known: t.Callable[[], dict[str, T]]) -> dict[str, T]:
    """Nothing where libvirt has no such thing: an older one, or one for other domains than those of QEMU."""
    try:
        return known()
    except LibvirtLacks:
        return {}


def _disk(disk: disk_images.Disk, sizes: t.Mapping[str, Size]) -> dict[str, t.Any]:
    return {
        "target": disk.target,
        "spared": disk.spared,
        "job": disk.job,
        "images": [
            {
                "image": image.path,
                "kind": image.kind,
                "format": image.format,
                "bytes": sizes.get(image.path, _UNKNOWN).allocation,
                "virtual_bytes": sizes.get(image.path, _UNKNOWN).capacity,
            }
            for image in disk.images
        ],
    }


def _snapshot(found: plan.Found, name: str) -> dict[str, t.Any]:
    """``ours``: its images are called as this collection calls them."""
    record = t.cast(images.Snapshot, found.record)
    called = {target: plan.image_name(found.name, target, name) for target in record.overlays}
    ours = record.external and all(posixpath.basename(path) == called[target] for target, path in record.overlays.items())
    bases = found.bases()
    return {
        "name": name,
        "description": record.description,
        "created": None if record.created is None else _moment(record.created),
        "parent": record.parent,
        "external": record.external,
        "ours": ours,
        "disks": [{"target": target, "image": path, "base": bases.get(target, "")} for target, path in record.overlays.items()],
        **_merge(found),
    }


def _merge(found: plan.Found) -> dict[str, t.Any]:
    try:
        plan.removal(found)
    except GuestAgentError as error:
        return {"mergeable": False, "reason": error.detail}
    return {"mergeable": True, "reason": ""}


def _moment(seconds: int) -> str:
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return str(seconds)
