# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Playbooks in guests over the agent: all as over SSH, and what SSH cannot do."""

from __future__ import annotations

import json
import subprocess
import tarfile
import threading
import time
from pathlib import Path

import pytest

from tests.integration.ansible_cli import Ansible
from tests.integration.guests_by_agent import PLAYS, Plays, ok, variables
from tests.lab import Lab

MIB = 1024 * 1024


@pytest.fixture
def plays(lab: Lab, ansible: Ansible, debian: str, tmp_path: Path) -> Plays:
    return Plays(ansible, tmp_path, {debian: variables(lab, debian)})


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A tar file with a Debian package in it."""
    tree = tmp_path / "package"
    (tree / "DEBIAN").mkdir(parents=True)
    fields = {
        "Package": "virtops-test",
        "Version": "1",
        "Architecture": "all",
        "Maintainer": "t <t@example.com>",
        "Description": "t",
    }
    control = "".join(f"{name}: {value}\n" for name, value in fields.items())
    (tree / "DEBIAN" / "control").write_text(control, encoding="utf-8")
    package = tmp_path / "virtops-test.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, package], check=True, capture_output=True)
    with tarfile.open(tmp_path / "archive.tar.gz", "w:gz") as tar:
        tar.add(package, package.name)
    return tmp_path / "archive.tar.gz"


@pytest.mark.full
def test_every_day(lab: Lab, ansible: Ansible, debian: str, archive: Path, tmp_path: Path) -> None:
    plays = Plays(ansible, tmp_path, {debian: variables(lab, debian)})
    words = ["-e", json.dumps({"archive": str(archive), "fetched": str(tmp_path / "fetched")})]
    for result in plays.run(PLAYS / "every_day.yml", *words, timeout=900):
        if result["task"] != "A wrong password":
            ok(result)
    fetched = next((tmp_path / "fetched" / debian).rglob("template"))
    assert fetched.read_text(encoding="utf-8") == f"name: {debian}\n"


def test_become(plays: Plays) -> None:
    up = {"ansible_user": "ansible", "ansible_become_password": "ansible"}
    task = {"ansible.builtin.command": "id -un", "become": True}
    found = plays.play({**task, "vars": up}, {**task, "become_user": "ansible"})
    assert [ok(result)["stdout"] for result in found] == ["root", "ansible"]


def test_what_a_command_finds_is_what_it_finds_over_ssh(lab: Lab, debian: str, plays: Plays) -> None:
    script = 'echo "$HOME $USER $LOGNAME $SHELL $PATH"; umask; pwd; id'
    for user in ("root", "ansible"):
        result = ok(plays.play({"ansible.builtin.raw": script, "vars": {"ansible_user": user}})[0])
        assert result["stdout"].splitlines() == lab.ssh(debian, script, user=user).stdout.splitlines()


#: Seconds after which a result stays in the guest until it was fetched.
KEPT_AFTER = 5


def test_a_pipelined_task_costs_at_most_nine_agent_commands(debian: str, plays: Plays) -> None:
    del debian
    _output, costs = plays.verbose("ansible.builtin.command", "id")
    ((seconds, commands),) = costs
    # A command that takes longer is asked for once in a second, and after five its result is removed by a script of its own. What
    # it took in the guest is less than what that is decided by.
    assert commands <= 9 + max(0, int(seconds) - 2) + 6 * (seconds >= KEPT_AFTER - 1)


def test_nothing_secret_is_displayed(plays: Plays) -> None:
    output, _costs = plays.verbose("ansible.builtin.raw", "echo very-secret | rev")
    shown = [line for line in output.splitlines() if "very-secret" in line]
    assert "terces-yrev" in output
    assert shown == []


OUTPUTS = {
    "64 MiB on stdout": ("head -c 67108864 /dev/zero | tr '\\0' x", 0, 64 * MIB, 0),
    "5 MiB of binary on stderr": ("head -c 5242880 /dev/urandom >&2; exit 5", 5, 0, 5 * MIB),
    "1 MiB of binary on stderr": ("head -c 1048576 /dev/urandom >&2; exit 5", 5, 0, MIB),
    "killed by SIGKILL": ("echo before; kill -9 $$", 137, 7, 0),
    "a child in the background that holds stdout": ("(sleep 300; echo late) & echo started", 0, 8, 0),
}


LARGE = ("64 MiB on stdout", "5 MiB of binary on stderr")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.full if name in LARGE else ()) for name in OUTPUTS])
def test_output(debian: str, lab: Lab, ansible: Ansible, tmp_path: Path, name: str) -> None:
    plays = Plays(ansible, tmp_path, {debian: variables(lab, debian)})
    command, rc, out, err = OUTPUTS[name]
    result, after = plays.play(
        {"ansible.builtin.raw": command, "failed_when": False}, {"ansible.builtin.raw": "ls -a /var/tmp | grep virtops"}
    )
    assert (result["rc"], len(result["stdout"])) == (rc, out)
    assert len(result["stderr"]) >= err * 4 / 5
    assert len({line.partition(".virtops-")[2][:32] for line in ok(after)["stdout"].split()}) == 1, "only this command's own files"
    lab.run(debian, "pkill -x sleep || true")


def test_a_command_without_end_ends_at_its_deadline_with_all_it_started(lab: Lab, debian: str, plays: Plays) -> None:
    timed = {"ansible_guest_agent_command_timeout": 3}
    task = {"ansible.builtin.raw": "trap '' TERM; sleep 4711 & sleep 4711", "vars": timed, "ignore_errors": True}
    result, after = plays.play(task, {"ansible.builtin.raw": "pgrep -fc '[s]leep 4711' || true"})
    assert result["failed"]
    assert "did not end within 3 s" in result["msg"]
    assert ok(after)["stdout"].strip() == "0"
    by_keyword = {"ansible.builtin.raw": "sleep 4712", "timeout": 3, "ignore_errors": True}
    result, after = plays.play(by_keyword, {"ansible.builtin.raw": "pgrep -fc '[s]leep 4712' || true"})
    assert result["failed"]
    assert ok(after)["stdout"].strip() == "0", lab.run(debian, "ps ax").output


def test_a_hung_agent_costs_its_deadline_and_a_play_goes_on_when_it_is_back(lab: Lab, debian: str, plays: Plays) -> None:
    ok(plays.play({"ansible.builtin.raw": "true"})[0])
    lab.run(debian, "(sleep 4; kill -STOP $(pidof qemu-ga); sleep 25; kill -CONT $(pidof qemu-ga)) >/dev/null 2>&1 &")
    stopped: list[float] = []
    watch = threading.Thread(target=lambda: stopped.append(_stopped(lab, debian)))
    watch.start()
    short = {"ansible_guest_agent_timeout": 3, "ansible_guest_agent_patience": 5}
    silent, waited, again = plays.play(
        {"ansible.builtin.raw": "sleep 60", "vars": short, "ignore_unreachable": True},
        {"ansible.builtin.wait_for_connection": {"timeout": 120, "sleep": 1}, "vars": short},
        {"ansible.builtin.raw": "echo again"},
    )
    watch.join()
    assert silent["unreachable"]
    assert "did not answer in time" in silent["msg"]
    assert "unresponsive" in silent["msg"]
    # What runs is asked for again until patience ends: a question when it began to be silent, one that was under way when it ended.
    assert silent["at"] - stopped[0] < 3 + 5 + 40
    ok(waited)
    assert ok(again)["stdout"].strip() == "again"
    lab.run(debian, "pkill -x sleep || true")


def _stopped(lab: Lab, name: str) -> float:
    for _attempt in range(60):
        if lab.run(name, "ps -o stat= -p $(pidof qemu-ga)").output.strip().startswith("T"):
            return time.time()
        time.sleep(0.2)
    return 0.0
