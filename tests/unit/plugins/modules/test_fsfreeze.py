# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fsfreeze from its arguments to its result, over libvirt and guests in memory."""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._freeze import guarded, watchdog as _watchdog
from ansible_collections.virtops.guest_agent.plugins.modules import fsfreeze
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Error, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.fakes.watchdog import FakeWatchdog
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run


@pytest.fixture
def watchdog(guest: FakeGuest, monkeypatch: pytest.MonkeyPatch) -> FakeWatchdog:
    hatched = FakeWatchdog(guest)
    monkeypatch.setattr(_watchdog, "hatch", lambda: hatched)
    return hatched


ORDER = _watchdog.Order(samples.URI, samples.uuid(1), 60, 5)


FREEZES = [
    # frozen before, arguments, the result, what the watchdog hears
    (False, {}, {"changed": True, "status": "frozen", "filesystems": 2, "watchdog_pid": 77}, [ORDER, "freeze", "keep", "left"]),
    (
        False,
        {"max_seconds": 0},
        {"changed": True, "watchdog_pid": None},
        [ORDER._replace(max_seconds=0), "freeze", "keep", "left"],
    ),
    (False, {"mountpoints": ["/", "/"]}, {"changed": True, "filesystems": 1}, [ORDER, "freeze", "keep", "left"]),
    (
        False,
        {"check": True, "diff": True},
        {"changed": True, "diff": {"before": {"status": "thawed"}, "after": {"status": "frozen"}}},
        [],
    ),
    (True, {}, {"failed": True}, ["left"]),
    (True, {"check": True}, {"failed": True}, []),
    (True, {"force": True}, {"changed": False, "filesystems": None, "watchdog_pid": 77}, [ORDER, "take over", "keep", "left"]),
    (False, {"mountpoints": []}, {"failed": True}, []),
    (False, {"mountpoints": ["/none"]}, {"failed": True}, ["left"]),
    (False, {"max_seconds": -1}, {"failed": True}, []),
    (False, {"timeout": 0}, {"failed": True}, []),
]


@pytest.mark.parametrize(("frozen", "arguments", "expected", "told"), FREEZES)
def test_fsfreeze_frozen(
    guest: FakeGuest, watchdog: FakeWatchdog, run: Run, frozen: bool, arguments: dict, expected: dict, told: list
) -> None:
    guest.frozen = frozen
    result = run(fsfreeze, state="frozen", **arguments)
    assert {key: result.get(key) for key in expected} == expected
    assert watchdog.told == told
    assert guest.frozen is (frozen or (not arguments.get("check") and not result.get("failed")))


def test_nothing_is_frozen_unwatched(guest: FakeGuest, watchdog: FakeWatchdog, run: Run) -> None:
    watchdog.refuses = _errors.WatchdogFailed("the watchdog could not be armed", command="watchdog")
    failure = run(fsfreeze, state="frozen")["failure"]
    assert (failure["kind"], failure["domain"]) == ("watchdog_failed", "web")
    assert not any(command.startswith("guest-fsfreeze-freeze") for command in guest.sent)


def test_nothing_is_frozen_that_cannot_be_thawed(guest: FakeGuest, watchdog: FakeWatchdog, run: Run) -> None:
    guest.blocked.add("guest-fsfreeze-thaw")
    assert run(fsfreeze, state="frozen")["failure"]["command"] == "guest-fsfreeze-thaw"
    assert not any(command.startswith("guest-fsfreeze-freeze") for command in guest.sent)


@pytest.mark.parametrize(("seconds", "timeout", "asked"), [(60, 30, 30), (10, 30, 10), (0, 40, 40)])
def test_a_freeze_is_not_waited_for_longer_than_its_watchdog(
    guest: FakeGuest, watchdog: FakeWatchdog, run: Run, seconds: int, timeout: int, asked: int
) -> None:
    run(fsfreeze, state="frozen", max_seconds=seconds, timeout=timeout)
    assert guest.timeouts[guest.sent.index("guest-fsfreeze-freeze")] == asked


def test_a_watchdog_that_is_gone_when_the_freeze_is_to_be_kept(guest: FakeGuest, watchdog: FakeWatchdog, run: Run) -> None:
    watchdog.dies_at = "keep"
    result = run(fsfreeze, state="frozen")
    assert result["failure"]["kind"] == "watchdog_failed"
    assert "the guest is thawed" in result["msg"]
    assert not guest.frozen


def test_a_thaw_hook_that_fails_is_a_warning(guest: FakeGuest, run: Run) -> None:
    guest.frozen = True
    guest.thaw_hook = "fsfreeze hook has failed with status 1"
    result = run(fsfreeze, state="thawed", timeout=30)
    assert (result["changed"], result["status"], result["filesystems"]) == (True, "thawed", None)
    assert "fsfreeze hook has failed" in result["warned"]
    assert guest.sent.count("guest-fsfreeze-thaw") == 1


