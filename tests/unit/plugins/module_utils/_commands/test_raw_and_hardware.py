# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""agent_command, fstrim, guest_time, guest_vcpus and guest_memory_blocks, from their arguments to their result."""

from __future__ import annotations

import base64
import json
import math
import time
import typing as t
from pathlib import Path

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: no libvirt-python here")

from ansible.module_utils import basic
from ansible.module_utils.common.parameters import PASS_VARS

from ansible_collections.virtops.guest_agent.plugins.module_utils import _deadline, _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.transport import Transport
from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import clock, memory_blocks, units as _units, vcpus
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import (
    agent_command as _agent_command,
    guest_time as _guest_time,
    online as _online,
)
from ansible_collections.virtops.guest_agent.plugins.modules import (
    agent_command,
    fstrim,
    guest_memory_blocks,
    guest_time,
    guest_vcpus,
)
from ansible_collections.virtops.guest_agent.tests.unit import real_agent
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import VERSIONS, Program
from ansible_collections.virtops.guest_agent.tests.unit.fakes.hardware import BLOCK_SIZE, NO_HWCLOCK, Hardware
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.harmless import harmless, texts
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

SECOND = 1_000_000_000
SECRET = "correct-horse-battery-staple"
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
    return [Domain(guest=Hardware())]


@pytest.fixture
def guest(host: Hypervisor) -> Hardware:
    found = host.domains[0].guest
    assert isinstance(found, Hardware)
    found.skew, found.rtc_skew = 3600 * SECOND, 60 * SECOND
    return found


# What all of them have in common


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


# agent_command


def test_a_reply_is_given_as_data(guest: Hardware, run: Run) -> None:
    result = run(agent_command, command="guest-get-timezone")
    assert (result["changed"], result["response"]) == (False, {"offset": 0, "zone": "UTC"})
    assert "request" not in result


READING = ["guest-ping", "guest-info", "guest-get-osinfo", "guest-network-get-interfaces", "guest-fsfreeze-status"]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("command", READING)
def test_commands_that_change_nothing_are_always_sent(guest: Hardware, run: Run, command: str, check: bool) -> None:
    result = run(agent_command, command=command, check=check)
    assert (result["changed"], "request" in result) == (False, False)
    assert guest.sent[-1] == command


@pytest.mark.parametrize(
    ("command", "read_only"),
    [
        *((command, True) for command in READING),
        ("guest-exec-status", True),
        ("guest-ssh-get-authorized-keys", True),
        ("guest-network-get-route", True),
        ("guest-exec", False),
        ("guest-set-time", False),
        ("guest-file-read", False),
        ("guest-ssh-add-authorized-keys", False),
        ("guest-fsfreeze-thaw", False),
        ("guest-get-", False),
        ("guest-pings", False),
        ("xguest-ping", False),
    ],
)
def test_which_commands_change_nothing(command: str, read_only: bool) -> None:
    assert _agent_command.is_read_only(command) is read_only


@pytest.mark.parametrize(("command", "changed"), [("guest-get-time", True), ("guest-fstrim", False)])
def test_what_the_user_says_of_a_change(guest: Hardware, run: Run, command: str, changed: bool) -> None:
    assert run(agent_command, command=command, changed=changed)["changed"] is changed
    assert run(agent_command, command=command, changed=changed, check=True)["changed"] is changed


def test_the_user_cannot_talk_check_mode_into_a_change(guest: Hardware, run: Run) -> None:
    run(agent_command, command="guest-fstrim", changed=False, check=True)
    assert "guest-fstrim" not in guest.sent


