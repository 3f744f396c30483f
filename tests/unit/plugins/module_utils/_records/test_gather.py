# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many domains on many hypervisors: each costs only itself, and all together no more than the time given."""

from __future__ import annotations

import time
import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.exec import Probe
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import hypervisor
from ansible_collections.virtops.guest_agent.plugins.module_utils._records import own_addresses
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.addresses import AddressPolicy
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.gather import gather
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.plan import Plan
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.query import Selection
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.record import Record
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import NOT_FOUND, Domain, Error, Hypervisor, install, let_go

A, B = "test:///a", "test:///b"
MAC = "52:54:00:00:00:{:02x}"


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[tuple[Hypervisor, Hypervisor]]:
    first, second = Hypervisor(), Hypervisor()
    install(monkeypatch, a=first, b=second)
    monkeypatch.setattr(hypervisor, "_GRACE_SECONDS", -0.8)
    yield first, second
    let_go(first, second)


def _domain(number: int, *addresses: str, **options: t.Any) -> Domain:
    guest = FakeGuest()
    guest.replies["guest-network-get-interfaces"] = [
        {
            "name": "eth0",
            "hardware-address": MAC.format(number),
            "ip-addresses": [{"ip-address": a, "ip-address-type": "ipv4", "prefix": 24} for a in addresses],
        }
    ]
    return Domain(f"d{number:02}", number, guest, macs=[MAC.format(number)], **options)


def _statuses(records: t.Iterable[Record]) -> dict[str, str]:
    return {record["libvirt"]["name"]: record["agent"]["status"] for record in records}


def _addresses(records: t.Iterable[Record]) -> dict[str, list[tuple[str, str]]]:
    return {record["libvirt"]["name"]: [(c["address"], c["source"]) for c in record["addresses"]] for record in records}


#: No machine is so busy that an answer takes this long.
PLAN = Plan(timeout=60)
#: For an agent that will not answer.
IMPATIENT = PLAN._replace(agent_timeout=3)


def test_records_of_all_sorted(hosts: tuple[Hypervisor, Hypervisor]) -> None:
    hosts[0].domains = [_domain(3), _domain(1)]
    hosts[1].domains = [_domain(2)]
    found = gather([B, A, A], PLAN)
    assert [(record["libvirt"]["uri"], record["libvirt"]["name"]) for record in found.records] == [
        (A, "d01"),
        (A, "d03"),
        (B, "d02"),
    ]
    assert found.failures == {}
    record = found.records[0]
    assert record["libvirt"] == samples.libvirt_part("d01", 1, uri=A)
    assert (record["hostname"], record["os"]["id"], record["agent"]["version"]) == ("guest.example.com", "debian", "10.0.13")
    assert all(handle.closed for host in hosts for handle in host.handles)


@pytest.mark.parametrize(
    ("plan", "names", "asked"),
    [
        ({}, ["d01", "d02"], 8),
        ({"states": ()}, ["d01", "d02", "d03"], 8),
        ({"states": ("shutoff",)}, ["d03"], 0),
        ({"domains": ("d02", samples.uuid(1)), "states": ()}, ["d01", "d02"], 8),
        ({"domains": ("none",)}, [], 0),
        ({"subsets": ()}, ["d01", "d02"], 0),
        ({"subsets": ("hostname",)}, ["d01", "d02"], 4),
        ({"subsets": (), "probes": {"x": Probe(("/bin/x",))}}, ["d01", "d02"], 4),
        ({"select": lambda record: record["libvirt"]["name"] == "d02"}, ["d02"], 4),
    ],
)
def test_what_is_asked(hosts: tuple[Hypervisor, Hypervisor], plan: dict, names: list, asked: int) -> None:
    hosts[0].domains = [_domain(1), _domain(2), _domain(3, state=5)]
    found = gather([A], PLAN._replace(**plan))
    assert [record["libvirt"]["name"] for record in found.records] == names
    assert hosts[0].agent_commands == asked


def test_a_domain_that_this_user_may_only_list(hosts: tuple[Hypervisor, Hypervisor]) -> None:
    """libvirt's listing tells no state of it. One that it was silent on for another reason is asked for."""
    listed, late, off = _domain(1), _domain(2), _domain(3, state=5)
    listed.raises["XMLDesc"] = Error(88, "access denied: 'QEMU' denied access")
    hosts[0].domains = [listed, late, off]
    hosts[0].unread |= {"d01", "d02", "d03"}
    found = gather([A], PLAN)
    assert _statuses(found.records) == {"d01": "unknown", "d02": "connected"}
    assert [record["libvirt"]["state"] for record in found.records] == ["unknown", "running"]
    assert "libvirt refuses this to this user" in found.records[0]["agent"]["reason"]
    assert "polkit" in found.records[0]["agent"]["hint"]
    assert [trouble.kind for trouble in found.troubles] == ["permission_denied"]


