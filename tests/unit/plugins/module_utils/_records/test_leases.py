# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom the hypervisor is asked about: each question is a round trip, and of some guests it cannot know anything."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import domain_xml
from ansible_collections.virtops.guest_agent.plugins.module_utils._records import interfaces as _interfaces, leases, record
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.addresses import AddressPolicy

MAC = "52:54:00:00:00:01"
ON_BRIDGE = "<interface type='bridge'><mac address='{mac}'/><source bridge='br0'/><target dev='vnet0'/></interface>"
ON_NETWORK = "<interface type='network'><mac address='{mac}'/><source network='default'/></interface>"
CALLED_USER = "<interface type='network'><mac address='{mac}'/><source network='user'/><target dev='vnet0'/></interface>"
DIRECT = "<interface type='direct'><mac address='{mac}'/><source dev='eth0' mode='bridge'/><target dev='macvtap0'/></interface>"
PASSED_THROUGH = "<interface type='hostdev'><mac address='{mac}'/></interface>"
IN_QEMU = "<interface type='user'><mac address='{mac}'/></interface>"


class Asked:
    """Knows one address of everybody, and notes that it was asked."""

    def __init__(self) -> None:
        self.sources: list[str] = []

    def addresses(self, source: str) -> dict[str, list[dict[str, t.Any]]]:
        self.sources.append(source)
        return {MAC: [{"address": "192.0.2.7", "prefix": 24}]}


def interfaces(*nics: str) -> list[record.Interface]:
    devices = "".join(nics).format(mac=MAC)
    found = domain_xml.parse(f"<domain><name>x</name><devices>{devices}</devices></domain>")
    return _interfaces.merge(found.nics, [])


@pytest.mark.parametrize("nic", [ON_BRIDGE, ON_NETWORK, CALLED_USER, DIRECT, PASSED_THROUGH])
def test_it_may_know(nic: str) -> None:
    domain = Asked()
    found = leases.fallback(t.cast(t.Any, domain), interfaces(IN_QEMU, nic), AddressPolicy())
    assert [candidate["address"] for candidate in found] == ["192.0.2.7"]
    assert domain.sources == ["lease"]


@pytest.mark.parametrize("nics", [(), (IN_QEMU,), (IN_QEMU, IN_QEMU)])
def test_it_cannot_know(nics: tuple[str, ...]) -> None:
    domain = Asked()
    assert leases.fallback(t.cast(t.Any, domain), interfaces(*nics), AddressPolicy()) == []
    assert domain.sources == []
