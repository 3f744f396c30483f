# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guest's routes: guest-network-get-route (qemu-ga 9.1), or what its kernel says of them."""

from __future__ import annotations

import contextlib
import ipaddress
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._errors import CommandFailed
from .._inside.small_files import ask_or_read, read_text

_ROUTES_MAX: t.Final = 4096
#: A number of more than 4300 digits is one that Python does not print.
_METRIC_MAX: t.Final = 2**32 - 1
#: RTF_LOCAL and RTF_ANYCAST of linux/ipv6_route.h: the guest's own addresses
_LOCAL_FLAGS: t.Final = 0x80000000 | 0x00100000


class Route(t.TypedDict):
    interface_name: str
    #: address/prefix; 0.0.0.0/0 and ::/0 are the default routes
    destination: str
    gateway: str | None
    metric: int


def routes(agent: GuestAgent) -> list[Route]:
    """guest-network-get-route (qemu-ga 9.1), and /proc/net for older agents. Linux only; loopback and local routes are left out."""
    return ask_or_read(agent, "guest-network-get-route", _ask_routes, _read_routes)


def default_route(agent: GuestAgent) -> Route | None:
    """The IPv4 default route of the lowest metric; None where there is none."""
    found = ask_or_read(agent, "guest-network-get-route", _ask_routes, _read_ipv4_routes)
    return min((route for route in found if route["destination"] == "0.0.0.0/0"), key=lambda route: route["metric"], default=None)


def _ask_routes(agent: GuestAgent) -> list[Route]:
    return _kept(agent.each(agent.call("guest-network-get-route"), "the routes", _asked_route, _ROUTES_MAX))


def _asked_route(entry: dict[str, t.Any]) -> Route | None:
    if (untrusted.optional_integer(entry, "flags", -(2**63)) or 0) & _LOCAL_FLAGS:
        return None
    is_ipv6 = entry.get("version") == 6
    prefix, gateway = (entry.get("desprefixlen"), entry.get("nexthop")) if is_ipv6 else (entry.get("mask"), entry.get("gateway"))
    interface = untrusted.text(entry.get("iface"), "a route's interface", 255)
    metric = untrusted.integer(entry.get("metric", 0), "a route's metric")
    return _route(interface, f"{entry.get('destination')}/{prefix}", gateway, metric)


def _read_routes(agent: GuestAgent) -> list[Route]:
    found = _read_ipv4_routes(agent)
    with contextlib.suppress(CommandFailed):  # a guest without IPv6
        found += _kept(_ipv6_route(line.split()) for line in read_text(agent, "/proc/net/ipv6_route").splitlines())
    return found


def _read_ipv4_routes(agent: GuestAgent) -> list[Route]:
    return _kept(_ipv4_route(line.split()) for line in read_text(agent, "/proc/net/route").splitlines()[1:])


def _ipv4_route(fields: list[str]) -> Route | None:
    """Iface Destination Gateway Flags RefCnt Use Metric Mask: addresses in hexadecimal, the last byte first."""
    try:
        name, destination, gateway, _flags, _references, _use, metric, mask = fields[:8]
        place, via, bits = (ipaddress.IPv4Address(bytes.fromhex(text)[::-1]) for text in (destination, gateway, mask))
        return _route(name, f"{place}/{bits}", str(via), int(metric))
    except ValueError:
        return None


def _ipv6_route(fields: list[str]) -> Route | None:
    """Destination and its prefix length, source and its, next hop, metric, references, use, flags, interface: all hexadecimal."""
    try:
        destination, prefix, _source, _length, gateway, metric, _references, _use, flags, name = fields
        place, via = (ipaddress.IPv6Address(bytes.fromhex(text)) for text in (destination, gateway))
        if int(flags, 16) & _LOCAL_FLAGS:
            return None
        return _route(name, f"{place}/{int(prefix, 16)}", str(via), int(metric, 16))
    except ValueError:
        return None


def _route(interface: str, destination: str, gateway: object, metric: int) -> Route | None:
    """None for what is no route that leads out of the guest, and for what is none at all."""
    try:
        network = ipaddress.ip_network(destination, strict=False)
    except ValueError:
        return None
    via = _plain_address(gateway)
    if interface == "lo" or network.is_multicast or "%" in destination or not 0 <= metric <= _METRIC_MAX:
        return None
    return {
        "interface_name": untrusted.clean(interface, 255),
        "destination": str(network),
        "gateway": None if via in (None, "0.0.0.0", "::") else via,
        "metric": metric,
    }


def _kept(found: t.Iterable[Route | None]) -> list[Route]:
    return [route for route in found if route is not None]


def _plain_address(value: object) -> str | None:
    try:
        return str(ipaddress.ip_address(value)) if isinstance(value, str) and "%" not in value else None
    except ValueError:
        return None
