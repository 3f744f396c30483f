# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seeing a domain off, on a clock of ours."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._deadline import Deadline
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import shutdown
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock


class _Domain:
    """``states``: from which second on it is in which state; gone where that is None."""

    name = "web"

    def __init__(self, clock: FakeClock, states: dict[float, str | None]) -> None:
        self._clock = clock
        self._states = states
        self.destroyed: list[float] = []

    def state(self) -> str:
        if self.destroyed:
            return "shutoff"
        state = [state for since, state in self._states.items() if self._clock.monotonic() - 1000 >= since][-1]
        if state is None:
            raise _errors.DomainNotFound("gone")
        return state

    def destroy(self, seconds: float) -> None:
        assert seconds >= 20
        self.destroyed.append(self._clock.monotonic() - 1000)


class _Watch:
    """No event ever comes: only looking helps."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def next(self, seconds: float) -> None:
        assert 0 < seconds <= 5
        self._clock.sleep(seconds)


CASES = [
    # states, force_after, forced, latest second, error
    ({0: "shutoff"}, None, False, 0, None),
    ({0: "running", 7: "shutoff"}, None, False, 10, None),
    ({0: "running", 3: "shutdown", 7: "shutoff"}, None, False, 10, None),
    ({0: "running", 7: None}, None, False, 10, None),
    ({0: "running"}, None, None, 60, "still on 60 s after"),
    ({0: "running"}, 12, True, 12, None),
    ({0: "running"}, 0, True, 0, None),
    ({0: "running", 7: "shutoff"}, 30, False, 10, None),
    ({0: "running"}, 90, None, 90, "still on 60 s after"),
    ({0: "running", 7: "crashed"}, None, None, 10, "the domain is crashed instead"),
    ({0: "running", 7: "paused"}, None, None, 10, "the domain is paused instead"),
    ({0: "running", 7: "paused"}, 30, True, 30, None),
    ({0: "crashed"}, 30, True, 30, None),
    ({0: "pmsuspended", 7: "shutoff"}, 30, False, 10, None),
    ({0: "running", 7: "pmsuspended"}, None, None, 10, "the domain is pmsuspended instead"),
]


@pytest.mark.parametrize(("states", "force_after", "forced", "latest", "words"), CASES)
def test_off(states: t.Any, force_after: t.Any, forced: t.Any, latest: float, words: str | None) -> None:
    clock = FakeClock()
    domain, deadline = _Domain(clock, states), Deadline(60, clock)
    arguments = t.cast(t.Any, (domain, _Watch(clock), deadline, force_after))
    if words is None:
        assert shutdown.wait_until_off(*arguments) is forced
        assert bool(domain.destroyed) is forced
    else:
        with pytest.raises(_errors.DomainStillOn, match=words) as caught:
            shutdown.wait_until_off(*arguments)
        assert caught.value.domain == "web"
    assert clock.monotonic() - 1000 <= latest