SECRETS = [
    ("guest-set-user-password", {"username": "root", "password": base64.b64encode(SECRET.encode()).decode(), "crypted": False}),
    ("guest-exec", {"path": "/bin/true", "input-data": SECRET, "env": [f"A={SECRET}"]}),
    ("guest-file-write", {"handle": 1, "buf-b64": SECRET}),
    ("guest-exec", {"path": "/bin/true", "arg": ["-p", SECRET]}),
    ("guest-exec", {"path": "/bin/true", "Credentials": SECRET}),
    ("guest-exec", {"path": "/bin/true", "nested": [{"deep": {"api_token": SECRET}}]}),
]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(("command", "arguments"), SECRETS)
def test_secrets_appear_nowhere(
    guest: Hardware, run: Run, command: str, arguments: dict, check: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(basic, "has_journal", False)
    monkeypatch.setattr(basic.syslog, "syslog", lambda _level, text: logged.append(text))
    # Since ansible-core 2.20 the invocation is returned on demand.
    demand = {"_ansible_inject_invocation": True} if "inject_invocation" in PASS_VARS else {}
    result = run(agent_command, command=command, arguments=arguments, check=check, diff=True, **demand)
    assert "Invoked with" in logged[0]
    assert SECRET not in json.dumps([logged, result])
    assert result["invocation"]["module_args"]["command"] == command
    if check:
        assert result["request"]["execute"] == command
        assert set(result["request"]["arguments"]) == set(arguments)


def test_an_answer_may_say_what_an_argument_said(guest: Hardware, run: Run) -> None:
    guest.replies["guest-exec"] = {"path": "/bin/true"}
    assert run(agent_command, command="guest-exec", arguments={"path": "/bin/true"})["response"] == {"path": "/bin/true"}


def test_a_number_that_a_template_made_a_text(guest: Hardware, run: Run) -> None:
    result = run(agent_command, command="guest-exec-status", arguments={"pid": "17"})
    assert "expected: integer" in result["msg"]
    assert "as one template" in result["failure"]["hint"]


def test_an_unknown_command_has_a_hint(guest: Hardware, run: Run) -> None:
    result = run(agent_command, command="guest-get-vcpu")
    assert result["failure"]["kind"] == "command_unknown"
    assert "guest-get-vcpus" in result["failure"]["hint"]
    assert "newer" in run(agent_command, command="zzz")["failure"]["hint"]


def test_an_agent_that_does_not_say_what_it_can_do_is_asked_all_the_same(guest: Hardware, run: Run) -> None:
    guest.blocked.add("guest-info")
    assert run(agent_command, command="guest-get-timezone")["response"]
    assert run(agent_command, command="guest-no-such")["failure"]["kind"] == "command_unknown"


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("guest-sync", {"id": 1}, "synchronises the channel"),
        ("guest-sync-delimited", {"id": 1}, "synchronises the channel"),
        ("guest-ping\n", {}, "not the name"),
        ("{{ x }}", {}, "not the name"),
        ("", {}, "not the name"),
        ("guest-file-read", {"handle": 1, "count": 10_000_000}, "count may be"),
        ("guest-file-write", {"handle": 1, "buf-b64": "x" * 200_000}, "are safe to send"),
    ],
)
def test_requests_that_would_do_harm(guest: Hardware, run: Run, command: str, arguments: dict, words: str) -> None:
    result = run(agent_command, command=command, arguments=arguments)
    assert result["failure"]["kind"] == "invalid_input"
    assert words in result["msg"]
    assert command not in guest.sent


@pytest.mark.parametrize("command", sorted(_agent_command.NO_REPLY))
def test_no_reply_is_what_some_commands_give(guest: Hardware, run: Run, command: str) -> None:
    guest.silent.add(command)
    result = run(agent_command, command=command)
    assert (result.get("failed"), result["changed"], result["response"]) == (None, True, None)


@pytest.mark.parametrize("error", [_errors.ConnectionLost, _errors.StillInFlight])
def test_what_may_not_have_been_heard_is_no_success(guest: Hardware, error: type[_errors.GuestAgentError]) -> None:
    guest.raises["guest-shutdown"] = error("nobody knows")
    with pytest.raises(error):
        agent_command._send(guest.agent(), "guest-shutdown", {})


def test_a_program_by_hand(host: Hypervisor, run: Run) -> None:
    host.domains[0].guest = Hardware(programs={("/bin/true",): Program(0)})
    pid = run(agent_command, command="guest-exec", arguments={"path": "/bin/true"})["response"]["pid"]
    ended = run(agent_command, command="guest-exec-status", arguments={"pid": pid})
    assert (ended["changed"], ended["response"]) == (False, {"exited": True, "exitcode": 0})


