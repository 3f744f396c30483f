# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, variables, groups, options and old answers: what the inventory is made of."""

from __future__ import annotations

import contextlib
import itertools
import json
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.exec import Probe
from ansible_collections.virtops.guest_agent.plugins.module_utils._records import record as _record
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.addresses import address_policy
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.query import Selection
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.record import Record, key
from ansible_collections.virtops.guest_agent.plugins.plugin_utils._inventory import (
    names as _names,
    options as _options,
    stale,
    variables as _variables,
)
from ansible_collections.virtops.guest_agent.plugins.plugin_utils._inventory.unsafe import is_plain, untrusted
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


ADDRESS = "10.0.0.5"
CONNECTIONS = [
    # connection, addresses, whether the agent may execute, the variables beside those that say where
    ("none", [ADDRESS], True, None),
    ("auto", [ADDRESS, "10.0.0.6"], True, {"ansible_host": ADDRESS}),
    ("auto", [], True, {"ansible_connection": "virtops.guest_agent.agent"}),
    ("auto", [], False, {}),
    ("agent", [ADDRESS], False, {"ansible_host": ADDRESS, "ansible_connection": "virtops.guest_agent.agent"}),
    ("agent", [], True, {"ansible_connection": "virtops.guest_agent.agent"}),
    ("ssh", [ADDRESS], True, {"ansible_host": ADDRESS, "ansible_connection": "ssh"}),
    ("ssh", [], True, {"ansible_connection": "ssh"}),
]


@pytest.mark.parametrize(("connection", "addresses", "can_exec", "expected"), CONNECTIONS)
def test_how_to_reach_the_guest(connection: str, addresses: list, can_exec: bool, expected: dict | None) -> None:
    record = samples.record(agent={"can_exec": can_exec})
    where = {"ansible_guest_agent_uri": samples.URI, "ansible_guest_agent_domain": samples.uuid(1)}
    found = _variables.connection_vars(record, addresses, connection)
    assert found == ({} if expected is None else {**where, **expected})


def _forwarding(uri: str = "qemu+ssh://root@kvm1/system", state: str = "running", **forward: t.Any) -> Record:
    nic: t.Any = {
        "user_mode": True,
        "ip_addresses": [],
        "port_forwards": [{"address": None, "port": 2022, "to": 22, "ports": 1, **forward}],
    }
    return samples.record(libvirt={"uri": uri, "state": state}, interfaces=[{"ip_addresses": []}, nic])


@pytest.mark.parametrize(
    ("record", "place"),
    [
        (_forwarding(), ("kvm1", 2022)),
        (_forwarding(uri="qemu:///session"), ("127.0.0.1", 2022)),
        (_forwarding(address="192.0.2.10"), ("192.0.2.10", 2022)),
        (_forwarding(address="0.0.0.0"), ("kvm1", 2022)),
        (_forwarding(port=2000, to=20, ports=5), ("kvm1", 2002)),
        (_forwarding(port=2000, to=20, ports=2), None),
        (_forwarding(to=80), None),
        (_forwarding(state="shutoff"), None),
        (_forwarding(address="127.0.0.1"), None),
        (_forwarding(uri="qemu:///session", address="127.0.0.1"), ("127.0.0.1", 2022)),
        (samples.record(), None),
    ],
)
def test_a_port_that_leads_to_the_guests_ssh(record: Record, place: tuple | None) -> None:
    assert _variables.forwarded_ssh(record) == place


def test_a_forwarded_port_is_for_hosts_without_an_address() -> None:
    record, forward = samples.record(agent={"can_exec": True}), ("kvm1", 2022)
    found = _variables.connection_vars(record, [], "auto", forward)
    assert (found["ansible_host"], found["ansible_port"], found.get("ansible_connection")) == ("kvm1", 2022, None)
    assert "ansible_port" not in _variables.connection_vars(record, [ADDRESS], "auto", forward)
    assert "ansible_host" not in _variables.connection_vars(record, [], "none", forward)


