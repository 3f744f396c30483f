# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is told of a transfer."""

from __future__ import annotations

import types
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.lanes import AgentLane, Preferred
from ansible_collections.virtops.guest_agent.plugins.module_utils._module.transfer import Stopwatch

DATA = types.SimpleNamespace(name="data")
PLAIN = AgentLane(t.cast(t.Any, None))


@pytest.mark.parametrize(
    ("data", "agent", "told"), [(0, 0, "agent"), (0, 7, "agent"), (7, 0, "data"), (3, 4, "agent"), (4, 3, "data")]
)
def test_the_lane_is_that_which_carried_most(data: int, agent: int, told: str) -> None:
    lane = Preferred(t.cast(t.Any, DATA), PLAIN)
    lane.carried.update(data=1000, agent=2000)  # by an earlier transfer
    watch = Stopwatch(t.cast(t.Any, types.SimpleNamespace(lane=lane)))
    lane.carried.update(data=1000 + data, agent=2000 + agent)
    assert watch.transfer(7)["lane"] == told


def test_the_only_lane() -> None:
    assert Stopwatch(t.cast(t.Any, types.SimpleNamespace(lane=PLAIN))).transfer(7)["lane"] == "agent"
