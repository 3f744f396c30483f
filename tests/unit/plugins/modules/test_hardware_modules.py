# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What agent_command, fstrim, guest_time, guest_vcpus and guest_memory_blocks have in common, and real agents beside the fake."""

from __future__ import annotations

import math
import time
import typing as t
from pathlib import Path

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils import _deadline, _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.transport import Transport
from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import clock, memory_blocks, vcpus
from ansible_collections.virtops.guest_agent.plugins.modules import (
    agent_command,
    fstrim,
    guest_memory_blocks,
    guest_time,
    guest_vcpus,
)
from ansible_collections.virtops.guest_agent.tests.unit import real_agent
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import VERSIONS
from ansible_collections.virtops.guest_agent.tests.unit.fakes.hardware import Hardware
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

SECOND = 1_000_000_000
#: Each with arguments that change something, and the command which does.
CHANGES = [
    (agent_command, {"command": "guest-fstrim"}, "guest-fstrim"),
    (fstrim, {}, "guest-fstrim"),
    (guest_time, {}, "guest-set-time"),
    (guest_time, {"source": "rtc"}, "guest-set-time"),
    (guest_vcpus, {"count": 2}, "guest-set-vcpus"),
    (guest_memory_blocks, {"online_bytes": "512M"}, "guest-set-memory-blocks"),
]


@pytest.fixture
def domains() -> list[Domain]:
    return [Domain(guest=Hardware.skewed())]


@pytest.mark.parametrize(("module", "arguments", "command"), CHANGES)
def test_check_mode_changes_nothing_and_predicts(guest: Hardware, run: Run, module: t.Any, arguments: dict, command: str) -> None:
    predicted = run(module, check=True, diff=True, **arguments)
    assert (predicted["changed"], command in guest.sent) == (True, False)
    assert predicted["diff"]["before"] != predicted["diff"]["after"]
    assert run(module, **arguments)["changed"] is True
    assert command in guest.sent


@pytest.mark.parametrize(("module", "arguments", "command"), CHANGES[1:])
def test_the_second_run_is_unchanged(guest: Hardware, run: Run, module: t.Any, arguments: dict, command: str) -> None:
    assert run(module, **arguments)["changed"] is True
    again = run(module, diff=True, **arguments)
    assert (again["changed"], "diff" in again) == (False, False)


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(("module", "arguments", "command"), CHANGES)
def test_a_command_that_is_blocked(guest: Hardware, run: Run, module: t.Any, arguments: dict, command: str, check: bool) -> None:
    guest.blocked.add(command)
    result = run(module, check=check, **arguments)
    assert (result["failure"]["kind"], result["failure"]["command"]) == ("command_blocked", command)
    assert command not in guest.sent


@pytest.mark.parametrize(("module", "arguments", "command"), CHANGES)
def test_a_frozen_guest(guest: Hardware, run: Run, module: t.Any, arguments: dict, command: str) -> None:
    guest.frozen = True
    result = run(module, **arguments)
    assert result["failure"]["kind"] == "guest_frozen"
    assert "thaw" in result["failure"]["hint"]
    assert command not in guest.sent


@pytest.mark.parametrize(("module", "arguments", "command"), CHANGES)
@pytest.mark.parametrize("silent", ["guest-info", None])
def test_a_silent_agent_is_asked_once(
    guest: Hardware, run: Run, module: t.Any, arguments: dict, command: str, silent: str | None
) -> None:
    guest.silent.update((silent, "guest-ping") if silent else (command,))
    assert run(module, **arguments)["failure"]["kind"] == "agent_timeout"
    assert guest.sent.count(silent or command) == 1
    assert guest.sent[-1] == ("guest-ping" if silent else command)


@pytest.mark.parametrize(("module", "arguments", "command"), CHANGES)
@pytest.mark.parametrize(
    ("xml", "state", "kind"),
    [
        ({}, 5, "domain_not_running"),
        ({"channel": None}, 1, "agent_not_configured"),
        ({"channel": "disconnected"}, 1, "agent_disconnected"),
    ],
)
def test_without_an_agent(
    host: Hypervisor, run: Run, module: t.Any, arguments: dict, command: str, xml: dict, state: int, kind: str
) -> None:
    host.domains = [Domain(guest=Hardware(), state=state, **xml)]
    assert run(module, **arguments)["failure"]["kind"] == kind


