# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The XML of external snapshots, and what libvirt has on record of them. Pure."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from .._libvirt import disk_images

#: No honest moment has more.
_DIGITS_MAX: t.Final = 18


class Snapshot(t.NamedTuple):
    """What libvirt has on record of a snapshot. ``overlays``: disk -> the image that was put over it."""

    external: bool
    overlays: dict[str, str]
    #: disk -> the image that was written to until then; empty where libvirt did not note it
    bases: dict[str, str]
    description: str = ""
    #: when, in seconds since the epoch; None where libvirt did not note it
    created: int | None = None
    #: the snapshot before it, "" for none
    parent: str = ""
    #: those of the domain's disks of that moment that had an image
    disks: tuple[disk_images.Disk, ...] = ()


def snapshot_xml(name: str, description: str, overlays: t.Mapping[str, str], others: t.Iterable[str]) -> str:
    """The XML of a snapshot that puts ``overlays`` (disk -> new image) over its disks and leaves ``others`` alone."""
    root = ET.Element("domainsnapshot")
    ET.SubElement(root, "name").text = name
    if description:
        ET.SubElement(root, "description").text = description
    listed = ET.SubElement(root, "disks")
    for target, path in overlays.items():
        disk = ET.SubElement(listed, "disk", name=target, snapshot="external", type="file")
        ET.SubElement(disk, "driver", type="qcow2")
        ET.SubElement(disk, "source", file=path)
    for target in others:
        ET.SubElement(listed, "disk", name=target, snapshot="no")
    return ET.tostring(root, encoding="unicode")


def parse_snapshot(xml: str) -> Snapshot:
    """
    :raise LibvirtFailure: this is not a snapshot's XML.
    """
    root = disk_images.root(xml)
    modes = {disk.get("name", ""): disk for disk in root.iterfind("disks/disk") if disk.get("snapshot") != "no"}
    memory = root.find("memory")
    no_memory = memory is None or memory.get("snapshot", "no") == "no"
    domain = root.find("domain")
    disks = () if domain is None else tuple(map(disk_images.disk_of, disk_images.devices(domain)))
    return Snapshot(
        external=bool(modes) and no_memory and all(disk.get("snapshot") == "external" for disk in modes.values()),
        overlays={target: disk_images.path_of(disk.find("source")) for target, disk in modes.items()},
        bases={disk.target: disk.images[0].path for disk in disks if disk.images},
        description=root.findtext("description", ""),
        created=_seconds(root.findtext("creationTime", "")),
        parent=root.findtext("parent/name", ""),
        disks=tuple(disk for disk in disks if disk.images),
    )


def without_media(xml: str) -> str:
    """The XML of a snapshot whose domain had no medium in its drives."""
    root = disk_images.root(xml)
    for name in ("domain", "inactiveDomain"):
        for drive in (drive for domain in root.findall(name) for drive in disk_images.media(domain)):
            for part in drive.findall("source") + drive.findall("backingStore"):
                drive.remove(part)
    return ET.tostring(root, encoding="unicode")


def media_of(definition: str) -> list[str]:
    """The drives of a domain's XML that have a medium in them, each as XML."""
    return [ET.tostring(drive, encoding="unicode") for drive in disk_images.media(disk_images.root(definition))]


def _seconds(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX else None
