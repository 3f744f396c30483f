# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests that restart, sleep, get a channel, lose processors and memory: what really happens, and that it is proved."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ansible_cli import Ansible
from tests.integration.guests_by_agent import Plays, booted, ok
from tests.lab import Lab

OURS = "virtops.guest_agent."
CONTROLLER = "<controller type='virtio-serial' index='0'/>"
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}


def known(lab: Lab, name: str, **more: Any) -> dict[str, Any]:
    return {"ansible_guest_agent_domain": name, "ansible_guest_agent_uri": lab.uri, "ansible_guest_agent_timeout": 20, **more}


@pytest.mark.full
def test_debian_sleeps_wakes_and_starts_anew(lab: Lab, ansible: Ansible, debians: Mapping[str, str], tmp_path: Path) -> None:
    results = Plays(ansible, tmp_path, {kind: known(lab, name) for kind, name in debians.items()}).play(
        {f"{OURS}suspend": {"state": "suspended"}},
        {f"{OURS}suspend": {"state": "suspended"}},
        {f"{OURS}suspend": {"state": "awake"}},
        {f"{OURS}suspend": {"state": "awake"}},
        {f"{OURS}wait_for_guest": {}, "register": "before"},
        {f"{OURS}restart": {"mode": "agent", "timeout": 300}},
        {f"{OURS}wait_for_guest": {"boot_id": "{{ before.boot_id }}", "timeout": 120, "command": ["/bin/true"]}},
        timeout=600,
    )
    for kind in debians:
        asleep, still, awake, yet, before, restarted, after = (ok(result) for result in results if result["host"] == kind)
        assert [each["changed"] for each in (asleep, still, awake, yet)] == [True, False, True, False]
        assert (restarted["changed"], restarted["proof"], restarted["method"]) == (True, "boot_id", "agent")
        assert after["boot_id"] not in (None, before["boot_id"])
        assert after["held"] == ["agent", "boot_id", "command"]


def test_a_restart_that_the_guest_can_tell_nothing_about(lab: Lab, ansible: Ansible, start: Callable[..., str]) -> None:
    name = start(block=["guest-exec", "guest-file-open"])
    done = ok(ansible.module("restart", domain=name, uri=lab.uri, timeout=120))
    assert (done["changed"], done["proof"]) == (True, "events")


def test_what_is_missing_in_the_end(lab: Lab, ansible: Ansible, a_tiny: str) -> None:
    wanted = {"address": True, "address_cidrs": ["192.0.2.0/24"], "command": ["/bin/false"], "timeout": 4}
    failed = ansible.module("wait_for_guest", domain=a_tiny, uri=lab.uri, **wanted)
    assert failed["failure"]["kind"] == "not_ready"
    assert failed["held"] == ["agent"]
    assert set(failed["missing"]) == {"address", "command"}
    assert "10.0.2.15" in failed["msg"]
    assert failed["seconds"] >= 4


def test_a_channel_for_a_running_guest(lab: Lab, ansible: Ansible, start: Callable[..., str]) -> None:
    name = booted(lab, start(channel=False, persistent=True, devices=CONTROLLER))
    guest = {"domain": name, "uri": lab.uri}
    assert "not_configured" in str(ansible.module("agent_info", **guest)["agent"])
    would = ok(ansible.module("agent_channel", check=True, diff=True, **guest))
    assert would["changed"]
    assert "org.qemu.guest_agent.0" in str(would["diff"])
    done = ok(ansible.module("agent_channel", **guest))
    assert (done["changed"], done["restart_required"]) == (True, False)
    assert ok(ansible.module("wait_for_guest", timeout=60, **guest))["ready"]
    assert not ok(ansible.module("agent_channel", **guest))["changed"]
    assert ok(ansible.module("agent_channel", state="absent", **guest))["changed"]
    assert "org.qemu.guest_agent.0" not in lab.domain(name).XMLDesc(0)


@pytest.mark.full
def test_from_no_channel_to_a_working_agent_in_one_play(
    lab: Lab, ansible: Ansible, start: Callable[..., str], tmp_path: Path
) -> None:
    """The package comes over SSH. There is nothing to plug a channel into, so the domain needs another start for it."""
    name = booted(lab, start(kind="debian12", channel=False, persistent=True))
    assert lab.ssh(name, "systemctl disable --now qemu-guest-agent").returncode == 0
    ssh = {
        "ansible_host": "127.0.0.1",
        "ansible_port": lab.forward(name, 22),
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(lab.key(name)),
        "ansible_ssh_common_args": "-o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    installed, enabled, given, off, began, told = Plays(
        ansible, tmp_path, {"guest": known(lab, name, **ssh), "localhost": LOCAL}
    ).play(
        {"ansible.builtin.apt": {"name": "qemu-guest-agent"}},
        {"ansible.builtin.raw": "systemctl enable qemu-guest-agent 2>&1; true"},
        {f"{OURS}agent_channel": {}, "register": "channel"},
        {f"{OURS}shutdown": {"mode": "acpi"}, "when": "channel.restart_required"},
        {f"{OURS}start": {"timeout": 240}},
        {f"{OURS}agent_info": {}},
        hosts="guest",
        timeout=600,
    )
    for result in (installed, enabled, given, off, began):
        ok(result)
    assert (given["changed"], given["restart_required"], off["outcome"]) == (True, True, "off")
    assert ok(told)["agent"]["status"] == "connected"


def test_processors_and_memory(lab: Lab, ansible: Ansible, start: Callable[..., str], tmp_path: Path) -> None:
    name = start(vcpus=2, memory_mib=1024, kernel="movablecore=640M")
    results = Plays(ansible, tmp_path, {name: known(lab, name)}).play(
        {f"{OURS}guest_vcpus": {"count": 1}},
        {f"{OURS}guest_vcpus": {"count": 1}},
        {f"{OURS}guest_vcpus": {"count": 2}},
        {f"{OURS}guest_memory_blocks": {"offline": [5]}},
        {f"{OURS}guest_memory_blocks": {"offline": [5]}},
        {f"{OURS}guest_memory_blocks": {"online": [5]}},
    )
    assert [ok(result)["changed"] for result in results] == [True, False, True] * 2
    assert lab.run(name, "cat /sys/devices/system/cpu/online").output.strip() == "0-1"