WRONG = [
    (
        fstrim,
        {},
        "guest-fstrim",
        [[], {"paths": 1}, {"paths": [1]}, {"paths": [{"path": 5}]}, {"paths": [{"path": "/", "trimmed": -1}]}],
    ),
    (fstrim, {}, "guest-fstrim", [{"paths": [{"path": "/", "trimmed": "1"}]}, {"paths": [{"path": "/", "error": {}}]}]),
    (guest_time, {}, "guest-get-time", [None, "1", 1.5, True, {}, 2**63, -(2**63) - 1]),
    (guest_vcpus, {"count": 2}, "guest-get-vcpus", [{}, [1], [{"logical-id": "0", "online": True}], [{"logical-id": 0}]]),
    (guest_vcpus, {"count": 2}, "guest-get-vcpus", [[{"logical-id": -1, "online": True}], [{"logical-id": 0, "online": 1}]]),
    (guest_vcpus, {"count": 2}, "guest-set-vcpus", [None, {}, "2", 0, -1, 3, 2**64, True]),
    (guest_memory_blocks, {"online_bytes": "512M"}, "guest-get-memory-block-info", [None, {}, {"size": 0}, {"size": 2**60}]),
    (guest_memory_blocks, {"online_bytes": "512M"}, "guest-get-memory-blocks", [{}, [1], [{"phys-index": None}]]),
    (guest_memory_blocks, {"online_bytes": "512M"}, "guest-set-memory-blocks", [{}, [1], [{"phys-index": 7}]]),
]


@pytest.mark.parametrize(
    ("module", "arguments", "command", "reply"),
    [(module, arguments, command, reply) for module, arguments, command, replies in WRONG for reply in replies],
)
def test_replies_of_a_wrong_shape(guest: Hardware, run: Run, module: t.Any, arguments: dict, command: str, reply: t.Any) -> None:
    guest.replies[command] = reply
    assert run(module, **arguments)["failure"]["kind"] == "protocol_error"


READS = [
    (guest_time, "guest-get-time"),
    (guest_vcpus, "guest-get-vcpus"),
    (guest_memory_blocks, "guest-get-memory-blocks"),
    (guest_memory_blocks, "guest-get-memory-block-info"),
]


@pytest.mark.parametrize(("module", "command"), READS)
def test_what_cannot_be_read_is_not_changed(guest: Hardware, run: Run, module: t.Any, command: str) -> None:
    guest.blocked.add(command)
    result = run(module)
    assert (result["failure"]["kind"], result["failure"]["command"]) == ("command_blocked", command)
    assert not any("-set-" in sent for sent in guest.sent)


# The fake and a real agent are asked the same, and neither is to change anything


@pytest.fixture(params=[*VERSIONS, "real"])
def either(request: pytest.FixtureRequest) -> t.Iterator[Transport]:
    if request.param != "real":
        yield Hardware(request.param, block=real_agent.BLOCKED)
        return
    path: Path = request.getfixturevalue("real_socket")
    with real_agent.watched(path) as transport:
        yield transport


def test_real_agents_say_the_same(either: Transport) -> None:
    agent = GuestAgent(either)
    found = vcpus.vcpus(agent)
    assert found
    assert any(vcpu["online"] for vcpu in found)
    blocks = memory_blocks.blocks(agent)
    if blocks:
        assert math.log2(memory_blocks.block_size(agent)) % 1 == 0
    measured = clock.measure(agent, time.time_ns)
    assert abs(measured.offset) <= measured.uncertainty + SECOND // 100
    with pytest.raises(_errors.CommandBlocked):
        clock.write(agent, 0)


def test_real_agents_refuse_the_same(either: Transport) -> None:
    agent = GuestAgent(either)
    deadline = _deadline.Deadline(20)
    # Nothing of this exists, so nothing is switched.
    refused = vcpus.switch(agent, [(9999999, True)], deadline)
    assert "cpu9999999" in refused[9999999]
    if memory_blocks.blocks(agent):
        assert memory_blocks.switch(agent, [(9999999, True)], deadline) == {9999999: "not-found (No such file or directory)"}
    assert agent.call("guest-set-vcpus", {"vcpus": []}) == 0
    for command, arguments, words in (
        ("guest-set-vcpus", {}, "Parameter 'vcpus' is missing"),
        ("guest-set-vcpus", {"vcpus": 1}, "Invalid parameter type for 'vcpus', expected: array"),
        ("guest-set-memory-blocks", {}, "Parameter 'mem-blks' is missing"),
        ("guest-fstrim", {"minimum": "x"}, "Invalid parameter type for 'minimum', expected: integer"),
    ):
        with pytest.raises(_errors.CommandFailed, match=words):
            agent.call(command, arguments)
