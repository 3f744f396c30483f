# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection: what libvirt says becomes data or one of our errors, in time."""

from __future__ import annotations

import contextlib
import time
import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.protocol import Request
from ansible_collections.virtops.guest_agent.plugins.module_utils._deadline import Deadline
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import hypervisor as _hypervisor
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import (
    AUTOSTART,
    PERSISTENT,
    Domain,
    Error,
    Hypervisor,
    hosting,
    let_go,
)

REQUEST = Request("guest-ping", 5, '{"execute": "guest-ping", "id": 5}')


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Hypervisor]:
    monkeypatch.setattr(_hypervisor, "_GRACE_SECONDS", -0.9)
    with hosting(monkeypatch, Domain(guest=FakeGuest()), Domain("db", 2, state=5)) as hypervisor:
        yield hypervisor


def _connect(timeout: float = 5) -> _hypervisor.Connection:
    return _hypervisor.connect(samples.URI, timeout)


def test_listing(host: Hypervisor) -> None:
    host.domains += [Domain("x", 3, state=3), Domain("y", 4, state=99), Domain("z", 5, state=7)]
    host.domains[0].flags = PERSISTENT | AUTOSTART
    host.domains[2].flags = 0
    connection = _connect()
    found = [(s.domain.name, s.domain.uuid, s.state, s.persistent, s.autostart) for s in connection.list_domains()]
    assert found == [
        ("web", samples.uuid(1), "running", True, True),
        ("db", samples.uuid(2), "shutoff", True, False),
        ("x", samples.uuid(3), "paused", False, False),
        ("y", samples.uuid(4), "nostate", True, False),
        ("z", samples.uuid(5), "pmsuspended", True, False),
    ]
    assert connection.hostname() == "kvm1"
    assert set(connection.domains()) == {samples.uuid(number) for number in range(1, 6)}
    connection.close()
    assert host.handles[0].closed


def test_a_domain(host: Hypervisor) -> None:
    domain = _connect().domain("web")
    assert domain.xml() == samples.domain_xml()
    assert domain.state() == "running"
    assert domain.persistent() is True
    assert '"id": 5' in domain.exchange(REQUEST, 10)
    host.domains[0].obeys = False
    domain.press_power_button()
    domain.destroy()
    assert host.domains[0].did[-2:] == ["shutdownFlags 1", "destroy"]


def test_a_reply_that_is_no_text(host: Hypervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    class Qemu:
        @staticmethod
        def qemuAgentCommand(*_given: object) -> str:
            raise SystemError("returned a result with an exception set")

    domain = _connect().domain("web")
    monkeypatch.setattr(_hypervisor, "libvirt_qemu", Qemu)
    with pytest.raises(_errors.ProtocolError, match="not UTF-8"):
        domain.exchange(REQUEST, 10)


@pytest.mark.parametrize("uri", [None, "", samples.URI])
def test_libvirts_own_default_gets_its_name(host: Hypervisor, uri: str | None) -> None:
    assert _hypervisor.connect(uri, 5).uri == samples.URI


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("db", 2),
        (samples.uuid(2), 2),
        (samples.uuid(1), 1),
        ("none", None),
        (samples.uuid(9), None),
        ("00000002", None),
    ],
)
def test_looking_up(host: Hypervisor, text: str, found: int | None) -> None:
    if found is None:
        with pytest.raises(_errors.DomainNotFound, match="no domain of this name or UUID"):
            _connect().domain(text)
    else:
        assert _connect().domain(text).uuid == samples.uuid(found)


def test_a_name_that_is_a_uuid_is_a_name_first(host: Hypervisor) -> None:
    host.domains.append(Domain(samples.uuid(1), 7))
    assert _connect().domain(samples.uuid(1)).uuid == samples.uuid(7)


def test_addresses(host: Hypervisor) -> None:
    host.domains[0].known = {0: {"52:54:00:aa:00:01": ["10.0.0.5"], "52:54:00:aa:00:02": []}}
    domain = _connect().domain("web")
    assert domain.addresses("lease") == {
        "52:54:00:aa:00:01": [{"address": "10.0.0.5", "prefix": 24}],
        "52:54:00:aa:00:02": [],
    }
    assert domain.addresses("arp") == {}
    assert host.domains[0].did[-2:] == ["interfaceAddresses 0", "interfaceAddresses 2"]


