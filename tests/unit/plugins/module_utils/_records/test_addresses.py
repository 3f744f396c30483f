# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which address a host gets, and that no guest gets another's."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import InvalidInput
from ansible_collections.virtops.guest_agent.plugins.module_utils._records import addresses as _addresses
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.addresses import AddressPolicy, parse_cidrs
from ansible_collections.virtops.guest_agent.tests.unit.samples import candidate


def _own(*arguments: t.Any) -> dict[str, list[str]]:
    return {key: assigned.own for key, assigned in _addresses.assign(*arguments).items()}


ALL = (
    candidate("fe80::1"),
    candidate("2001:db8::5"),
    candidate("127.0.0.1"),
    candidate("169.254.7.7"),
    candidate("10.0.0.5"),
    candidate("10.0.0.6", "lease"),
    candidate("192.0.2.7", "arp", "lan"),
    candidate("172.17.0.1", "agent_unverified", None),
)


def _cidrs(*texts: str) -> t.Any:
    return parse_cidrs(texts, "x")


POLICIES = [
    ({}, ["10.0.0.5", "2001:db8::5", "10.0.0.6", "192.0.2.7"]),
    ({"families": ("ipv6", "ipv4")}, ["2001:db8::5", "10.0.0.5", "10.0.0.6", "192.0.2.7"]),
    ({"families": ("ipv4",)}, ["10.0.0.5", "10.0.0.6", "192.0.2.7"]),
    ({"families": ()}, []),
    ({"sources": ("lease", "agent")}, ["10.0.0.6", "10.0.0.5", "2001:db8::5"]),
    ({"sources": ("arp",)}, ["192.0.2.7"]),
    ({"sources": ("agent_unverified",)}, ["172.17.0.1"]),
    ({"sources": ()}, []),
    ({"cidrs": _cidrs("10.0.0.0/8")}, ["10.0.0.5", "10.0.0.6"]),
    ({"cidrs": _cidrs("2001:db8::/32", "10.0.0.6/32")}, ["2001:db8::5", "10.0.0.6"]),
    ({"cidrs": _cidrs("127.0.0.0/8")}, ["127.0.0.1"]),
    ({"cidrs": _cidrs("fe80::/10", "169.254.0.0/16")}, ["fe80::1", "169.254.7.7"]),
    ({"exclude_cidrs": _cidrs("10.0.0.0/8", "::/0")}, ["192.0.2.7"]),
    ({"cidrs": _cidrs("10.0.0.0/8"), "exclude_cidrs": _cidrs("10.0.0.5/32")}, ["10.0.0.6"]),
    ({"networks": ("lan",)}, ["192.0.2.7"]),
    ({"networks": ("lan", "default"), "sources": ("arp", "lease")}, ["192.0.2.7", "10.0.0.6"]),
    ({"networks": ("none",)}, []),
]


@pytest.mark.parametrize(("policy", "addresses"), POLICIES)
def test_the_policy(policy: dict, addresses: list[str]) -> None:
    assert [c["address"] for c in _addresses.usable(ALL, AddressPolicy(**policy))] == addresses


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "::1", "169.254.1.1", "fe80::1", "224.0.0.1", "ff02::1", "0.0.0.0", "::", "no address", ""),
        *("::ffff:127.0.0.1", "::ffff:169.254.1.1", "::ffff:0.0.0.0", "::ffff:224.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1"),
        *("0.0.0.5", "0.255.255.255", "240.0.0.1", "255.255.255.255", "fec0::1"),
    ],
)
def test_what_is_never_a_host(address: str) -> None:
    assert _addresses.usable([candidate(address)], AddressPolicy()) == []


