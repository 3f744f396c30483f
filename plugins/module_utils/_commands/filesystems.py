# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guest's mounted filesystems: guest-get-fsinfo (qemu-ga 2.2)."""

from __future__ import annotations

import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._inside import exec as _exec

_DISKS_MAX: t.Final = 64


class GuestDisk(t.TypedDict):
    """A disk under a filesystem, as the guest sees it. ``address`` is bus, target and unit for matching with the domain."""

    serial: str | None
    device: str | None
    bus: str
    pci: tuple[int, int, int, int] | None
    bus_number: int
    target_number: int
    unit: int


class GuestFilesystem(t.TypedDict):
    disk_name: str
    mount_point: str
    file_system_type: str
    #: what ordinary users may fill (bytes); None where the agent did not say (before 3.0)
    total_bytes: int | None
    used_bytes: int | None
    #: with what only root may use (bytes), since qemu-ga 9.1
    total_bytes_privileged: int | None
    disks: list[GuestDisk]


def filesystems(agent: GuestAgent) -> list[GuestFilesystem]:
    """In the order of the guest's mount table."""
    reply = agent.call("guest-get-fsinfo")
    return agent.each(reply, "the filesystems", lambda entry: _filesystem(agent, entry))[::-1]


def privileged_totals(agent: GuestAgent, mount_points: t.Sequence[str]) -> dict[str, int]:
    """Mount point -> bytes with root's reserve, by ``stat -f`` in the guest: for agents before 9.1, which do not say it."""
    agent.require_posix("stat")
    result = _exec.run(agent, ["stat", "-f", "-c", "%S %b %n", "--", *mount_points], timeout=agent.timeout)
    totals = {}
    for line in result.stdout.decode("utf-8", "replace").split("\n"):
        size, _blank, rest = line.partition(" ")
        blocks, _blank, mount_point = rest.partition(" ")
        if size.isdecimal() and blocks.isdecimal() and len(line) < 4096 and len(size) <= 12 and len(blocks) <= 18:
            totals[mount_point] = int(size) * int(blocks)
    return totals


def _filesystem(agent: GuestAgent, entry: dict[str, t.Any]) -> GuestFilesystem:
    return {
        "disk_name": untrusted.text(entry.get("name"), "a filesystem's device", 255),
        "mount_point": untrusted.text(entry.get("mountpoint"), "a mount point"),
        "file_system_type": untrusted.text(entry.get("type"), "a filesystem's type", 64),
        "total_bytes": untrusted.optional_integer(entry, "total-bytes"),
        "used_bytes": untrusted.optional_integer(entry, "used-bytes"),
        "total_bytes_privileged": untrusted.optional_integer(entry, "total-bytes-privileged"),
        "disks": agent.each_part(entry.get("disk") or [], "the filesystems' disks", disk, _DISKS_MAX),
    }


def disk(entry: dict[str, t.Any]) -> GuestDisk:
    """A disk's address as qemu-ga gives it (GuestDiskAddress); other agents leave out what they do not know."""
    return {
        "serial": untrusted.optional_text(entry, "serial", 255),
        "device": untrusted.optional_text(entry, "dev", 255),
        "bus": untrusted.text(entry.get("bus-type", "unknown"), "a disk's bus", 32),
        "pci": _pci(entry.get("pci-controller")),
        "bus_number": untrusted.integer(entry.get("bus", -1), "a disk's bus number"),
        "target_number": untrusted.integer(entry.get("target", -1), "a disk's target number"),
        "unit": untrusted.integer(entry.get("unit", -1), "a disk's unit"),
    }


def _pci(value: object) -> tuple[int, int, int, int] | None:
    """domain, bus, slot, function; an agent that does not know says -1."""
    if value is None:
        return None
    controller = untrusted.mapping(value, "a disk's controller")
    domain, bus, slot, function = (
        untrusted.integer(controller.get(part), f"a PCI {part}") for part in ("domain", "bus", "slot", "function")
    )
    return (domain, bus, slot, function) if domain >= 0 else None
