# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two freezers of one guest at random moments, with kills: no freeze outlives its time, and none is thawed by the other one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ansible_cli import ROOT
from tests.integration.two_freezers import MAX_SECONDS
from tests.lab import Lab

LIMIT = MAX_SECONDS + 2.0
#: A round has about 4 s.
ROUND_SECONDS = 20
RESULTS = ROOT / "tests/output/two_freezers.json"

Event = dict[str, Any]


@pytest.mark.parametrize(("guests", "rounds"), [(1, 3), pytest.param(4, 50, marks=pytest.mark.full)])
def test_two_freezers(lab: Lab, start: Callable[..., str], guests: int, rounds: int) -> None:
    names = [start() for _number in range(guests)]
    running = [_drive(lab, name, rounds, number) for number, name in enumerate(names)]
    played = []
    for process in running:
        output, errors = process.communicate(timeout=rounds * ROUND_SECONDS)
        assert process.returncode == 0, errors
        played += [json.loads(line) for line in output.splitlines()]
    assert len(played) == guests * rounds
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"rounds": len(played), **_figures(played)}, indent=1) + "\n", encoding="utf-8")
    wrong = [(problem, each) for each in played if (problem := _problem(each["events"]))]
    assert not wrong, "\n\n".join(f"{problem}: {json.dumps(each)}" for problem, each in wrong[:5])
    for name in names:
        ticks = lab.ticks(name)
        assert lab.run(name, "sleep 1; sync").returncode == 0
        assert lab.ticks(name) > ticks


def _drive(lab: Lab, name: str, rounds: int, seed: int) -> subprocess.Popen[str]:
    program = Path(__file__).with_name("two_freezers.py")
    process = subprocess.Popen(
        [sys.executable, str(program), str(rounds), str(seed), str(ROOT / ".collections")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    process.stdin.write(json.dumps({"domain": name, "uri": lab.uri, "uuid": lab.domain(name).UUIDString()}))
    process.stdin.close()
    process.stdin = None
    return process


def _problem(events: list[Event]) -> str:
    """What is wrong with a round; "" for nothing."""
    if any(event["what"] == "robbed" for event in events):
        return "another client's freeze was thawed"
    if not next(event["thawed"] for event in events if event["what"] == "ends"):
        return "the guest is left frozen"
    longest = max(_lengths(events), default=0.0)
    if longest > LIMIT:
        return f"it was frozen by us for {longest:.1f} s"
    for event in events:
        if event["what"] == "is frozen" and not event["failure"] and event["who"].startswith("ours") and _robbed(event, events):
            return "a freeze of ours was thawed by the other one"
    return ""


def _robbed(frozen: Event, events: list[Event]) -> bool:
    """Whether it was seen thawed before its own playbook wanted that, or was killed."""
    own = [event["at"] for event in events if event["who"] == frozen["who"] and event["at"] > frozen["at"]]
    until = min([*own, frozen["at"] + 1.0])
    looks = [event for event in events if event["who"] == "looker"]
    before = [event["what"] for event in looks if event["at"] < frozen["at"] + 0.1]
    return any(look["what"] == "thawed" and frozen["at"] + 0.1 < look["at"] < until for look in looks) and before[-1:] == ["frozen"]


def _lengths(events: list[Event]) -> Iterator[float]:
    """How long the guest was frozen at a time, but for another client's freezes."""
    since: float | None = None
    anothers = False
    for event in events:
        another = event["who"].startswith("another client")
        begins = event["what"] == "is frozen" and not event["failure"]
        if since is not None and (event["what"] == "thawed" or begins):
            yield event["at"] - since
            since = None
        if another and begins:
            anothers = True
        elif another and event["what"] in ("is thawed", "robbed"):
            anothers = False
        elif not anothers and since is None and (event["what"] == "frozen" or (begins and not another)):
            since = event["at"]


def _figures(played: list[dict[str, Any]]) -> dict[str, Any]:
    kinds = [(plan["kind"], plan["kills"]) for each in played for plan in each["plans"]]
    return {
        "longest": round(max((length for each in played for length in _lengths(each["events"])), default=0.0), 2),
        "frozen": sum(event["what"] == "is frozen" and not event["failure"] for each in played for event in each["events"]),
        "refused": sum(event.get("failure") == "guest_frozen" for each in played for event in each["events"]),
        "killed": sum(event["what"] == "killed" for each in played for event in each["events"]),
        "freezers": {f"{kind} {kills}".strip(): kinds.count((kind, kills)) for kind, kills in sorted(set(kinds))},
    }
