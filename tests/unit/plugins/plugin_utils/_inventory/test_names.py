# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What guests and domains are called as hosts."""

from __future__ import annotations

import itertools
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._records.record import Record
from ansible_collections.virtops.guest_agent.plugins.plugin_utils._inventory import names as _names
from ansible_collections.virtops.guest_agent.tests.unit import samples


def _none(_expression: str) -> None:
    return None


@pytest.mark.parametrize(
    ("name", "acceptable"),
    [
        *[(name, True) for name in ("web", "WEB", "web-1", "web_1", "web.example.com", "1web", "a", "x" * 253, "localhosts")],
        *[(name, False) for name in ("localhost", "LocalHost", "localhost.localdomain", "localhost4.x"[:9], "all", "ungrouped")],
        *[(name, False) for name in ("10.0.0.1", "127.0.0.1", "255.255.255.255", "::1", "2001:db8::1", "fe80::1%eth0")],
        *[
            (name, False)
            for name in ("", "-web", "web-", ".web", "web.", "a b", "a/b", "../a", "a:b", "a\n", "a\x00", "ä", "x" * 254)
        ],
        # an address to the resolver, however it is written
        *[
            (name, False)
            for name in ("127.1", "127.0.1", "2130706433", "0x7f000001", "0X7F000001", "0177.0.0.1", "0x", "web.5", "5")
        ],
        *[(name, True) for name in ("web5", "5.example.com", "127.1.example.com", "0x7g", "0x7f.example.com", "1e3")],
        # loopback, wherever the label stands
        *[(name, False) for name in ("localhost4", "localhost6", "LOCALHOST4", "loopback", "ip6-localhost", "ip6-loopback")],
        *[(name, False) for name in ("x.localhost", "a.localhost6.b", "localhost4.localdomain4", "x.localdomain", "localhost-x")],
        *[(name, True) for name in ("my-localhost", "ip6-web", "loopbacks", "localdomains")],
        *[(name, False) for name in ("{{ evil }}", "a[1:3]", "a,b", "~a", "!a", "a;b", "$(a)", "\u202eweb")],
    ],
)
def test_what_a_guest_may_call_itself(name: str, acceptable: bool) -> None:
    assert _names.acceptable(name) is acceptable


RECORD = samples.record("web", hostname="inside", libvirt={"title": "The Web"})


CHOICES: list[tuple[Record, list[str], t.Any, set[str], tuple[str, bool]]] = [
    (RECORD, ["name"], None, set(), ("web", False)),
    (RECORD, ["uuid"], None, set(), (samples.uuid(1), False)),
    (RECORD, ["title", "name"], None, set(), ("The_Web", False)),
    (RECORD, ["guest_hostname"], None, set(), ("inside", True)),
    (RECORD, ["guest_hostname", "name"], None, {"inside"}, ("web", False)),  # taken already
    (RECORD, [], None, set(), ("web", False)),
    (samples.record("web"), ["title", "guest_hostname"], None, set(), ("web", False)),
    (samples.record("web", hostname="localhost"), ["guest_hostname"], None, set(), ("web", False)),
    (samples.record("web", hostname="127.0.0.1"), ["guest_hostname"], None, set(), ("web", False)),
    (RECORD, ["guest_hostname ~ '-x'"], "inside-x", set(), ("inside-x", True)),
    (RECORD, ["1 / 0", "name"], None, set(), ("web", False)),
    (RECORD, ["5", "name"], 5, set(), ("web", False)),
    (RECORD, ["''", "name"], "", set(), ("web", False)),
    (RECORD, ["x"], "localhost", set(), ("web", False)),
    (RECORD, ["x"], "taken", {"taken"}, ("web", False)),
    (samples.record("web", hostname="web"), ["guest_hostname"], None, {"web"}, ("web", False)),
    (RECORD, ["name"], None, {"web"}, ("web", False)),  # what libvirt says is merged with the user's other sources
]


@pytest.mark.parametrize(("record", "preference", "value", "taken", "chosen"), CHOICES)
def test_choosing(record: Record, preference: list, value: t.Any, taken: set, chosen: tuple) -> None:
    found = _names.choose(record, preference, lambda expression: value, taken)
    assert (found.name, found.guest_says) == chosen


def _distinct(*wanted: tuple[str, bool], groups: t.Container[str] = ()) -> tuple[list[str], list[str]]:
    records = [samples.record(f"d{number}", number) for number in range(len(wanted))]
    return _names.distinct(records, [_names.Candidate(*candidate) for candidate in wanted], groups)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ([("a", False), ("b", True)], ["a", "b"]),
        ([("a", False), ("a", False)], ["a-00000000", "a-00000001"]),
        ([("a", True), ("a", True)], ["a-00000000", "a-00000001"]),
        ([("a", False), ("a", True)], ["a", "a-00000001"]),
        ([("a", True), ("a", False)], ["a-00000000", "a"]),
        ([("a", True), ("a", False), ("a", False)], ["a-00000000", "a-00000001", "a-00000002"]),
        ([("a", True), ("a", False), ("a", True)], ["a-00000000", "a", "a-00000002"]),
    ],
)
def test_collisions(wanted: list, names: list) -> None:
    found, sentences = _distinct(*wanted)
    assert found == names
    renamed = [name for name, (original, _guest) in zip(names, wanted) if name != original]
    assert len(sentences) == len(renamed)
    assert all(name in sentence for name, sentence in zip(renamed, sentences))


