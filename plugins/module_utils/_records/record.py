# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record: all that is known of one domain, as plain data that can be cached, shown and queried.

Its shape is KubeVirt's guest agent document, in snake_case. What the guest did not answer is absent, with the reason in
``agent``; an agent that is not there is not an error.
"""

from __future__ import annotations

import hashlib
import typing as t

from . import interfaces as _interfaces
from .interfaces import Interface, PortForward

# Collections are compiled anew at each start: the commands' modules are read only by who asks an agent.
if t.TYPE_CHECKING:
    from .._commands.filesystems import GuestDisk, GuestFilesystem
    from .._commands.hardware import Device, GuestBlockDevice
    from .._commands.network import GuestInterface
    from .._commands.packages import Package
    from .._commands.routes import Route
    from .._commands.sessions import Session
    from .._commands.ssh_host_keys import HostKey
    from .._commands.statistics import DiskStats, Load, Memory, MemoryBlocks
    from .._commands.system import OsInfo, Timezone, User
    from .._commands.units import Unit
    from .._errors import GuestAgentError
    from .._libvirt.domain_xml import Disk, DomainXml
    from .addresses import Candidate

#: KubeVirt shows ten users and filesystems; more belongs into a report, not into every host's variables.
DEFAULT_MAX_ITEMS: t.Final = 10
#: Subsets that stand in a record as the guest gave them, and those that are lists: these are cut, and have their true length beside
#: them as NAME_total.
_WHOLE: t.Final = ("hostname", "os", "timezone", "memory", "load", "ssh_host_keys", "probes")
_LISTS: t.Final = ("users", "sessions", "vcpus", "cpu_stats", "disk_stats", "routes", "packages", "devices")


class LibvirtPart(t.TypedDict):
    uri: str
    hypervisor: str
    name: str
    uuid: str
    state: str
    title: str | None
    description: str | None
    metadata: dict[str, t.Any]
    #: null as long as libvirt has not given the domain's XML
    vcpus: int | None
    memory_mib: int | None
    persistent: bool
    autostart: bool
    #: name -> state of the virtio channels, among them com.redhat.spice.0; None where libvirt does not know
    channels: dict[str, str | None]


class AgentPart(t.TypedDict):
    connected: bool
    status: str
    reason: str
    hint: str
    version: str | None
    last_probe_time: str | None
    #: the first of the runs in a row that have seen this status (ISO 8601, UTC); of those only an inventory's cache knows
    status_since: str | None
    stale: bool
    blocked_commands: list[str]
    can_exec: bool


class FilesystemDisk(t.TypedDict):
    target: str | None
    serial: str | None
    device: str | None
    bus: str


class Filesystem(t.TypedDict):
    disk_name: str
    mount_point: str
    file_system_type: str
    total_bytes: int | None
    used_bytes: int | None
    disks: list[FilesystemDisk]


class BlockDevice(t.TypedDict):
    """A disk or a partition; ``target`` is the domain's disk that it is, where that is known."""

    name: str
    partition: bool
    dependencies: list[str]
    alias: str | None
    target: str | None
    serial: str | None
    device: str | None
    bus: str | None


class GuestParts(t.TypedDict, total=False):
    """What the agent answered, a key for each subset that it did answer."""

    hostname: str
    os: OsInfo
    timezone: Timezone
    interfaces: list[GuestInterface]
    filesystems: list[GuestFilesystem]
    users: list[User]
    sessions: list[Session]
    memory: Memory
    load: Load
    vcpus: list[Unit]
    cpu_stats: list[dict[str, int]]
    disk_stats: list[DiskStats]
    disks: list[GuestBlockDevice]
    routes: list[Route]
    memory_blocks: MemoryBlocks
    packages: list[Package]
    devices: list[Device]
    ssh_host_keys: list[HostKey]
    probes: dict[str, t.Any]


class Record(t.TypedDict, total=False):
    libvirt: LibvirtPart
    agent: AgentPart
    hostname: str
    os: OsInfo
    timezone: Timezone
    interfaces: list[Interface]
    addresses: list[Candidate]
    filesystems: list[Filesystem]
    filesystems_total: int
    users: list[User]
    users_total: int
    sessions: list[Session]
    sessions_total: int
    memory: Memory
    load: Load
    vcpus: list[Unit]
    vcpus_total: int
    cpu_stats: list[dict[str, int]]
    cpu_stats_total: int
    disk_stats: list[DiskStats]
    disk_stats_total: int
    disks: list[BlockDevice]
    disks_total: int
    routes: list[Route]
    routes_total: int
    memory_blocks: MemoryBlocks
    packages: list[Package]
    packages_total: int
    devices: list[Device]
    devices_total: int
    ssh_host_keys: list[HostKey]
    probes: dict[str, t.Any]


#: A disk's bus as the agent calls it -> as the domain may: Windows says scsi or raid of a virtio disk, sas of a SCSI one.
_BUSES: t.Final = {
    "virtio": ("virtio",),
    "scsi": ("scsi", "virtio"),
    "sas": ("scsi", "virtio"),
    "raid": ("scsi", "virtio"),
    "ide": ("ide", "sata"),
    "sata": ("sata",),
    "usb": ("usb",),
    "nvme": ("nvme",),
    "sd": ("sd",),
}
#: virtio-blk and ATA have no room for more of a serial number.
_SERIAL_MAX: t.Final = 20

