# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No guest is reached at an address of its hypervisor, or of the computer that asks."""

from __future__ import annotations

import socket
import threading
import time
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._records import own_addresses
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.addresses import OWN, AddressPolicy, usable
from ansible_collections.virtops.guest_agent.tests.unit.samples import candidate

FOREIGN = "198.51.100.77"


@pytest.fixture
def ours() -> str:
    """An address of this computer that is none of loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((FOREIGN, 9))
        except OSError:
            pytest.skip("SKIPPED OUT LOUD: this computer has no address but loopback's")
        return t.cast(str, probe.getsockname()[0])


def _marked(uri: str, *addresses: str, mac: str | None = "52:54:00:00:00:01") -> list[str]:
    claims = [candidate(address, mac=mac) for address in addresses]
    own_addresses.OwnAddresses(uri).mark(claims)
    return [claim["source"] for claim in claims]


def test_what_this_computer_has(ours: str) -> None:
    assert _marked("qemu:///system", ours, f"::ffff:{ours}", FOREIGN) == [OWN, OWN, "agent"]


def test_a_controller_that_is_a_guest_itself(ours: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_addresses, "_our_macs", lambda: frozenset({"52:54:00:00:00:01"}))
    assert _marked("qemu:///system", ours) == ["agent"]
    assert _marked("qemu:///system", ours, mac="52:54:00:00:00:02") == [OWN]
    assert _marked("qemu:///system", ours, mac=None) == [OWN]


@pytest.mark.parametrize(
    "uri", ["qemu+ssh://root@192.0.2.10/system", "qemu+tls://192.0.2.10:16514/system", "qemu+tcp://192.0.2.10/system?x=y"]
)
def test_what_the_hypervisor_is_reached_by(uri: str) -> None:
    assert _marked(uri, "192.0.2.10", "192.0.2.11") == [OWN, "agent"]


def test_a_hypervisor_that_is_reached_by_ipv6() -> None:
    assert _marked("qemu+ssh://root@[2001:db8::10]/system", "2001:DB8:0::10", "2001:db8::11") == [OWN, "agent"]


@pytest.mark.parametrize(
    "uri", ["", "qemu:///session", "qemu+unix:///system?socket=/x", "qemu+ssh://[nonsense/system", "qemu+ssh://no.such.invalid/x"]
)
def test_a_hypervisor_of_which_no_address_is_known(uri: str) -> None:
    assert _marked(uri, FOREIGN, "127.0.0.1", "fe80::1", "no address", "224.0.0.1") == ["agent"] * 5


def test_a_resolver_that_hangs_costs_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def hang(*_given: object, **_named: object) -> t.NoReturn:
        gate.wait(20)
        raise OSError("no answer")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(own_addresses, "_RESOLVE_SECONDS", 0.1)
    started = time.monotonic()
    assert _marked("qemu+ssh://kvm1/system", FOREIGN, FOREIGN) == ["agent"] * 2
    assert time.monotonic() - started < 10
    gate.set()


def test_no_policy_uses_them() -> None:
    everything = AddressPolicy(sources=("agent", "lease", "arp", "agent_unverified"))
    assert usable([candidate("192.0.2.10", OWN)], everything) == []