@pytest.mark.parametrize(("prefix", "suffix"), [("", ""), ("x_", ""), ("", "_y"), ("x_", "_y")])
def test_host_variables(prefix: str, suffix: str) -> None:
    record = samples.record("web", 1, ADDRESS, hostname="inside", os={"id": "debian"}, users=[], users_total=0)
    found = _variables.host_vars(record, [ADDRESS], prefix, suffix)
    named = {name.removeprefix(prefix).removesuffix(suffix): value for name, value in found.items()}
    assert len(named) == len(found)
    assert named["libvirt_name"] == "web"
    assert named["guest_hostname"] == "inside"
    assert named["guest_addresses"] == [ADDRESS]
    assert named["guest_agent"]["status"] == "connected"
    assert named["guest_users_total"] == 0
    assert "guest_timezone" not in named
    assert all(name.startswith(prefix) and name.endswith(suffix) for name in found)


@pytest.mark.parametrize(
    ("record", "group_by", "names"),
    [
        (
            samples.record(os={"id": "debian"}),
            list(_variables.GROUPINGS),
            ["hypervisor_kvm1", "state_running", "os_debian", "agent_connected"],
        ),
        (samples.record(), ["os"], []),
        (samples.record(os={"id": None}), ["os"], []),
        (samples.record(os={"id": "opensuse-leap"}), ["os"], ["os_opensuse_leap"]),
        (samples.record(os={"id": "{{ lookup('pipe', 'x') }}"}), ["os"], ["os____lookup__pipe____x_____"]),
        (samples.record(os={"id": "x" * 255}), ["os"], ["os_" + "x" * 97]),
        (samples.record(os={"id": "ä\n"}), ["os"], ["os___"]),
        (samples.record(libvirt={"hypervisor": "kvm1.example.com"}), ["hypervisor"], ["hypervisor_kvm1_example_com"]),
        (samples.record(), [], []),
    ],
)
def test_groups(record: Record, group_by: list, names: list) -> None:
    assert _variables.group_names(record, group_by) == names


DEFAULTS: dict[str, t.Any] = {
    "agent_timeout": 5,
    "timeout": 30.0,
    "concurrency": 10,
    "max_items": 10,
    "states": ["running"],
    "gather_subset": ["os"],
    "probes": {},
    "address_families": ["ipv6"],
    "address_cidrs": ["10.0.0.0/8"],
    "address_exclude_cidrs": [],
    "address_networks": ["default"],
    "address_sources": ["agent"],
}


def _plan(**options: t.Any) -> t.Any:
    get = {**DEFAULTS, **options}.__getitem__
    return _options.plan(get, Selection([], []), address_policy(get))


def test_options_become_a_plan() -> None:
    plan = _plan()
    assert (plan.subsets, plan.states, plan.agent_timeout, plan.timeout, plan.concurrency) == (("os",), ("running",), 5, 30.0, 10)
    assert (plan.policy.families, plan.policy.networks, plan.policy.sources) == (("ipv6",), ("default",), ("agent",))
    assert str(plan.policy.cidrs[0]) == "10.0.0.0/8"
    assert _plan(states=["running", "all"]).states == ()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"agent_timeout": 0}, "agent_timeout must be from 1 to"),
        ({"timeout": 0.5}, "timeout must be from 1 to"),
        ({"concurrency": 0}, "concurrency must be from 1 to"),
        ({"max_items": -1}, "max_items must be from 0 to"),
        ({"address_cidrs": ["x"]}, "address_cidrs"),
        ({"address_exclude_cidrs": ["10.0.0.0/99"]}, "address_exclude_cidrs"),
        *[
            ({"probes": {"load": probe}}, "probes: load must be")
            for probe in ("", [], {}, {"timeout": 5}, {"command": "x", "shell": 1}, {"command": ""}, 5, None, [[]], [{}])
        ],
        *[
            ({"probes": {"load": {"command": "x", "timeout": timeout}}}, "probes: the timeout of load must be a number of seconds")
            for timeout in ("fast", "", None, [], {}, -1, 0, "0", float("nan"), "nan", float("inf"), 3600.1)
        ],
    ],
)
def test_options_that_cannot_be(options: dict, words: str) -> None:
    with pytest.raises(_errors.InvalidInput, match=words):
        _plan(**options)


