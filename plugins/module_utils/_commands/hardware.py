# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the guest sees of its hardware: disks with their partitions, and on Windows the devices with their drivers."""

from __future__ import annotations

import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._errors import CommandFailed
from .filesystems import GuestDisk, disk

_DISKS_MAX: t.Final = 4096
_DEPENDENCIES_MAX: t.Final = 64
_DEVICES: t.Final = "guest-get-devices"
_NANOSECONDS: t.Final = 10**9


class GuestBlockDevice(t.TypedDict):
    """A disk or a partition, as the guest sees it."""

    name: str
    partition: bool
    #: what it lies on: the disk of a partition, the physical volumes of a logical one
    dependencies: list[str]
    alias: str | None
    address: GuestDisk | None


class Device(t.TypedDict):
    driver_name: str
    driver_version: str | None
    #: in seconds since the epoch
    driver_date: float | None
    vendor_id: int | None
    device_id: int | None


def disks(agent: GuestAgent) -> list[GuestBlockDevice]:
    """guest-get-disks (qemu-ga 5.2)."""
    return agent.each(agent.call("guest-get-disks"), "the disks", lambda entry: _block_device(agent, entry), _DISKS_MAX)


def devices(agent: GuestAgent) -> list[Device]:
    """guest-get-devices (qemu-ga 5.2): the PCI devices of a Windows guest and their drivers.

    :raise CommandFailed: the guest is not Windows.
    """
    if not agent.can(_DEVICES) and agent.windows is None:
        raise CommandFailed("only the agent on Windows reports devices", domain=agent.name, command=_DEVICES)
    return agent.each(agent.call(_DEVICES), "the devices", _device)


def _block_device(agent: GuestAgent, entry: dict[str, t.Any]) -> GuestBlockDevice:
    dependencies = entry.get("dependencies") or []
    if not isinstance(dependencies, list):
        dependencies = [dependencies]
    names = [{"name": name} for name in dependencies]
    address = entry.get("address")
    return {
        "name": _name(entry),
        "partition": untrusted.boolean(entry.get("partition"), "partition"),
        "dependencies": agent.each_part(names, "what the disks lie on", _name, _DEPENDENCIES_MAX),
        "alias": untrusted.optional_text(entry, "alias", 255),
        "address": None if address is None else disk(untrusted.mapping(address, "a disk's address")),
    }


def _name(entry: dict[str, t.Any]) -> str:
    return untrusted.text(entry.get("name"), "a disk's name", 255)


def _device(entry: dict[str, t.Any]) -> Device:
    identity = untrusted.mapping(entry.get("id") or {}, "a device's identity")
    date = untrusted.optional_integer(entry, "driver-date", -(2**63))
    return {
        "driver_name": untrusted.text(entry.get("driver-name"), "a driver's name", 255),
        "driver_version": untrusted.optional_text(entry, "driver-version", 255),
        "driver_date": None if date is None else date / _NANOSECONDS,
        "vendor_id": untrusted.optional_integer(identity, "vendor-id"),
        "device_id": untrusted.optional_integer(identity, "device-id"),
    }
