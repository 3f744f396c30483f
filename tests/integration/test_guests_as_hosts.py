# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plays on guests of the inventory without delegate_to and domain: keywords and ends. test_every_module.py has the modules."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libvirt_qemu
import pytest

from tests.integration.ansible_cli import CALLBACKS, Ansible, write_inventory
from tests.integration.core_matrix import NEWEST, OLDEST_AND_NEWEST, bin_dir
from tests.lab import Lab

OURS = "virtops.guest_agent."
GUESTS = "all:!localhost"


@pytest.fixture
def guest(a_tiny: str) -> str:
    return a_tiny


@pytest.fixture
def source(lab: Lab, guest: str, options_file: Path) -> Path:
    return write_inventory(options_file, uri=lab.uri, include=[f"libvirt.name == '{guest}'"])


def play(ansible: Ansible, source: Path, place: Path, *tasks: dict[str, Any], hosts: str = GUESTS, **keys: Any) -> list[Any]:
    path = place / "play.json"
    path.write_text(json.dumps([{"hosts": hosts, "gather_facts": False, "ignore_errors": True, **keys, "tasks": list(tasks)}]))
    env = {"ANSIBLE_STDOUT_CALLBACK": "last_result", "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS)}
    done = ansible.playbook(path, "-i", str(source), check=False, **env)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(found) >= len(tasks), done.stdout + done.stderr
    return found


def _tasks_with_keywords(commands: Path) -> list[dict[str, Any]]:
    tries = "echo x >>/run/tries; wc -l </run/tries"
    return [
        {f"{OURS}agent_info": {}},
        {f"{OURS}run_command": {"argv": ["echo", "{{ item }}"]}, "loop": ["a", "b"]},
        {
            f"{OURS}run_command": {"shell": tries},
            "register": "r",
            "until": "r.stdout == '2'",
            "delay": 0,
        },
        {f"{OURS}push_file": {"src": "named", "dest": "/root/"}},
        {f"{OURS}push_file": {"src": "unnamed", "dest": "/root/"}},
        {f"{OURS}agent_info": {"nonsense": 1}},
        {f"{OURS}agent_info": {}, "async": 5},
        {
            f"{OURS}run_command": {"shell": "id -un; echo [$X]"},
            "become": True,
            "become_user": "nobody",
            "environment": {"X": "1"},
        },
        {
            f"{OURS}agent_info": {},
            "delegate_to": "localhost",
            "vars": {"ansible_python_interpreter": f"{commands}/python"},
        },
    ]


@pytest.mark.parametrize("core", OLDEST_AND_NEWEST)
def test_keywords_of_a_task(lab: Lab, tmp_path: Path, source: Path, guest: str, core: str) -> None:
    lab.run(guest, "rm -f /run/tries")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "named").write_text("by name only\n")
    commands = bin_dir(core, "a play on guests")
    ansible = Ansible(tmp_path / "home", commands)
    defaults, looped, until, found, nowhere, unsupported, asynchronous, ours, elsewhere = play(
        ansible,
        source,
        tmp_path,
        *_tasks_with_keywords(commands),
        module_defaults={f"group/{OURS}guest_agent": {"agent_timeout": 7}},
    )
    assert (defaults["libvirt"]["name"], defaults["agent"]["status"]) == (guest, "connected")
    assert defaults["invocation"]["module_args"]["agent_timeout"] == 7
    assert [each["stdout"] for each in looped["results"]] == ["a", "b"]
    assert (until["attempts"], until["stdout"]) == (2, "2")
    assert found["dest"] == "/root/named"
    assert nowhere["failure"]["kind"] == "local_file"
    assert unsupported["msg"].startswith(f"Unsupported parameters for ({OURS}agent_info) module: nonsense.")
    assert "delegate_to: localhost" in asynchronous["msg"]
    assert ours["stdout"] == "root\n[]"
    assert any("become has no effect. For a user of the guest set the option user." in warning for warning in ours["warnings"])
    assert elsewhere["libvirt"]["name"] == guest