@pytest.mark.parametrize(
    ("value", "probe"),
    [
        ("cat /proc/loadavg", Probe(("/bin/sh", "-c", "cat /proc/loadavg"), 5.0)),
        (["/bin/echo", 5, 1.5], Probe(("/bin/echo", "5", "1.5"), 5.0)),
        ({"command": "x", "timeout": 2}, Probe(("/bin/sh", "-c", "x"), 2.0)),
        ({"command": ["x"]}, Probe(("x",), 5.0)),
        ({"command": ["x"], "timeout": "2.5"}, Probe(("x",), 2.5)),
        ({"command": ["x"], "timeout": 3600}, Probe(("x",), 3600.0)),
    ],
)
def test_probes(value: t.Any, probe: Probe) -> None:
    assert _plan(probes={"load": value}).probes == {"load": probe}


KNOWN = samples.record("web", 1, ADDRESS, hostname="old", agent={"last_probe_time": "then", "can_exec": True})


@pytest.mark.parametrize(
    ("status", "filled"),
    [
        ("unresponsive", True),
        ("unknown", True),
        ("frozen", True),
        ("broken", True),
        ("disconnected", True),
        ("connected", False),
        ("restricted", False),
        ("not_running", False),
        ("not_configured", False),
    ],
)
def test_old_answers_of_silent_guests(status: str, filled: bool) -> None:
    record = samples.record("web", 1, agent={"status": status, "version": None, "can_exec": False}, libvirt={"state": "new"})
    stale.fill([record], {key(KNOWN): KNOWN})
    assert record["agent"]["stale"] is filled
    assert all(candidate.get("stale") for candidate in record["addresses"])
    assert record["agent"]["status"] == status
    assert record.get("hostname") == ("old" if filled else None)
    assert bool(record["addresses"]) is filled
    assert record["agent"]["can_exec"] is filled
    assert record["agent"]["last_probe_time"] == ("then" if filled else None)
    assert record["libvirt"]["state"] == "new"


def test_what_another_version_has_kept_is_not_read() -> None:
    """A key that comes with an upgrade is in no record of before."""
    kept = stale.keep([KNOWN])
    assert stale.kept(kept) == {key(KNOWN): KNOWN}
    assert stale.kept(json.loads(json.dumps(kept))) == {key(KNOWN): KNOWN}
    without = {key(KNOWN): KNOWN}
    for other in ({**kept, "version": "0"}, {"records": without}, without, [KNOWN], None, "x", {**kept, "records": [KNOWN]}):
        assert stale.kept(other) is None


