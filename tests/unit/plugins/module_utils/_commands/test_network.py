# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces and their addresses, as agents tell them."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import network
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import VERSIONS, FakeGuest


@pytest.fixture(params=VERSIONS)
def guest(request: pytest.FixtureRequest) -> FakeGuest:
    return FakeGuest(request.param)


def test_interfaces(guest: FakeGuest) -> None:
    found = network.interfaces(guest.agent())
    assert (found[0]["interface_name"], found[0]["ip_addresses"]) == ("lo", ["127.0.0.1/8", "::1/128"])
    assert any(entry["mac"] and entry["mac"].startswith("52:54:00") for entry in found)
    assert "rx_bytes" in (found[0]["statistics"] or {})


def _address(address: t.Any, prefix: t.Any = 24) -> dict[str, t.Any]:
    return {"ip-address": address, "ip-address-type": "ipv4", "prefix": prefix}


@pytest.mark.parametrize(
    ("address", "found"),
    [
        (_address("10.0.0.5"), ["10.0.0.5/24"]),
        (_address("2001:DB8:0::5", 64), ["2001:db8::5/64"]),
        (_address("fe80::1%eth0", 64), []),
        (_address("fe80::1%{{ evil }}", 64), []),
        (_address("10.0.0.5/8"), []),
        (_address("10.0.0.5", 33), []),
        (_address("10.0.0.5", -1), []),
        (_address("10.0.0.5", None), []),
        (_address("localhost"), []),
        (_address(None), []),
        (_address(5), []),
        ({}, []),
    ],
)
def test_an_address_is_one_or_is_left_out(address: dict, found: list[str]) -> None:
    guest = FakeGuest()
    guest.replies["guest-network-get-interfaces"] = [{"name": "eth0", "ip-addresses": [address]}]
    assert network.interfaces(guest.agent())[0]["ip_addresses"] == found


@pytest.mark.parametrize(
    ("mac", "found"),
    [
        ("52:54:00:AA:bb:01", "52:54:00:aa:bb:01"),
        ("", None),
        (None, None),
        ("52:54:00", None),
        ("x" * 17, None),
        ("52-54-00-aa-bb-01", None),
    ],
)
def test_a_mac_is_one_or_is_left_out(mac: str | None, found: str | None) -> None:
    guest = FakeGuest()
    guest.replies["guest-network-get-interfaces"] = [{"name": "eth0", "hardware-address": mac}]
    assert network.interfaces(guest.agent())[0]["mac"] == found


def test_an_alias_is_one_with_its_interface() -> None:
    guest = FakeGuest()
    guest.replies["guest-network-get-interfaces"] = [
        {"name": "eth0", "ip-addresses": [_address("10.0.0.5")]},
        {"name": "eth0:1", "ip-addresses": [_address("10.0.0.6")]},
    ]
    found = network.interfaces(guest.agent())
    assert [(entry["interface_name"], entry["ip_addresses"]) for entry in found] == [("eth0", ["10.0.0.5/24", "10.0.0.6/24"])]