def test_an_agent_that_was_not_to_be_asked(hosts: tuple[Hypervisor, Hypervisor]) -> None:
    hosts[0].domains = [_domain(1)]
    agent = gather([A], PLAN._replace(subsets=())).records[0]["agent"]
    assert (agent["status"], agent["connected"]) == ("connected", True)
    assert "not asked" in agent["reason"]


def test_each_domain_costs_only_itself(hosts: tuple[Hypervisor, Hypervisor]) -> None:
    hung, gone, silent, off, no_channel, closed, frozen, broken = (_domain(number) for number in range(2, 10))
    hung.hangs.add("agent")
    gone.raises["XMLDesc"] = NOT_FOUND
    assert silent.guest
    silent.guest.silent.add("guest-get-host-name")
    off.current = 5
    no_channel.text = samples.domain_xml("d06", 6, channel=None)
    closed.text = samples.domain_xml("d07", 7, channel="disconnected")
    assert frozen.guest
    frozen.guest.frozen = True
    broken.raises["agent"] = UnicodeDecodeError("utf-8", b"\xed", 0, 1, "x")
    hosts[0].domains = [_domain(1), hung, gone, silent, off, no_channel, closed, frozen, broken]
    started = time.monotonic()
    found = gather([A], IMPATIENT._replace(states=()))
    assert time.monotonic() - started < 10
    assert _statuses(found.records) == {
        "d01": "connected",
        "d02": "unresponsive",
        "d04": "unresponsive",
        "d05": "not_running",
        "d06": "not_configured",
        "d07": "disconnected",
        "d08": "frozen",
        "d09": "broken",
    }
    assert hung.did.count("agent") == 1
    assert silent.guest.sent == ["guest-info", "guest-get-osinfo", "guest-get-host-name"]
    assert next(r for r in found.records if r["libvirt"]["name"] == "d04")["os"]["id"] == "debian"


def test_an_agent_that_fell_silent_because_its_domain_stopped(hosts: tuple[Hypervisor, Hypervisor]) -> None:
    stopped, gone, odd = _domain(1), _domain(2), _domain(3)
    for domain in (stopped, gone, odd):
        domain.raises["agent"] = Error(86, "Guest agent disappeared while executing command")
    gone.raises["state"] = NOT_FOUND
    odd.raises["state"] = Error(1, "x")
    hosts[0].domains = [stopped, gone, odd]

    def select(_record: t.Any) -> bool:
        stopped.current = 5
        return True

    found = gather([A], PLAN._replace(select=select))
    assert _statuses(found.records) == {"d01": "not_running", "d02": "not_running", "d03": "disconnected"}
    assert [record["libvirt"]["state"] for record in found.records] == ["shutoff", "shutoff", "running"]
    assert "stopped during the requests" in found.records[0]["agent"]["reason"]


def test_the_deadline_leaves_the_rest_unknown(hosts: tuple[Hypervisor, Hypervisor]) -> None:
    hosts[0].domains = [_domain(number) for number in range(1, 4)]
    hosts[0].domains[1].hangs.add("agent")
    hosts[0].domains[2].hangs.add("XMLDesc")
    started = time.monotonic()
    found = gather([A], PLAN._replace(timeout=3))
    assert time.monotonic() - started < 10
    assert _statuses(found.records) == {"d01": "connected", "d02": "unknown", "d03": "unknown"}
    assert found.records[1]["agent"]["reason"] == "it was not asked"
    assert "libvirt did not give the domain's XML" in found.records[2]["agent"]["reason"]
    assert [(trouble.domain, type(trouble)) for trouble in found.troubles] == [("d03", _errors.HypervisorUnreachable)]
    assert found.failures == {}


