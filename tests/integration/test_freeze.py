# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest is frozen for as long as agreed and never longer, whatever is killed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.ansible_cli import Ansible
from tests.lab import Lab
from tests.lab.hostile import ScriptedAgent, agent_info
from tests.lab.processes import kill_tree

FREEZE_PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - virtops.guest_agent.fsfreeze:
        domain: {domain}
        uri: {uri}
        state: frozen
        max_seconds: 15
    - ansible.builtin.command: sleep 300
"""
SLOW_HOOK = "/etc/qemu/fsfreeze-hook.d/slow"


def writable(lab: Lab, name: str) -> bool:
    """Whether a write to the guest's disk completes, seen without the agent."""
    return "written" in lab.run(name, "timeout 5 sh -c 'date > /root/probe && sync /root/probe' && echo written").output


def wait_until(condition: Callable[[], bool], seconds: float) -> float | None:
    """How long it took; None when it did not come about within ``seconds``."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if condition():
            return time.monotonic() - started
        time.sleep(0.2)
    return None


def agent_frozen(ansible: Ansible, lab: Lab, name: str) -> bool:
    return ansible.module("agent_info", domain=name, uri=lab.uri)["agent"]["status"] == "frozen"


@pytest.mark.hypervisor
def test_freeze_stops_writes_and_thaw_lets_them_go_on(lab: Lab, ansible: Ansible, a_tiny: str) -> None:
    guest = {"domain": a_tiny, "uri": lab.uri}
    would = ansible.module("fsfreeze", check=True, diff=True, state="frozen", **guest)
    assert would["changed"]
    assert would["diff"] == {"before": {"status": "thawed"}, "after": {"status": "frozen"}}
    assert not agent_frozen(ansible, lab, a_tiny)

    frozen = ansible.module("fsfreeze", diff=True, state="frozen", max_seconds=60, **guest)
    assert (frozen["changed"], frozen["status"], frozen["filesystems"]) == (True, "frozen", 1)
    assert frozen["diff"]["after"] == {"status": "frozen"}
    ticks = lab.ticks(a_tiny)
    time.sleep(1.5)
    assert lab.ticks(a_tiny) == ticks

    thawed = ansible.module("fsfreeze", state="thawed", **guest)
    assert (thawed["changed"], thawed["status"], thawed["filesystems"]) == (True, "thawed", 1)
    assert wait_until(lambda: lab.ticks(a_tiny) > ticks, 60) is not None
    assert not ansible.module("fsfreeze", state="thawed", **guest)["changed"]
    # It sees that somebody thawed the guest, and has nothing left to do.
    assert wait_until(lambda: not Path(f"/proc/{frozen['watchdog_pid']}").exists(), 60) is not None


def test_one_filesystem_only(lab: Lab, ansible: Ansible, a_tiny: str) -> None:
    guest = {"domain": a_tiny, "uri": lab.uri}
    frozen = ansible.module("fsfreeze", state="frozen", mountpoints=["/data", "/data"], max_seconds=20, **guest)
    assert frozen["filesystems"] == 1
    assert ansible.module("fsfreeze", state="thawed", **guest)["changed"]


def test_watchdog_thaws_when_time_is_over(lab: Lab, ansible: Ansible, a_tiny: str) -> None:
    assert ansible.module("fsfreeze", state="frozen", max_seconds=3, domain=a_tiny, uri=lab.uri)["status"] == "frozen"
    ticks = lab.ticks(a_tiny)
    assert wait_until(lambda: lab.ticks(a_tiny) > ticks + 2, 60) is not None


def test_no_watchdog_thaws_what_is_frozen_without_end(lab: Lab, ansible: Ansible, a_tiny: str) -> None:
    guest = {"domain": a_tiny, "uri": lab.uri}
    frozen = ansible.module("fsfreeze", state="frozen", max_seconds=0, **guest)
    assert frozen["watchdog_pid"] is None
    time.sleep(2)
    assert agent_frozen(ansible, lab, a_tiny)
    assert ansible.module("fsfreeze", state="thawed", **guest)["changed"]


def test_watchdog_leaves_alone_what_somebody_else_froze(lab: Lab, ansible: Ansible, a_tiny: str) -> None:
    guest = {"domain": a_tiny, "uri": lab.uri}
    mine = ansible.module("fsfreeze", state="frozen", max_seconds=150, **guest)
    assert ansible.module("fsfreeze", state="thawed", **guest)["changed"]
    assert wait_until(lambda: not Path(f"/proc/{mine['watchdog_pid']}").exists(), 60) is not None
    lab.domain(a_tiny).fsFreeze(None, 0)  # another client's
    refused = ansible.module("fsfreeze", state="frozen", **guest)
    assert refused["failed"]
    assert refused["failure"]["kind"] == "guest_frozen"
    assert agent_frozen(ansible, lab, a_tiny)
    # Taken over on request, it ends like one of our own.
    taken = ansible.module("fsfreeze", state="frozen", force=True, max_seconds=2, **guest)
    assert not taken["changed"]
    assert wait_until(lambda: not agent_frozen(ansible, lab, a_tiny), 60) is not None


def test_a_watchdog_guards_its_own_freeze_only(lab: Lab, ansible: Ansible, a_tiny: str) -> None:
    """A freeze that is taken over has its own time: the watchdog of the one before is dismissed."""
    guest = {"domain": a_tiny, "uri": lab.uri}
    before = ansible.module("fsfreeze", state="frozen", max_seconds=150, **guest)
    assert not ansible.module("fsfreeze", state="frozen", force=True, max_seconds=200, **guest)["changed"]
    assert wait_until(lambda: not Path(f"/proc/{before['watchdog_pid']}").exists(), 60) is not None
    assert agent_frozen(ansible, lab, a_tiny)
    assert ansible.module("fsfreeze", state="thawed", **guest)["changed"]


def test_paused_while_frozen_is_thawed_when_it_goes_on(lab: Lab, ansible: Ansible, a_tiny: str) -> None:
    assert ansible.module("fsfreeze", state="frozen", max_seconds=3, domain=a_tiny, uri=lab.uri)["changed"]
    ticks = lab.ticks(a_tiny)
    lab.pause(a_tiny)
    time.sleep(5)
    lab.resume(a_tiny)
    assert wait_until(lambda: lab.ticks(a_tiny) > ticks + 2, 60) is not None


def test_killed_playbook_leaves_a_writable_guest(lab: Lab, ansible: Ansible, debian: str, tmp_path: Path) -> None:
    play = tmp_path / "freeze.yml"
    play.write_text(FREEZE_PLAY.format(domain=debian, uri=lab.uri), encoding="utf-8")
    assert wait_until(lambda: writable(lab, debian), 120) is not None
    running = subprocess.Popen(
        ansible.command("ansible-playbook", str(play)), env=ansible.env, start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        assert wait_until(lambda: not writable(lab, debian), 120) is not None
    finally:
        kill_tree(running.pid)
        running.wait(timeout=60)
    assert wait_until(lambda: writable(lab, debian), 60) is not None
    assert ansible.module("agent_info", domain=debian, uri=lab.uri)["agent"]["status"] == "connected"


def test_freeze_that_completes_after_its_time_ends_thawed(lab: Lab, ansible: Ansible, debian: str) -> None:
    """The hook sleeps on, the agent freezes when it is done, and nobody waits for its reply any more."""
    hook = f"printf '#!/bin/sh\\n[ \"$1\" = freeze ] && sleep 8\\nexit 0\\n' > {SLOW_HOOK} && chmod +x {SLOW_HOOK}"
    assert lab.run(debian, hook).returncode == 0
    try:
        failed = ansible.module("fsfreeze", state="frozen", timeout=3, agent_timeout=2, domain=debian, uri=lab.uri)
    finally:
        lab.run(debian, f"rm {SLOW_HOOK}")
    assert failed["failed"]
    assert failed["failure"]["kind"] == "agent_timeout"
    assert one_sentence(failed["msg"], debian, "guest-fsfreeze-freeze")
    # Until the agent is through with hook, freeze and the thaws that wait for it.
    assert wait_until(lambda: not agent_frozen(ansible, lab, debian) and writable(lab, debian), 120) is not None
    time.sleep(3)
    assert ansible.module("agent_info", domain=debian, uri=lab.uri)["agent"]["status"] == "connected"
    assert writable(lab, debian)


@pytest.mark.parametrize(
    ("options", "args", "kind", "words"),
    [
        ({}, {"mountpoints": ["/nowhere"]}, "invalid_input", "/nowhere"),
        ({}, {"mountpoints": []}, "invalid_input", "mountpoints is empty"),
        pytest.param({"block": ["guest-fsfreeze-freeze"]}, {}, "command_blocked", "guest-fsfreeze-freeze", marks=pytest.mark.full),
        ({"block": ["guest-fsfreeze-thaw"]}, {}, "command_blocked", "guest-fsfreeze-thaw"),
        ({"agent": "absent"}, {}, "agent_disconnected", "qemu-guest-agent"),
        ({"channel": False}, {}, "agent_not_configured", "org.qemu.guest_agent.0"),
        ({"agent": "stopped"}, {"agent_timeout": 2}, "agent_timeout", "guest-"),
    ],
    ids=["unknown-mountpoint", "no-mountpoints", "freeze-blocked", "thaw-blocked", "no-agent", "no-channel", "hung"],
)
def test_what_cannot_be_frozen_is_one_sentence(
    lab: Lab, ansible: Ansible, request: pytest.FixtureRequest, options: dict, args: dict, kind: str, words: str
) -> None:
    name = request.getfixturevalue("start")(**options) if options else request.getfixturevalue("a_tiny")
    # A guest without an answering agent is not waited for: it may still boot, and write nothing yet.
    assert wait_until(lambda: lab.ticks(name) > 0, 60) is not None
    failed = ansible.module("fsfreeze", state="frozen", domain=name, uri=lab.uri, **args)
    assert failed["failed"]
    assert failed["failure"]["kind"] == kind
    assert words in failed["msg"]
    assert "Traceback" not in str(failed)
    ticks = lab.ticks(name)
    assert wait_until(lambda: lab.ticks(name) > ticks, 60) is not None


@pytest.mark.parametrize(
    ("args", "kind"), [({"domain": "no-such-domain"}, "domain_not_found"), ({"uri": "qemu:///nowhere"}, "hypervisor_unreachable")]
)
def test_nothing_to_freeze(lab: Lab, ansible: Ansible, args: dict, kind: str) -> None:
    failed = ansible.module("fsfreeze", state="frozen", **{"domain": "x", "uri": lab.uri, **args})
    assert failed["failure"]["kind"] == kind
    assert len(failed["msg"].splitlines()) == 1


def test_fewer_frozen_than_wanted_ends_thawed(lab: Lab, ansible: Ansible, start: Callable[..., str]) -> None:
    """An agent that freezes less than it was asked to: the count tells, and all is thawed again."""
    name = start(agent="relay")
    state = {"frozen": False}

    def freeze(_request: object) -> int:
        state["frozen"] = True
        return 1

    def thaw(_request: object) -> int:
        state["frozen"] = False
        return 1

    mounts = [{"name": d, "mountpoint": f"/{d}", "type": "ext4", "disk": []} for d in ("a", "b")]
    commands = ["guest-ping", "guest-info", "guest-get-fsinfo", "guest-fsfreeze-freeze", "guest-fsfreeze-freeze-list"]
    replies = {
        "guest-info": agent_info([*commands, "guest-fsfreeze-thaw", "guest-fsfreeze-status"]),
        "guest-get-fsinfo": mounts,
        "guest-fsfreeze-freeze-list": freeze,
        "guest-fsfreeze-thaw": thaw,
        "guest-fsfreeze-status": lambda _request: "frozen" if state["frozen"] else "thawed",
    }
    with ScriptedAgent(lab.relay(name), replies) as agent:
        failed = ansible.module("fsfreeze", state="frozen", mountpoints=["/a", "/b"], domain=name, uri=lab.uri)
        assert failed["failed"]
        assert "only 1 of 2" in failed["msg"]
        assert not state["frozen"]
        assert agent.commands().count("guest-fsfreeze-freeze-list") == 1


def test_freeze_without_reply_is_sent_once_and_thawed(lab: Lab, ansible: Ansible, start: Callable[..., str]) -> None:
    name = start(agent="relay")
    commands = [f"guest-{command}" for command in ("ping", "info", "fsfreeze-status", "fsfreeze-freeze", "fsfreeze-thaw")]
    replies = {"guest-info": agent_info(commands), "guest-fsfreeze-freeze": None, "guest-fsfreeze-thaw": 0}
    with ScriptedAgent(lab.relay(name), replies) as agent:
        failed = ansible.module("fsfreeze", state="frozen", timeout=2, agent_timeout=2, domain=name, uri=lab.uri)
        assert failed["failure"]["kind"] == "agent_timeout"
        assert "the guest is thawed" in failed["msg"]
        assert agent.commands().count("guest-fsfreeze-freeze") == 1
        assert "guest-fsfreeze-thaw" in agent.commands()


def test_agent_that_cannot_say_whether_it_is_frozen(lab: Lab, ansible: Ansible, start: Callable[..., str]) -> None:
    name = start(agent="relay")
    replies = {"guest-info": agent_info(["guest-ping", "guest-info"]), "guest-fsfreeze-status": "melting"}
    with ScriptedAgent(lab.relay(name), replies):
        failed = ansible.module("fsfreeze", state="frozen", domain=name, uri=lab.uri)
    assert failed["failure"]["kind"] == "protocol_error"


def one_sentence(message: str, *words: str) -> bool:
    return len(message.splitlines()) == 1 and message.endswith(".") and all(word in message for word in words)
