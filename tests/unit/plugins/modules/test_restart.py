# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""restart from its arguments to its result, over libvirt and a guest in memory."""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import events
from ansible_collections.virtops.guest_agent.plugins.modules import restart
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import (
    NOT_FOUND as _NOT_FOUND,
    Domain,
    Hypervisor,
)
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run
from ansible_collections.virtops.guest_agent.tests.unit.power import NO_FILES, Restart, hurry, sleeper


@pytest.fixture
def domains() -> list[Domain]:
    return [sleeper()]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


RESTARTS = [
    # arguments, blocked commands, the domain's state, method, proof, what was asked for it
    ({}, (), 1, "agent", "boot_id", ["guest-shutdown"]),
    ({"mode": "agent"}, (), 1, "agent", "boot_id", ["guest-shutdown"]),
    ({"mode": "acpi"}, (), 1, "acpi", "boot_id", ["reboot 1"]),
    ({}, ("guest-shutdown",), 1, "acpi", "boot_id", ["reboot 1"]),
    ({"mode": "agent"}, ("guest-shutdown",), 1, None, None, []),
    ({}, NO_FILES, 1, "agent", "events", ["guest-shutdown"]),
    ({"check": True}, (), 1, "agent", None, []),
    ({"wait": False}, (), 1, "agent", None, ["guest-shutdown"]),
    ({}, (), 5, None, None, []),
    ({}, (), 3, None, None, []),
    ({}, (), 7, None, None, []),
    ({"mode": "acpi"}, (), 5, None, None, []),
    ({"mode": "acpi"}, (), 7, None, None, []),
    ({"force_after": 5, "wait": False}, (), 1, None, None, []),
    ({"force_after": 5, "timeout": 5}, (), 1, None, None, []),
]


@pytest.mark.parametrize(("arguments", "block", "state", "method", "proof", "asked"), RESTARTS)
def test_restart(
    domain: Domain, guest: FakeGuest, run: Run, arguments: dict, block: tuple, state: int, method: t.Any, proof: t.Any, asked: list
) -> None:
    guest.blocked |= set(block)
    domain.current = state
    result = run(restart, diff=True, **arguments)
    assert (result.get("method"), result.get("proof")) == (method, proof)
    assert result.get("failed", False) is (method is None)
    assert domain.asked() == asked
    assert result["changed"] is (method is not None)
    if proof == "boot_id":
        assert (result["boot_id_before"], result["boot_id"]) == (samples.uuid(1), samples.uuid(2))
        assert result["diff"] == {"before": {"boot": samples.uuid(1)}, "after": {"boot": samples.uuid(2)}}
        assert (result["outcome"], result["seconds"] >= 0) == ("restarted", True)
    elif method:
        assert result["outcome"] == ("restarted" if proof else "requested")
    assert guest.open_handles == 0


def test_a_restart_of_libvirtd_is_waited_out(host: Hypervisor, domain: Domain, run: Run) -> None:
    restarted = Restart(host, domain, "guest-shutdown")
    assert run(restart, timeout=60)["proof"] == "boot_id"
    assert restarted.over


def test_a_frozen_guest_is_not_restarted(domain: Domain, guest: FakeGuest, run: Run) -> None:
    guest.frozen = True
    assert run(restart)["failure"]["kind"] == "guest_frozen"
    assert domain.asked() == []


@pytest.mark.parametrize(("frozen", "block"), [(True, ()), (False, ("guest-shutdown",))])
def test_a_guest_that_cannot_be_asked_is_reset_where_that_was_said(
    domain: Domain, guest: FakeGuest, run: Run, frozen: bool, block: tuple[str, ...]
) -> None:
    guest.frozen = frozen
    guest.blocked |= set(block)
    told = {"mode": "agent", "force_after": 0, "timeout": 20}
    assert run(restart, check=True, **told)["method"] == "forced"
    assert domain.asked() == []
    assert (run(restart, **told)["method"], domain.asked()) == ("forced", ["reset 0"])


