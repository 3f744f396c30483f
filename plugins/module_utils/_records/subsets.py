# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The subsets of a record that the agent fills, each with the command it needs. The one list of subset names."""

from __future__ import annotations

import typing as t

from .._agent.client import GuestAgent
from .._commands import filesystems, hardware, network, packages, sessions, ssh_host_keys, statistics, system, vcpus


class Subset(t.NamedTuple):
    #: the first that is tried; some have another way for agents that do not know it
    command: str
    read: t.Callable[[GuestAgent], t.Any]


SUBSETS: t.Final[dict[str, Subset]] = {
    "os": Subset("guest-get-osinfo", system.os_info),
    "hostname": Subset("guest-get-host-name", system.hostname),
    "interfaces": Subset("guest-network-get-interfaces", network.interfaces),
    "filesystems": Subset("guest-get-fsinfo", filesystems.filesystems),
    "timezone": Subset("guest-get-timezone", system.timezone),
    "users": Subset("guest-get-users", system.users),
    "sessions": Subset("guest-exec", sessions.sessions),
    "memory": Subset("guest-file-open", statistics.memory),
    "load": Subset("guest-get-load", statistics.load),
    "vcpus": Subset("guest-get-vcpus", vcpus.vcpus),
    "cpu_stats": Subset("guest-get-cpustats", statistics.cpu_stats),
    "disk_stats": Subset("guest-get-diskstats", statistics.disk_stats),
    "disks": Subset("guest-get-disks", hardware.disks),
    "routes": Subset("guest-network-get-route", network.routes),
    "memory_blocks": Subset("guest-get-memory-block-info", statistics.blocks_of_memory),
    "packages": Subset("guest-exec", packages.packages),
    "devices": Subset("guest-get-devices", hardware.devices),
    "ssh_host_keys": Subset("guest-file-open", ssh_host_keys.host_keys),
}
#: What modules gather by default; everything else only when it is asked for.
DEFAULTS: t.Final = ("os", "hostname", "interfaces", "filesystems", "timezone", "users")
