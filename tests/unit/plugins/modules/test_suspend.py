# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""suspend from its arguments to its result, over libvirt and a guest in memory."""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import power
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import suspend as _suspend
from ansible_collections.virtops.guest_agent.plugins.modules import suspend
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import (
    NOT_FOUND as _NOT_FOUND,
    Domain,
    Hypervisor,
)
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run
from ansible_collections.virtops.guest_agent.tests.unit.power import NO_FILES, SLEEPS, Restart, hurry, sleeper


@pytest.fixture
def domains() -> list[Domain]:
    return [sleeper()]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


SUSPENDS = [
    # arguments, state before, outcome, changed, state after, what was asked for it
    ({"state": "suspended"}, 1, "suspended", True, 7, ["guest-suspend-ram"]),
    ({"state": "suspended"}, 7, "suspended", False, 7, []),
    ({"state": "suspended", "mode": "hybrid"}, 1, "suspended", True, 7, ["guest-suspend-hybrid"]),
    ({"state": "suspended", "mode": "hybrid"}, 7, "suspended", False, 7, []),
    ({"state": "suspended", "mode": "disk"}, 5, "off", False, 5, []),
    ({"state": "suspended", "check": True}, 1, "requested", True, 1, []),
    ({"state": "suspended", "check": True}, 7, "suspended", False, 7, []),
    ({"state": "suspended", "wait": False}, 1, "requested", True, 7, ["guest-suspend-ram"]),
    ({"state": "suspended"}, 5, None, False, 5, []),
    ({"state": "suspended"}, 3, None, False, 3, []),
    ({"state": "awake"}, 7, "awake", True, 1, ["pMWakeup 0"]),
    ({"state": "awake"}, 1, "awake", False, 1, []),
    ({"state": "awake", "check": True}, 7, "requested", True, 7, []),
    ({"state": "awake", "check": True}, 1, "awake", False, 1, []),
    ({"state": "awake", "wait": False}, 7, "requested", True, 1, ["pMWakeup 0"]),
    ({"state": "awake", "mode": "disk"}, 5, "awake", True, 1, ["create"]),
    ({"state": "awake"}, 5, None, False, 5, []),
    ({"state": "awake"}, 3, None, False, 3, []),
]


@pytest.mark.parametrize(("arguments", "state", "outcome", "changed", "after", "asked"), SUSPENDS)
def test_suspend(
    domain: Domain, run: Run, arguments: dict, state: int, outcome: t.Any, changed: bool, after: int, asked: list
) -> None:
    domain.current = state
    result = run(suspend, diff=True, **arguments)
    assert (result.get("outcome"), result["changed"], domain.current) == (outcome, changed, after)
    assert result.get("failed", False) is (outcome is None)
    assert domain.asked() == asked
    if changed:
        words = {"suspended": "suspended", "awake": "awake"}
        assert result["diff"]["after"] == {"state": words[arguments["state"]]}


def test_a_restart_of_libvirtd_is_waited_out(host: Hypervisor, domain: Domain, run: Run) -> None:
    restarted = Restart(host, domain, "guest-suspend-ram")
    assert run(suspend, state="suspended", timeout=60)["outcome"] == "suspended"
    assert restarted.over


def test_suspend_to_disk_ends_off(domain: Domain, guest: FakeGuest, run: Run) -> None:
    guest.on_suspend = domain._go_off
    result = run(suspend, state="suspended", mode="disk", diff=True)
    assert (result["outcome"], result["diff"]["after"]) == ("off", {"state": "off"})


def test_a_guest_on_its_way_to_its_disk_is_waited_for(domain: Domain, run: Run) -> None:
    """libvirt calls it suspended before it is off."""
    looks = domain.state

    def state(flags: int) -> list[int]:
        if domain.current == 7 and domain.did.count("state") > 8:
            domain.current = 5
        return looks(flags)

    domain.state = state  # type: ignore[method-assign]
    assert run(suspend, state="suspended", mode="disk")["outcome"] == "off"
    assert domain.current == 5