def test_a_silent_agent_gives_way_to_the_power_button(
    domain: Domain, guest: FakeGuest, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = ["guest-ping", "guest-ping"]  # until it has been restarted

    def be_late(command: str) -> None:
        if command == "guest-info" or (command in deaf and not deaf.remove(command)):  # type: ignore[func-returns-value]
            raise _errors.AgentTimeout("the agent did not answer in time")

    monkeypatch.setattr(guest, "_be_late", be_late)
    assert run(restart, mode="agent", agent_timeout=1)["failure"]["kind"] == "agent_timeout"
    assert domain.asked() == []
    assert run(restart, agent_timeout=1)["method"] == "acpi"


def test_without_an_agent_the_reset_is_the_proof(host: Hypervisor, run: Run) -> None:
    host.domains = [Domain(guest=FakeGuest(), channel=None)]
    result = run(restart)
    assert (result["method"], result["proof"], result["boot_id"]) == ("acpi", "events", None)
    assert host.domains[0].guest
    assert host.domains[0].guest.sent == []


def test_a_guest_that_never_goes_down(domain: Domain, run: Run) -> None:
    domain.obeys = False
    result = run(restart, timeout=1)
    assert (result["failure"]["kind"], result["changed"]) == ("not_restarted", False)
    assert "did not go down within 1 s" in result["msg"]
    assert domain.asked() == ["guest-shutdown"]


def test_a_guest_that_never_goes_down_is_reset(domain: Domain, run: Run) -> None:
    domain.obeys = False
    result = run(restart, timeout=20, force_after=0)
    assert (result["method"], result["proof"]) == ("forced", "boot_id")
    assert domain.asked() == ["guest-shutdown", "reset 0"]


def test_a_guest_that_went_down_in_time_is_not_reset(domain: Domain, guest: FakeGuest, run: Run) -> None:
    domain.boot()
    guest.on_reboot = lambda: domain.tell(1)  # it is down, and comes up slowly: with the old boot id for ever, here
    result = run(restart, timeout=2, force_after=1)
    assert result["failure"]["kind"] == "not_back"
    assert "its boot id has not changed" in result["msg"]
    assert "reset 0" not in domain.did


def test_an_agent_that_never_comes_back(domain: Domain, guest: FakeGuest, run: Run) -> None:
    def go_down() -> None:
        domain.boot()
        guest.silent.add("guest-ping")

    guest.on_reboot = go_down
    result = run(restart, timeout=1)
    assert result["failure"]["kind"] == "not_back"
    assert "the agent did not answer in time" in result["msg"]


def test_a_restarted_agent_is_no_restarted_guest(domain: Domain, guest: FakeGuest, run: Run) -> None:
    """Its guest may tell no boot id; the agent goes and comes back, and libvirt sees no reset."""
    guest.blocked |= set(NO_FILES)

    def restart_agent() -> None:
        domain.tell(events.AGENT, 2, 0)
        domain.tell(events.AGENT, 1, 0)

    guest.on_reboot = restart_agent
    assert run(restart, timeout=1)["failure"]["kind"] == "not_restarted"


@pytest.mark.parametrize(("state", "word"), [(5, "shutoff"), (6, "crashed"), (7, "pmsuspended"), (None, "gone")])
def test_a_domain_that_goes_off_instead(
    host: Hypervisor, domain: Domain, guest: FakeGuest, run: Run, state: int | None, word: str
) -> None:
    def go() -> None:
        if state is None:
            host.domains.clear()
            domain.raises["state"] = _NOT_FOUND
        else:
            domain.current = state

    guest.on_reboot = go
    failure = run(restart)["failure"]
    assert (failure["kind"], failure["detail"]) == ("not_restarted", f"the domain is {word} instead of restarted")


@pytest.mark.parametrize("error", [_errors.AgentTimeout("x"), _errors.ProtocolError("half a reply")])
def test_after_an_unknown_outcome_no_button_is_pressed(
    domain: Domain, guest: FakeGuest, run: Run, error: _errors.GuestAgentError
) -> None:
    def go() -> None:
        domain.boot()
        raise error

    guest.on_reboot = go
    assert run(restart)["proof"] == "boot_id"
    assert domain.asked() == ["guest-shutdown"]
