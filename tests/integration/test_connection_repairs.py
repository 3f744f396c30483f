# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests that are cut off, restarted, or not willing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.ansible_cli import Ansible
from tests.integration.guests_by_agent import Plays, ok, variables
from tests.lab import Lab
from tests.lab.errors import LabError


def test_a_guest_without_network_is_repaired(lab: Lab, ansible: Ansible, debian: str, tmp_path: Path) -> None:
    assert lab.ssh(debian, "true", timeout=120).returncode == 0  # the agent is there before the network is
    nic = lab.run(debian, "ip -c=never -o route show default | sed 's/.* dev //; s/ .*//'").output.strip()
    route = lab.run(debian, "ip -c=never route show default").output.strip()
    lab.run(debian, f"ip link set {nic} down")
    assert not _reachable(lab, debian)
    plays = Plays(ansible, tmp_path, {debian: variables(lab, debian)})
    results = plays.play(
        {"ansible.builtin.command": f"ip link set {nic} up"},
        {
            "ansible.builtin.command": f"ip route replace {route}",
            "retries": 10,
            "delay": 1,
            "until": "done is success",
            "register": "done",
        },
    )
    for result in results:
        ok(result)
    assert _reachable(lab, debian)


def _reachable(lab: Lab, name: str) -> bool:
    try:
        return lab.ssh(name, "true", timeout=20).returncode == 0
    except (LabError, subprocess.TimeoutExpired):
        return False


@pytest.mark.full
def test_reboot(lab: Lab, ansible: Ansible, debians: Mapping[str, str], tmp_path: Path) -> None:
    plays = Plays(ansible, tmp_path, {name: variables(lab, name, timeout=20) for name in debians.values()})
    boot = {name: lab.run(name, "cat /proc/sys/kernel/random/boot_id").output for name in debians.values()}
    results = plays.play({"ansible.builtin.reboot": {"reboot_timeout": 500}}, {"ansible.builtin.raw": "echo up"}, timeout=700)
    for result in results:
        ok(result)
    for name in debians.values():
        assert lab.run(name, "cat /proc/sys/kernel/random/boot_id").output != boot[name]
        lab.run(name, "rm -f /var/tmp/.virtops-*")  # of the command that was running then: tests after this one count them


@pytest.mark.parametrize(
    ("rules", "line"),
    [
        pytest.param({"block": "rhel8", "os_release": "rhel8"}, "BLACKLIST_RPC=", marks=pytest.mark.full),
        ({"allow": "rhel9", "os_release": "rhel9"}, "FILTER_RPC_ARGS="),
        pytest.param({"allow": "rhel10", "os_release": "rhel10"}, "FILTER_RPC_ARGS=", marks=pytest.mark.full),
    ],
)
def test_an_agent_that_is_not_allowed_to_execute(
    lab: Lab, ansible: Ansible, start: Callable[..., str], tmp_path: Path, rules: dict[str, str], line: str
) -> None:
    name = start(**rules)
    result = Plays(ansible, tmp_path, {name: variables(lab, name)}).play({"ansible.builtin.raw": "true"})[0]
    assert result["unreachable"]
    assert "guest-exec-status" in result["msg"]
    assert line in result["msg"]
    assert "/etc/sysconfig/qemu-ga" in result["msg"]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"agent": "absent"}, "disconnected"), ({"agent": "stopped"}, "unresponsive"), ({"channel": False}, "not_configured")],
)
def test_an_agent_that_is_not_there(
    lab: Lab, ansible: Ansible, start: Callable[..., str], tmp_path: Path, options: dict[str, object], said: str
) -> None:
    name = start(**options)
    hosts = {name: variables(lab, name, timeout=2), "none": variables(lab, "no such domain")}
    missing, result = sorted(
        Plays(ansible, tmp_path, hosts).play({"ansible.builtin.raw": "true"}), key=lambda found: found["host"] != "none"
    )
    assert result["unreachable"]
    assert said in result["msg"]
    assert missing["unreachable"]
    assert "no domain of this name or UUID" in missing["msg"]


def test_delegation_reaches_the_guest_it_names(lab: Lab, ansible: Ansible, start: Callable[..., str], tmp_path: Path) -> None:
    """Also where the name of the host is all that tells which domain is meant."""
    hosts = {name: variables(lab, name) for name in (start(hostname="one"), start(hostname="two"))}
    for options in hosts.values():
        del options["ansible_guest_agent_domain"]
    first, second = hosts
    plays = Plays(ansible, tmp_path, hosts)
    tasks = [{"ansible.builtin.raw": "hostname", "delegate_to": second}, {"ansible.builtin.raw": "hostname"}]
    delegated = [ok(result) for result in plays.play(*tasks) if result["host"] == first]
    assert [result["stdout"].strip() for result in delegated] == ["two", "one"]
