# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plays over the agent connection, and what its verbosity tells of them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.integration.ansible_cli import CALLBACKS, Ansible
from tests.lab import Lab

PLAYS = Path(__file__).parent / "plays"
#: What -vvv says of a command that the resident has run.
RUN_BY_IT = "the resident has run the next command"
#: In the guest, those that wait for tasks.
RESIDENTS = r"""
for p in $(grep -ls '^python3' /proc/[0-9]*/comm); do
  ls -l "${p%/comm}/fd" 2>/dev/null | grep -qE '/run/virtops-|/dev/vport' && p=${p%/comm} && echo "${p#/proc/}"
done
"""
_COST = re.compile(r"EXEC as \S+: .*? s, (?P<commands>\d+) agent commands, (?P<seconds>[0-9.]+) s in the command")


def variables(lab: Lab, name: str, **more: Any) -> dict[str, Any]:
    """Each task starts from nothing, unless ``resident`` is among ``more``: test_resident.py and the faults have the other way."""
    return {
        "ansible_connection": "virtops.guest_agent.agent",
        "ansible_guest_agent_domain": name,
        "ansible_guest_agent_uri": lab.uri,
        "ansible_guest_agent_data_lane": "never",
        "ansible_guest_agent_resident": "never",
        "ansible_python_interpreter": "/usr/bin/python3",
        **{f"ansible_guest_agent_{key}": value for key, value in more.items()},
    }


class Plays:
    """Ansible on these hosts (name -> variables)."""

    def __init__(self, ansible: Ansible, place: Path, hosts: dict[str, dict[str, Any]]) -> None:
        self._ansible = ansible
        self._place = place
        self._inventory = place / "hosts.json"
        self._inventory.write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")

    def play(self, *tasks: dict[str, Any], timeout: float = 300, **play: Any) -> list[dict[str, Any]]:
        """Each task's result, with ``task`` and ``host``, in the order of their ends."""
        return self.run(self._written(tasks, play), timeout=timeout)

    def told(self, *tasks: dict[str, Any]) -> str:
        """What ``ansible-playbook -vvv`` prints of these tasks."""
        return self._ansible.playbook(self._written(tasks, {}), "-i", str(self._inventory), "-vvv", timeout=300).stdout

    def _written(self, tasks: Sequence[dict[str, Any]], play: dict[str, Any]) -> Path:
        path = self._place / "play.json"
        path.write_text(json.dumps([{"hosts": "all", "gather_facts": False, **play, "tasks": list(tasks)}]), encoding="utf-8")
        return path

    def run(self, path: Path, *words: str, timeout: float = 300) -> list[dict[str, Any]]:
        env = {"ANSIBLE_STDOUT_CALLBACK": "last_result", "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS)}
        command = ["-i", str(self._inventory), *words]
        done = self._ansible.playbook(path, *command, check=False, timeout=timeout, **env)
        found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert found, f"{done.stdout}\n{done.stderr}"
        return found

    def verbose(self, module: str, arguments: str) -> tuple[str, list[tuple[float, int]]]:
        """What ``ansible -vvvvv`` prints of one module, and the seconds and agent commands that each command of it took."""
        words = ["ansible", "all", "-i", str(self._inventory), "-m", module, "-a", arguments, "-vvvvv"]
        done = self._ansible.run(*words)
        return done.stdout, [(float(found["seconds"]), int(found["commands"])) for found in _COST.finditer(done.stdout)]


def booted(lab: Lab, name: str, seconds: float = 180) -> str:
    """A guest that has no agent to tell is up when it writes; before, it hears neither its power button nor of new devices."""
    deadline = time.monotonic() + seconds
    while not lab.ticks(name):
        assert time.monotonic() < deadline, f"{name} does not come up"
        time.sleep(0.5)
    return name


def ok(result: dict[str, Any]) -> dict[str, Any]:
    assert not result.get("failed"), result
    assert not result.get("unreachable"), result
    return result