def test_a_transient_domain_that_suspends_to_disk_is_gone(host: Hypervisor, domain: Domain, guest: FakeGuest, run: Run) -> None:
    guest.on_suspend = lambda: domain.raises.update(state=_NOT_FOUND)
    assert run(suspend, state="suspended", mode="disk")["outcome"] == "off"


@pytest.mark.parametrize("mode", ["ram", "hybrid", "disk"])
def test_a_frozen_or_blocked_guest_is_not_suspended(domain: Domain, guest: FakeGuest, run: Run, mode: str) -> None:
    guest.blocked.add(power.SUSPEND[mode])
    for check in (True, False):
        assert run(suspend, state="suspended", mode=mode, check=check)["failure"]["kind"] == "command_blocked"
    guest.frozen = True
    assert run(suspend, state="suspended", mode=mode)["failure"]["kind"] == "guest_frozen"
    assert domain.asked() == []


def test_a_silent_agent_is_not_asked_to_suspend(domain: Domain, guest: FakeGuest, run: Run) -> None:
    guest.silent.update(("guest-info", "guest-ping"))
    assert run(suspend, state="suspended")["failure"]["kind"] == "agent_timeout"
    assert domain.asked() == []


def test_a_guest_that_says_it_cannot(domain: Domain, guest: FakeGuest, run: Run) -> None:
    guest.raises["guest-suspend-ram"] = _errors.CommandFailed("the requested suspend mode is not supported by the guest")
    result = run(suspend, state="suspended")
    assert result["failure"]["kind"] == "command_failed"
    assert "not supported by the guest" in result["msg"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (_errors.AgentTimeout("the agent did not answer in time"), "of the agent: the agent did not answer in time"),
        (None, "the agent said that it did"),
    ],
)
def test_a_guest_that_stays_awake(domain: Domain, guest: FakeGuest, run: Run, error: t.Any, words: str) -> None:
    domain.obeys = False
    if error is None:
        guest.replies["guest-suspend-ram"] = {}
    else:
        guest.silent.add("guest-suspend-ram")
    result = run(suspend, state="suspended", timeout=1, agent_timeout=1)
    assert (result["failure"]["kind"], result["changed"]) == ("not_suspended", False)
    assert "the domain is running 1 s after" in result["msg"]
    assert words in result["msg"]


def test_a_guest_that_wakes_up_by_itself(domain: Domain, guest: FakeGuest, run: Run) -> None:
    guest.on_suspend = lambda: domain.tell(0, 7, 0)
    result = run(suspend, state="suspended", timeout=20)
    assert "woke up again" in result["msg"]


def test_a_guest_that_goes_off_instead_of_asleep(domain: Domain, guest: FakeGuest, run: Run) -> None:
    guest.on_suspend = domain._go_off
    assert "shutoff instead of suspended" in run(suspend, state="suspended")["msg"]


def test_an_early_call_to_wake_up_is_repeated(domain: Domain, run: Run) -> None:
    domain.current, domain.sleepy = 7, 2
    assert run(suspend, state="awake")["outcome"] == "awake"
    assert domain.did.count("pMWakeup 0") == 3


def test_a_domain_that_does_not_wake_up(domain: Domain, run: Run) -> None:
    domain.current, domain.sleepy = 7, 10**6
    result = run(suspend, state="awake", timeout=1)
    assert result["failure"]["kind"] == "not_awake"
    assert "Unable to wake up" in result["msg"]


def test_a_domain_that_goes_off_instead_of_awake(domain: Domain, run: Run) -> None:
    def wake(_flags: int) -> int:
        domain.current = 5
        return 0

    domain.current = 7
    domain.pMWakeup = wake  # type: ignore[method-assign]
    result = run(suspend, state="awake", timeout=1)
    assert result["failure"]["kind"] == "not_awake"
    assert "the domain is shutoff instead of awake" in result["msg"]


def test_an_agent_that_does_not_wake_up(domain: Domain, guest: FakeGuest, run: Run) -> None:
    domain.current = 7
    guest.silent.add("guest-ping")
    result = run(suspend, state="awake", timeout=1)
    assert result["failure"]["kind"] == "not_back"
    assert "the agent did not answer in time" in result["msg"]