def test_no_addresses_at_all(host: Hypervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.domains[0], "interfaceAddresses", lambda source, flags: None)
    assert _connect().domain("web").addresses("lease") == {}
    monkeypatch.setattr(host.domains[0], "interfaceAddresses", lambda source, flags: {"x": {"hwaddr": None, "addrs": None}})
    assert _connect().domain("web").addresses("lease") == {"": []}


CONNECTING = [
    (
        "open",
        Error(38, "Failed to connect\nsocket\x1b"),
        _errors.HypervisorUnreachable,
        "test:///default cannot be reached: Failed to connect",
    ),
    ("getHostname", Error(1, "internal error"), _errors.HypervisorUnreachable, "test:///default cannot be reached: internal error"),
]


@pytest.mark.parametrize(("what", "error", "kind", "words"), CONNECTING)
def test_a_hypervisor_that_fails(host: Hypervisor, what: str, error: Exception, kind: type, words: str) -> None:
    host.raises[what] = error
    with pytest.raises(kind, match=words) as caught:
        _connect().hostname()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", ["open", "getHostname"])
def test_a_hypervisor_that_hangs(host: Hypervisor, what: str) -> None:
    host.hangs.add(what)
    started = time.monotonic()
    with pytest.raises(_errors.HypervisorUnreachable, match=r"libvirt at test:///default did not answer within 1 s"):
        _connect(1).hostname()
    assert time.monotonic() - started < 10


def test_an_agent_that_hangs_costs_its_time(host: Hypervisor) -> None:
    host.domains[0].hangs.add("agent")
    connection = _connect()
    domain = connection.domain("web")
    started = time.monotonic()
    with pytest.raises(_errors.AgentTimeout, match="Domain web: guest-ping: the agent did not answer in time"):
        domain.exchange(REQUEST, 1)
    assert time.monotonic() - started < 10
    assert domain.state() == "running"  # another lane
    connection.close()
    assert not host.handles[0].closed  # a request is still in flight on it
    let_go(host)
    ended = time.monotonic() + 10
    while not host.handles[0].closed and time.monotonic() < ended:
        time.sleep(0.01)
    assert host.handles[0].closed


def test_another_request_that_hangs(host: Hypervisor) -> None:
    host.domains[0].hangs.add("state")
    with pytest.raises(_errors.HypervisorUnreachable, match="did not answer within") as caught:
        _connect(1).domain("web").state()
    assert caught.value.domain == "web"


REQUESTS: list[tuple[str, t.Callable[[_hypervisor.Connection], t.Any]]] = [
    ("getHostname", _hypervisor.Connection.hostname),
    ("listAllDomains", _hypervisor.Connection.domains),
    ("getAllDomainStats", _hypervisor.Connection.list_domains),
    ("lookup", lambda connection: connection.domain("web")),
]


@pytest.mark.parametrize(("what", "ask"), REQUESTS)
def test_a_deadline_ends_every_request(host: Hypervisor, what: str, ask: t.Callable[[_hypervisor.Connection], t.Any]) -> None:
    connection = _hypervisor.connect(samples.URI, 5, deadline=Deadline(1))
    host.hangs.add(what)
    started = time.monotonic()
    with pytest.raises(_errors.HypervisorUnreachable, match=r"did not answer within [01]"):
        ask(connection)
    assert time.monotonic() - started < 10


def test_a_deadline_ends_the_opening_too(host: Hypervisor) -> None:
    host.hangs.add("open")
    started = time.monotonic()
    with pytest.raises(_errors.HypervisorUnreachable):
        _hypervisor.connect(samples.URI, 5, deadline=Deadline(0.1))
    assert time.monotonic() - started < 10


def test_a_deadline_gives_no_request_more_than_its_own_time(host: Hypervisor) -> None:
    connection = _hypervisor.connect(samples.URI, 1, deadline=Deadline(60))
    host.hangs.add("getHostname")
    with pytest.raises(_errors.HypervisorUnreachable, match="within 1 s"):
        connection.hostname()


def test_an_agent_command_has_its_own_time_and_no_deadline(host: Hypervisor) -> None:
    """What has been sent to an agent is waited for: to give up early is an unknown outcome, and costs the other commands."""
    clock = FakeClock()
    connection = _hypervisor.connect(samples.URI, 5, deadline=Deadline(10, clock))
    domain = connection.domain("web")
    clock.sleep(60)
    host.domains[0].hangs.add("state")
    with pytest.raises(_errors.HypervisorUnreachable, match="within 0 s"):
        domain.state()
    host.domains[0].pause = 0.02
    assert '"id": 5' in domain.exchange(REQUEST, 5)


