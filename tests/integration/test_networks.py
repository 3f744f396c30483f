# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which address of a real guest is its host's: with several NICs, IPv6 alone, a bond, VLANs and bridges of its own.

network_guest.py has the cases, and asks the inventory in a network namespace of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ansible_cli import ROOT

#: A network, processes, a /run and a /sys of its own: nothing outlives the test, and no daemon of this host is found.
APART = ("unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-ec")
INTO = 'mount -t tmpfs tmpfs /run; mkdir /run/lock; mount -t sysfs sysfs /sys; "$@" || exit'

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        os.geteuid() != 0, reason="SKIPPED OUT LOUD: addresses on bridges, bonds and VLANs are not tried, for that takes root"
    ),
]


class View:
    """What the inventory says of the guest."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.vars: dict[str, Any] = told["found"]
        self.warned: str = told["warned"]

    @property
    def host(self) -> str | None:
        found: str | None = self.vars.get("ansible_host")
        return found

    @property
    def addresses(self) -> list[str]:
        found: list[str] = self.vars["guest_addresses"]
        return found

    def interface(self, name: str) -> dict[str, Any]:
        """By its name in the guest."""
        (found,) = (nic for nic in self.vars["guest_interfaces"] if nic["interface_name"] == name)
        return dict(found)

    def on(self, number: int) -> list[str]:
        """The guest's interfaces with the MAC of a NIC of the domain."""
        mac = f"52:54:00:77:01:0{number}"
        return sorted(nic["interface_name"] for nic in self.vars["guest_interfaces"] if nic["mac"] == mac)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    # A short path, because sockets are below it.
    state = Path(tempfile.mkdtemp(prefix="vgal-", dir="/var/lib"))
    state.chmod(0o755)
    env = {**os.environ, "LAB_STATE": str(state), "HYPERVISOR": ""}  # another's has no dnsmasq
    words = [*APART, INTO, "sh", sys.executable, "-m", "tests.integration.network_guest", str(tmp_path_factory.mktemp("networks"))]
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900, check=False)
    shutil.rmtree(state, ignore_errors=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def views(told: dict[str, Any], case: str) -> dict[str, View]:
    return {name: View(said) for name, said in told[case]["views"].items()}


def test_several_nics(told: dict[str, Any]) -> None:
    """Of a network with DHCP, a bridge and macvtap; the addresses of the guest come in the order of its interfaces."""
    seen = views(told, "several")
    leased = seen["lease"].host
    assert leased is not None
    assert leased.startswith("198.51.100.")
    assert seen[""].host == leased
    assert seen[""].addresses[:3] == [leased, "192.0.2.20", "203.0.113.30"]
    (by_router,) = seen[""].addresses[3:]
    assert by_router.startswith("2001:db8:1:")
    assert [nic["name"] for nic in seen[""].vars["guest_interfaces"][1:4]] == ["lab", "br0", "v0"]
    assert seen["ipv6"].addresses == [by_router]
    assert seen["ipv6 first"].addresses[0] == by_router
    assert seen["cidrs"].addresses == ["203.0.113.30", "192.0.2.20"]
    assert seen["excluded"].host == "192.0.2.20"
    assert seen["networks"].addresses == ["192.0.2.20"]
    assert seen["macvtap"].addresses == ["203.0.113.30", leased, by_router]


def test_what_the_hypervisor_knows(told: dict[str, Any]) -> None:
    seen = views(told, "several")
    assert seen["lease"].addresses == [seen["lease"].host]
    if "wrong nlmsg len" in told["several"]["arp"]:
        pytest.skip("SKIPPED OUT LOUD: addresses from ARP are not tried, for this libvirt cannot read the table of this kernel")
    assert {"192.0.2.20", "203.0.113.30"} <= set(seen["arp"].addresses)


def test_a_lease_that_the_guest_has_given_up(told: dict[str, Any]) -> None:
    """libvirt's network keeps it for an hour."""
    seen = views(told, "IPv6 only")
    assert seen["lease"].host == views(told, "several")["lease"].host
    assert seen["ipv4"].host is None


def test_link_local_is_taken_only_by_its_name(told: dict[str, Any]) -> None:
    for case, by_options in told.items():
        for name, said in by_options["views"].items():
            if name != "link-local":
                assert not [address for address in said["found"]["guest_addresses"] if address.startswith("fe80:")], case
    assert views(told, "several")["link-local"].host


def test_ipv6_only(told: dict[str, Any]) -> None:
    seen = views(told, "IPv6 only")
    assert seen[""].addresses == ["2001:db8:2::20"]
    assert seen[""].host == "2001:db8:2::20"
    assert seen["ipv4"].vars["ansible_connection"] == "virtops.guest_agent.agent"


def test_a_bond(told: dict[str, Any]) -> None:
    """It has the MAC of its first NIC, as have all its parts."""
    seen = views(told, "bond")[""]
    assert seen.on(4) == ["bond0", "eth4", "eth5"]
    assert "192.0.2.40" in seen.addresses
    assert seen.interface("bond0")["info_source"] == "domain, guest-agent"


def test_a_bond_with_a_mac_of_its_own(told: dict[str, Any]) -> None:
    """No NIC of the domain has it, so nothing says that it is no invention of the guest's."""
    seen = views(told, "bond with a MAC of its own")
    assert seen[""].host is None
    assert seen[""].interface("bond0")["info_source"] == "guest-agent"
    assert "bond0 has 192.0.2.41" in seen[""].warned
    assert "add agent_unverified to address_sources" in seen[""].warned
    assert seen["unverified"].host == "192.0.2.41"


def test_vlans_over_a_bond(told: dict[str, Any]) -> None:
    """Five interfaces of the guest have one MAC, and two of them an address."""
    seen = views(told, "VLANs over a bond")
    assert seen[""].on(4) == ["bond0", "eth4", "eth5", "vlan10", "vlan20"]
    assert seen[""].addresses == ["203.0.113.10", "203.0.113.20"]
    assert seen["cidrs"].host == "203.0.113.20"
    assert seen["networks"].addresses == ["203.0.113.10", "203.0.113.20"]


def test_bridges_of_the_guest(told: dict[str, Any]) -> None:
    """One over its NIC has that one's MAC; one of containers has a MAC of its own, and is never the host's."""
    seen = views(told, "bridges of the guest")
    assert seen[""].on(2) == ["br-lan", "eth2"]
    assert seen[""].addresses == ["192.0.2.50"]
    assert seen[""].interface("docker0")["info_source"] == "guest-agent"
    assert seen["unverified"].addresses == ["192.0.2.50", "172.17.0.1"]


def test_an_agent_that_is_away(told: dict[str, Any]) -> None:
    """What the hypervisor knows is enough for one address, and for none that was set by hand."""
    seen = views(told, "no agent")
    assert str(seen[""].vars["guest_agent"]["status"]) == "disconnected"
    assert seen[""].addresses == [views(told, "several")["lease"].host]
    assert seen["agent"].host is None