@pytest.mark.parametrize("kind", [_record.Record, _record.LibvirtPart, _record.AgentPart, _record.Interface, _record.BlockDevice])
def test_a_key_that_comes_makes_another_version(kind: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _record._keys()
    monkeypatch.setitem(kind.__annotations__, "new", "str")
    assert _record._keys() != before


def test_another_domains_answers_are_not_used() -> None:
    for other in (
        samples.record("web", 2, agent={"status": "unknown"}),
        samples.record("web", 1, libvirt={"uri": "x"}, agent={"status": "unknown"}),
    ):
        stale.fill([other], {key(KNOWN): KNOWN})
        assert "hostname" not in other


def test_only_answers_are_remembered() -> None:
    silent = samples.record("web", 1, agent={"status": "unresponsive"})
    limited = samples.record("db", 2, agent={"status": "restricted"})
    last = stale.remember([silent, limited], {key(KNOWN): KNOWN})
    assert last == {key(KNOWN): KNOWN, key(limited): limited}


PLAIN = [
    "",
    "Debian GNU/Linux 12 (bookworm)",
    "Ubuntu 24.04.1 LTS (Noble Numbat)",
    "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)",
    "52:54:00:12:34:56",
    "10.0.2.15/24",
    "2001:db8::5/64",
    "db-1.example.com",
    "100 % of it",
    "(bookworm)",
    "x\\y $HOME `id`",
    "lookup",
]
LOOKUPS = [
    "lookup('ansible.builtin.pipe', 'touch EVIL')",
    'lookup("ansible.builtin.pipe", "touch EVIL")',
    "query('ansible.builtin.pipe', 'touch EVIL')",
    "q('ansible.builtin.pipe', 'touch EVIL')",
    "  lookup ( 'ansible.builtin.pipe' , 'touch EVIL' )  ",
    "lookup('ansible.builtin.pipe',\n'touch EVIL')",
    "((lookup('ansible.builtin.pipe', 'touch EVIL')))",
    "x, lookup('ansible.builtin.pipe', 'touch EVIL')",
    "[lookup('ansible.builtin.pipe', 'touch EVIL')]",
    "false or lookup('ansible.builtin.pipe', 'touch EVIL')",
    "'a' ~ lookup('ansible.builtin.pipe', 'touch EVIL')",
    "not lookup('ansible.builtin.pipe', 'touch EVIL')",
    "'touch EVIL' | map('upper') | list or lookup('ansible.builtin.pipe', 'touch EVIL')",
]
NOT_PLAIN = [
    *LOOKUPS,
    "range(999999999)",
    "vault_password.encode()",
    "vault_password | b64encode",
    "'a'|upper",
    "'/etc/shadow' is file",
    "x is file",
    "x is not defined",
    "9**9**9",
    "'x' * 999999999",
    "'%999999999d' % 1",
    "{",
    "}",
    "{{ x }}",
    "{% if x %}",
    "{# x #}",
    "#jinja2:variable_start_string:'[%'\n[% 1 %]",
    "#JINJA2: x",
]


@pytest.mark.parametrize(("text", "plain"), [*((text, True) for text in PLAIN), *((text, False) for text in NOT_PLAIN)])
def test_what_is_plain(text: str, plain: bool) -> None:
    assert is_plain(text) is plain


def _evaluate(conditional: str, text: t.Any) -> None:
    """``when: conditional`` as the running core evaluates it with ``guest_text``; what comes out of it does not matter."""
    variables = {"guest_text": text}
    templar = Templar(loader=DataLoader(), variables=variables)
    try:
        from ansible.template import trust_as_template
    except ImportError:  # ansible-core before 2.19
        from ansible.playbook.conditional import Conditional

        asked = Conditional(loader=DataLoader())
        asked.when = [conditional]
        with contextlib.suppress(AnsibleError):
            asked.evaluate_conditional(templar, variables)
    else:
        with contextlib.suppress(AnsibleError):
            templar.evaluate_conditional(trust_as_template(conditional))


@pytest.mark.parametrize("conditional", ["{{ guest_text }}", "guest_text", "{{ guest_text }} and true", "not {{ guest_text }}"])
@pytest.mark.parametrize("text", LOOKUPS)
def test_no_conditional_runs_what_a_guest_says(
    text: str, conditional: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _evaluate(conditional, untrusted([{"text": text}])[0]["text"])
    assert list(tmp_path.iterdir()) == []


def test_such_a_conditional_runs_what_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above would see if the text were marked as plain."""
    monkeypatch.chdir(tmp_path)
    text: t.Any = LOOKUPS[0]
    with contextlib.suppress(ImportError):
        from ansible.template import trust_as_template

        text = trust_as_template(text)
    _evaluate("{{ guest_text }}", text)
    assert [path.name for path in tmp_path.iterdir()] == ["EVIL"]


LOOKUP = "lookup('ansible.builtin.pipe', 'touch EVIL')"


@pytest.mark.parametrize(
    "text",
    [
        # a syntax error for one parser, and none for another, or too deep for one and not for another
        *(before + LOOKUP + after for before in ("", "v, ", ":") for after in ("", "-", ":", " +", "#", " if 1", "|string-")),
        *("(" * depth + LOOKUP + ")" * depth for depth in (1, 65, 300)),
        "a b " + LOOKUP,
        "x is sameas lookup (y)",
        "v['x'] (y)",
        "(lookup)(y)",
        "5.14.0 (mockbuild@x86-64) | gcc (GCC) 11.4.1",
    ],
)
def test_no_parser_is_asked_what_is_plain(text: str) -> None:
    assert not is_plain(text)
