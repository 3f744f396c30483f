# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guest's view of its network: guest-network-get-interfaces (qemu-ga 1.1)."""

from __future__ import annotations

import functools
import ipaddress
import re
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent

_MAC: t.Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_INTERFACES_MAX: t.Final = 512
_ADDRESSES_MAX: t.Final = 64
#: Characters of an address and its netmask.
_ADDRESS_MAX: t.Final = 96
_COUNTERS: t.Final = ("rx-bytes", "rx-packets", "rx-errs", "rx-dropped", "tx-bytes", "tx-packets", "tx-errs", "tx-dropped")


class GuestInterface(t.TypedDict):
    interface_name: str
    mac: str | None
    #: address/prefix, as the guest has it
    ip_addresses: list[str]
    statistics: dict[str, int] | None


def interfaces(agent: GuestAgent) -> list[GuestInterface]:
    """In the guest's order; an alias (eth0:1) is one with its interface, as libvirt does it."""
    reply = agent.call("guest-network-get-interfaces")
    found: dict[str, GuestInterface] = {}
    for interface in agent.each(reply, "the interfaces", lambda entry: _interface(agent, entry), _INTERFACES_MAX):
        first = found.setdefault(interface["interface_name"], interface)
        if first is not interface:
            first["ip_addresses"] += interface["ip_addresses"]
    return list(found.values())


def _interface(agent: GuestAgent, entry: dict[str, t.Any]) -> GuestInterface:
    mac = (untrusted.optional_text(entry, "hardware-address", 64) or "").lower()
    addresses = agent.each_part(entry.get("ip-addresses") or [], "the interfaces' addresses", _address, _ADDRESSES_MAX)
    return {
        "interface_name": untrusted.text(entry.get("name"), "an interface's name", 255).split(":")[0],
        "mac": mac if _MAC.fullmatch(mac) else None,
        "ip_addresses": [address for address in addresses if address],
        "statistics": _statistics(agent, entry.get("statistics")),
    }


def _address(entry: dict[str, t.Any]) -> str | None:
    """The address in its canonical form, or None where it is none. A scope (%eth0) is free text of the guest: refused."""
    text = f"{entry.get('ip-address')}/{entry.get('prefix')}"
    return None if "%" in text or len(text) > _ADDRESS_MAX else _canonical(text)


@functools.lru_cache(maxsize=1024)  # many guests have the same: loopback, bridges of containers
def _canonical(text: str) -> str | None:
    try:
        return str(ipaddress.ip_interface(text))
    except ValueError:
        return None


def _statistics(agent: GuestAgent, value: object) -> dict[str, int] | None:
    """A counter that makes no sense, such as one below zero, is left out."""
    if value is None:
        return None
    counters = untrusted.mapping(value, "an interface's statistics")
    entries = [{"name": name, "count": counters[name]} for name in _COUNTERS if name in counters]
    return dict(agent.each_part(entries, "the interfaces' counters", _counter))


def _counter(entry: dict[str, t.Any]) -> tuple[str, int]:
    return entry["name"].replace("-", "_"), untrusted.integer(entry["count"], entry["name"], 0)
