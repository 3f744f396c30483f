# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A play goes on in a Debian guest whose network is cut, nothing in it runs twice, and SSH is used again when it can be."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.integration.ansible_cli import CALLBACKS, Ansible
from tests.integration.guests_by_agent import ok
from tests.lab import Lab

#: Counts, and tells which way it came.
COUNT = "echo x >>/run/counted; echo by=${SSH_CONNECTION:+ssh}"
#: When the task has ended, so that the next one finds what it left.
CUT = "setsid sh -c 'sleep 1; ip link set dev eth0 down' >/dev/null 2>&1 </dev/null & sleep 0.2"
WARNING = "SSH cannot connect"


class Told(NamedTuple):
    """What ansible-playbook said: the tasks' results, and everything."""

    results: list[dict[str, Any]]
    text: str
    returncode: int


class Over:
    """Plays on one guest over ssh_or_agent."""

    def __init__(self, lab: Lab, ansible: Ansible, name: str, place: Path) -> None:
        self._ansible = ansible
        self._place = place
        self.known_hosts = place / "known_hosts"
        self.port = lab.forward(name, 22)
        persistent = f"-o ControlMaster=auto -o ControlPersist=600 -o ControlPath={place}/cp"
        strict = f"-o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile={self.known_hosts}"
        self.variables = {
            "ansible_connection": "virtops.guest_agent.ssh_or_agent",
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": "root",
            "ansible_ssh_timeout": 4,
            "ansible_ssh_private_key_file": str(lab.key(name)),
            "ansible_ssh_args": persistent,
            "ansible_ssh_common_args": strict,
            "ansible_guest_agent_domain": name,
            "ansible_guest_agent_uri": lab.uri,
            "ansible_guest_agent_timeout": 20,
            "ansible_python_interpreter": "/usr/bin/python3",
        }

    def play(self, *tasks: dict[str, Any], **variables: Any) -> Told:
        path = self._place / "play.json"
        path.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": list(tasks)}]), encoding="utf-8")
        return self.playbook(str(path), **variables)

    def playbook(self, playbook: str, *words: str, **variables: Any) -> Told:
        hosts = self._place / "hosts.json"
        hosts.write_text(json.dumps({"all": {"hosts": {"guest": {**self.variables, **variables}}}}), encoding="utf-8")
        env = {"ANSIBLE_STDOUT_CALLBACK": "last_result", "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS)}
        done = self._ansible.run("ansible-playbook", playbook, "-i", str(hosts), *words, check=False, timeout=500, **env)
        results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return Told(results, done.stdout + done.stderr, done.returncode)

    def close(self) -> None:
        path = f"ControlPath={self._place}/cp"
        subprocess.run(["ssh", "-o", path, "-O", "exit", "guest"], capture_output=True, timeout=30, check=False)


@pytest.fixture
def over(lab: Lab, ansible: Ansible, debian: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Over]:
    found = Over(lab, ansible, debian, tmp_path_factory.mktemp("s"))
    assert lab.ssh(debian, "true").returncode == 0
    keys = lab.run(debian, "cat /etc/ssh/ssh_host_*_key.pub").output
    found.known_hosts.write_text("".join(f"[127.0.0.1]:{found.port} {line}\n" for line in keys.splitlines()), encoding="utf-8")
    yield found
    found.close()
    lab.run(debian, "ip link set dev eth0 up; networkctl reconfigure eth0; rm -f /run/counted")
    assert lab.ssh(debian, "true").returncode == 0


@pytest.fixture
def counted(lab: Lab, debian: str) -> Callable[[], int]:
    return lambda: len(lab.run(debian, "cat /run/counted 2>/dev/null").output.split())


def ways(results: list[dict[str, Any]]) -> list[str]:
    return [ok(result)["stdout"].strip() for result in results if "by=" in str(result.get("stdout"))]


def test_the_network_goes_in_the_middle_of_a_play(over: Over, counted: Callable[[], int]) -> None:
    told = over.play(
        {"ansible.builtin.shell": COUNT},
        {"ansible.builtin.raw": f"{COUNT}; {CUT}"},
        {"ansible.builtin.pause": {"seconds": 4}},
        {"ansible.builtin.shell": COUNT},
        {"ansible.builtin.copy": {"content": "copied", "dest": "/run/copied"}},
        {"ansible.builtin.raw": COUNT, "loop": [1, 2]},
        {"virtops.guest_agent.run_command": {"shell": f"{COUNT}; ip link set dev eth0 up; networkctl reconfigure eth0"}},
        {"ansible.builtin.wait_for_connection": {"timeout": 60}, "vars": {"ansible_connection": "ssh"}},
        {"ansible.builtin.meta": "reset_connection"},
        {"ansible.builtin.shell": COUNT},
    )
    assert told.returncode == 0, told.text
    looped = next(result["results"] for result in told.results if "results" in result)
    found = ways([result for result in told.results if "results" not in result])
    assert found == ["by=ssh", "by=ssh", "by=", "by=", "by=ssh"]
    assert ways(looped) == ["by=", "by="]
    assert counted() == 7
    assert told.text.count(WARNING) == 1, told.text


def test_playbook_repair_network(lab: Lab, over: Over, debian: str, counted: Callable[[], int]) -> None:
    assert ways(over.play({"ansible.builtin.raw": COUNT}).results) == ["by=ssh"]
    lab.run(debian, "ip link set dev eth0 down")
    told = over.playbook("virtops.guest_agent.repair_network")
    assert told.returncode == 0, told.text
    assert ways(told.results) == ["by=", "by=ssh"]
    assert told.text.count(WARNING) == 1, told.text
    again = over.playbook("virtops.guest_agent.repair_network")
    assert ways(again.results) == ["by=ssh"]
    assert counted() == 1


def test_a_wrong_key_is_no_reason(over: Over, counted: Callable[[], int], tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    told = over.play({"ansible.builtin.raw": COUNT}, ansible_ssh_private_key_file=str(tmp_path / "key"))
    assert told.results[-1]["unreachable"]
    assert "Permission denied" in told.results[-1]["msg"]
    assert (counted(), WARNING in told.text) == (0, False)


@pytest.mark.parametrize("known", ["another key", "none"])
def test_a_host_key_that_is_not_known_is_no_reason(over: Over, counted: Callable[[], int], tmp_path: Path, known: str) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    another = f"[127.0.0.1]:{over.port} {(tmp_path / 'key.pub').read_text()}"
    over.known_hosts.write_text(another if known == "another key" else "", encoding="utf-8")
    told = over.play({"ansible.builtin.raw": COUNT})
    assert told.results[-1]["unreachable"]
    assert "Host key verification failed" in told.results[-1]["msg"]
    assert ("IDENTIFICATION HAS CHANGED" in told.results[-1]["msg"]) is (known == "another key")
    assert (counted(), WARNING in told.text) == (0, False)
