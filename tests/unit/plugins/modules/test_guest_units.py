# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""guest_vcpus and guest_memory_blocks from their arguments to their result, over libvirt and a guest in memory."""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils import _deadline, _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import memory_blocks, units as _units, vcpus
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import (
    online as _online,
)
from ansible_collections.virtops.guest_agent.plugins.modules import (
    guest_memory_blocks,
    guest_vcpus,
)
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.fakes.hardware import BLOCK_SIZE, Hardware
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run


@pytest.fixture
def domains() -> list[Domain]:
    return [Domain(guest=Hardware.skewed())]


def _made(*stuck: int, online: str = "1111") -> list:
    return [{"id": number, "online": up == "1", "can_offline": number not in stuck} for number, up in enumerate(online)]


COUNTS = [
    # online, cannot go offline, count, candidates, how many of them
    ("1111", {0}, 4, [], 0),
    ("1111", {0}, 2, [3, 2, 1], 2),
    ("1111", {0, 3}, 2, [2, 1], 2),
    ("1000", {0}, 3, [1, 2, 3], 2),
    ("0110", {1}, 1, [2], 1),
    ("1111", {0}, 0, None, 0),
    ("1111", {0}, 5, None, 0),
    ("1111", {0, 1}, 1, None, 0),
    ("", set(), 1, None, 0),
]


@pytest.mark.parametrize(("online", "stuck", "count", "candidates", "needed"), COUNTS)
def test_planning_a_number(online: str, stuck: set, count: int, candidates: list | None, needed: int) -> None:
    units = _made(*stuck, online=online)
    if candidates is None:
        with pytest.raises(_errors.InvalidInput):
            _online.plan_count(units, count, "vCPU")
        return
    plan = _online.plan_count(units, count, "vCPU")
    assert ([number for number, _up in plan.candidates], plan.needed) == (candidates, needed)


IDS = [
    ([], [], {}),
    ([0], [], {}),
    ([3], [1], {3: True, 1: False}),
    ([1], [3], {}),
    ([], [0], None),
    ([9], [], None),
    ([], [-1], None),
    ([1], [1], None),
]


@pytest.mark.parametrize(("online", "offline", "changes"), IDS)
def test_planning_by_number(online: list, offline: list, changes: dict | None) -> None:
    units = _made(0, online="1110")
    if changes is None:
        with pytest.raises(_errors.InvalidInput):
            _online.plan_ids(units, online, offline, "vCPU")
        return
    plan = _online.plan_ids(units, online, offline, "vCPU")
    assert plan.candidates == list(changes.items())
    assert plan.needed == len(changes)


def test_something_stays_online() -> None:
    with pytest.raises(_errors.InvalidInput, match="no vCPU would be left"):
        _online.plan_ids(_made(), [], [0, 1, 2, 3], "vCPU")


def test_vcpus_are_listed(guest: Hardware, run: Run) -> None:
    result = run(guest_vcpus)
    assert (result["changed"], result["count"], result["errors"]) == (False, 4, [])
    assert result["vcpus"][0] == {"id": 0, "online": True, "can_offline": False}
    assert [vcpu["id"] for vcpu in result["vcpus"]] == [0, 1, 2, 3]


def test_vcpus_go_offline(guest: Hardware, run: Run) -> None:
    result = run(guest_vcpus, count=2, diff=True)
    assert guest.cpus == {0: True, 1: True, 2: False, 3: False}
    assert result["count"] == 2
    assert result["diff"] == {"before": {"online": [0, 1, 2, 3], "offline": []}, "after": {"online": [0, 1], "offline": [2, 3]}}
    result = run(guest_vcpus, online=[3], offline=[1])
    assert guest.cpus == {0: True, 1: False, 2: False, 3: True}


def test_check_mode_says_which(guest: Hardware, run: Run) -> None:
    result = run(guest_vcpus, count=3, check=True)
    assert (result["count"], result["vcpus"][3]["online"], guest.cpus[3]) == (3, False, True)
    blocks = run(guest_memory_blocks, online_bytes=BLOCK_SIZE, check=True)
    assert (blocks["online_bytes"], len(guest.blocks), all(guest.blocks.values())) == (BLOCK_SIZE, 8, True)


def test_one_that_refuses_is_replaced(guest: Hardware, run: Run) -> None:
    guest.stuck = {2: 16, 7: 22}
    result = run(guest_vcpus, count=2)
    assert (result["count"], result["changed"], guest.cpus) == (2, True, {0: True, 1: False, 2: True, 3: False})
    assert result["errors"] == [{"id": 2, "error": "the agent says: logical processor #2 can't be offlined"}]
    result = run(guest_memory_blocks, online_bytes="700M")
    assert [number for number, up in guest.blocks.items() if not up] == [5, 6]
    assert result["errors"] == [{"id": 7, "error": "operation-failed (Invalid argument)"}]
    assert result["online_bytes"] == 6 * BLOCK_SIZE


def test_one_that_was_named_is_not_replaced(guest: Hardware, run: Run) -> None:
    guest.stuck = {2: 16}
    for module, command in ((guest_vcpus, "guest-set-vcpus"), (guest_memory_blocks, "guest-set-memory-blocks")):
        result = run(module, offline=[1, 2, 3], diff=True)
        assert (result["failure"]["kind"], result["failure"]["command"], result["changed"]) == ("command_failed", command, True)
        assert [error["id"] for error in result["errors"]] == [2]
        assert result["diff"]["after"]["offline"] == [1, 3]
    assert "Device or resource busy" in result["msg"]


