# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Through ansible-runner, which is what AWX and other engines run: the inventory, a play, and what they make an image from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ansible_cli import ROOT, Ansible
from tests.lab import Lab

_PLAY = """
- hosts: agent_connected
  gather_facts: false
  tasks:
    - ansible.builtin.command: uname -n
      register: guest
    - virtops.guest_agent.agent_info:
      delegate_to: localhost
- hosts: agent_unresponsive
  gather_facts: false
  tasks:
    - ansible.builtin.debug:
        msg: "{{ guest_agent.hint }}"
"""


@pytest.fixture
def private(lab: Lab, debian: str, start: Callable[..., str], tmp_path: Path) -> tuple[Path, str, str]:
    """A runner's private data directory, for a guest that answers and one whose agent hangs."""
    hung = start(agent="stopped")
    for directory in ("inventory", "project"):
        (tmp_path / directory).mkdir()
    source = {
        "plugin": "virtops.guest_agent.libvirt",
        "uri": lab.uri,
        "connection": "agent",
        "agent_timeout": 8,
        "include": [f"libvirt.name == '{name}'" for name in (debian, hung)],
    }
    (tmp_path / "inventory/lab.libvirt.yml").write_text(json.dumps(source), encoding="utf-8")
    (tmp_path / "project/site.yml").write_text(_PLAY, encoding="utf-8")
    return tmp_path, debian, hung


def test_a_play(ansible: Ansible, private: tuple[Path, str, str]) -> None:
    directory, well, hung = private
    ansible.run("ansible-runner", "run", str(directory), "-p", "site.yml", "--ident", "play", "--quiet")
    artifacts = directory / "artifacts/play"
    assert (artifacts / "status").read_text() == "successful"
    events: list[dict[str, Any]] = [json.loads(file.read_text()) for file in (artifacts / "job_events").glob("*.json")]
    ended = {
        (event["event_data"]["host"], event["event_data"]["task_action"]) for event in events if event["event"] == "runner_on_ok"
    }
    assert ended == {
        (well, "ansible.builtin.command"),
        (well, "virtops.guest_agent.agent_info"),
        (hung, "ansible.builtin.debug"),
    }
    stats = next(event["event_data"] for event in events if event["event"] == "playbook_on_stats")
    assert not stats["failures"]
    assert not stats["dark"]


def test_the_inventory(ansible: Ansible, private: tuple[Path, str, str]) -> None:
    directory, well, hung = private
    script = """
import sys, ansible_runner
listed, errors = ansible_runner.interface.get_inventory(
    action="list", inventories=[sys.argv[1]], response_format="json", quiet=True)
assert listed, errors
__import__("json").dump(listed, sys.stdout)
"""
    listed = json.loads(ansible.run("python", "-c", script, str(directory / "inventory/lab.libvirt.yml")).stdout)
    assert listed["agent_connected"]["hosts"] == [well]
    assert listed["agent_unresponsive"]["hosts"] == [hung]


def test_what_an_image_needs(ansible: Ansible, tmp_path: Path) -> None:
    """ansible-builder finds what the collection wants of an execution environment's Python and system."""
    content = tmp_path / "ansible_collections/virtops"
    content.mkdir(parents=True)
    (content / "guest_agent").symlink_to(ROOT)
    found = ansible.run("ansible-builder", "introspect", str(tmp_path)).stdout
    assert "libvirt-python" in found
    assert "jmespath" in found
    assert "libvirt-dev" in found
