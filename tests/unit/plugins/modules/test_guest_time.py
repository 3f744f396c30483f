# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""guest_time from its arguments to its result, over libvirt and a guest in memory."""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import clock
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import (
    guest_time as _guest_time,
)
from ansible_collections.virtops.guest_agent.plugins.modules import guest_time
from ansible_collections.virtops.guest_agent.tests.unit.fakes.hardware import NO_HWCLOCK, Hardware
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run

SECOND = 1_000_000_000


@pytest.fixture
def domains() -> list[Domain]:
    return [Domain(guest=Hardware.skewed())]


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