def test_an_agent_that_only_says_so(guest: Hardware, run: Run) -> None:
    guest.lies = True
    for module in (guest_vcpus, guest_memory_blocks):
        result = run(module, offline=[1])
        assert (result["failure"]["kind"], result["changed"]) == ("command_failed", False)
        assert "though the agent says" in result["msg"]


def test_the_agent_stopped_in_the_middle(host: Hypervisor, run: Run) -> None:
    """It processes some of what it is given; the rest is sent again, and nothing twice."""
    guest = Hardware(vcpus=100)
    host.domains[0].guest = guest
    guest.stuck = {60: 16, 80: 16}
    result = run(guest_vcpus, offline=list(range(50, 100)))
    assert [error["id"] for error in result["errors"]] == [60, 80]
    assert sum(not up for up in guest.cpus.values()) == 48
    assert len(guest.at_once) < 10


def test_many_are_sent_in_parts(host: Hypervisor, run: Run) -> None:
    guest = Hardware(vcpus=100, blocks=50)
    host.domains[0].guest = guest
    run(guest_vcpus, count=1)
    assert (max(guest.at_once), sum(guest.at_once)) == (32, 99)
    guest.at_once.clear()
    run(guest_memory_blocks, online_bytes=1)
    assert (max(guest.at_once), sum(guest.at_once)) == (8, 49)


@pytest.mark.parametrize("switch", [vcpus.switch, memory_blocks.switch])
def test_switching_ends_at_its_deadline(switch: t.Any) -> None:
    guest = Hardware(vcpus=100, blocks=100)
    ticking = FakeClock()
    deadline = _deadline.Deadline(1.5, ticking)
    left = [(number, False) for number in range(1, 90)]
    switch(GuestAgent(guest), left[:2], deadline)
    assert guest.timeouts[-1] == 2
    ticking.sleep(2)
    with pytest.raises(_errors.WaitTimeout, match="89 were not switched"):
        switch(GuestAgent(guest), left, deadline)


def test_a_switch_that_ends_too_early_says_what_it_did(host: Hypervisor, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    host.domains[0].guest = Hardware(vcpus=100)
    switch = vcpus.switch

    def some(agent: GuestAgent, wanted: t.Any, deadline: _deadline.Deadline) -> t.Any:
        switch(agent, wanted[:32], deadline)
        raise _errors.WaitTimeout("67 were left")

    monkeypatch.setattr(guest_vcpus, "KIND", guest_vcpus.KIND._replace(switch=some))
    result = run(guest_vcpus, count=1, diff=True)
    assert (result["failed"], result["changed"], result["count"]) == (True, True, 68)
    assert "67 were left" in result["msg"]
    assert len(result["diff"]["after"]["online"]) == 68


def test_blocks_are_listed(guest: Hardware, run: Run) -> None:
    result = run(guest_memory_blocks)
    assert (result["block_size"], result["online_bytes"], result["total_bytes"]) == (BLOCK_SIZE, 8 * BLOCK_SIZE, 8 * BLOCK_SIZE)
    assert result["blocks"][7] == {"id": 7, "online": True, "can_offline": True}


@pytest.mark.parametrize(("given", "count"), [("1", 1), ("128M", 1), (BLOCK_SIZE + 1, 2), ("1G", 8)])
def test_bytes_are_rounded_up_to_blocks(guest: Hardware, run: Run, given: t.Any, count: int) -> None:
    assert run(guest_memory_blocks, online_bytes=given)["online_bytes"] == count * BLOCK_SIZE


@pytest.mark.parametrize("given", ["0", "-1", "2G"])
def test_bytes_that_cannot_be(guest: Hardware, run: Run, given: str) -> None:
    assert run(guest_memory_blocks, online_bytes=given)["failed"] is True
    assert "guest-set-memory-blocks" not in guest.sent


def test_a_guest_without_blocks(guest: Hardware, run: Run) -> None:
    guest.blocks = {}
    result = run(guest_memory_blocks)
    assert (result["blocks"], result["total_bytes"], result["changed"]) == ([], 0, False)
    assert run(guest_memory_blocks, online_bytes="1M")["failure"]["kind"] == "invalid_input"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ([], "the agent does not say"),
        ([{"phys-index": 7, "response": "\x1b[1mwat"}], "\ufffd[1mwat"),
        ([{"phys-index": 7, "response": "operation-not-supported"}], "operation-not-supported"),
        ([{"phys-index": 7, "response": "operation-failed", "error-code": 2**40}], "operation-failed"),
    ],
)
def test_what_a_block_says(guest: Hardware, run: Run, reply: list, why: str) -> None:
    guest.replies["guest-set-memory-blocks"] = reply
    assert run(guest_memory_blocks, offline=[7])["errors"] == [{"id": 7, "error": why}]


@pytest.mark.parametrize("module", [guest_vcpus, guest_memory_blocks])
def test_a_list_that_is_too_long_is_cut(guest: Hardware, run: Run, module: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_units, "MOST", 3)
    result = run(module)
    assert len(result.get("vcpus") or result["blocks"]) == 3