def test_a_guest_is_what_a_task_is_delegated_to(ansible: Ansible, tmp_path: Path, source: Path, guest: str) -> None:
    asked, hypervisor = play(
        ansible,
        source,
        tmp_path,
        {f"{OURS}agent_info": {}, "delegate_to": guest},
        # It runs in the guest then, which is no hypervisor, has no Python, and is reached over the agent for it.
        {f"{OURS}agent_info": {"domain": "nested"}, "delegate_to": guest, "vars": {"ansible_connection": f"{OURS}agent"}},
        hosts="localhost",
    )
    assert asked["libvirt"]["name"] == guest
    assert hypervisor["failed"]
    assert "failure" not in hypervisor


@pytest.mark.parametrize("core", NEWEST)
def test_a_play_that_says_how_guests_are_reached(lab: Lab, tmp_path: Path, guest: str, core: str) -> None:
    """By the keyword, by the environment and by ansible.cfg, with no variable of the host."""
    commands = bin_dir(core, "a play on guests")
    ansible = Ansible(tmp_path / "home", commands)
    ansible.env["ANSIBLE_GUEST_AGENT_URI"] = lab.uri
    (tmp_path / "home" / "ansible.cfg").write_text("[guest_agent_connection]\nagent_timeout = 7\n")
    hosts = tmp_path / "hosts.json"
    hosts.write_text(json.dumps({"all": {"hosts": {guest: {}}}}))
    python = {"ansible_python_interpreter": f"{commands}/python"}
    raw, ours, elsewhere = play(
        ansible,
        hosts,
        tmp_path,
        {"ansible.builtin.raw": "hostname"},
        {f"{OURS}agent_info": {}},
        {f"{OURS}agent_info": {"uri": lab.uri}, "delegate_to": "localhost", "vars": python},
        connection=f"{OURS}agent",
    )
    assert raw["rc"] == 0
    assert (ours["libvirt"]["name"], ours["agent"]["status"]) == (guest, "connected")
    assert ours["invocation"]["module_args"]["agent_timeout"] == 7
    assert elsewhere["libvirt"]["name"] == guest


def test_an_agent_that_is_silent_is_a_failure_and_no_unreachable_host(
    lab: Lab, ansible: Ansible, tmp_path: Path, source: Path, guest: str
) -> None:
    lab.run(guest, "kill -STOP $(pidof qemu-ga)")
    try:
        failed, after = play(
            ansible,
            source,
            tmp_path,
            {f"{OURS}run_command": {"argv": ["true"], "agent_timeout": 2}},
            {f"{OURS}agent_info": {"agent_timeout": 2}},
            ignore_unreachable=True,
        )
    finally:
        lab.run(guest, "kill -CONT $(pidof qemu-ga)")
    assert (failed["failure"]["kind"], failed["failure"]["domain"]) == ("agent_timeout", guest)
    assert "unreachable" not in failed
    assert after["agent"]["status"] == "unresponsive"


def test_a_killed_playbook_leaves_no_guest_frozen(lab: Lab, ansible: Ansible, tmp_path: Path, source: Path, guest: str) -> None:
    """The freeze is the playbook's own process's, and everything of that is killed."""
    path = tmp_path / "play.json"
    tasks = [{f"{OURS}fsfreeze": {"state": "frozen", "max_seconds": 10}}, {"ansible.builtin.wait_for": {"timeout": 300}}]
    path.write_text(json.dumps([{"hosts": GUESTS, "gather_facts": False, "connection": "local", "tasks": tasks}]))
    words = ansible.command("ansible-playbook", "-i", str(source), str(path))
    playbook = subprocess.Popen(
        words, env=ansible.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        assert wait_until(lambda: frozen(lab, guest), 120)
    finally:
        os.killpg(playbook.pid, signal.SIGKILL)
        playbook.wait()
    assert frozen(lab, guest)
    assert wait_until(lambda: not frozen(lab, guest), 60)


def frozen(lab: Lab, guest: str) -> bool:
    said = libvirt_qemu.qemuAgentCommand(lab.domain(guest), '{"execute": "guest-fsfreeze-status"}', 30, 0)
    return bool(json.loads(said)["return"] == "frozen")


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
