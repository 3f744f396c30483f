# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guest's view of its network: guest-network-get-interfaces (qemu-ga 1.1)."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .. import _untrusted
from .._client import GuestAgent

_MAC: t.Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_INTERFACES_MAX: t.Final = 512
_ADDRESSES_MAX: t.Final = 64


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
    for entry in _untrusted.items(reply, "the list of interfaces", _INTERFACES_MAX):
        interface = _interface(entry)
        first = found.setdefault(interface["interface_name"], interface)
        if first is not interface:
            first["ip_addresses"] += interface["ip_addresses"]
    return list(found.values())


def _interface(entry: dict[str, t.Any]) -> GuestInterface:
    mac = (_untrusted.optional_text(entry, "hardware-address", 64) or "").lower()
    addresses = _untrusted.items(entry.get("ip-addresses") or [], "an interface's addresses", _ADDRESSES_MAX)
    return {
        "interface_name": _untrusted.text(entry.get("name"), "an interface's name", 255).split(":")[0],
        "mac": mac if _MAC.fullmatch(mac) else None,
        "ip_addresses": [found for found in map(_address, addresses) if found],
        "statistics": _statistics(entry.get("statistics")),
    }


def _address(entry: dict[str, t.Any]) -> str | None:
    """The address in its canonical form, or None where it is none. A scope (%eth0) is free text of the guest: refused."""
    text = f"{entry.get('ip-address')}/{entry.get('prefix')}"
    try:
        return None if "%" in text else str(ipaddress.ip_interface(text))
    except ValueError:
        return None


def _statistics(value: object) -> dict[str, int] | None:
    if value is None:
        return None
    counters = _untrusted.mapping(value, "an interface's statistics")
    known = ("rx-bytes", "rx-packets", "rx-errs", "rx-dropped", "tx-bytes", "tx-packets", "tx-errs", "tx-dropped")
    return {name.replace("-", "_"): _untrusted.integer(counters[name], name, 0) for name in known if name in counters}


class DefaultRoute(t.NamedTuple):
    interface: str
    gateway: str | None
    metric: int


def default_route(agent: GuestAgent) -> DefaultRoute | None:
    """The IPv4 default route of the lowest metric (guest-network-get-route, qemu-ga 9.1); None where there is none."""
    found = []
    for entry in _untrusted.items(agent.call("guest-network-get-route"), "the list of routes"):
        if entry.get("version") == 4 and entry.get("destination") == "0.0.0.0" and entry.get("mask", "0.0.0.0") == "0.0.0.0":
            name = _untrusted.text(entry.get("iface"), "a route's interface", 255)
            metric = _untrusted.integer(entry.get("metric", 0), "a route's metric")
            found.append(DefaultRoute(name, _plain_address(entry.get("gateway")), metric))
    return min(found, key=lambda route: route.metric, default=None)


def parse_proc_route(text: str) -> DefaultRoute | None:
    """The same from /proc/net/route, for agents that have no command for it."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) >= 8 and fields[1] == "00000000" and fields[7] == "00000000":
            try:
                gateway = str(ipaddress.IPv4Address(bytes.fromhex(fields[2])[::-1]))
                found.append(DefaultRoute(_untrusted.clean(fields[0], 255), gateway, int(fields[6])))
            except ValueError:
                continue
    return min(found, key=lambda route: route.metric, default=None)


def _plain_address(value: object) -> str | None:
    try:
        return str(ipaddress.ip_address(value)) if isinstance(value, str) and "%" not in value else None
    except ValueError:
        return None