@pytest.mark.parametrize(
    ("address", "cidrs", "is_meant"),
    [
        ("127.0.0.1", ["10.0.0.0/8", "0.0.0.0/0"], False),
        ("127.0.0.1", ["0.0.0.0/0", "127.0.0.0/8"], True),
        ("127.0.0.1", ["127.0.0.1/32"], True),
        ("127.0.0.1", ["126.0.0.0/7"], False),
        ("::ffff:127.0.0.1", ["::/0", "0.0.0.0/0"], False),
        ("::1", ["::/0"], False),
        ("::1", ["::/1"], False),
        ("::1", ["::1/128"], True),
        ("0.0.0.0", ["0.0.0.0/0"], False),
        ("0.0.0.5", ["0.0.0.0/7"], False),
        ("0.0.0.5", ["0.0.0.0/8"], True),
        ("169.254.7.7", ["0.0.0.0/0"], False),
        ("169.254.7.7", ["169.254.7.0/24"], True),
        ("fe80::1", ["::/0"], False),
        ("fec0::1", ["fec0::/10"], True),
        ("224.0.0.1", ["0.0.0.0/0"], False),
        ("10.0.0.5", ["0.0.0.0/0"], True),
        ("2001:db8::5", ["::/0"], True),
    ],
)
def test_what_is_no_host_only_where_it_is_meant(address: str, cidrs: list[str], is_meant: bool) -> None:
    """A guest that says it has 127.0.0.1 is not the controller where all other networks are allowed."""
    assert bool(_addresses.usable([candidate(address)], AddressPolicy(cidrs=_cidrs(*cidrs)))) is is_meant


def test_each_address_once_from_its_best_source() -> None:
    found = _addresses.usable(
        [candidate("10.0.0.5", "arp"), candidate("10.0.0.5", "agent"), candidate("10.0.0.5", "lease")], AddressPolicy()
    )
    assert [(c["address"], c["source"]) for c in found] == [("10.0.0.5", "agent")]


@pytest.mark.parametrize(
    ("address", "canonical"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("::ffff:10.0.0.5", "10.0.0.5"),
        ("::FFFF:a00:5", "10.0.0.5"),
        ("2001:DB8:0::5", "2001:db8::5"),
        ("no address", "no address"),
    ],
)
def test_one_text_for_one_address(address: str, canonical: str) -> None:
    assert _addresses.canonical(address) == canonical


@pytest.mark.parametrize(
    ("policy", "usable"),
    [
        ({}, True),
        ({"families": ("ipv4",)}, True),
        ({"families": ("ipv6",)}, False),
        ({"cidrs": _cidrs("10.0.0.0/8")}, True),
        ({"cidrs": _cidrs("::/0")}, False),
        ({"exclude_cidrs": _cidrs("10.0.0.0/8")}, False),
    ],
)
def test_ipv4_in_ipv6_is_ipv4_to_the_policy(policy: dict, usable: bool) -> None:
    assert bool(_addresses.usable([candidate("::ffff:10.0.0.5")], AddressPolicy(**policy))) is usable


def test_equals_keep_their_order() -> None:
    found = _addresses.usable([candidate("10.0.0.9"), candidate("10.0.0.1")], AddressPolicy())
    assert [c["address"] for c in found] == ["10.0.0.9", "10.0.0.1"]


