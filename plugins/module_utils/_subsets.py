# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The subsets of a record that the agent fills, each with the command it needs. The one list of subset names."""

from __future__ import annotations

import typing as t

from ._client import GuestAgent
from ._commands import filesystems, network, system


class Subset(t.NamedTuple):
    command: str
    read: t.Callable[[GuestAgent], t.Any]


SUBSETS: t.Final[dict[str, Subset]] = {
    "os": Subset("guest-get-osinfo", system.os_info),
    "hostname": Subset("guest-get-host-name", system.hostname),
    "interfaces": Subset("guest-network-get-interfaces", network.interfaces),
    "filesystems": Subset("guest-get-fsinfo", filesystems.filesystems),
    "timezone": Subset("guest-get-timezone", system.timezone),
    "users": Subset("guest-get-users", system.users),
}