def test_a_hostile_answer_is_plain_and_bounded(guest: Hardware, run: Run) -> None:
    nested: t.Any = "deep"
    for _level in range(100):
        nested = [nested]
    guest.replies["guest-get-osinfo"] = {
        "name": "a\x1b[31mb\u202e\ud800\nc",
        "__ansible_unsafe": "x",
        "key\x1b": 1,
        "nested": nested,
        "long": "x" * 100_000,
    }
    response = run(agent_command, command="guest-get-osinfo")["response"]
    assert all(harmless(text) for text in texts(response))
    assert "__ansible_unsafe" not in response
    assert len(response["long"]) == 100_000
    assert json.dumps(response["nested"]).count("[") < 40


# fstrim


def test_a_path_that_fails_loses_no_other(guest: Hardware, run: Run) -> None:
    guest.paths = [
        {"path": "/", "trimmed": 8192, "minimum": 4096},
        {"path": "/boot/efi", "error": "trim not supported"},
        {"path": "/x", "error": "failed to open: \x1bdenied"},
    ]
    result = run(fstrim)
    assert "failed" not in result
    assert (result["changed"], result["trimmed"], result["failed_paths"]) == (True, 8192, ["/boot/efi", "/x"])
    assert result["paths"][0] == {"path": "/", "trimmed": 8192, "minimum": 4096, "error": None}
    assert result["paths"][1] == {"path": "/boot/efi", "trimmed": None, "minimum": None, "error": "trim not supported"}
    assert all(harmless(text) for text in texts(result["paths"]))


def test_it_fails_when_no_path_could_be_trimmed(guest: Hardware, run: Run) -> None:
    guest.paths = [{"path": "/", "error": "trim not supported"}]
    result = run(fstrim)
    assert (result["failure"]["kind"], result["changed"], result["failed_paths"]) == ("command_failed", False, ["/"])
    assert "discard='unmap'" in result["failure"]["hint"]


@pytest.mark.parametrize(("paths", "changed"), [([], True), ([{"path": "C:\\"}], True), ([{"path": "/", "trimmed": 0}], False)])
def test_an_agent_that_does_not_count(guest: Hardware, run: Run, paths: list, changed: bool) -> None:
    guest.replies["guest-fstrim"] = {"paths": paths} if paths else {}
    assert run(fstrim)["changed"] is changed


@pytest.mark.parametrize(("given", "sent"), [(None, 0), (65536, 65536), ("1M", 1048576)])
def test_the_minimum_and_the_time_of_a_trim(guest: Hardware, run: Run, given: t.Any, sent: int) -> None:
    run(fstrim, minimum=given, timeout=77)
    assert (guest.minimum, guest.timeouts[guest.sent.index("guest-fstrim")]) == (sent, 77)


@pytest.mark.parametrize("minimum", [-1, 2**63, "much"])
def test_a_minimum_that_cannot_be(guest: Hardware, run: Run, minimum: t.Any) -> None:
    assert run(fstrim, minimum=minimum)["failed"] is True
    assert guest.sent == []


# guest_time


def test_the_clock_is_set(guest: Hardware, run: Run) -> None:
    result = run(guest_time, diff=True)
    assert result["offset_before"] == pytest.approx(3600, abs=0.5)
    assert result["offset"] == pytest.approx(0, abs=0.05)
    assert abs(guest.skew) < SECOND // 20
    assert result["time"].endswith("Z")
    assert result["diff"]["before"]["offset"] == result["offset_before"]
    assert result["diff"]["after"]["offset"] == result["offset"]


@pytest.mark.parametrize(
    ("skew", "tolerance", "changed"), [(0.5, None, False), (-1.5, None, True), (0.5, 0.1, True), (90, 100, False)]
)
def test_the_tolerance(guest: Hardware, run: Run, skew: float, tolerance: t.Any, changed: bool) -> None:
    guest.skew = int(skew * SECOND)
    assert run(guest_time, tolerance=tolerance)["changed"] is changed
    assert ("guest-set-time" in guest.sent) is changed


def test_only_measured(guest: Hardware, run: Run) -> None:
    guest.blocked.add("guest-set-time")
    result = run(guest_time, source="none")
    assert (result["changed"], result["offset"]) == (False, pytest.approx(3600, abs=0.5))


def test_a_clock_that_is_right_may_be_one_that_cannot_be_set(guest: Hardware, run: Run) -> None:
    guest.skew = 0
    guest.blocked.add("guest-set-time")
    assert run(guest_time)["changed"] is False