@pytest.mark.parametrize("text", ["", "10.0.0.0/33", "ten", "10.0.0.0/8/8"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(InvalidInput, match="address_cidrs"):
        parse_cidrs([text], "address_cidrs")


X = "10.0.0.5"
CLAIMS: list[tuple[dict, dict]] = [
    ({"a": [candidate(X)], "b": []}, {"a": [X], "b": []}),
    # two guests say the same: neither is believed
    ({"a": [candidate(X)], "b": [candidate(X)]}, {"a": [], "b": []}),
    ({"a": [candidate(X), candidate("10.0.0.6")], "b": [candidate(X)]}, {"a": ["10.0.0.6"], "b": []}),
    # the hypervisor knows whose it is
    ({"a": [candidate(X), candidate(X, "lease")], "b": [candidate(X)]}, {"a": [X], "b": []}),
    ({"a": [candidate(X)], "b": [candidate(X, "arp")]}, {"a": [], "b": [X]}),
    # it knows of both: neither
    ({"a": [candidate(X, "arp")], "b": [candidate(X, "lease")]}, {"a": [], "b": []}),
    # a claim that is not used by default takes nothing from anybody
    ({"a": [candidate(X)], "b": [candidate(X, "agent_unverified")]}, {"a": [X], "b": []}),
    # what the hypervisor knows counts even if the policy does not use it
    ({"a": [candidate(X)], "b": [candidate(X), candidate(X, "arp", "lan")]}, {"a": [], "b": [X]}),
    # loopback is everybody's, and nobody's host
    ({"a": [candidate("127.0.0.1")], "b": [candidate("127.0.0.1")]}, {"a": [], "b": []}),
    ({"a": [candidate(X)] * 3}, {"a": [X]}),
    # the same address in other clothes is the same address
    ({"a": [candidate(X)], "b": [candidate(f"::ffff:{X}")]}, {"a": [], "b": []}),
    ({"a": [candidate(X), candidate(X, "lease")], "b": [candidate(f"::ffff:{X}")]}, {"a": [X], "b": []}),
    ({"a": [candidate("2001:db8::5")], "b": [candidate("2001:DB8:0::5")]}, {"a": [], "b": []}),
]


OLD: t.Any = {**candidate(X), "stale": True}
OLD_LEASE: t.Any = {**candidate(X, "lease"), "stale": True}
#: Of guests that are silent now.
OLD_CLAIMS: list[tuple[dict, dict]] = [
    ({"a": [OLD]}, {"a": [X]}),
    ({"a": [OLD], "b": [candidate(X)]}, {"a": [], "b": [X]}),
    ({"a": [OLD, OLD_LEASE], "b": [candidate(X)]}, {"a": [], "b": [X]}),
    ({"a": [OLD], "b": [candidate(X)], "c": [candidate(X)]}, {"a": [], "b": [], "c": []}),
    ({"a": [OLD], "b": [candidate(X)], "c": [candidate(X, "arp")]}, {"a": [], "b": [], "c": [X]}),
    ({"a": [OLD_LEASE], "b": [OLD]}, {"a": [], "b": []}),
    # the hypervisor still says that it is his
    ({"a": [OLD, candidate(X, "lease")], "b": [candidate(X)]}, {"a": [X], "b": []}),
]
CLAIMS += OLD_CLAIMS


def test_two_hypervisors_with_one_nat_network() -> None:
    """Each confirms its own; from this computer only what is here can be reached."""
    claims = {"here": [candidate(X), candidate(X, "lease")], "there": [candidate(X), candidate(X, "lease")]}
    assert _own(claims, AddressPolicy()) == {"here": [], "there": []}
    assert _own(claims, AddressPolicy(), {"here"}) == {"here": [X], "there": []}
    assert _addresses.assign(claims, AddressPolicy(), {"here"})["there"] == ([], [X])
    assert _own(claims, AddressPolicy(), {"here", "there"}) == {"here": [], "there": []}


def test_what_arp_says_here_does_not_decide_between_two() -> None:
    claims = {"here": [candidate(X, "arp")], "there": [candidate(X, "lease")]}
    assert _own(claims, AddressPolicy(), {"here"}) == {"here": [], "there": []}
    claims = {"here": [candidate(X)], "there": [candidate(X, "lease")]}
    assert _own(claims, AddressPolicy(), {"here"}) == {"here": [], "there": [X]}


@pytest.mark.parametrize(("claims", "addresses"), CLAIMS)
@pytest.mark.parametrize("backwards", [False, True])
def test_contested_addresses(claims: dict, addresses: dict, backwards: bool) -> None:
    ordered = dict(reversed(claims.items())) if backwards else claims
    assert _own(ordered, AddressPolicy(sources=("agent", "lease", "arp"))) == addresses


def test_a_source_that_the_policy_leaves_out_still_confirms() -> None:
    claims = {"a": [candidate(X)], "b": [candidate(X), candidate(X, "arp")]}
    assert _own(claims, AddressPolicy(sources=("agent",))) == {"a": [], "b": [X]}


def test_unverified_claims_contest_each_other_where_they_are_used() -> None:
    policy = AddressPolicy(sources=("agent", "agent_unverified"))
    claims = {"a": [candidate(X)], "b": [candidate(X, "agent_unverified")], "c": [candidate("10.0.0.9", "agent_unverified")]}
    assert _own(claims, policy) == {"a": [], "b": [], "c": ["10.0.0.9"]}