LOCKED = Error(68, "Timed out during operation: cannot acquire state change lock (held by monitor=remoteDispatchDomainX)")
DENIED = Error(88, "access denied: 'QEMU' denied access")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (LOCKED, "libvirt is busy with another operation"),
        (DENIED, "refuses this to this user"),
        (Error(1, "broken"), "libvirt says: broken"),
    ],
)
def test_a_domain_whose_xml_cannot_be_had_stays_a_host(hosts: tuple[Hypervisor, Hypervisor], error: Error, words: str) -> None:
    held, paused = _domain(2), _domain(3, state=3)
    held.raises["XMLDesc"] = paused.raises["XMLDesc"] = error
    hosts[0].domains = [_domain(1), held, paused]
    found = gather([A], PLAN._replace(states=()))
    assert _statuses(found.records) == {"d01": "connected", "d02": "unknown", "d03": "unknown"}
    assert [record["libvirt"]["state"] for record in found.records] == ["running", "running", "paused"]
    record = found.records[1]
    assert (record["libvirt"]["vcpus"], record["libvirt"]["memory_mib"], record["libvirt"]["title"]) == (None, None, None)
    assert words in record["agent"]["reason"]
    assert [trouble.domain for trouble in found.troubles] == ["d02, d03"]
    assert words in str(found.troubles[0])
    assert found.failures == {}


def test_selected_by_what_is_known_of_it(hosts: tuple[Hypervisor, Hypervisor]) -> None:
    hosts[0].domains = [_domain(number) for number in (1, 2, 3)]
    for domain in hosts[0].domains:
        domain.raises["XMLDesc"] = LOCKED
    select = Selection(["libvirt.name != 'd01'"], ["starts_with(libvirt.title, 'x') && libvirt.name == 'd03'"]).before_agent
    found = gather([A], PLAN._replace(select=select))
    assert set(_statuses(found.records)) == {"d02", "d03"}  # a null is no text: what is not known leaves none out


def test_many_of_one_reason_are_one_trouble(hosts: tuple[Hypervisor, Hypervisor]) -> None:
    hosts[0].domains = [_domain(number) for number in range(1, 9)]
    for domain in hosts[0].domains:
        domain.raises["XMLDesc"] = DENIED
    (trouble,) = gather([A], PLAN).troubles
    assert trouble.domain == "d01, d02, d03, d04, d05 and 3 more"


def test_nic_in_user_mode_gives_no_address(hosts: tuple[Hypervisor, Hypervisor]) -> None:
    domain = _domain(1, "10.0.2.15")
    domain.text = domain.text.replace("type='network'", "type='user'").replace("<source network='default'/>", "")
    hosts[0].domains = [domain]
    assert _addresses(gather([A], PLAN).records) == {"d01": [("10.0.2.15", "agent_unverified")]}
    assert not [what for what in domain.did if "Addresses" in what]