def test_a_time_of_ones_own(guest: Hardware, run: Run) -> None:
    result = run(guest_time, time="2030-05-06T07:08:09+02:00")
    assert result["time"].startswith("2030-05-06T05:08:")
    assert result["offset"] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01 00:00:01+00:00", SECOND),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1.25", 1_250_000_000),
        ("1800000000", 1800000000 * SECOND),
        ("2069-12-31T23:59:59.500Z", 3155759999_500000000),
    ],
)
def test_times(text: str, nanoseconds: int) -> None:
    assert _guest_time.parse(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-03-01",
        "2026-03-01T10:00:00",
        "1969-12-31T23:59:59Z",
        "2070-01-01T00:00:00Z",
        "9" * 12,
        "-1",
        "1e9",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_times_that_cannot_be(guest: Hardware, run: Run, text: str) -> None:
    assert run(guest_time, time=text)["failure"]["kind"] == "invalid_input"
    assert guest.sent == []


@pytest.mark.parametrize(
    "arguments", [{"tolerance": -1}, {"tolerance": "nan"}, {"tolerance": "inf"}, {"time": "1", "source": "rtc"}]
)
def test_arguments_of_guest_time(guest: Hardware, run: Run, arguments: dict) -> None:
    assert run(guest_time, **arguments)["failure"]["kind"] == "invalid_input"


def test_the_hardware_clock(guest: Hardware, run: Run) -> None:
    result = run(guest_time, source="rtc")
    assert (result["changed"], result["offset"]) == (True, pytest.approx(60, abs=0.5))


def test_no_hwclock_in_the_guest(guest: Hardware, run: Run) -> None:
    guest.hwclock = False
    result = run(guest_time)
    assert (result["changed"], abs(result["offset"]) < 0.05) == (True, True)
    assert "its hardware clock is not" in result["warned"]
    failed = run(guest_time, source="rtc")["failure"]
    assert failed["detail"] == f"the agent says: {NO_HWCLOCK}"
    assert "util-linux-extra" in failed["hint"]


def test_something_sets_the_clock_back(guest: Hardware, run: Run) -> None:
    guest.pinned = True
    result = run(guest_time)
    assert (result["failure"]["kind"], result["failure"]["command"]) == ("command_failed", "guest-set-time")
    assert "off by 3600" in result["msg"]
    assert guest.sent.count("guest-set-time") == 3


def test_an_agent_that_cannot_set_it_says_why(guest: Hardware, run: Run) -> None:
    guest.pinned = True
    guest.hwclock = False
    assert "hwclock" in run(guest_time)["msg"]


@pytest.mark.parametrize(("offset", "agrees"), [(15, True), (-16, True), (17, False), (-17, False)])
def test_what_is_uncertain_is_not_corrected(offset: int, agrees: bool) -> None:
    assert _guest_time.agrees(clock.Measured(0, offset, 6), 10) is agrees


def test_the_way_to_the_guest_is_made_up_for(guest: Hardware) -> None:
    _guest_time.converge(GuestAgent(guest), lambda: 1000, clock.Measured(0, SECOND, 77), 2**63)
    assert guest.moment == 1077


def test_a_slow_answer_is_no_offset(guest: Hardware) -> None:
    guest.skew, guest.delay = 0, 0.02
    measured = clock.measure(GuestAgent(guest), lambda: guest._get_time() - int(0.02 * SECOND))
    assert measured.uncertainty >= SECOND // 100
    assert abs(measured.offset) <= measured.uncertainty + SECOND // 50


def test_the_fastest_answer_counts(guest: Hardware, monkeypatch: pytest.MonkeyPatch) -> None:
    took = iter([0, 80, 100, 104, 200, 290, 300, 390, 400, 490])
    monkeypatch.setattr(clock.time, "monotonic_ns", lambda: next(took))
    guest.replies["guest-get-time"] = 1000
    assert clock.measure(GuestAgent(guest), lambda: 900) == clock.Measured(1000, 98, 2)


@pytest.mark.parametrize(("guest_says", "text"), [(0, "1970-01-01T00:00:00.000000Z"), (-(2**63), "1677-"), (2**63 - 1, "2262-")])
def test_any_time_can_be_told(guest: Hardware, run: Run, guest_says: int, text: str) -> None:
    guest.replies["guest-get-time"] = guest_says
    assert run(guest_time, source="none")["time"].startswith(text)


# guest_vcpus and guest_memory_blocks


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