CONTROLLERS = [
    "localhost",
    "LOCALHOST",
    "localhost.",
    "localhost4.localdomain4",
    "ip6-localhost",
    "x.localhost",
    "127.0.0.1",
    "127.1",
]


@pytest.mark.parametrize("name", CONTROLLERS)
def test_no_domain_is_the_controller(name: str) -> None:
    names, (sentence,) = _names.distinct([samples.record(name, 1)], [_names.spelled(name)])
    assert names == [f"{name}-00000001"]
    assert f"{name} is the controller itself; domain {name} on {samples.URI} is {name}-00000001." == sentence


SPELLED = [
    ("my guest", "my_guest"), ("web:1", "web_1"), ("a,b", "a_b"), ("web[1]", "web_1_"), ("-oProxyCommand=x", "_oProxyCommand=x"),
    ("!web", "_web"), ("&web", "_web"), ("~web", "_web"), ("@file", "_file"), ("web*", "web_"), ("a?", "a_"), ("{{ x }}", "_x_"),
    ("a\tb", "a_b"), ("::1", "_1"), ("--", "_"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "host"), SPELLED)
def test_no_name_of_libvirts_is_a_pattern(name: str, host: str) -> None:
    record = samples.record(name, 1)
    candidate = _names.choose(record, ["guest_hostname", "name"], lambda _expression: None, ())
    names, sentences = _names.distinct([record], [candidate])
    assert names == [host]
    assert len(sentences) == 1
    assert repr(name) in sentences[0]
    assert host in sentences[0]


@pytest.mark.parametrize(
    "name", ["web", "web-1", "web_1.example.com", "web@2", "Web (old)".replace(" ", "."), "wéb", "localhosts", "127"]
)
def test_other_names_of_libvirts_stay(name: str) -> None:
    assert _names.distinct([samples.record(name, 1)], [_names.spelled(name)]) == ([name], [])


def test_a_name_that_was_replaced_takes_no_other() -> None:
    records = [samples.record(name, number) for number, name in enumerate(["a b", "a:b", "a_b", "c d", "c_d"])]
    candidates = [_names.spelled(record["libvirt"]["name"]) for record in records]
    candidates[4] = _names.Candidate("guests-own", True)
    names, _sentences = _names.distinct(records, candidates)
    assert names == ["a_b-00000000", "a_b-00000001", "a_b", "c_d-00000003", "guests-own"]


@pytest.mark.parametrize(
    "wanted", list(itertools.product([("a", True), ("a", False), ("a-00000001", True), ("b", False)], repeat=3))
)
def test_no_two_domains_are_one_host(wanted: t.Any) -> None:
    names, _sentences = _distinct(*wanted)
    assert len(set(names)) == len(names)
    for name, (original, guest_says) in zip(names, wanted):
        if not guest_says and [w[0] for w in wanted if not w[1]].count(original) == 1:
            assert name == original  # what libvirt alone says, no guest takes away


@pytest.mark.parametrize(
    ("wanted", "groups", "names", "words"),
    [
        ([("a", False), ("b", False)], {"a"}, ["a-00000000", "b"], ["A host or a group has the name a; "]),
        (
            [("a", True), ("b", False)],
            {"a", "b"},
            ["a-00000000", "b-00000001"],
            ["group has the name a; ", "group has the name b; "],
        ),
        ([("a", False), ("a", True)], {"a"}, ["a-00000000", "a-00000001"], ["group has the name a; "] * 2),
        ([("a", False), ("b", False)], {"c"}, ["a", "b"], []),
    ],
)
def test_no_host_is_called_like_a_group(wanted: list, groups: set, names: list, words: list) -> None:
    found, sentences = _distinct(*wanted, groups=groups)
    assert found == names
    assert len(sentences) == len(words)
    assert all(word in sentence for word, sentence in zip(words, sentences))


@pytest.mark.parametrize("owner", ["same-00000001", "d2"])
@pytest.mark.parametrize("backwards", [False, True])
def test_who_is_renamed_takes_no_name_that_is_anothers(owner: str, backwards: bool) -> None:
    """Neither the name that another host gets, nor the name of a domain whose host is called otherwise."""
    records = [samples.record("d1", 1), samples.record("d2", 2), samples.record("same-00000001", 3)]
    candidates = [_names.Candidate("same", True), _names.Candidate("same", True), _names.Candidate(owner, False)]
    step = -1 if backwards else 1
    names, _sentences = _names.distinct(records[::step], candidates[::step])
    assert names[::step] == [f"same-00000001-{'kvm1'}", "same-00000002", owner]


def test_the_same_uuid_on_two_hypervisors() -> None:
    records = [
        samples.record("a", 1, libvirt={"uri": uri, "hypervisor": host}) for uri, host in (("u1", "k1"), ("u2", "k2"), ("u3", "k2"))
    ]
    names, _sentences = _names.distinct(records, [_names.Candidate("a", False)] * 3)
    assert len(set(names)) == 3
