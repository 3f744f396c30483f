# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ansible-core asks of every connection plugin, in its own words, over ours."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.integration.conftest import DEBIANS, OWN
from tests.integration.core_matrix import CORES, bin_dir
from tests.integration.core_target import ConnectionTarget, agent_variables
from tests.integration.guests_by_agent import RUN_BY_IT
from tests.lab import Lab

PIPELINING = {True: "pipelining", False: "no-pipelining"}
# The oldest and the newest. All other tests run on the one in between.
SHORT = {("2.21", OWN, True, "auto")}


def combinations() -> list[object]:
    return [
        pytest.param(
            *combination,
            id=f"{combination[0]}-{combination[1]}-{PIPELINING[combination[2]]}-resident-{combination[3]}",
            marks=[] if combination in SHORT else pytest.mark.full,
        )
        for combination in itertools.product(CORES, DEBIANS, PIPELINING, ("auto", "never"))
    ]


def target(lab: Lab, name: str, pipelining: bool, resident: str, commands: Path, work: Path) -> ConnectionTarget:
    more = {"ansible_pipelining": pipelining, "ansible_guest_agent_resident": resident}
    return ConnectionTarget(work, commands, {"guest": {**agent_variables(lab, name), **more}})


@pytest.mark.parametrize(("core", "kind", "pipelining", "resident"), combinations())
def test_target_connection(
    lab: Lab, debians: Mapping[str, str], tmp_path: Path, core: str, kind: str, pipelining: bool, resident: str
) -> None:
    connection = target(lab, debians[kind], pipelining, resident, bin_dir(core, "the connection target"), tmp_path)
    status = connection.run()
    said = connection.output.read_text(encoding="utf-8", errors="replace")
    assert status == 0, said
    assert (said.count(RUN_BY_IT) > 10) == (resident == "auto"), said


@pytest.mark.parametrize("pipelining", PIPELINING, ids=PIPELINING.values())
def test_the_mode_is_the_mode_asked_for(lab: Lab, debian: str, tmp_path: Path, pipelining: bool) -> None:
    """Without pipelining the module is a file of the guest, which its interpreter was called with."""
    connection = target(lab, debian, pipelining, "never", Path(sys.executable).parent, tmp_path)
    called = connection.module("ansible.builtin.shell", "tr '\\0' ' ' </proc/$PPID/cmdline")
    assert "python3" in called
    assert ("AnsiballZ_" in called) != pipelining
