# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of a guest with several NICs, a bond, VLANs and bridges, as its agent (qemu-ga 7.2 on Debian 12) has told them.

tests/integration/test_networks.py is where fakes/recorded_networks.json comes from.
"""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import network
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import domain_xml
from ansible_collections.virtops.guest_agent.plugins.module_utils._records import interfaces as _interfaces, leases
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.addresses import AddressPolicy, parse_cidrs, usable
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.interfaces import Interface
from ansible_collections.virtops.guest_agent.tests.unit import fakes as _fakes
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest

RECORDED: dict[str, t.Any] = json.loads(Path(_fakes.__path__[0], "recorded_networks.json").read_text(encoding="utf-8"))
FIRST, SECOND = "52:54:00:77:01:04", "52:54:00:77:01:05"
LEASED, STATIC, MACVTAP, BY_ROUTER = "198.51.100.50", "192.0.2.20", "203.0.113.30", "2001:db8:1:0:5054:ff:fe77:101"
VLANS = ["203.0.113.10", "203.0.113.20"]
UNVERIFIED = ("agent", "agent_unverified")
NO_SLIRP = {"sources": UNVERIFIED, "exclude_cidrs": parse_cidrs(["10.0.2.0/24"], "x")}


def recorded(case: str) -> list[Interface]:
    guest = FakeGuest()
    guest.replies["guest-network-get-interfaces"] = RECORDED["agent"][case]
    devices = "".join(RECORDED["nics"])
    domain = domain_xml.parse(f"<domain type='qemu'><name>x</name><devices>{devices}</devices></domain>")
    return _interfaces.merge(domain.nics, network.interfaces(GuestAgent(guest, 5)))


@pytest.mark.parametrize(
    ("case", "policy", "addresses"),
    [
        ("several", {}, [LEASED, STATIC, MACVTAP, BY_ROUTER]),
        ("several", {"families": ("ipv6",)}, [BY_ROUTER]),
        ("several", {"networks": ("br0",)}, [STATIC]),
        ("several", {"networks": ("v0", "lab")}, [MACVTAP, LEASED, BY_ROUTER]),
        ("several", {"cidrs": parse_cidrs(["203.0.113.0/24", "192.0.2.0/24"], "x")}, [MACVTAP, STATIC]),
        ("IPv6 only", {}, ["2001:db8:2::20"]),
        ("IPv6 only", {"families": ("ipv4",)}, []),
        ("bond", {}, [LEASED, "192.0.2.40", BY_ROUTER]),
        ("bond with a MAC of its own", {}, []),
        ("bond with a MAC of its own", NO_SLIRP, ["192.0.2.41"]),
        ("VLANs over a bond", {}, VLANS),
        ("VLANs over a bond", {"cidrs": parse_cidrs(["203.0.113.16/28"], "x")}, VLANS[1:]),
        ("VLANs over a bond", {"networks": ("br0",)}, VLANS),
        ("bridges of the guest", {}, ["192.0.2.50"]),
        ("bridges of the guest", NO_SLIRP, ["192.0.2.50", "172.17.0.1"]),
    ],
)
def test_which_addresses_are_used(case: str, policy: dict[str, t.Any], addresses: list[str]) -> None:
    found = usable(_interfaces.candidates(recorded(case)), AddressPolicy(**policy))
    assert [candidate["address"] for candidate in found] == addresses


def test_what_a_bond_looks_like() -> None:
    """All its parts have its MAC: of the second NIC the guest tells nothing."""
    found = recorded("VLANs over a bond")
    assert [nic["interface_name"] for nic in found if nic["mac"] == FIRST] == ["eth4", "eth5", "bond0", "vlan10", "vlan20"]
    assert [(nic["info_source"], nic["ip_addresses"]) for nic in found if nic["mac"] == SECOND] == [("domain", [])]


class Leased:
    """libvirt's network goes on with its lease."""

    def addresses(self, source: str) -> dict[str, list[dict[str, t.Any]]]:
        return {"52:54:00:77:01:01": [{"address": LEASED, "prefix": 24}]} if source == "lease" else {}


@pytest.mark.parametrize(
    ("case", "sources", "addresses"),
    [
        ("several", ("agent", "lease"), [LEASED]),
        ("IPv6 only", ("agent", "lease"), []),
        ("IPv6 only", ("lease",), [LEASED]),
        ("bond with a MAC of its own", ("agent", "lease", "arp"), []),
    ],
)
def test_a_lease_that_the_guest_has_given_up(case: str, sources: tuple[str, ...], addresses: list[str]) -> None:
    found = leases.fallback(t.cast(t.Any, Leased()), recorded(case), AddressPolicy(sources=sources))
    assert [candidate["address"] for candidate in found] == addresses
