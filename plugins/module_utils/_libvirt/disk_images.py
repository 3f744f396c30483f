# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The disks of a domain, each with its chain of images, and which of them a request is about. Pure."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from .._errors import DiskBusy, InvalidInput, LibvirtFailure

#: States in which QEMU runs, and libvirt knows the whole chain of each disk.
QEMU_RUNS: t.Final = ("running", "blocked", "paused", "pmsuspended")
#: The attributes of <source> that say where the image is: of a disk of type file, block, network, dir, vhostuser.
_PLACES: t.Final = ("file", "dev", "name", "dir", "path")
_PCI: t.Final = ("domain", "bus", "slot", "function")
_HARD_DISKS: t.Final = ("disk", "lun")
_NO_HARD_DISK: t.Final = "it is not a hard disk"


class Image(t.NamedTuple):
    """One image of a chain. ``kind`` is libvirt's type of the source, such as file, block or network."""

    #: or what else it is known by: a name at its server, pool and volume, an NVMe controller
    path: str
    kind: str
    format: str


class Disk(t.NamedTuple):
    """One disk that has an image. ``images``: the one that is written to first, and what it stands on."""

    target: str
    images: tuple[Image, ...]
    #: why it is left out unless it is named; "" for an ordinary disk
    spared: str
    #: why libvirt cannot put an image over it; "" where it can
    refused: str
    #: what libvirt copies between its images at the moment, such as active-commit; "" where nothing
    job: str
    #: whether that job has copied everything and waits to be ended
    job_ready: bool

    @property
    def removable(self) -> bool:
        """Whether its image is a medium that can be taken out of a drive."""
        return self.spared == _NO_HARD_DISK

    @property
    def chain(self) -> list[str]:
        return [image.path for image in self.images]


def disks(xml: str) -> dict[str, Disk]:
    """Target -> disk, of the disks in a domain's XML that have an image in them.

    :raise LibvirtFailure: this is not a domain's XML.
    """
    return {disk.target: disk for disk in map(disk_of, devices(root(xml))) if disk.images}


def chosen(domain: str, found: t.Mapping[str, Disk], targets: t.Sequence[str] | None, what: str) -> list[Disk]:
    """Those of ``targets``, or all that are not spared, for ``what`` is to be taken of them.

    :raise InvalidInput: there is no such disk, none at all, or libvirt cannot do it with one of them.
    :raise DiskBusy: libvirt copies between the images of one of them.
    """
    unknown = [target for target in targets or () if target not in found]
    if unknown:
        have = ", ".join(sorted(found)) or "none"
        raise InvalidInput(f"the domain has no disk {', '.join(unknown)}", domain=domain, hint=f"the domain has {have}")
    those = [disk for target, disk in found.items() if target in (targets or ()) or (targets is None and not disk.spared)]
    if not those:
        raise InvalidInput(f"the domain has no disk that allows a {what}", domain=domain)
    for disk in those:
        if disk.refused:
            hint = "leave it out of disks"
            raise InvalidInput(f"no {what} of disk {disk.target} is possible: {disk.refused}", domain=domain, hint=hint)
        if disk.job:
            raise DiskBusy(f"a block job ({disk.job}) runs on disk {disk.target}", domain=domain)
    return those


def root(xml: str) -> ET.Element:
    """
    :raise LibvirtFailure: this is no XML.
    """
    try:
        return ET.fromstring(xml)
    except (ET.ParseError, ValueError) as error:  # a ValueError where it is no Unicode
        raise LibvirtFailure("libvirt's XML cannot be read") from error


def devices(domain: ET.Element) -> t.Iterator[ET.Element]:
    return domain.iterfind("devices/disk")


def media(domain: ET.Element) -> list[ET.Element]:
    """The drives of a domain's XML that have a medium in them."""
    return [element for element in devices(domain) if (disk := disk_of(element)).removable and disk.images]


def disk_of(element: ET.Element) -> Disk:
    target, mirror = element.find("target"), element.find("mirror")
    return Disk(
        target="" if target is None else target.get("dev", ""),
        images=tuple(_images(element)),
        spared=_refused(element) or _spared(element),
        refused=_refused(element),
        job="" if mirror is None else mirror.get("job", "copy"),
        job_ready=mirror is not None and mirror.get("ready") in ("yes", "pivot"),
    )


def _images(disk: ET.Element) -> t.Iterator[Image]:
    layer: ET.Element | None = disk
    while layer is not None and (path := path_of(layer.find("source")) or _unknown(layer)):
        form = layer.find("driver" if layer is disk else "format")
        yield Image(path, layer.get("type", ""), "" if form is None else form.get("type", ""))
        layer = layer.find("backingStore")


def path_of(source: ET.Element | None) -> str:
    if source is None:
        return ""
    if source.get("volume"):
        return f"{source.get('pool', '')}/{source.get('volume', '')}"
    return next((source.get(place, "") for place in _PLACES if source.get(place)), "") or _server(source) or _nvme(source)


def _server(source: ET.Element) -> str:
    """What is served without a name, as an NBD server may do it, is known by the server."""
    host = source.find("host")
    if host is None:
        return ""
    place = host.get("socket") or ":".join(filter(None, (host.get("name"), host.get("port"))))
    return f"{source.get('protocol', '')}://{place}"


def _nvme(source: ET.Element) -> str:
    address = source.find("address")
    if address is None:
        return ""
    place = ":".join(address.get(part, "0").removeprefix("0x") for part in _PCI)
    return f"nvme://{place}/{source.get('namespace', '')}"


def _unknown(layer: ET.Element) -> str:
    """A hard disk has an image, also where this does not know how it is said."""
    return layer.get("type", "") if layer.tag == "disk" and layer.get("device", "disk") in _HARD_DISKS else ""


def _refused(disk: ET.Element) -> str:
    if disk.get("device") == "lun":
        return "it is passed through to the guest (lun)"
    if disk.get("type") == "vhostuser":
        return "another process serves it (vhostuser)"
    if disk.find("shareable") is not None:
        return "other domains may write to it (shareable)"
    return ""


def _spared(disk: ET.Element) -> str:
    if disk.get("device", "disk") not in _HARD_DISKS:
        return _NO_HARD_DISK
    if disk.find("readonly") is not None:
        return "it is read-only"
    if disk.find("transient") is not None:
        return "it is transient"
    if disk.get("snapshot") == "no":
        return "its domain says snapshot='no'"
    return ""
