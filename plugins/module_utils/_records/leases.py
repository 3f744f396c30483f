# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the hypervisor itself knows of a domain's addresses: DHCP leases and its ARP table."""

from __future__ import annotations

import typing as t

from .._errors import GuestAgentError
from .._libvirt.hypervisor import Domain
from .addresses import AddressPolicy, Candidate, is_usable
from .interfaces import Interface


def fallback(domain: Domain, interfaces: t.Sequence[Interface], policy: AddressPolicy) -> list[Candidate]:
    """The first of lease and ARP that knows a usable address; asked only where the agent gave none."""
    for source in ("lease", "arp"):
        if source not in policy.sources:
            continue
        try:
            found = known(domain, interfaces, source)
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


def _on_a_network(interface: Interface) -> bool:
    """User-mode networking happens inside QEMU or passt: no lease and no neighbour of the host comes of it."""
    return interface["name"] is not None and not interface["user_mode"]
