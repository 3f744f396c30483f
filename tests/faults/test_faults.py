# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The promises under fault: every row of the table on a real guest, and what guest, controller and libvirtd are like then."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from tests.faults.stage import LARGE, Stage, reached
from tests.faults.table import FAULTS, GONE, WORKS, Fault
from tests.integration.ansible_cli import ROOT, Ansible
from tests.lab import Guest
from tests.lab.second import second_hypervisor
from tests.lab.wire import Wire

#: The short form has one row of each family.
SHORT = {
    ("the agent is killed", "a command that ends"),
    ("the agent hangs", "a freeze"),
    ("the socket is cut", "a file"),
    ("the socket is half open for a while", "a task over the connection"),
    ("the guest's disk is full", "a file"),
    ("the controller is killed", "a command that ends"),
}
ROWS = [(name, work) for name, fault in FAULTS.items() for work in fault.works]
#: Agent timeout, the task's own time, Ansible's start on a busy machine, and a margin.
SECONDS = 90
#: What is left may still be on its way out; a freeze may last for as long as was agreed, and is waited for 35 s where it was lost.
SETTLES = 45
SIZE = 12 * 1024 * 1024
RESULTS = ROOT / "tests/output/faults.json"


@pytest.fixture(scope="module")
def stage(ansible: Ansible, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    place = tmp_path_factory.mktemp("wire")
    with second_hypervisor() as hypervisor, Wire(place / "sock", hypervisor.socket) as wire, hypervisor.lab() as lab:
        yield Stage(hypervisor, lab, wire, f"qemu+unix:///session?socket={place / 'sock'}", ansible)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "file"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture(scope="module")
def figures() -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    yield rows
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


@pytest.fixture
def guest(stage: Stage) -> Iterator[str]:
    """The one of the test before, if that left it well."""
    if not stage.guest or stage.ruined():
        _another_guest(stage)
    stage.sh(f"rm -f /run/begun /data/pushed /data/probe; [ -e {LARGE} ] || dd if=/dev/urandom of={LARGE} bs=1M count=16")
    yield stage.guest
    if stage.running:
        stage.running.end()
    stage.running = None
    stage.wire.mend()


def _another_guest(stage: Stage) -> None:
    _reconnect(stage)
    for name in stage.lab.names():
        stage.lab.destroy(name)
    number = int(stage.guest.rpartition("-")[2] or 0) + 1 if stage.guest else 1
    # LARGE is in its memory, and the kernel of Debian 13 leaves less of it.
    (stage.guest,) = stage.lab.start_all([Guest(name=f"fault-{number}", persistent=True, memory_mib=160)])


def _reconnect(stage: Stage) -> None:
    """A lab's connection ends with the daemon."""
    if not stage.lab.connection.isAlive():
        stage.lab.leave()
        stage.lab = stage.hypervisor.lab()


def _sentence(result: dict[str, Any], name: str) -> str:
    """What is wrong with how a failure is told, "" for nothing."""
    text = result["msg"]
    named = name in text or result["failure"]["kind"] == "hypervisor_unreachable"
    problems = (
        ("several lines", "\n" in text),
        ("no end", not text.endswith(".")),
        ("no domain", not named),
        ("a traceback", "Traceback" in text),
    )
    return ", ".join(what for what, is_so in problems if is_so)


def _play(stage: Stage, fault: Fault, work: str, source: Path) -> tuple[str, dict[str, Any], float]:
    """How the task ended, its result, and the seconds from the fault (or its own start) to that."""
    task = WORKS[work]
    places = {"SOURCE": str(source), "BACK": str(source.with_name("back")), "NAME": f"fault-{secrets.token_hex(3)}"}
    task = task._replace(args={key: places.get(str(value), value) for key, value in task.args.items()})
    if fault.at_rest:
        fault.strike(stage)
        stage.begin(task._replace(begun=""))
        began = time.monotonic()
    else:
        stage.begin(task)
        began = time.monotonic()
        fault.strike(stage)
    assert stage.running is not None
    if GONE in fault.works[work]:
        stage.running.process.communicate(timeout=SECONDS)
        return GONE, {}, time.monotonic() - began
    result = stage.running.result(SECONDS)
    ended = next((word for word in ("unreachable", "failed") if result.get(word)), "")
    return str(result.get("failure", {}).get("kind", ended)), result, time.monotonic() - began


@pytest.mark.parametrize(
    ("name", "work"), [row if row in SHORT else pytest.param(*row, marks=pytest.mark.full) for row in ROWS], ids=str
)
def test_fault(stage: Stage, guest: str, source: Path, figures: list[dict[str, Any]], name: str, work: str) -> None:
    fault = FAULTS[name]
    source.with_name("back").unlink(missing_ok=True)
    try:
        kind, result, seconds = _play(stage, fault, work, source)
    finally:
        fault.heal(stage)
    row = {"fault": name, "task": work, "promises": fault.promises, "ended": kind, "seconds": round(seconds, 1)}
    figures.append(row)
    assert kind in fault.works[work], result
    assert not result.get("failed") or not _sentence(result, guest), result["msg"]
    assert _answers(stage), "libvirtd does not answer"
    if fault.survives:
        if WORKS[work].off:
            _reconnect(stage)
            stage.lab.wait_agents(120)
        settled = time.monotonic()
        assert reached(lambda: set(stage.left()) <= set(fault.leaves.get(work, ())), SETTLES), stage.left()
        row["left"] = sorted(stage.left())
        assert stage.agent_status() == "connected"
        row["settled_after"] = round(time.monotonic() - settled, 1)
    elif stage.running is not None:
        processes = stage.running.processes
        assert reached(lambda: not processes(), SETTLES), "processes of the controller are left"


def _answers(stage: Stage) -> bool:
    def ask() -> bool:
        try:
            connection = libvirt.open(stage.hypervisor.uri)
            return bool(connection.listAllDomains(0)) and connection.close() is not None
        except libvirt.libvirtError:
            return False

    return reached(ask, 60)
