# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Domain XML -> what the core needs of it: channel, interfaces, disks, title and metadata. Pure."""

from __future__ import annotations

import re
import typing as t
import xml.etree.ElementTree as ET

from .._errors import LibvirtFailure

AGENT_CHANNEL: t.Final = "org.qemu.guest_agent.0"
#: Ours, for the content of files.
DATA_CHANNEL: t.Final = "org.virtops.guest_agent.0"
_KIB: t.Final = {"b": 1 / 1024, "bytes": 1 / 1024, "k": 1, "KiB": 1, "M": 1024, "MiB": 1024, "G": 1024**2, "GiB": 1024**2}

#: No honest number is longer.
_DIGITS_MAX: t.Final = 24
_PORTS: t.Final = 65536
#: Parts of an address: libvirt writes them in decimal and in hexadecimal.
_PLACE: t.Final = re.compile(r"0x[0-9a-f]{1,8}|[0-9]{1,9}", re.ASCII | re.IGNORECASE)
#: Code that copies, templates or dumps metadata is recursive, so what is deeper is left out.
METADATA_DEPTH_MAX: t.Final = 32


Pci = tuple[int, int, int, int]


class Forward(t.NamedTuple):
    """So many TCP ``ports`` of the hypervisor, from ``port`` on, lead to the guest's from ``to`` on (<portForward> of passt)."""

    #: the hypervisor's address that listens; None for all of them
    address: str | None
    port: int
    to: int
    ports: int


class Nic(t.NamedTuple):
    mac: str
    #: the libvirt network, bridge or host device it is plugged into; "user" for user-mode networking
    network: str
    target_dev: str | None
    #: it ends in QEMU (slirp) or in passt: no address of the guest leads to it
    user_mode: bool = False
    forwards: tuple[Forward, ...] = ()


class Disk(t.NamedTuple):
    target: str
    serial: str | None
    bus: str
    #: PCI domain, bus, slot, function: its own (virtio), or its controller's (scsi, sata, ide)
    pci: Pci | None
    #: bus, target, unit of a drive on a controller; None for a disk that is a PCI device itself
    drive: tuple[int, int, int] | None


class DomainXml(t.NamedTuple):
    name: str
    uuid: str
    #: "kvm", "qemu", ...; the agent exists for QEMU domains only
    kind: str
    title: str | None
    description: str | None
    #: element (without its namespace) -> its text, or a mapping of its own
    metadata: dict[str, t.Any]
    vcpus: int
    memory_mib: int
    #: "connected", "disconnected", None where the domain has a channel but is not running, "" where it has no channel
    channel: str | None
    nics: tuple[Nic, ...]
    disks: tuple[Disk, ...]
    #: what is behind the channel: "unix", or what libvirt does not talk to an agent over, such as "pty"
    channel_type: str = "unix"
    #: name -> state of all virtio channels, as ``channels`` has them
    channels: t.Mapping[str, str | None] = {}


def parse(xml: str) -> DomainXml:
    """
    :raise LibvirtFailure: this is not a domain's XML.
    """
    root = _root(xml)
    by_name = _channels(root)
    return DomainXml(
        name=root.findtext("name", ""),
        uuid=root.findtext("uuid", ""),
        kind=root.get("type", ""),
        title=root.findtext("title"),
        description=root.findtext("description"),
        metadata=_metadata(root.find("metadata")),
        vcpus=_number(root.findtext("vcpu", "1")),
        memory_mib=_memory_mib(root.find("memory")),
        channel=by_name.get(AGENT_CHANNEL, ""),
        channel_type=_channel_type(root),
        channels=by_name,
        nics=tuple(_nic(nic) for nic in root.iterfind("devices/interface")),
        disks=_disks(root),
    )


def channels(xml: str) -> dict[str, str | None]:
    """Name -> state of the virtio channels: "connected" (a program in the guest has it open), "disconnected"; None where libvirt
    does not know: the domain is not running, or no program in the guest has opened the port since it was plugged in.

    :raise LibvirtFailure: this is not a domain's XML.
    """
    return _channels(_root(xml))


def architecture(xml: str) -> str | None:
    """What processor the domain has, where its definition says so.

    :raise LibvirtFailure: this is not a domain's XML.
    """
    kind = _root(xml).find("os/type")
    return None if kind is None else kind.get("arch")


def channel_device(name: str, kind: str = "unix") -> str:
    """The XML of a virtio channel; with the kind "unix" its host end is libvirt's."""
    target = ET.Element("target", type="virtio", name=name)
    channel = ET.Element("channel", type=kind)
    channel.append(target)
    return ET.tostring(channel, encoding="unicode")


def plugged_channel(xml: str, name: str) -> str:
    """The XML of the domain's virtio channel ``name`` as libvirt wants it to unplug it; empty where there is none.

    :raise LibvirtFailure: this is not a domain's XML.
    """
    for channel in _root(xml).iterfind("devices/channel"):
        target = channel.find("target[@type='virtio']")
        if target is not None and target.get("name") == name:
            return ET.tostring(channel, encoding="unicode")
    return ""


def channel_kind(channel: str) -> str:
    """The type of a channel's XML, "" for none.

    :raise LibvirtFailure: this is no XML.
    """
    return _root(channel).get("type", "") if channel else ""


def has_serial_controller(xml: str) -> bool:
    """Whether there is a controller to plug a virtio channel into.

    :raise LibvirtFailure: this is not a domain's XML.
    """
    return _root(xml).find("devices/controller[@type='virtio-serial']") is not None


