# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""shutdown from its arguments to its result, over libvirt and guests in memory."""

from __future__ import annotations

import threading
import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.modules import shutdown
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run
from ansible_collections.virtops.guest_agent.tests.unit.power import Restart, hurry


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


SHUTDOWNS = [
    # arguments, blocked commands, the domain's state, method, outcome, what was asked for it
    ({}, (), 1, "agent", "off", ["guest-shutdown"]),
    ({"mode": "acpi"}, (), 1, "acpi", "off", ["shutdownFlags 1"]),
    ({"mode": "agent"}, (), 1, "agent", "off", ["guest-shutdown"]),
    ({}, ("guest-shutdown",), 1, "acpi", "off", ["shutdownFlags 1"]),
    ({"mode": "agent"}, ("guest-shutdown",), 1, None, None, []),
    ({"wait": False}, (), 1, "agent", "requested", ["guest-shutdown"]),
    ({"check": True}, (), 1, "agent", "requested", []),
    ({}, (), 5, "none", "off", []),
    ({}, (), 3, None, None, []),
    ({"check": True}, (), 3, None, None, []),
    ({"force_after": -1}, (), 1, None, None, []),
    ({"force_after": 1, "wait": False}, (), 1, None, None, []),
    ({"force_after": 5, "timeout": 5}, (), 1, None, None, []),
]


@pytest.mark.parametrize(("arguments", "block", "state", "method", "outcome", "told"), SHUTDOWNS)
def test_shutdown(
    host: Hypervisor,
    guest: FakeGuest,
    run: Run,
    arguments: dict,
    block: tuple,
    state: int,
    method: t.Any,
    outcome: t.Any,
    told: list,
) -> None:
    guest.blocked |= set(block)
    host.domains[0].current = state
    domain = host.domains[0]
    result = run(shutdown, **arguments)
    assert (result.get("method"), result.get("outcome")) == (method, outcome)
    assert result.get("failed", False) is (method is None)
    asked = [what for what in [*guest.sent, *domain.did] if what.startswith(("guest-shutdown", "shutdown", "destroy"))]
    assert asked == told
    if method:
        assert result["changed"] is (state != 5)


def test_a_restart_of_libvirtd_is_waited_out(host: Hypervisor, run: Run) -> None:
    restarted = Restart(host, host.domains[0], "guest-shutdown")
    assert run(shutdown, timeout=60)["outcome"] == "off"
    assert restarted.over


def test_a_transient_domain_is_gone(host: Hypervisor, run: Run) -> None:
    host.domains[0].flags = 0
    result = run(shutdown)
    assert (result["outcome"], result["changed"]) == ("gone", True)


@pytest.mark.parametrize(("state", "method", "before"), [(1, "agent", "running"), (5, "none", "off")])
def test_a_domain_is_undefined_where_that_was_said(host: Hypervisor, run: Run, state: int, method: str, before: str) -> None:
    domain = host.domains[0]
    domain.current = state
    would = run(shutdown, undefine=True, check=True, diff=True)
    assert (would["outcome"], would["diff"]) == ("requested", {"before": {"state": before}, "after": {"state": "gone"}})
    assert not domain.gone
    result = run(shutdown, undefine=True, diff=True)
    assert (result["outcome"], result["method"], result["diff"]) == ("gone", method, would["diff"])
    assert [what for what in domain.did if what.startswith("undefine")] == ["undefineFlags 27"]


def test_a_transient_domain_needs_not_be_undefined(host: Hypervisor, run: Run) -> None:
    host.domains[0].flags = 0
    assert run(shutdown, undefine=True)["outcome"] == "gone"
    assert "undefineFlags 27" not in host.domains[0].did


def test_nothing_is_undefined_that_is_not_waited_for(host: Hypervisor, run: Run) -> None:
    assert run(shutdown, undefine=True, wait=False)["failure"]["kind"] == "invalid_input"


def test_a_frozen_guest_is_not_shut_down_behind_its_back(guest: FakeGuest, run: Run) -> None:
    guest.frozen = True
    assert run(shutdown)["failure"]["kind"] == "guest_frozen"


def test_a_paused_guest_cannot_shut_down(host: Hypervisor, run: Run) -> None:
    host.domains[0].current = 3
    result = run(shutdown)
    assert "the domain is paused and cannot shut down" in result["msg"]
    assert "resume" in result["failure"]["hint"]


@pytest.mark.parametrize(("state", "block"), [(3, ()), (6, ()), (1, ("guest-shutdown",))])
def test_a_guest_that_cannot_be_asked_is_destroyed_where_that_was_said(
    host: Hypervisor, guest: FakeGuest, run: Run, state: int, block: tuple[str, ...]
) -> None:
    host.domains[0].current = state
    guest.blocked |= set(block)
    told = {"mode": "agent", "force_after": 1, "timeout": 30}
    assert run(shutdown, check=True, **told)["method"] == "forced"
    result = run(shutdown, **told)
    assert (result["method"], result["outcome"], result["changed"]) == ("forced", "off", True)
    assert result["seconds"] >= 1