def test_a_suspended_domain_whose_channel_looks_deserted_is_waited_for(host: Hypervisor, run: Run) -> None:
    """That is how libvirt shows each that is suspended."""
    guest = FakeGuest()
    host.domains = [Domain(guest=guest, state=7, channel="disconnected")]
    assert run(suspend, state="awake")["outcome"] == "awake"
    assert guest.sent == ["guest-ping"]


def test_a_domain_without_a_channel_has_no_agent_to_wait_for(host: Hypervisor, run: Run) -> None:
    host.domains = [Domain(guest=None, state=7, channel=None)]
    assert run(suspend, state="awake")["outcome"] == "awake"


FULL = _suspend.Kernel(*(content.decode() for content in SLEEPS.values()))


OBSTACLES = [
    ("ram", {}, FULL, None),
    ("disk", {}, FULL, None),
    ("hybrid", {}, FULL, None),
    ("ram", {}, _suspend.Kernel(None), None),
    ("disk", {}, _suspend.Kernel(None, None, None), None),
    ("ram", {"suspend-to-mem": True}, FULL, None),
    ("ram", {"suspend-to-mem": False}, FULL, "disables suspend-to-mem"),
    ("ram", {"suspend-to-disk": False}, FULL, None),
    ("disk", {"suspend-to-disk": False}, FULL, "disables suspend-to-disk"),
    ("hybrid", {"suspend-to-disk": False}, FULL, "disables suspend-to-disk"),
    ("ram", {}, FULL._replace(state="freeze disk"), "no suspend to ram"),
    ("ram", {}, FULL._replace(state=""), "no suspend to ram"),
    ("disk", {}, FULL._replace(state="freeze mem"), "no suspend to disk"),
    ("disk", {}, FULL._replace(disk="[disabled]"), "does not allow a suspend to disk"),
    ("hybrid", {}, FULL._replace(disk="[platform] shutdown"), "no hybrid suspend"),
    ("hybrid", {}, FULL._replace(disk="platform [suspend]"), None),
    ("disk", {}, FULL._replace(swaps="Filename Type"), "no swap space"),
    ("ram", {}, FULL._replace(swaps="Filename Type", disk="[disabled]"), None),
]


@pytest.mark.parametrize(("mode", "management", "kernel", "words"), OBSTACLES)
def test_what_is_in_the_way_of_a_suspend(mode: str, management: dict, kernel: _suspend.Kernel, words: str | None) -> None:
    found = _suspend.obstacle(_suspend.SLEEPS[mode], management, kernel)
    if words is None:
        assert found is None
    else:
        assert found
        assert words in found[0]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("path", "content", "words"),
    [(_suspend.STATE, b"freeze\n", "no suspend to disk"), (_suspend.SWAPS, b"Filename\n", "no swap space")],
)
def test_what_cannot_work_is_not_tried(host: Hypervisor, run: Run, path: str, content: bytes, words: str, check: bool) -> None:
    host.domains = [Domain(guest=FakeGuest(files={**SLEEPS, path: content}))]
    result = run(suspend, state="suspended", mode="disk", check=check)
    assert result["failure"]["kind"] == "cannot_suspend"
    assert words in result["msg"]
    assert host.domains[0].asked() == []


def test_what_the_definition_switches_off_is_not_tried(domain: Domain, run: Run) -> None:
    domain.text = domain.text.replace("<devices>", "<pm><suspend-to-mem enabled='no'/></pm><devices>")
    result = run(suspend, state="suspended")
    assert (result["failure"]["kind"], domain.asked()) == ("cannot_suspend", [])
    assert "<suspend-to-mem enabled='yes'/>" in result["failure"]["hint"]


def test_an_agent_that_gives_no_files_is_tried(domain: Domain, guest: FakeGuest, run: Run) -> None:
    guest.blocked |= set(NO_FILES)
    assert run(suspend, state="suspended")["outcome"] == "suspended"
