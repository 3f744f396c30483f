# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The subsets of a record that the agent fills, each with the command it needs. The one list of subset names."""

from __future__ import annotations

import typing as t

from .._agent.client import GuestAgent
from .._commands import network, system


class Subset(t.NamedTuple):
    #: the first that is tried; some have another way for agents that do not know it
    command: str
    read: t.Callable[[GuestAgent], t.Any]
    #: whether it may run programs of the guest or read its files, which is done otherwise on Windows
    goes_inside: bool = False


def _rare(command: str, name: str, goes_inside: bool = False) -> Subset:
    def read(agent: GuestAgent) -> t.Any:
        return _rare_readers()[name](agent)

    return Subset(command, read, goes_inside)


def _rare_readers() -> dict[str, t.Callable[[GuestAgent], t.Any]]:
    """Here, for a collection's modules are compiled at each start: who asks for none of these needs none of theirs."""
    from .._commands import filesystems, hardware, packages, routes, sessions, ssh_host_keys, statistics, vcpus

    return {
        "filesystems": filesystems.filesystems,
        "sessions": sessions.sessions,
        "memory": statistics.memory,
        "load": statistics.load,
        "vcpus": vcpus.vcpus,
        "cpu_stats": statistics.cpu_stats,
        "disk_stats": statistics.disk_stats,
        "disks": hardware.disks,
        "routes": routes.routes,
        "memory_blocks": statistics.blocks_of_memory,
        "packages": packages.packages,
        "devices": hardware.devices,
        "ssh_host_keys": ssh_host_keys.host_keys,
    }


SUBSETS: t.Final[dict[str, Subset]] = {
    "os": Subset("guest-get-osinfo", system.os_info),
    "hostname": Subset("guest-get-host-name", system.hostname),
    "interfaces": Subset("guest-network-get-interfaces", network.interfaces),
    "filesystems": _rare("guest-get-fsinfo", "filesystems"),
    "timezone": Subset("guest-get-timezone", system.timezone),
    "users": Subset("guest-get-users", system.users),
    "sessions": _rare("guest-exec", "sessions", goes_inside=True),
    "memory": _rare("guest-file-open", "memory", goes_inside=True),
    "load": _rare("guest-get-load", "load", goes_inside=True),
    "vcpus": _rare("guest-get-vcpus", "vcpus"),
    "cpu_stats": _rare("guest-get-cpustats", "cpu_stats"),
    "disk_stats": _rare("guest-get-diskstats", "disk_stats"),
    "disks": _rare("guest-get-disks", "disks"),
    "routes": _rare("guest-network-get-route", "routes", goes_inside=True),
    "memory_blocks": _rare("guest-get-memory-block-info", "memory_blocks"),
    "packages": _rare("guest-exec", "packages", goes_inside=True),
    "devices": _rare("guest-get-devices", "devices", goes_inside=True),
    "ssh_host_keys": _rare("guest-file-open", "ssh_host_keys", goes_inside=True),
}
#: What modules gather by default; everything else only when it is asked for.
DEFAULTS: t.Final = ("os", "hostname", "interfaces", "filesystems", "timezone", "users")
#: What every record has, and what tells of the agent itself.
NEEDED: t.Final = ("guest-info", *(SUBSETS[name].command for name in DEFAULTS))