def test_an_address_of_the_hypervisor_is_no_guests(hosts: tuple[Hypervisor, Hypervisor], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what the agent says nor what ARP says; and a lease of a NIC that the guest does not tell of is taken instead."""
    monkeypatch.setattr(own_addresses, "_is_ours", lambda address: address == X)
    domain = _domain(1, X)
    domain.known = {0: {MAC.format(9): [Y]}, 2: {MAC.format(1): [X]}}
    hosts[0].domains = [domain]
    assert _addresses(gather([A], PLAN).records) == {"d01": [(X, "own"), (Y, "lease")]}


def test_a_hypervisor_that_is_down(hosts: tuple[Hypervisor, Hypervisor]) -> None:
    hosts[0].domains = [_domain(1)]
    hosts[1].raises["open"] = Error(38, "Connection refused")
    found = gather([A, B], PLAN)
    assert _statuses(found.records) == {"d01": "connected"}
    assert list(found.failures) == [B]
    assert "Connection refused" in str(found.failures[B])


@pytest.mark.parametrize("what", ["getHostname", "listAllDomains", "getAllDomainStats"])
def test_a_hypervisor_that_fails_after_all_leaves_no_connection(hosts: tuple[Hypervisor, Hypervisor], what: str) -> None:
    hosts[1].raises[what] = Error(38, "x")
    assert list(gather([B], PLAN).failures) == [B]
    assert [handle.closed for handle in hosts[1].handles] == [True]


def test_a_second_connection_that_cannot_list_is_closed(
    hosts: tuple[Hypervisor, Hypervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts[0].domains = [_domain(number) for number in range(1, 9)]
    for domain in hosts[0].domains:
        domain.pause = 0.02
    happen, listings = hosts[0].happen, []

    def fail_on_the_second(what: str) -> None:
        if what == "listAllDomains 0":
            listings.append(what)
            if len(listings) == 2:
                raise Error(38, "x")
        happen(what)

    monkeypatch.setattr(hosts[0], "happen", fail_on_the_second)
    found = gather([A], PLAN)
    assert (len(found.records), found.failures) == (8, {})
    assert [handle.closed for handle in hosts[0].handles] == [True, True]


def test_a_hypervisor_that_is_named_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its URI, and as libvirt's own default."""
    host = Hypervisor(_domain(1, "10.0.0.5"))
    install(monkeypatch, default=host)
    found = gather(["", samples.URI], PLAN)
    assert _addresses(found.records) == {"d01": [("10.0.0.5", "agent")]}
    assert (len(found.records), found.failures) == (1, {})
    assert len(host.handles) == 2
    assert all(handle.closed for handle in host.handles)


def test_of_two_names_the_one_that_answered_is_asked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two domains claim an address. By the second name the hypervisor goes away after it has said which it is."""
    host = Hypervisor(_domain(1, "10.0.0.5"), _domain(2, "10.0.0.5"))
    host.domains[0].known = {0: {MAC.format(1): ["10.0.0.5"]}}
    install(monkeypatch, default=host)

    def connect(uri: str, *args: t.Any, **options: t.Any) -> hypervisor.Connection:
        connection = hypervisor.connect(uri, *args, **options)
        if uri:
            monkeypatch.setattr(connection, "list_domains", _lost)
        return connection

    monkeypatch.setitem(gather.__wrapped__.__globals__, "connect", connect)
    found = gather(["", samples.URI], PLAN)
    assert _addresses(found.records)["d01"] == [("10.0.0.5", "agent"), ("10.0.0.5", "lease")]
    assert list(found.failures) == [samples.URI]


def _lost() -> t.NoReturn:
    raise _errors.HypervisorUnreachable("it went away")


@pytest.mark.parametrize("what", ["open", "getHostname", "listAllDomains", "getAllDomainStats"])
def test_a_hypervisor_that_hangs(hosts: tuple[Hypervisor, Hypervisor], what: str) -> None:
    hosts[0].domains = [_domain(1)]
    hosts[1].hangs.add(what)
    started = time.monotonic()
    found = gather([A, B], PLAN._replace(timeout=3))
    assert time.monotonic() - started < 10
    assert _statuses(found.records) == {"d01": "connected"}
    assert found.failures[B].__class__ is _errors.HypervisorUnreachable


@pytest.mark.parametrize(("concurrency", "connections", "most"), [(1, 1, 1), (5, 1, 5), (7, 2, 5), (10, 2, 5), (50, 3, 5)])
def test_five_in_flight_on_a_connection(
    hosts: tuple[Hypervisor, Hypervisor], concurrency: int, connections: int, most: int
) -> None:
    hosts[0].domains = [_domain(number) for number in range(1, 13)]
    for domain in hosts[0].domains:
        domain.pause = 0.01
    found = gather([A], PLAN._replace(concurrency=concurrency))
    assert set(_statuses(found.records).values()) == {"connected"}
    assert len(found.records) == 12
    assert len(hosts[0].handles) == connections
    assert max(handle.most for handle in hosts[0].handles) <= most
    assert sum(handle.most for handle in hosts[0].handles) <= concurrency
    assert all(handle.closed for handle in hosts[0].handles)


def test_a_second_connection_that_fails_costs_only_speed(hosts: tuple[Hypervisor, Hypervisor]) -> None:
    hosts[0].domains = [_domain(number) for number in range(1, 9)]
    hosts[0].raises["open 2"] = Error(38, "too many connections")
    found = gather([A], PLAN)
    assert set(_statuses(found.records).values()) == {"connected"}
    assert (len(found.records), found.failures) == (8, {})


def test_a_selection_that_cannot_be_applied_is_the_users_error(hosts: tuple[Hypervisor, Hypervisor]) -> None:
    hosts[0].domains = [_domain(1)]

    def select(_record: Record) -> bool:
        raise _errors.InvalidInput("include cannot be applied")

    with pytest.raises(_errors.InvalidInput):
        gather([A], PLAN._replace(select=select))
    assert all(handle.closed for handle in hosts[0].handles)


def test_a_bug_of_ours_is_not_hidden(hosts: tuple[Hypervisor, Hypervisor]) -> None:
    hosts[0].domains = [_domain(1)]
    with pytest.raises(ZeroDivisionError):
        gather([A], PLAN._replace(select=lambda record: bool(1 / 0)))


X, Y = "10.0.0.5", "10.0.0.6"
KNOWN = [
    # what the agent says, leases, ARP, sources, the candidates, which are asked
    ([X], {}, {}, ("agent", "lease", "arp"), [(X, "agent")], []),
    (None, {MAC.format(1): [Y]}, {}, ("agent", "lease", "arp"), [(Y, "lease")], ["interfaceAddresses 0"]),
    (None, {}, {MAC.format(1): [Y]}, ("agent", "lease", "arp"), [(Y, "arp")], ["interfaceAddresses 0", "interfaceAddresses 2"]),
    (None, {MAC.format(1): [Y]}, {}, ("agent", "arp"), [], ["interfaceAddresses 2"]),
    # A lease outlives what it was given for, which the guest itself knows best.
    ([], {MAC.format(1): [Y]}, {}, ("agent", "lease"), [], ["interfaceAddresses 0"]),
    ([], {MAC.format(1): [Y]}, {}, ("lease",), [(Y, "lease")], ["interfaceAddresses 0"]),
    ([], {MAC.format(9): [Y]}, {}, ("agent", "lease"), [(Y, "lease")], ["interfaceAddresses 0"]),
    ([], {MAC.format(1): [Y]}, {}, ("agent",), [], []),
    (
        ["169.254.0.1"],
        {MAC.format(1): [Y]},
        {},
        ("lease", "agent"),
        [("169.254.0.1", "agent")],
        ["interfaceAddresses 0"],
    ),
]


@pytest.mark.parametrize(("says", "leases", "arps", "sources", "candidates", "asked"), KNOWN)
def test_the_hypervisor_is_asked_where_the_agent_knows_no_address(
    hosts: tuple[Hypervisor, Hypervisor], says: list | None, leases: dict, arps: dict, sources: tuple, candidates: list, asked: list
) -> None:
    domain = _domain(1, *(says or []))
    if says is None and domain.guest:
        domain.guest.blocked.add("guest-network-get-interfaces")
    domain.known = {0: leases, 2: arps}
    hosts[0].domains = [domain]
    record = gather([A], PLAN._replace(policy=AddressPolicy(sources=sources))).records[0]
    assert _addresses([record]) == {"d01": candidates}
    assert [what for what in domain.did if "Addresses" in what] == asked
    assert {c["network"] for c in record["addresses"] if c["mac"] == MAC.format(1)} <= {"default"}


def test_a_lease_that_cannot_be_read_costs_only_itself(hosts: tuple[Hypervisor, Hypervisor]) -> None:
    domain = _domain(1)
    domain.known = {2: {MAC.format(9): [Y]}}
    domain.raises["interfaceAddresses 0"] = Error(3, "not supported")
    hosts[0].domains = [domain]
    assert _addresses(gather([A], PLAN).records) == {"d01": [(Y, "arp")]}


def test_a_contested_address_is_confirmed(hosts: tuple[Hypervisor, Hypervisor], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(hosts[0], "happen", asked.append)
    owner, thief, other = _domain(1, X), _domain(2, X), _domain(3, Y)
    owner.known = {0: {MAC.format(1): [X]}}
    thief.raises["interfaceAddresses 0"] = Error(3, "not supported")
    hosts[0].domains, hosts[1].domains = [owner, other], [thief]
    found = gather([A, B], PLAN)
    assert _addresses(found.records) == {
        "d01": [(X, "agent"), (X, "lease")],
        "d02": [(X, "agent")],
        "d03": [(Y, "agent")],
    }
    assert not [what for what in other.did if "Addresses" in what]
    assert "lookup" not in asked  # each is a round trip, and the domains are known


@pytest.mark.parametrize("hanging", [1, 5], ids=["a lane hangs", "every lane hangs"])
def test_after_the_deadline_nothing_is_confirmed(hosts: tuple[Hypervisor, Hypervisor], hanging: int) -> None:
    hosts[0].domains = [_domain(1, X), _domain(2, X), *(_domain(number) for number in range(3, 3 + hanging))]
    for domain in hosts[0].domains[2:]:
        domain.hangs.add("agent")
        domain.pause = 1  # so that their agents are asked when the first two have been
    started = time.monotonic()
    found = gather([A], PLAN._replace(agent_timeout=30, timeout=15, concurrency=5))
    assert time.monotonic() - started < 30
    assert _statuses(found.records)["d01"] == _statuses(found.records)["d02"] == "connected"
    assert not [what for domain in hosts[0].domains[:2] for what in domain.did if "Addresses" in what]


def test_the_confirmation_has_only_the_time_that_is_left(hosts: tuple[Hypervisor, Hypervisor]) -> None:
    owner, thief, slow = _domain(1, X), _domain(2, X), _domain(3)
    slow.pause = 0.3  # for each of its five requests
    for domain in (owner, thief):
        domain.hangs.add("interfaceAddresses 0")
    hosts[0].domains = [owner, thief, slow]
    started = time.monotonic()
    found = gather([A], PLAN._replace(timeout=3, policy=AddressPolicy(sources=("agent",))))
    assert time.monotonic() - started < 10
    assert set(_statuses(found.records).values()) == {"connected"}
    assert _addresses(found.records)["d01"] == [(X, "agent")]