def power_management(xml: str) -> dict[str, bool]:
    """What the domain says of suspend-to-mem and suspend-to-disk: whether it is enabled; what it does not say is missing.

    :raise LibvirtFailure: this is not a domain's XML.
    """
    return {element.tag: element.get("enabled") == "yes" for element in _root(xml).iterfind("pm/*") if element.get("enabled")}


def _root(xml: str) -> ET.Element:
    try:
        return ET.fromstring(xml)
    except (ET.ParseError, ValueError) as error:  # a ValueError where it is no Unicode
        raise LibvirtFailure("libvirt's domain XML cannot be read") from error


def _channels(root: ET.Element) -> dict[str, str | None]:
    targets = root.iterfind("devices/channel/target[@type='virtio']")
    return {target.get("name", ""): target.get("state") for target in targets}


def _channel_type(root: ET.Element) -> str:
    for channel in root.iterfind("devices/channel"):
        target = channel.find("target[@type='virtio']")
        if target is not None and target.get("name") == AGENT_CHANNEL:
            return channel.get("type", "")
    return "unix"


def _memory_mib(memory: ET.Element | None) -> int:
    if memory is None or not memory.text:
        return 0
    unit = memory.get("unit", "KiB")
    factor = _KIB.get(unit, 1)
    return int(_number(memory.text) * factor / 1024)


def _nic(nic: ET.Element) -> Nic:
    source, kind = nic.find("source"), nic.get("type", "")
    passt = nic.find("backend[@type='passt']") is not None
    user_mode = kind == "user" or (kind == "vhostuser" and passt)
    places = ("network", "bridge", "dev", "path") if source is not None and not user_mode else ()
    network = next((source.get(key, "") for key in places if source is not None and source.get(key)), kind)
    mac, target = nic.find("mac"), nic.find("target")
    return Nic(
        mac="" if mac is None else mac.get("address", "").lower(),
        network="user" if user_mode else network,
        target_dev=None if target is None else target.get("dev"),
        user_mode=user_mode,
        forwards=tuple(_forwards(nic)) if passt else (),
    )


def _forwards(nic: ET.Element) -> t.Iterator[Forward]:
    """Without a range passt takes the ports that are free; which these are is not known, and 22 is often the hypervisor's own."""
    for forward in nic.iterfind("portForward[@proto='tcp']"):
        ranges = [(piece, *_ports(piece)) for piece in forward.iterfind("range")]
        barred = [(first, last) for piece, first, last, _to in ranges if piece.get("exclude") == "yes"]
        for piece, first, last, to in ranges:
            free = piece.get("exclude") != "yes" and not any(start <= last and first <= end for start, end in barred)
            if free and 0 < first <= last < _PORTS and 0 < to < _PORTS:
                yield Forward(forward.get("address"), first, to, last - first + 1)


def _ports(piece: ET.Element) -> tuple[int, int, int]:
    first = _number(piece.get("start"))
    return first, _number(piece.get("end")) or first, _number(piece.get("to")) or first


def _disks(root: ET.Element) -> tuple[Disk, ...]:
    return tuple(_disk(disk, root) for disk in root.iterfind("devices/disk"))


def _disk(disk: ET.Element, root: ET.Element) -> Disk:
    target, address = disk.find("target"), disk.find("address")
    bus = "" if target is None else target.get("bus", "")
    pci, drive = _pci(address), None
    if address is not None and address.get("type") == "drive":
        numbers = _numbers(address, ("controller", "bus", "target", "unit"))
        if numbers is not None:
            pci, drive = _pci_of_controller(root, bus, numbers[0]), numbers[1:]
    return Disk("" if target is None else target.get("dev", ""), disk.findtext("serial"), bus, pci, drive)


def _pci_of_controller(root: ET.Element, kind: str, index: int) -> Pci | None:
    """A domain has a dozen controllers, and few disks that are asked for theirs."""
    fitting = (found for found in root.iterfind("devices/controller") if found.get("type", "") == kind)
    of_index = [controller for controller in fitting if _number(controller.get("index")) == index]
    return _pci(of_index[-1].find("address")) if of_index else None


def _pci(address: ET.Element | None) -> Pci | None:
    if address is None or address.get("type") != "pci":
        return None
    return _numbers(address, ("domain", "bus", "slot", "function"))


def _numbers(address: ET.Element | None, parts: tuple[str, str, str, str]) -> tuple[int, int, int, int] | None:
    """None also for what is no address: zeros would be another disk's."""
    texts = [] if address is None else [address.get(part, "0") for part in parts]
    if not texts or not all(map(_PLACE.fullmatch, texts)):
        return None
    first, second, third, fourth = (int(text, 16 if text[1:2] in ("x", "X") else 10) for text in texts)
    return (first, second, third, fourth)


def _metadata(metadata: ET.Element | None) -> dict[str, t.Any]:
    return {} if metadata is None else _children(metadata, METADATA_DEPTH_MAX)


def _children(element: ET.Element, depth: int) -> dict[str, t.Any]:
    """Elements of one name become a list; attributes stand beside children under their own names."""
    found: dict[str, t.Any] = dict(element.attrib)
    for child in element:
        tag = child.tag.split("}")[-1]
        text = (child.text or "").strip()
        value: t.Any = text
        if len(child) or child.attrib:
            value = _children(child, depth - 1) if depth > 1 else None
        if isinstance(value, dict) and not len(child) and text:
            value["text"] = text
        if tag in found:
            found[tag] = [*(found[tag] if isinstance(found[tag], list) else [found[tag]]), value]
        else:
            found[tag] = value
    return found


def _number(text: str | None) -> int:
    """0 for what is none: one odd definition must not cost the others their inventory."""
    digits = (text or "").strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX else 0
