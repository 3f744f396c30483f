# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests as Enterprise Linux ships them: what is said of the commands they refuse, and of what SELinux denies."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.integration.ansible_cli import ROOT, Ansible
from tests.lab import Lab

FILES = "guest-file-open,guest-file-close,guest-file-read,guest-file-write,guest-file-seek,guest-file-flush"
SYSCONFIG = "of /etc/sysconfig/qemu-ga"
ALLOW_LINE = f'to the list in the line FILTER_RPC_ARGS="--allow-rpcs=..." {SYSCONFIG}'
RESTART = "then run 'systemctl restart qemu-guest-agent'"
# What the preset refuses of guest-exec and guest-exec-status, and the hint for what it refuses.
EL = {
    "rhel8": ("guest-exec,guest-exec-status", f"(Enterprise Linux 8) take {{}} out of the line BLACKLIST_RPC=... {SYSCONFIG}"),
    "rhel9": ("guest-exec,guest-exec-status", f"(Enterprise Linux 9) append ,{{}} {ALLOW_LINE}"),
    "rhel10": ("guest-exec-status", f"(Enterprise Linux 10) append ,{{}} {ALLOW_LINE}"),
}


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The collection's own code, for what no module does."""
    monkeypatch.syspath_prepend(ROOT / ".collections")
    package = "ansible_collections.virtops.guest_agent.plugins.module_utils."
    names = {"advice": "_reach.advice", "diagnosis": "_reach.diagnosis", "errors": "_errors", "guest": "_reach.guest"}
    return SimpleNamespace(**{name: importlib.import_module(package + module) for name, module in names.items()})


def explained(core: SimpleNamespace, lab: Lab, name: str, command: str, arguments: dict[str, Any]) -> tuple[Any, int]:
    """What is said of a command that the guest's agent refuses, and how many commands it took to find that out."""
    with core.guest.open_guest({"uri": lab.uri, "domain": name, "agent_timeout": 10}) as guest:
        with pytest.raises(core.errors.CommandRefused) as refused:
            guest.agent.call(command, arguments)
        before = guest.agent.round_trips
        needed = core.advice.EXEC if command.startswith("guest-exec") else core.advice.FILES
        found = core.diagnosis.explain(guest.agent, refused.value, needed)
        return found, guest.agent.round_trips - before


@pytest.mark.parametrize("preset", [name if name == "rhel9" else pytest.param(name, marks=pytest.mark.full) for name in EL])
def test_the_commands_the_file_and_the_line(
    lab: Lab, ansible: Ansible, start: Callable[..., str], core: SimpleNamespace, preset: str
) -> None:
    name = start(block=preset, os_release=preset)
    exec_blocked, line = EL[preset]
    blocked = f"{exec_blocked},{FILES}"
    agent = ansible.module("agent_info", domain=name, uri=lab.uri)["agent"]
    assert agent["status"] == "connected"
    assert agent["reason"] == f"the agent's configuration blocks {blocked.replace(',', ', ')}"
    assert line.format(blocked) in agent["hint"]
    assert agent["hint"].endswith(RESTART)

    error, round_trips = explained(core, lab, name, exec_blocked.split(",")[0], {"path": "/bin/true"})
    assert str(error).startswith(f"Domain {name}: {exec_blocked.split(',')[0]}: the agent's configuration blocks ")
    assert error.detail.endswith(f"blocks {exec_blocked.replace(',', ', ')}")
    assert line.format(exec_blocked) in error.hint
    assert round_trips == 2

    error, round_trips = explained(core, lab, name, "guest-file-open", {"path": "/etc/passwd"})
    assert error.detail.endswith(f"blocks {FILES.replace(',', ', ')}")
    assert line.format(FILES) in error.hint


def test_without_lists_there_is_nothing_to_explain(lab: Lab, ansible: Ansible, start: Callable[..., str]) -> None:
    agent = ansible.module("agent_info", domain=start(os_release="rhel9"), uri=lab.uri)["agent"]
    assert (agent["status"], agent["reason"], agent["hint"], agent["can_exec"]) == ("connected", "", "", True)


def test_selinux_where_root_is_denied(lab: Lab, start: Callable[..., str], core: SimpleNamespace) -> None:
    """Linux denies root a plain file as a program and a device on nodev, in the words that it has for SELinux too."""
    name = start(os_release="rhel9")
    enforce = "mount -t tmpfs none /sys/fs && mkdir /sys/fs/selinux && echo 1 >/sys/fs/selinux/enforce"
    nodev = "mkdir /nodev && mount -t tmpfs -o nodev none /nodev && mknod /nodev/null c 1 3"
    assert lab.run(name, f"echo plain >/root/plain && {nodev}").returncode == 0

    error, round_trips = explained(core, lab, name, "guest-file-open", {"path": "/nodev/null"})
    assert error.detail.endswith("failed to open file '/nodev/null' (mode: 'r'): Permission denied")
    assert (error.hint, round_trips) == ("", 2)  # no SELinux here, which the second one found out

    assert lab.run(name, enforce).returncode == 0
    error, round_trips = explained(core, lab, name, "guest-file-open", {"path": "/nodev/null"})
    assert error.detail.endswith("failed to open file '/nodev/null' (mode: 'r'): Permission denied")
    assert error.hint.startswith("SELinux is the reason (it is enforcing")
    assert "setsebool -P virt_qemu_ga_read_nonsecurity_files on" in error.hint
    assert round_trips == 4

    error, round_trips = explained(core, lab, name, "guest-exec", {"path": "/root/plain"})
    assert "Failed to execute child process \u201c/root/plain\u201d (Permission denied)" in error.detail
    assert error.hint.startswith("SELinux is the likely reason (it is enforcing")
    assert "semanage permissive -a virt_qemu_ga_t" in error.hint

    assert lab.run(name, "echo 0 >/sys/fs/selinux/enforce").returncode == 0
    error, round_trips = explained(core, lab, name, "guest-exec", {"path": "/root/plain"})
    assert "SELinux" not in str(error)