def test_a_paused_guest_is_asked_when_it_is_resumed(host: Hypervisor, run: Run) -> None:
    domain = host.domains[0]
    domain.current = 3
    resumed = threading.Timer(0.3, lambda: setattr(domain, "current", 1))
    resumed.start()
    result = run(shutdown, force_after=20, timeout=30)
    resumed.join()
    assert (result["method"], result["outcome"]) == ("agent", "off")
    assert "destroy" not in domain.did


def test_a_frozen_guest_is_asked_when_it_is_thawed(host: Hypervisor, guest: FakeGuest, run: Run) -> None:
    guest.frozen = True
    thawed = threading.Timer(0.3, lambda: setattr(guest, "frozen", False))
    thawed.start()
    result = run(shutdown, force_after=20, timeout=30)
    thawed.join()
    assert (result["method"], result["outcome"]) == ("agent", "off")


@pytest.mark.parametrize(("mode", "method"), [("auto", "agent"), ("acpi", "acpi")])
def test_a_guest_that_sleeps_is_woken_to_shut_down(host: Hypervisor, run: Run, mode: str, method: str) -> None:
    domain = host.domains[0]
    domain.current = 7
    assert run(shutdown, mode=mode, check=True)["method"] == method
    assert domain.current == 7
    result = run(shutdown, mode=mode)
    assert (result["method"], result["outcome"]) == (method, "off")


def test_a_guest_that_sleeps_and_whose_agent_does_not_wake_up(host: Hypervisor, guest: FakeGuest, run: Run) -> None:
    domain = host.domains[0]
    domain.current = 7
    guest.silent = {"guest-ping"}
    assert run(shutdown, mode="agent", timeout=1)["failure"]["kind"] == "not_back"
    assert "guest-shutdown" not in guest.sent


def test_a_domain_that_is_gone_already_is_gone(host: Hypervisor, run: Run) -> None:
    host.domains.clear()
    result = run(shutdown)
    assert (result["outcome"], result["method"], result["changed"]) == ("gone", "none", False)
    assert "There is nothing to shut down" in result["warned"]


def test_a_guest_that_stays_on(host: Hypervisor, run: Run) -> None:
    host.domains[0].obeys = False
    assert run(shutdown, timeout=1)["failure"]["kind"] == "still_on"
    assert "destroy" not in host.domains[0].did
    result = run(shutdown, timeout=30, force_after=0)
    assert (result["method"], result["outcome"]) == ("forced", "off")


@pytest.mark.parametrize(
    ("error", "mode", "method"),
    [
        (_errors.AgentTimeout("no reply"), "auto", "agent"),
        (_errors.AgentDisappeared("gone"), "agent", "agent"),
        (_errors.CommandFailed("no /sbin/shutdown"), "auto", "acpi"),
        (_errors.CommandFailed("no /sbin/shutdown"), "agent", None),
        (_errors.AgentDisconnected("nobody listens"), "auto", "acpi"),
        (_errors.AgentDisconnected("nobody listens"), "agent", None),
    ],
)
def test_what_the_request_may_end_in(
    host: Hypervisor, guest: FakeGuest, run: Run, error: _errors.GuestAgentError, mode: str, method: str | None
) -> None:
    ended = guest.on_shutdown

    def asked() -> None:
        if isinstance(error, _errors.UnknownOutcome):
            ended()
        raise error

    guest.on_shutdown = asked
    result = run(shutdown, mode=mode)
    assert result.get("method") == method
    assert result.get("failed", False) is (method is None)


@pytest.mark.parametrize("mode", ["auto", "agent"])
def test_an_agent_that_answers_a_shutdown_has_been_asked(host: Hypervisor, guest: FakeGuest, run: Run, mode: str) -> None:
    guest.replies["guest-shutdown"] = {}
    result = run(shutdown, mode=mode, wait=False)
    assert (result.get("method"), result.get("outcome")) == ("agent", "requested")
    assert "shutdownFlags 1" not in host.domains[0].did


@pytest.mark.parametrize("mode", ["auto", "agent"])
@pytest.mark.parametrize("obeys", [True, False])
def test_after_an_unreadable_reply_the_outcome_is_unknown_and_no_button_is_pressed(
    host: Hypervisor, guest: FakeGuest, run: Run, mode: str, obeys: bool
) -> None:
    host.domains[0].obeys = obeys
    ended = guest.on_shutdown

    def asked() -> None:
        ended()
        raise _errors.ProtocolError("half a reply")

    guest.on_shutdown = asked
    result = run(shutdown, mode=mode, timeout=1)
    assert "shutdownFlags 1" not in host.domains[0].did
    if obeys:
        assert (result["method"], result["outcome"]) == ("agent", "off")
    else:
        assert result["failure"]["kind"] == "still_on"
