# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""start from its arguments to its result, over libvirt and a guest in memory."""

from __future__ import annotations

import threading
import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils._deadline import Deadline
from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import HypervisorUnreachable
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import start as start_, wait_for_guest
from ansible_collections.virtops.guest_agent.plugins.modules import start
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import OFF, Domain, Error, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run
from ansible_collections.virtops.guest_agent.tests.unit.power import Restart, hurry

#: libvirt's numbers of states
RUNNING, BLOCKED, PAUSED, GOING_OFF, CRASHED, SUSPENDED = 1, 2, 3, 4, 6, 7
BY_USER, IO_ERROR, SNAPSHOT_REVERTED = 1, 5, 7
NEW = samples.domain_xml("new", 9)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr(wait_for_guest, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(wait_for_guest, "_AFTER_EVENT", 0.01)


STARTS = [
    # arguments, the domain's state and the reason for it, method, outcome, changed, what was asked for it
    ({}, OFF, 0, "started", "running", True, ["create"]),
    ({"wait": False}, OFF, 0, "started", "running", True, ["create"]),
    ({"check": True}, OFF, 0, "started", "requested", True, []),
    ({}, RUNNING, 0, "none", "running", False, []),
    ({}, BLOCKED, 0, "none", "running", False, []),
    ({"check": True}, RUNNING, 0, "none", "running", False, []),
    ({}, PAUSED, BY_USER, "resumed", "running", True, ["resume"]),
    ({}, PAUSED, SNAPSHOT_REVERTED, "resumed", "running", True, ["resume"]),
    ({"check": True}, PAUSED, BY_USER, "resumed", "requested", True, []),
    ({}, PAUSED, IO_ERROR, None, None, False, []),
    ({"check": True}, PAUSED, IO_ERROR, None, None, False, []),
    ({}, SUSPENDED, 0, "woken", "running", True, ["pMWakeup 0"]),
    ({"wait": False}, SUSPENDED, 0, "woken", "running", True, ["pMWakeup 0"]),
    ({}, CRASHED, 0, None, None, False, []),
    ({"timeout": 0}, RUNNING, 0, None, None, False, []),
]


@pytest.mark.parametrize(("arguments", "state", "reason", "method", "outcome", "changed", "asked"), STARTS)
def test_start(
    domain: Domain, run: Run, arguments: dict, state: int, reason: int, method: t.Any, outcome: t.Any, changed: bool, asked: list
) -> None:
    domain.current, domain.reason = state, reason
    result = run(start, diff=True, **arguments)
    assert (result.get("method"), result.get("outcome"), result["changed"]) == (method, outcome, changed)
    assert result.get("failed", False) is (method is None)
    assert domain.asked() == asked
    if method:
        seen = not arguments
        assert (result["agent"], bool(result["boot_id"])) == ((True, False) if seen else (None, False))
    if changed:
        assert result["diff"]["after"] == {"state": "running"}


def test_the_boot_is_told(domain: Domain, run: Run) -> None:
    domain.boot()
    assert run(start)["boot_id"] == samples.uuid(1)


@pytest.mark.parametrize(
    ("state", "reason", "detail", "hint"),
    [
        (PAUSED, IO_ERROR, "paused by an I/O error, and is not resumed", "put that right"),
        (PAUSED, 99, "paused by reason 99", "put that right"),
        (CRASHED, 0, "the domain is crashed and cannot be started", "virtops.guest_agent.shutdown with force_after=0"),
    ],
)
def test_a_domain_that_is_not_switched_on(domain: Domain, run: Run, state: int, reason: int, detail: str, hint: str) -> None:
    domain.current, domain.reason = state, reason
    failure = run(start)["failure"]
    assert failure["kind"] == "domain_not_running"
    assert detail in failure["detail"]
    assert hint in failure["hint"]


def test_a_domain_on_its_way_off_is_started_when_it_is_off(domain: Domain, run: Run) -> None:
    domain.current = GOING_OFF
    domain.obeys = True
    off = threading.Timer(0.3, domain._go_off)
    off.start()
    result = run(start)
    off.join()
    assert (result["method"], result["changed"]) == ("started", True)
    assert domain.asked() == ["create"]


def test_a_link_that_is_cut_at_each_start_costs_its_time() -> None:
    clock, starts = FakeClock(), []

    class Cut:
        def start(self, _seconds: float) -> None:
            starts.append(clock.monotonic())
            assert len(starts) < 1000, "it is tried without end"
            raise HypervisorUnreachable("the link is cut")

        def state(self) -> str:
            return "shut off"

    with pytest.raises(HypervisorUnreachable):
        start_.switch_on(t.cast("t.Any", Cut()), "started", t.cast("t.Any", None), Deadline(10, clock))
    assert starts[-1] - starts[0] == pytest.approx(10)


def test_an_agent_that_comes_later_is_waited_for(guest: FakeGuest, domain: Domain, run: Run) -> None:
    domain.current = OFF
    domain.text = samples.domain_xml(channel="disconnected")

    def come() -> None:
        domain.text = samples.domain_xml(channel="connected")
        domain.tell(18, 1, 0)

    comes = threading.Timer(0.3, come)
    comes.start()
    result = run(start, timeout=60)
    comes.join()
    assert (result["agent"], result["outcome"]) == (True, "running")


def test_a_restart_of_libvirtd_is_waited_out(host: Hypervisor, domain: Domain, run: Run) -> None:
    domain.current = OFF
    restarted = Restart(host, domain, "create")
    result = run(start, timeout=60)
    assert (result["method"], result["agent"]) == ("started", True)
    assert restarted.over


def test_a_start_that_goes_on_after_a_restart_of_libvirtd_is_waited_for(host: Hypervisor, domain: Domain, run: Run) -> None:
    """libvirt refuses another one until then."""
    domain.current = OFF
    restarted = Restart(host, domain, "create")
    plain, refused = domain._do, []

    def do(what: str) -> None:
        if restarted.over and what == "create" and not refused:
            refused.append(what)
            domain.current = RUNNING
            raise Error(1, "internal error: domain is already being started")
        plain(what)

    domain._do = do  # type: ignore[method-assign]
    result = run(start, timeout=60)
    assert (result["method"], result["agent"], refused) == ("started", True, ["create"])


def test_an_agent_that_does_not_come(domain: Domain, run: Run) -> None:
    domain.current = OFF
    domain.text = samples.domain_xml(channel="disconnected")
    result = run(start, timeout=1)
    assert (result["failure"]["kind"], result["agent"], result["method"], result["changed"]) == (
        "not_ready",
        False,
        "started",
        True,
    )
    assert "outcome" not in result
    assert "no agent in the guest listens" in result["msg"]


def test_an_agent_that_does_not_answer_in_a_domain_that_ran(guest: FakeGuest, run: Run) -> None:
    guest.silent.add("guest-ping")
    result = run(start, timeout=1)
    assert (result["failure"]["kind"], result["changed"]) == ("not_ready", False)


def test_a_domain_without_a_channel_is_not_waited_for(domain: Domain, run: Run) -> None:
    domain.current = OFF
    domain.text = samples.domain_xml(channel=None)
    result = run(start, timeout=60)
    assert (result["outcome"], result["agent"], result["changed"]) == ("running", False, True)
    assert "no guest agent channel" in result["warned"]


def test_a_domain_that_does_not_stay_on(domain: Domain, run: Run) -> None:
    """It is not waited for until the time is over: it could only be started by hand."""
    domain.current = OFF
    domain.text = samples.domain_xml(channel="disconnected")
    dies = threading.Timer(0.3, domain._go_off)
    dies.start()
    result = run(start, timeout=3000)
    dies.join()
    assert result["failure"]["kind"] == "not_started"
    assert "the domain is shutoff again" in result["msg"]


def test_a_transient_domain_that_does_not_stay_on(domain: Domain, run: Run) -> None:
    domain.flags = 0
    domain.text = samples.domain_xml(channel="disconnected")
    dies = threading.Timer(0.3, domain._go_off)
    dies.start()
    result = run(start, timeout=3000)
    dies.join()
    assert result["failure"]["kind"] == "not_started"
    assert "the domain is gone again" in result["msg"]


def test_what_libvirt_says_of_a_start_that_fails(domain: Domain, run: Run) -> None:
    domain.current = OFF
    domain.raises["create"] = Error(38, "Cannot access storage file '/x'")
    failure = run(start)["failure"]
    assert (failure["kind"], "Cannot access storage file" in failure["detail"]) == ("libvirt_error", True)


def test_another_client_was_faster(domain: Domain, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    domain.current = OFF

    def create() -> int:
        domain.current = RUNNING
        raise Error(55, "Requested operation is not valid: domain is already running")

    monkeypatch.setattr(domain, "create", create)
    result = run(start)
    assert (result["method"], result["changed"], result["outcome"]) == ("none", False, "running")


def test_no_such_domain(host: Hypervisor, run: Run) -> None:
    host.domains.clear()
    assert run(start)["failure"]["kind"] == "domain_not_found"


def test_a_domain_that_does_not_exist_is_created(host: Hypervisor, run: Run) -> None:
    host.creates[NEW] = Domain("new", 9, guest=FakeGuest())
    would = run(start, domain="new", xml=NEW, check=True, diff=True)
    assert (would["outcome"], would["diff"]) == ("requested", {"before": {"state": "absent"}, "after": {"state": "running"}})
    assert len(host.domains) == 1
    done = run(start, domain="new", xml=NEW)
    assert (done["method"], done["outcome"], done["agent"], done["changed"]) == ("created", "running", True, True)
    again = run(start, domain="new", xml=NEW)
    assert (again["method"], again["changed"]) == ("none", False)


def test_a_type_that_the_hypervisor_does_not_run_is_known_in_check_mode(host: Hypervisor, run: Run) -> None:
    host.raises["getDomainCapabilities kvm"] = Error(8, "invalid argument: KVM is not supported by '/usr/bin/qemu' on this host")
    failure = run(start, domain="new", xml=NEW, check=True)["failure"]
    assert (failure["kind"], failure["domain"]) == ("libvirt_error", "new")
    assert "KVM is not supported" in failure["detail"]


def test_a_domain_that_libvirt_does_not_create(host: Hypervisor, run: Run) -> None:
    host.raises["createXML"] = Error(1, "internal error: process exited while connecting to monitor")
    assert run(start, domain="new", xml=NEW)["failure"]["kind"] == "libvirt_error"


@pytest.mark.parametrize(("xml", "word"), [("<domain>", "not a domain's XML"), (samples.domain_xml("other", 8), "another name")])
def test_xml_that_is_not_this_domains(host: Hypervisor, run: Run, xml: str, word: str) -> None:
    failure = run(start, domain="new", xml=xml)["failure"]
    assert (failure["kind"], word in failure["detail"]) == ("invalid_input", True)