#: What of a record the guest itself said, beside the addresses.
GUEST_KEYS: t.Final = tuple(key for key in Record.__annotations__ if key not in ("libvirt", "agent", "addresses"))


def _keys() -> str:
    kept = (Record, LibvirtPart, AgentPart, Interface, PortForward, Filesystem, FilesystemDisk, BlockDevice)
    return " ".join(f"{kind.__name__}:{','.join(sorted(kind.__annotations__))}" for kind in kept)


#: Of what is kept in caches: another one's records are not read. The number goes up where a key gets another meaning.
VERSION: t.Final = f"1-{hashlib.sha256(_keys().encode()).hexdigest()[:12]}"


def agent_part(error: GuestAgentError | None = None) -> AgentPart:
    """An agent of which nothing is known yet, or what ``error`` says of it."""
    return {
        "connected": False,
        "status": (error.status or "connected") if error else "unknown",
        "reason": error.detail if error else "it was not asked",
        "hint": error.hint if error else "",
        "version": None,
        "last_probe_time": None,
        "status_since": None,
        "stale": False,
        "blocked_commands": [],
        "can_exec": False,
    }


def build(
    libvirt: LibvirtPart,
    domain: DomainXml,
    agent: AgentPart,
    parts: GuestParts,
    max_items: int = DEFAULT_MAX_ITEMS,
) -> Record:
    """The record from both views; ``max_items`` 0 gives whole lists."""
    interfaces = _interfaces.merge(domain.nics, parts.get("interfaces"))
    record: dict[str, t.Any] = {
        "libvirt": libvirt,
        "agent": agent,
        "interfaces": interfaces,
        "addresses": _interfaces.candidates(interfaces),
    }
    answers = t.cast("dict[str, t.Any]", parts)
    record.update({name: answers[name] for name in _WHOLE if name in answers})
    lists: dict[str, t.Any] = {name: answers[name] for name in _LISTS if name in answers}
    if "filesystems" in parts:
        lists["filesystems"] = [_filesystem(found, domain.disks) for found in parts["filesystems"]]
    if "disks" in parts:
        lists["disks"] = [block_device(found, domain.disks) for found in parts["disks"]]
    for name, members in lists.items():
        record[name], record[f"{name}_total"] = members[: max_items or None], len(members)
    if "memory_blocks" in parts:
        blocks = parts["memory_blocks"]
        record["memory_blocks"] = {**blocks, "blocks": blocks["blocks"][: max_items or None]}
    return t.cast(Record, record)


def key(record: Record) -> str:
    """What makes a domain itself: its hypervisor and its UUID there. A text, which caches keep."""
    return f"{record['libvirt']['uri']} {record['libvirt']['uuid']}"


def find_disk(disk: GuestDisk, domain_disks: t.Sequence[Disk]) -> str | None:
    """The libvirt target (vda) of a disk that the guest sees; None where that is unknown or could be several.

    By its serial number, or else by its address: bus, target and unit are 0 of most disks, and mean one on one controller only.
    """
    buses = _BUSES.get(disk["bus"])
    fitting = [known for known in domain_disks if buses is None or known.bus in buses]
    told = _spaceless(disk["serial"])
    found = [known for known in fitting if told and _spaceless(known.serial) == told]
    found = found or [known for known in fitting if _same_serial(known, told)]
    if len(found) != 1:
        # virtio-blk tells the serial number as it is: where that is another one, it is another disk.
        possible = found or [known for known in fitting if not (told and known.serial and known.bus == "virtio")]
        found = [known for known in possible if buses is not None and _same_address(known, disk)]
    return found[0].target if len(found) == 1 else None


def _same_serial(known: Disk, told: str) -> bool:
    """Udev puts vendor and model in front of it (0QEMU_QEMU_HARDDISK_x), and a unit behind that of a USB disk (x-0:0)."""
    if known.bus == "usb":
        told = told.rpartition("-")[0]
    own = known.serial or ""
    return any(serial and (told == serial or told.endswith(f"_{serial}")) for serial in map(_spaceless, (own, own[:_SERIAL_MAX])))


def _same_address(known: Disk, disk: GuestDisk) -> bool:
    if known.pci is None or known.pci != disk["pci"]:
        return False
    return known.drive in (None, (disk["bus_number"], disk["target_number"], disk["unit"]))


def _spaceless(serial: str | None) -> str:
    return "_".join((serial or "").split())


def block_device(found: GuestBlockDevice, domain_disks: t.Sequence[Disk]) -> BlockDevice:
    """A partition has no address of its own."""
    address = found["address"]
    return {
        "name": found["name"],
        "partition": found["partition"],
        "dependencies": found["dependencies"],
        "alias": found["alias"],
        "target": address and find_disk(address, domain_disks),
        "serial": address and address["serial"],
        "device": address and address["device"],
        "bus": address and address["bus"],
    }


def _filesystem(found: GuestFilesystem, domain_disks: t.Sequence[Disk]) -> Filesystem:
    return {
        "disk_name": found["disk_name"],
        "mount_point": found["mount_point"],
        "file_system_type": found["file_system_type"],
        "total_bytes": found["total_bytes"],
        "used_bytes": found["used_bytes"],
        "disks": [
            {
                "target": find_disk(disk, domain_disks),
                "serial": disk["serial"],
                "device": disk["device"],
                "bus": disk["bus"],
            }
            for disk in found["disks"]
        ],
    }
