# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The faults of a guest that stays warm: a task is run by its resident, over its port and over named pipes, when each strikes.

A command runs at most once whatever happens, and afterwards there is nothing of it in the guest.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import libvirt
import pytest

from tests.faults.stage import HANDLES, Running, Stage, reached
from tests.faults.table import CONT, FROZEN, GONE, STOP, THAWED, for_a_while, kill_controller, pause, restart_libvirt, resume
from tests.integration.ansible_cli import ROOT, Ansible
from tests.integration.guests_by_agent import RESIDENTS, RUN_BY_IT, Plays, variables
from tests.lab import Guest
from tests.lab.errors import LabError
from tests.lab.second import second_hypervisor
from tests.lab.wire import Wire

PORT = "<channel type='unix'><target type='virtio' name='org.virtops.guest_agent.0'/></channel>"
RESULTS = ROOT / "tests/output/faults-warm.json"
SECONDS, SETTLES = 300, 60
#: Seconds for which a resident goes on without a controller.
PATIENCE = 20

KILL = f"kill -KILL $({RESIDENTS})"
LEFT: Mapping[str, str] = {
    "temporary files": "find /var/tmp /tmp /run -name '.virtops*' 2>/dev/null",
    "files of a resident": (
        "for d in /run/virtops-*; do ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q $d/ || ls -d $d; done 2>/dev/null"
    ),
    HANDLES: "ls -l /proc/$(pidof qemu-ga)/fd 2>/dev/null | grep -E '/var/tmp/|virtops'",
    "processes of the guest": "grep -ls 3131[3] /proc/[0-9]*/cmdline",
}
#: What a row runs: it says that it has begun, and counts how often it does.
COUNTED = "echo x >>/run/count; : >/run/begun"
BRIEF = f"{COUNTED}; sleep 8; echo whole"
LASTING = f"{COUNTED}; sleep 31313"
FINE, UNREACHED = "", "unreachable"


def sh(command: str) -> Callable[[Stage], None]:
    def strike(stage: Stage) -> None:
        stage.sh(command)

    return strike


def session_of_it(stage: Stage) -> None:
    """The process that runs the command, and not the keeper."""
    stage.sh(f"kill -KILL $({RESIDENTS.strip()} | sort -n | tail -n 1)")


def restart_agent(stage: Stage) -> None:
    stage.sh("systemctl restart qemu-guest-agent || systemctl start qemu-guest-agent", 60)


def take_port(stage: Stage) -> None:
    """Another client holds the port for half a minute."""
    connection = libvirt.open(stage.hypervisor.uri)
    domain = connection.lookupByName(stage.guest)
    stream = connection.newStream(0)
    domain.openChannel("org.virtops.guest_agent.0", stream, 0)
    HELD.append((stream, connection))


def give_port_back(_stage: Stage) -> None:
    while HELD:
        stream, connection = HELD.pop()
        stream.abort()
        connection.close()


HELD: list[tuple[Any, Any]] = []


def reset(stage: Stage) -> None:
    """The guest begins anew, and has an agent again."""
    before = boot(stage)
    stage.domain().reset()
    assert reached(lambda: boot(stage) not in ("", before), 240), "the guest does not come up"
    assert reached(lambda: stage.agent_status() == "connected", 240), "its agent does not come up"


def boot(stage: Stage) -> str:
    """Of this start of the guest; "" while it has no shell."""
    try:
        return stage.sh("cat /proc/sys/kernel/random/boot_id", 10).strip()
    except (LabError, OSError, ValueError):
        return ""


def nothing(_stage: Stage) -> None:
    pass


class Row(NamedTuple):
    """ends: how the task may end. runs: how often the command may have begun. leaves: what may still be there until the next task.
    at_rest: the fault comes before the task. boots: the guest is another afterwards.
    """

    strike: Callable[[Stage], None]
    ends: Collection[str] = (FINE,)
    command: str = BRIEF
    heal: Callable[[Stage], None] = nothing
    runs: Collection[int] = (1,)
    leaves: Collection[str] = ()
    at_rest: bool = False
    boots: bool = False


ROWS: Mapping[str, Row] = {
    "the resident is killed before": Row(sh(KILL), at_rest=True),
    "its session is killed": Row(session_of_it, (UNREACHED,)),
    "the resident is killed with its session": Row(sh(KILL), (UNREACHED,), LASTING, leaves=("files of a resident",)),
    "the port is held by another client": Row(take_port, heal=give_port_back, at_rest=True),
    "the agent is restarted": Row(restart_agent),
    "the agent hangs for a while": Row(for_a_while(STOP, CONT, 7)),
    "libvirtd is killed and comes again": Row(restart_libvirt),
    "the socket is cut": Row(lambda stage: stage.wire.cut()),
    "the socket is half open for a while": Row(for_a_while(lambda stage: stage.wire.hold(), lambda stage: stage.wire.cut(), 7)),
    "the domain is paused for a while": Row(for_a_while(pause, resume, 5)),
    "the guest is frozen and thawed by another client": Row(for_a_while(FROZEN, THAWED, 3)),
    "the controller is killed": Row(kill_controller, (GONE,), LASTING, leaves=(HANDLES,)),
    "the guest is reset before": Row(reset, at_rest=True, boots=True),
    "the guest is reset": Row(reset, (UNREACHED,), LASTING, boots=True),
}
WAYS = ("port", "pipes")


