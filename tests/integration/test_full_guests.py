# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests whose file systems are full, read-only or mounted with noexec: all of rc and output arrives, or the task says no space."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ansible_cli import Ansible
from tests.integration.guests_by_agent import Plays, ok, variables
from tests.lab import Lab

PLACES = ("/var/tmp", "/tmp", "/run")
FULL = "size=16k"
READ_ONLY = "ro"
SMALL = "size=512k"
NOEXEC = "noexec"


@pytest.fixture(params=["tiny", pytest.param("debian", marks=pytest.mark.full)])
def guest(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("a_tiny") if request.param == "tiny" else request.getfixturevalue("debians")["debian13"])


@pytest.fixture
def plays(lab: Lab, ansible: Ansible, guest: str, tmp_path: Path) -> Plays:
    return Plays(ansible, tmp_path, {guest: variables(lab, guest, uri=lab.uri)})


@contextlib.contextmanager
def mounted(lab: Lab, guest: str, options: str, places: tuple[str, ...] = PLACES) -> Iterator[None]:
    for place in places:
        fill = f"; cat /dev/zero >{place}/.filled 2>/dev/null" if options == FULL else ""
        lab.run(guest, f"mkdir -p {place}; mount -t tmpfs -o mode=1777,{options} tmpfs {place}{fill}")
    try:
        yield
    finally:
        for place in places:
            lab.run(guest, f"umount -l {place}")


def module(name: str, **options: Any) -> dict[str, Any]:
    return {f"virtops.guest_agent.{name}": options, "ignore_errors": True}


def raw(command: str) -> dict[str, Any]:
    return {"ansible.builtin.raw": command, "ignore_errors": True}


SCRIPT = "#!/bin/sh\necho script; exit 0\n"
WHOLE = [
    raw("echo whole; echo err >&2; exit 3"),
    raw("seq 1 50000"),
    module("run_command", shell="echo whole; exit 3"),
    module("run_command", argv=["wc", "-c"], stdin="x" * 200_000),
    module("run_script", content=SCRIPT),
    module("push_file", content="y" * 300_000, dest="/root/virtops-pushed"),
]


@pytest.mark.parametrize("options", [FULL, READ_ONLY])
def test_one_place_that_takes_something_is_enough(lab: Lab, guest: str, plays: Plays, options: str) -> None:
    with mounted(lab, guest, options, PLACES[:2]):
        said = plays.play(*WHOLE)
    assert (said[0]["rc"], said[0]["stdout"].split(), said[0]["stderr"].split()) == (3, ["whole"], ["err"])
    assert said[1]["stdout"].split() == [str(number) for number in range(1, 50_001)]
    assert (said[2]["rc"], said[2]["stdout"]) == (3, "whole")
    assert ok(said[3])["stdout"] == "200001"
    assert ok(said[4])["stdout"] == "script"
    assert ok(said[5])["size"] == 300_000
    lab.run(guest, "rm /root/virtops-pushed")


@pytest.mark.parametrize("options", [FULL, READ_ONLY])
def test_without_space_every_task_says_so(lab: Lab, guest: str, plays: Plays, options: str) -> None:
    with mounted(lab, guest, options):
        said = plays.play(*WHOLE)
    for result in said:
        assert result["failed"]
        assert not result.get("unreachable")
        assert "no space" in result["msg"]
        assert all(place in result["msg"] for place in PLACES)
    assert ok(plays.play(raw("echo again"))[0])["stdout"].split() == ["again"]


@pytest.mark.parametrize("fill", ["true", "cat /dev/zero >/var/tmp/.filled"])
def test_space_that_ends_while_a_command_prints(lab: Lab, guest: str, plays: Plays, fill: str) -> None:
    """Also where it is there again in the end."""
    command = f"( {fill} ) 2>/dev/null; seq 1 200000; rm -f /var/tmp/.filled; exit 0"
    with mounted(lab, guest, SMALL, PLACES[:1]):
        for task in (raw(command), module("run_command", shell=command)):
            (result,) = plays.play(task)
            _await_space(lab, guest)
            assert result["failed"]
            assert not result.get("unreachable")
            assert "exit code 0" in result["msg"]
            assert "no space in /var/tmp" in result["msg"]


def _await_space(lab: Lab, guest: str) -> None:
    """What a command has left in the first place is removed when its answer is on its way already."""
    deadline = time.monotonic() + 60
    while int(lab.run(guest, f"df -k {PLACES[0]} | tail -n 1").output.split()[2]) > 100:
        assert time.monotonic() < deadline, "the space does not come again"
        time.sleep(0.2)


def test_a_script_where_nothing_can_be_executed(lab: Lab, guest: str, plays: Plays) -> None:
    with mounted(lab, guest, NOEXEC):
        script, program, *others = plays.play(
            module("run_script", content=SCRIPT), module("run_script", content="echo x\n"), *WHOLE[:3]
        )
    assert ok(script)["stdout"] == "script"
    assert "mounted noexec" in program["msg"]
    assert [result["rc"] for result in others] == [3, 0, 3]
