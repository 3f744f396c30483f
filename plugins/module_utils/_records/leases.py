# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the hypervisor itself knows of a domain's addresses: DHCP leases and its ARP table."""

from __future__ import annotations

import typing as t

from .._errors import GuestAgentError
from .._libvirt.hypervisor import Domain
from .addresses import AddressPolicy, Candidate, canonical, is_usable
from .interfaces import Interface


def fallback(domain: Domain, interfaces: t.Sequence[Interface], policy: AddressPolicy) -> list[Candidate]:
    """The first of lease and ARP that knows a usable address; asked only where the agent gave none.

    A lease goes on when the guest has taken another address, or its NIC down. So a guest that is asked for its addresses, and
    tells of the NIC without that one, is believed.
    """
    given_up = _given_up(interfaces) if "agent" in policy.sources else lambda _candidate: False
    for source in ("lease", "arp"):
        if source not in policy.sources:
            continue
        try:
            found = [candidate for candidate in known(domain, interfaces, source) if not given_up(candidate)]
        except GuestAgentError:
            continue
        if any(is_usable(candidate, policy) for candidate in found):
            return found
    return []


def known(domain: Domain, interfaces: t.Sequence[Interface], source: str) -> list[Candidate]:
    """The hypervisor is not asked about a domain that it cannot know: each question is a round trip."""
    if not any(map(_on_a_network, interfaces)):
        return []
    networks = {interface["mac"]: interface["name"] for interface in interfaces}
    return [
        {
            "address": address["address"],
            "prefix": address["prefix"],
            "mac": mac,
            "network": networks.get(mac),
            "source": source,
        }
        for mac, addresses in domain.addresses(source).items()
        for address in addresses
    ]


def _given_up(interfaces: t.Sequence[Interface]) -> t.Callable[[Candidate], bool]:
    """Whether the guest has told of the NIC, and of the address on no interface at all."""
    told = {interface["mac"] for interface in interfaces if "guest-agent" in interface["info_source"]}
    has = {canonical(text.partition("/")[0]) for interface in interfaces for text in interface["ip_addresses"]}
    return lambda candidate: candidate["mac"] in told and canonical(candidate["address"]) not in has


def _on_a_network(interface: Interface) -> bool:
    """User-mode networking happens inside QEMU or passt: no lease and no neighbour of the host comes of it."""
    return interface["name"] is not None and not interface["user_mode"]