@pytest.fixture(scope="module")
def stage(ansible: Ansible, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    place = tmp_path_factory.mktemp("wire")
    with second_hypervisor() as hypervisor, Wire(place / "sock", hypervisor.socket) as wire, hypervisor.lab() as lab:
        stage = Stage(hypervisor, lab, wire, f"qemu+unix:///session?socket={place / 'sock'}", ansible)
        (stage.guest,) = lab.start_all([Guest(name="warm-1", kind="debian12", devices=PORT, persistent=True)])
        yield stage


@pytest.fixture(scope="module")
def figures() -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    yield rows
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


class Scene:
    """A guest whose resident is reached one way."""

    def __init__(self, stage: Stage, way: str, place: Path) -> None:
        self.stage = stage
        self._way = way
        self._place = place

    def variables(self) -> dict[str, Any]:
        more = {"uri": self.stage.uri, "data_lane": "auto" if self._way == "port" else "never"}
        return variables(
            self.stage.lab, self.stage.guest, resident="auto", timeout=5, command_timeout=240, patience=PATIENCE, **more
        )

    def warm_up(self) -> None:
        deadline = time.monotonic() + 240
        plays = Plays(self.stage.ansible, self._place, {self.stage.guest: self.variables()})
        while plays.told(*[{"ansible.builtin.raw": "true"}] * 2).count(RUN_BY_IT) < 2:
            assert time.monotonic() < deadline, "the resident does not come"

    def begin(self, command: str) -> Running:
        words = ["ansible", "all", "-i", f"{self.stage.guest},", "-m", "ansible.builtin.raw", "-a", command]
        return Running(self.stage.ansible, [*words, "-e", json.dumps(self.variables())])

    def left(self) -> dict[str, str]:
        found = {name: self.stage.sh(command).strip() for name, command in LEFT.items()}
        return {name: text for name, text in found.items() if text}

    def answers(self) -> bool:
        plays = Plays(self.stage.ansible, self._place, {self.stage.guest: self.variables()})
        found = plays.play({"ansible.builtin.raw": "echo back"})
        return found[-1].get("stdout_lines") == ["back"]


@pytest.fixture(params=WAYS)
def scene(request: pytest.FixtureRequest, stage: Stage, tmp_path: Path) -> Iterator[Scene]:
    if not stage.lab.connection.isAlive():
        stage.lab.leave()
        stage.lab = stage.hypervisor.lab()
    stage.sh("rm -f /run/count /run/begun")
    scene = Scene(stage, request.param, tmp_path)
    yield scene
    if stage.running:
        stage.running.end()
    stage.running = None
    stage.wire.mend()
    stage.sh(f"{KILL}; rm -rf /run/virtops-*")


@pytest.mark.full
@pytest.mark.parametrize("name", ROWS)
def test_warm_fault(scene: Scene, figures: list[dict[str, Any]], name: str) -> None:
    row, stage = ROWS[name], scene.stage
    scene.warm_up()
    try:
        if row.at_rest:
            row.strike(stage)
        stage.running = running = scene.begin(row.command)
        if not row.at_rest:
            begun = reached(lambda: stage.lab.run(stage.guest, "test -e /run/begun").returncode == 0, 120)
            assert begun, "the command does not begin"
            row.strike(stage)
        began = time.monotonic()
        if GONE in row.ends:
            running.process.communicate(timeout=SECONDS)
            ended, result = GONE, {}
        else:
            result = running.result(SECONDS)
            ended = next((word for word in ("unreachable", "failed") if result.get(word)), "")
    finally:
        row.heal(stage)
    figures.append({"fault": name, "way": scene._way, "ended": ended, "seconds": round(time.monotonic() - began, 1)})
    assert ended in row.ends, result
    if ended == FINE:
        assert result["stdout_lines"] == ["whole"], result
    if not row.boots:
        assert int(stage.sh("wc -l </run/count")) in row.runs
    assert reached(lambda: set(scene.left()) <= set(row.leaves), SETTLES), scene.left()
    assert scene.answers()
    assert reached(lambda: not scene.left(), SETTLES), scene.left()


def test_two_playbooks_at_one_warm_guest(scene: Scene) -> None:
    """Each task is run once, by the resident or without it; the two do not mix."""
    stage = scene.stage
    scene.warm_up()
    commands = [f"for i in 1 2 3; do echo {word} $i; echo {word} >>/run/count; sleep 0.3; done" for word in ("one", "two")]
    both = [scene.begin(command) for command in commands * 2]
    try:
        results = [running.result(SECONDS) for running in both]
    finally:
        for running in both:
            running.end()
    for word, result in zip(("one", "two") * 2, results):
        assert result.get("stdout_lines") == [f"{word} {number}" for number in (1, 2, 3)], result
    assert sorted(stage.sh("cat /run/count").split()) == ["one"] * 6 + ["two"] * 6
    assert reached(lambda: not scene.left(), SETTLES), scene.left()