def test_selinux_that_denies_a_freeze(guest: FakeGuest, watchdog: FakeWatchdog, run: Run) -> None:
    guest.replies["guest-get-osinfo"] = {"id": "rhel", "version-id": "9.6"}
    guest.replies["guest-get-fsinfo"] = []
    guest.add_file("/sys/fs/selinux/enforce", b"1")
    guest.raises["guest-fsfreeze-freeze"] = _errors.CommandFailed("the agent says: failed to open /mnt: Permission denied")
    result = run(fsfreeze, state="frozen")
    assert "SELinux is the reason" in result["failure"]["hint"]
    assert "semanage permissive -a virt_qemu_ga_t" in result["failure"]["hint"]


@pytest.mark.parametrize(
    ("filesystems", "table", "unfrozen", "words"),
    [
        ([("vda1", "/", "ext4"), ("vda15", "/boot/efi", "vfat")], "", ["/boot/efi (vfat)"], ""),
        ([("vda1", "/boot", "ext4")], "30 1 0:30 / / rw - zfs rpool/ROOT rw\n", None, "does not freeze / (zfs)"),
    ],
)
def test_what_a_freeze_does_not_reach(
    guest: FakeGuest, watchdog: FakeWatchdog, run: Run, filesystems: list, table: str, unfrozen: t.Any, words: str
) -> None:
    guest.mountpoints = [place for _device, place, kind in filesystems if kind == "ext4"]
    guest.replies["guest-get-fsinfo"] = [{"name": n, "mountpoint": m, "type": k, "disk": []} for n, m, k in filesystems]
    guest.add_file("/proc/self/mountinfo", table.encode())
    result = run(fsfreeze, state="frozen")
    assert result.get("unfrozen") == unfrozen
    assert words in result.get("msg", "")
    assert guest.frozen is (unfrozen is not None)


THAWS = [
    (True, {}, {"changed": True, "status": "thawed", "filesystems": 2}),
    (False, {}, {"changed": False, "status": "thawed", "filesystems": None}),
    (False, {"force": True}, {"changed": False, "filesystems": 0}),
    (True, {"check": True}, {"changed": True, "filesystems": None}),
    (False, {"check": True}, {"changed": False}),
]


@pytest.mark.parametrize(("frozen", "arguments", "expected"), THAWS)
def test_fsfreeze_thawed(guest: FakeGuest, run: Run, frozen: bool, arguments: dict, expected: dict) -> None:
    guest.frozen = frozen
    result = run(fsfreeze, state="thawed", **arguments)
    assert {key: result[key] for key in expected} == expected
    assert guest.frozen is (frozen and bool(arguments.get("check")))


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (None, _errors.CommandFailed("couldn't hold writes"), "couldn't hold writes"),
        (0, None, "the guest is still frozen"),
    ],
)
def test_a_thaw_that_does_not_thaw(guest: FakeGuest, run: Run, reply: t.Any, error: t.Any, words: str) -> None:
    guest.frozen = True
    if error:
        guest.raises["guest-fsfreeze-thaw"] = error
    else:
        guest.replies["guest-fsfreeze-thaw"] = reply
    result = run(fsfreeze, state="thawed", timeout=1)
    assert result["failed"]
    assert words in result["msg"]


@pytest.mark.parametrize(
    ("xml", "state", "kind"),
    [
        ({"channel": None}, 1, "agent_not_configured"),
        ({"channel": "disconnected"}, 1, "agent_disconnected"),
        ({}, 3, "domain_not_running"),
    ],
)
@pytest.mark.parametrize("state_wanted", ["frozen", "thawed"])
def test_what_needs_an_agent_says_why_there_is_none(
    host: Hypervisor, watchdog: FakeWatchdog, run: Run, xml: dict, state: int, kind: str, state_wanted: str
) -> None:
    host.domains = [Domain(guest=FakeGuest(), state=state, **xml)]
    failure = run(fsfreeze, state=state_wanted)["failure"]
    assert (failure["kind"], failure["domain"]) == (kind, "web")
    assert failure["hint"]


def test_the_watchdogs_own_link(host: Hypervisor, guest: FakeGuest) -> None:
    """It keeps its connection, and makes a new one after a failure."""
    link = _watchdog._GuestLink(ORDER)
    assert [link.ask(GuestAgent.frozen) for _time in range(3)] == [False] * 3
    assert (len(host.handles), link.name) == (1, "web")
    guest.silent.add("guest-fsfreeze-status")
    with pytest.raises(_errors.AgentTimeout):
        link.ask(GuestAgent.frozen)
    guest.silent.clear()
    guest.frozen = True
    assert link.ask(GuestAgent.frozen) is True
    assert len(host.handles) == 1
    link._drop()
    link.ask(GuestAgent.frozen)
    assert len(host.handles) == 2
    link._drop()
    for state, words in ((3, "the domain is paused"), (5, "the domain is shutoff")):
        host.domains[0].current = state
        with pytest.raises(_errors.DomainNotRunning, match=words) as caught:
            link.ask(GuestAgent.frozen)
        assert guarded._gone(caught.value) is (state == 5)
    host.domains.clear()
    with pytest.raises(_errors.DomainNotFound):
        link.ask(GuestAgent.frozen)
    host.raises["open"] = Error(38, "Connection refused")
    with pytest.raises(_errors.HypervisorUnreachable):
        link.ask(GuestAgent.frozen)
