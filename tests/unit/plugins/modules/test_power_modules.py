# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""restart and suspend from their arguments to their result, over libvirt and guests in memory."""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import power
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import events
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import restart as _restart, shutdown, suspend as _suspend
from ansible_collections.virtops.guest_agent.plugins.modules import restart, suspend
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import (
    NOT_FOUND as _NOT_FOUND,
    Domain,
    Hypervisor,
)
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run

SLEEPS = {
    _suspend.STATE: b"freeze mem disk\n",
    _suspend.DISK: b"[platform] shutdown reboot suspend test_resume\n",
    _suspend.SWAPS: b"Filename Type Size Used Priority\n/dev/vdb partition 524284 0 -2\n",
}
NO_FILES = ("guest-file-open", "guest-exec")


@pytest.fixture
def domains() -> list[Domain]:
    domain = Domain(guest=FakeGuest(files=SLEEPS))
    domain.boot()
    return [domain]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (shutdown, _restart, _suspend):
        monkeypatch.setattr(module, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(_suspend, "_PAUSE", 0.05)


@pytest.fixture
def domain(host: Hypervisor) -> Domain:
    return host.domains[0]


def _asked(domain: Domain) -> list[str]:
    """What was done to the guest, of all that was asked of it."""
    words = ("guest-shutdown", "guest-suspend", "reboot", "reset", "pMWakeup", "create", "destroy", "shutdownFlags")
    assert domain.guest
    return [what for what in [*domain.guest.sent, *domain.did] if what.startswith(words)]


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
    assert _asked(domain) == asked
    assert result["changed"] is (method is not None)
    if proof == "boot_id":
        assert (result["boot_id_before"], result["boot_id"]) == (samples.uuid(1), samples.uuid(2))
        assert result["diff"] == {"before": {"boot": samples.uuid(1)}, "after": {"boot": samples.uuid(2)}}
        assert (result["outcome"], result["seconds"] >= 0) == ("restarted", True)
    elif method:
        assert result["outcome"] == ("restarted" if proof else "requested")
    assert guest.open_handles == 0


def test_a_frozen_guest_is_not_restarted(domain: Domain, guest: FakeGuest, run: Run) -> None:
    guest.frozen = True
    assert run(restart)["failure"]["kind"] == "guest_frozen"
    assert _asked(domain) == []


@pytest.mark.parametrize(("frozen", "block"), [(True, ()), (False, ("guest-shutdown",))])
def test_a_guest_that_cannot_be_asked_is_reset_where_that_was_said(
    domain: Domain, guest: FakeGuest, run: Run, frozen: bool, block: tuple[str, ...]
) -> None:
    guest.frozen = frozen
    guest.blocked |= set(block)
    told = {"mode": "agent", "force_after": 0, "timeout": 20}
    assert run(restart, check=True, **told)["method"] == "forced"
    assert _asked(domain) == []
    assert (run(restart, **told)["method"], _asked(domain)) == ("forced", ["reset 0"])


def test_a_silent_agent_gives_way_to_the_power_button(
    domain: Domain, guest: FakeGuest, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = ["guest-ping", "guest-ping"]  # until it has been restarted

    def be_late(command: str) -> None:
        if command == "guest-info" or (command in deaf and not deaf.remove(command)):  # type: ignore[func-returns-value]
            raise _errors.AgentTimeout("the agent did not answer in time")

    monkeypatch.setattr(guest, "_be_late", be_late)
    assert run(restart, mode="agent", agent_timeout=1)["failure"]["kind"] == "agent_timeout"
    assert _asked(domain) == []
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
    assert _asked(domain) == ["guest-shutdown"]


def test_a_guest_that_never_goes_down_is_reset(domain: Domain, run: Run) -> None:
    domain.obeys = False
    result = run(restart, timeout=20, force_after=0)
    assert (result["method"], result["proof"]) == ("forced", "boot_id")
    assert _asked(domain) == ["guest-shutdown", "reset 0"]


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
    assert _asked(domain) == ["guest-shutdown"]


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
    assert _asked(domain) == asked
    if changed:
        words = {"suspended": "suspended", "awake": "awake"}
        assert result["diff"]["after"] == {"state": words[arguments["state"]]}


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
    assert _asked(domain) == []


def test_a_silent_agent_is_not_asked_to_suspend(domain: Domain, guest: FakeGuest, run: Run) -> None:
    guest.silent.update(("guest-info", "guest-ping"))
    assert run(suspend, state="suspended")["failure"]["kind"] == "agent_timeout"
    assert _asked(domain) == []


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
    assert _asked(host.domains[0]) == []


def test_what_the_definition_switches_off_is_not_tried(domain: Domain, run: Run) -> None:
    domain.text = domain.text.replace("<devices>", "<pm><suspend-to-mem enabled='no'/></pm><devices>")
    result = run(suspend, state="suspended")
    assert (result["failure"]["kind"], _asked(domain)) == ("cannot_suspend", [])
    assert "<suspend-to-mem enabled='yes'/>" in result["failure"]["hint"]


def test_an_agent_that_gives_no_files_is_tried(domain: Domain, guest: FakeGuest, run: Run) -> None:
    guest.blocked |= set(NO_FILES)
    assert run(suspend, state="suspended")["outcome"] == "suspended"
