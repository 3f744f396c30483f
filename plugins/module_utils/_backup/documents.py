# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The XML of backups and checkpoints, and what libvirt has on record of them. Pure."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from .._libvirt import disk_images

#: What the description of our checkpoints begins with; the directory of the backup follows.
_MARK: t.Final = "virtops.guest_agent backup in "


class Copy(t.NamedTuple):
    """One disk's part of a backup: the file it is copied to. ``since``: the checkpoint of an increment, "" for a full copy."""

    target: str
    path: str
    since: str


class Checkpoint(t.NamedTuple):
    """What libvirt has on record of a checkpoint. ``directory``: of its backup, "" where it is none of ours."""

    directory: str
    disks: tuple[str, ...]


def backup_xml(copies: t.Iterable[Copy], others: t.Iterable[str]) -> str:
    """The XML of a backup that copies disks and leaves ``others`` alone."""
    root = ET.Element("domainbackup", mode="push")
    listed = ET.SubElement(root, "disks")
    for copy in copies:
        how = {"backupmode": "incremental", "incremental": copy.since} if copy.since else {"backupmode": "full"}
        disk = ET.SubElement(listed, "disk", {"name": copy.target, "backup": "yes", "type": "file", **how})
        ET.SubElement(disk, "driver", type="qcow2")
        ET.SubElement(disk, "target", file=copy.path)
    for target in others:
        ET.SubElement(listed, "disk", name=target, backup="no")
    return ET.tostring(root, encoding="unicode")


def checkpoint_xml(name: str, directory: str, targets: t.Collection[str], others: t.Iterable[str]) -> str:
    """The XML of a checkpoint: from its moment on QEMU notes what is written to the disks ``targets``."""
    root = ET.Element("domaincheckpoint")
    ET.SubElement(root, "name").text = name
    ET.SubElement(root, "description").text = f"{_MARK}{directory}"
    listed = ET.SubElement(root, "disks")
    for target in targets:
        ET.SubElement(listed, "disk", name=target, checkpoint="bitmap")
    for target in others:
        ET.SubElement(listed, "disk", name=target, checkpoint="no")
    return ET.tostring(root, encoding="unicode")


def parse_checkpoint(xml: str, noted: bool = False) -> Checkpoint:
    """With ``noted`` of disks only of which libvirt knows how much was written since: their bitmaps can be relied on.

    :raise LibvirtFailure: this is no XML.
    """
    root = disk_images.root(xml)
    said = root.findtext("description", "")
    listed = [disk for disk in root.iterfind("disks/disk") if disk.get("checkpoint") == "bitmap"]
    disks = (disk.get("name", "") for disk in listed if not noted or disk.get("size"))
    return Checkpoint(said[len(_MARK) :] if said.startswith(_MARK) else "", tuple(disks))


def files_of(backup: str) -> frozenset[str]:
    """The files that a backup job writes; none for "".

    :raise LibvirtFailure: this is no XML.
    """
    targets = disk_images.root(backup).iterfind("disks/disk/target") if backup else ()
    return frozenset(target.get("file", "") for target in targets)
