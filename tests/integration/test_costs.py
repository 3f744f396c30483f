# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a task costs at most: requests to the agent, and programs that the guest starts."""

from __future__ import annotations

import importlib
import itertools
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.integration.ansible_cli import ROOT, Ansible
from tests.integration.guests_by_agent import Plays, variables
from tests.integration.started_programs import started_by, watched
from tests.lab import Lab

_ASKED = re.compile(r"ESTABLISH AGENT CONNECTION .*: (\d+) agent commands")
_COST = re.compile(r"EXEC as .*, (?P<wall>[0-9.]+) s, (?P<commands>\d+) agent commands, (?P<seconds>[0-9.]+) s in the command")
#: Seconds after which a result stays until it was fetched: a script of its own removes it.
KEPT_AFTER = 5
KEPT = Counter(sh=1, rm=2)
#: In a guest that has more to do than it can: until its input has come, what keeps its output has said so, or that was fetched.
NAPS = Counter(sleep=1000)


class Row(NamedTuple):
    task: dict[str, Any]
    #: what the guest starts for it
    programs: str
    #: requests without the questions whether it has ended
    requests: int
    kind: str


ROWS = {
    "raw": Row({"ansible.builtin.raw": "id"}, "setsid sh cat cat sh id head rm", 1, "command"),
    # Its input takes a request of its own, and what became of that another one.
    "module": Row(
        {"ansible.builtin.command": "id"},
        "sh cat setsid sh cat cat cat gzip python3 id head rm",
        3,
        "module",
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_what_a_task_costs(lab: Lab, ansible: Ansible, debian: str, tmp_path: Path, name: str) -> None:
    row = ROWS[name]
    programs = Counter(row.programs.split())
    plays = Plays(ansible, tmp_path, {debian: variables(lab, debian, resident="never")})
    with watched(lab, debian) as started:
        told = plays.told(row.task)
        (cost,) = _COST.finditer(told)
        kept = float(cost["seconds"]) > KEPT_AFTER - 1
        found = Counter(_after_the_last(started))
    assert _ASKED.findall(told) == ["1"]
    assert not found - programs - NAPS - (KEPT if kept else Counter()), found
    assert not programs - found, "what is not started any more has no place in the row"
    questions = _questions(_core("plugin_utils._connection.pace").Pace("", row.kind, str(tmp_path)).first, float(cost["wall"]))
    assert int(cost["commands"]) <= row.requests + questions + kept * (1 + _questions(0.02, float(cost["wall"])))


def _after_the_last(started: Any) -> list[str]:
    """What was kept is removed when the answer is on its way already."""
    deadline = time.monotonic() + 30
    while (found := started()) and found[-1] != "rm" and time.monotonic() < deadline:
        time.sleep(0.3)
    return found


def _questions(first: float, seconds: float) -> int:
    """How often it is asked at most in so many seconds whether a command has ended of which nothing is expected."""
    asked = itertools.accumulate(_core("module_utils._inside.exec").pauses(0.0, first))
    return 1 + len(list(itertools.takewhile(lambda at: at <= seconds, asked)))


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / ".collections")


def _core(name: str) -> Any:
    return importlib.import_module(f"ansible_collections.virtops.guest_agent.plugins.{name}")


def test_the_next_task_asks_less(lab: Lab, ansible: Ansible, debian: str, tmp_path: Path) -> None:
    plays = Plays(ansible, tmp_path, {debian: variables(lab, debian, resident="never")})
    told = plays.told(*[ROWS["raw"].task] * 4)
    first, *more = map(int, _ASKED.findall(told))
    assert first == 1
    assert len(more) == 3
    # A machine that takes more than the moment from one task to the next asks once more.
    assert max(more) <= 1


def test_the_programs_of_others_are_not_counted() -> None:
    trace = """
     qemu-ga-7   [0] ..... 1.0: sched_process_fork: comm=qemu-ga pid=7 child_comm=qemu-ga child_pid=20
          sh-3   [0] ..... 1.1: sched_process_fork: comm=sh pid=3 child_comm=sh child_pid=21
      setsid-20  [0] ..... 1.2: sched_process_exec: filename=/usr/bin/setsid pid=20 old_pid=20
          id-21  [0] ..... 1.2: sched_process_exec: filename=/usr/bin/id pid=21 old_pid=21
          sh-20  [0] ..... 1.3: sched_process_fork: comm=sh pid=20 child_comm=sh child_pid=22
         cat-22  [0] ..... 1.4: sched_process_exec: filename=/usr/bin/cat pid=22 old_pid=22
    """
    assert started_by([7], trace.splitlines()) == ["setsid", "cat"]