@pytest.mark.parametrize(
    ("error", "alive", "agent", "other"),
    [
        (Error(86, "QEMU guest agent is not connected"), True, _errors.AgentDisconnected, _errors.AgentDisconnected),
        (Error(55, "domain is not running"), True, _errors.DomainNotRunning, _errors.DomainNotRunning),
        (Error(42, "Domain not found"), True, _errors.DomainNotFound, _errors.DomainNotFound),
        (Error(1, "internal error: garbage"), True, _errors.ProtocolError, _errors.LibvirtFailure),
        (Error(38, "end of file"), False, _errors.ConnectionLost, _errors.HypervisorUnreachable),
        (Error(38, "cannot write to the agent's channel"), True, _errors.AgentDisappeared, _errors.LibvirtFailure),
        (Error(1, "internal error: End of file from agent socket"), True, _errors.AgentDisappeared, _errors.LibvirtFailure),
        (UnicodeDecodeError("utf-8", b"\xed", 0, 1, "x"), True, _errors.ProtocolError, _errors.ProtocolError),
    ],
)
def test_errors_are_translated(host: Hypervisor, error: Exception, alive: bool, agent: type, other: type) -> None:
    domain = _connect().domain("web")
    host.domains[0].raises = {"agent": error, "state": error}
    host.alive = alive
    for kind, ask in ((agent, lambda: domain.exchange(REQUEST, 10)), (other, domain.state)):
        with pytest.raises(_errors.GuestAgentError) as caught:
            ask()
        assert caught.value.__class__ is kind
        assert caught.value.domain == "web"


def test_a_connection_that_cannot_even_say_whether_it_lives(host: Hypervisor) -> None:
    domain = _connect().domain("web")
    host.domains[0].raises["state"] = Error(38, "x")
    host.raises["isAlive"] = Error(38, "x")
    with pytest.raises(_errors.HypervisorUnreachable, match="was lost"):
        domain.state()


def test_without_libvirt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hypervisor, "LIBVIRT_IMPORT_ERROR", ImportError("no libvirt"))
    with pytest.raises(_errors.InvalidInput, match="no libvirt-python"):
        _hypervisor.connect(None, 1)


def test_lifecycle_events(host: Hypervisor) -> None:
    connection = _hypervisor.connect(samples.URI, 5, events=True)
    watch = connection.domain("web").lifecycle()
    for event in (6, 5, 77):
        host.domains[0].tell(0, event, 0)
    assert [watch.next(1) for _time in range(3)] == ["shutdown", "stopped", "unknown"]
    assert watch.next(0.01) is None
    watch.close()
    assert host.handles[0].callbacks == {}


def test_a_connection_that_is_lost_is_made_anew(host: Hypervisor) -> None:
    connection = _hypervisor.connect(samples.URI, 1)
    domain = connection.domain("web")
    opens = host.opens
    domain.renew(1)
    assert host.opens == opens  # it is not lost
    host.alive = False
    domain.renew(1)
    assert host.opens == opens + 1
    host.alive = True
    assert domain.state() == "running"
    host.raises["lookup"] = Error(42, "no domain")
    with pytest.raises(_errors.DomainNotFound):
        domain.renew(1)


def test_a_connection_that_looks_alive_and_answers_nothing_is_replaced(host: Hypervisor) -> None:
    domain = _hypervisor.connect(samples.URI, 1).domain("web")
    opens = host.opens
    host.hangs.add("lookup")
    for _time in range(7):  # more than there are lanes
        with pytest.raises(_errors.HypervisorUnreachable):
            domain.renew(0.02)
    assert host.opens == opens + 6
    host.hangs.clear()
    domain.renew(1)
    domain.renew(1)
    assert host.opens == opens + 7
    assert domain.state() == "running"


@pytest.mark.parametrize(("number", "off"), [(1, False), (3, False), (5, True), (6, True), (7, False)])
def test_what_does_not_come_back(host: Hypervisor, number: int, off: bool) -> None:
    """Paused and suspended domains do."""
    domain = _hypervisor.connect(samples.URI, 1).domain("web")
    host.domains[0].current = number
    with pytest.raises(_errors.DomainOff) if off else contextlib.nullcontext():
        domain.renew(1)
