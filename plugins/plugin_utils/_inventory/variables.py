# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A record -> the variables and groups of its host. Pure."""

from __future__ import annotations

import re
import typing as t

from ...module_utils._records.own_addresses import host_of
from ...module_utils._records.record import GUEST_KEYS, Record
from .._guest_variables import AGENT_CONNECTION, SSH_OR_AGENT, WINDOWS_CONNECTION

SSH_PORT: t.Final = 22
_ANY_ADDRESS: t.Final = (None, "0.0.0.0", "::")
_LOOPBACK: t.Final = ("127.0.0.1", "::1")
#: The option ``connection``, where it names one.
_WAYS: t.Final = {"agent": AGENT_CONNECTION, "ssh": "ssh"}
#: option value -> (prefix of the group's name, how to get the rest from a record)
GROUPINGS: t.Final[dict[str, tuple[str, t.Callable[[Record], object]]]] = {
    "hypervisor": ("hypervisor", lambda record: record["libvirt"]["hypervisor"]),
    "state": ("state", lambda record: record["libvirt"]["state"]),
    "os": ("os", lambda record: record["os"]["id"] if "os" in record else None),
    "agent_status": ("agent", lambda record: record["agent"]["status"]),
}


def host_vars(record: Record, addresses: t.Sequence[str], prefix: str, suffix: str) -> dict[str, t.Any]:
    """What is known of the domain and its guest. ``addresses`` are those that the address policy gives to this domain."""
    found: dict[str, t.Any] = {f"libvirt_{key}": value for key, value in record["libvirt"].items()}
    found["guest_agent"] = record["agent"]
    found["guest_addresses"] = list(addresses)
    found.update({f"guest_{key}": value for key, value in record.items() if key in GUEST_KEYS})
    return {f"{prefix}{key}{suffix}": value for key, value in found.items()}


def forwarded_ssh(record: Record) -> tuple[str, int] | None:
    """Host and port that lead to the guest's SSH server, where the hypervisor forwards one (passt)."""
    hypervisor = host_of(record["libvirt"]["uri"])
    running = record["libvirt"]["state"] in ("running", "blocked")
    for forward in (found for nic in record["interfaces"] if running for found in nic.get("port_forwards", ())):
        if not 0 <= SSH_PORT - forward["to"] < forward["ports"]:
            continue
        host = forward["address"] if forward["address"] not in _ANY_ADDRESS else hypervisor or _LOOPBACK[0]
        if host and (hypervisor is None or host not in _LOOPBACK):
            return host, forward["port"] + SSH_PORT - forward["to"]
    return None


def connection_vars(
    record: Record,
    addresses: t.Sequence[str],
    connection: str,
    forward: tuple[str, int] | None = None,
    windows: str = "none",
) -> dict[str, t.Any]:
    """How to reach the guest: ``connection`` is ``auto``, ``agent``, ``ssh``, ``ssh_or_agent`` or ``none``.

    ``auto`` leaves the connection itself to the user where an address is known, so that group variables can choose it. A
    ``forward`` is taken where no address is known. A host's name may be that of another computer, so that without an address
    ``ssh_or_agent`` does not try SSH where the agent may execute.

    :param windows: what ``auto`` and ``ssh_or_agent`` set for a Windows guest that has an address; ``none`` leaves it to the user.
        ``agent`` is the plugin for such guests, whether they have one or not, and that of ``connection=agent`` too
    """
    if connection == "none":
        return {}
    found: dict[str, t.Any] = {
        "ansible_guest_agent_uri": record["libvirt"]["uri"],
        "ansible_guest_agent_domain": record["libvirt"]["uuid"],
    }
    if addresses:
        found["ansible_host"] = addresses[0]
    elif forward is not None:
        found["ansible_host"], found["ansible_port"] = forward
    if connection == "agent" and windows == "agent" and _is_windows(record):
        way = WINDOWS_CONNECTION
    elif connection in _WAYS:
        way = _WAYS[connection]
    else:
        by_ssh = SSH_OR_AGENT if connection == "ssh_or_agent" else ""
        way = _automatic(record, addresses, "ansible_host" in found, windows, by_ssh)
    return {**found, "ansible_connection": way} if way else found


def _automatic(record: Record, addresses: t.Sequence[str], is_reached: bool, windows: str, by_ssh: str) -> str:
    """ "" where it is the user's choice. Windows guests get none that requires a POSIX shell. ``by_ssh``: the way over SSH."""
    if _is_windows(record):
        if windows == "agent":
            return WINDOWS_CONNECTION if record["agent"]["can_exec"] else ""
        return windows if addresses and windows != "none" else ""
    return AGENT_CONNECTION if record["agent"]["can_exec"] and not is_reached else by_ssh


def _is_windows(record: Record) -> bool:
    return "os" in record and record["os"]["id"] == "mswindows"


def group_names(record: Record, group_by: t.Iterable[str]) -> list[str]:
    names = []
    for grouping in group_by:
        prefix, read = GROUPINGS[grouping]
        value = read(record)
        if value:
            names.append(re.sub(r"[^A-Za-z0-9_]", "_", f"{prefix}_{value}")[:100])
    return names
