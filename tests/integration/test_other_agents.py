# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Older versions of qemu-ga, and those of other systems, through libvirt: inventory, facts, run_command, connection."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.integration.ansible_cli import Ansible, write_inventory
from tests.integration.conftest import FULL
from tests.integration.guests_by_agent import Plays, variables
from tests.lab import Guest, Lab
from tests.lab.agents import AGENTS
from tests.lab.guest import QUIET
from tests.lab.hostile import ScriptedAgent


class Expected(NamedTuple):
    status: str
    os_id: str | None
    hostname: str | None
    address: str
    distribution: str | None
    #: whether a command runs, and if not, a part of what is said
    refused: str = ""


_NO_SHELL = "No such file or directory"
_NO_POSIX = "Windows has no POSIX shell"
EXPECTED = {
    "qemu-ga 2.5": Expected("restricted", None, None, "192.0.2.21", None),
    "qemu-ga 2.11": Expected("connected", "ubuntu", "old-lab", "192.0.2.21", "Ubuntu"),
    "qemu-ga 2.12": Expected("connected", "centos", "old-lab", "192.0.2.21", "CentOS"),
    "qemu-ga 3.1": Expected("connected", "debian", "old-lab", "192.0.2.21", "Debian"),
    "Windows, 7.2": Expected(
        "connected", "mswindows", "WIN-LAB", "192.0.2.22", "Microsoft Windows Server 2022 Standard", _NO_SHELL
    ),
    "Windows, 10.0": Expected(
        "connected", "mswindows", "WIN-LAB", "192.0.2.22", "Microsoft Windows Server 2022 Standard", _NO_SHELL
    ),
    "FreeBSD": Expected("connected", "freebsd", "bsd-lab.example.org", "192.0.2.23", "FreeBSD"),
    "Talos": Expected("connected", "talos", "talos-lab", "192.0.2.24", "Talos", _NO_SHELL),
    "NixOS": Expected("connected", "nixos", "nixos-lab", "192.0.2.25", "NixOS"),
}
#: The short form takes what is farthest from each other; unit tests ask them all.
SHORT = ("qemu-ga 2.11", "qemu-ga 3.1", "Windows, 10.0", "FreeBSD")
GUESTS = {name: "it-agent-" + re.sub(r"\W+", "-", name.lower()) for name in (AGENTS if FULL else SHORT)}


@pytest.fixture(scope="module")
def answering(lab: Lab) -> Iterator[dict[str, ScriptedAgent]]:
    """A guest for each of them, all at once: the commands of Ansible take longer than the guests."""
    lab.start_all([Guest(name=name, agent="relay", kernel=QUIET) for name in GUESTS.values()])
    with contextlib.ExitStack() as stack:
        started = {}
        for name, guest in GUESTS.items():
            agent = AGENTS[name]
            scripted = ScriptedAgent(lab.relay(guest), agent.table(), numbers=agent.numbers, alone=True)
            started[name] = stack.enter_context(scripted)
        yield started
    for name in GUESTS.values():
        lab.destroy(name)


@pytest.mark.usefixtures("answering")
def test_inventory_and_guest_info(lab: Lab, ansible: Ansible, options_file: Path) -> None:
    assert set(EXPECTED) == set(AGENTS)
    write_inventory(options_file, uri=[lab.uri], include=["starts_with(libvirt.name, 'it-agent-')"])
    found = ansible.inventory(options_file)["_meta"]["hostvars"]
    told = ansible.module("guest_info", uri=lab.uri, domains=list(GUESTS.values()))["guests"]
    records = {record["libvirt"]["name"]: record for record in told}
    for name, guest in GUESTS.items():
        expected, host, record = EXPECTED[name], found[guest], records[guest]
        assert host["guest_agent"]["status"] == record["agent"]["status"] == expected.status, name
        assert host["guest_agent"]["version"] == AGENTS[name].version
        assert host.get("guest_os", {}).get("id") == record.get("os", {}).get("id") == expected.os_id, name
        assert host.get("guest_hostname") == record.get("hostname") == expected.hostname, name
        assert f"{expected.address}/24" in [each for nic in record["interfaces"] for each in nic["ip_addresses"]], name
        # Nothing that the domain does not have is an address to reach it at.
        assert "ansible_host" not in host
        by_agent = host.get("ansible_connection") == "virtops.guest_agent.agent"
        assert by_agent is (AGENTS[name].runs != "windows"), name


@pytest.mark.usefixtures("answering")
def test_facts_commands_and_the_connection(lab: Lab, ansible: Ansible, tmp_path: Path) -> None:
    plays = Plays(ansible, tmp_path, {guest: variables(lab, guest) for guest in GUESTS.values()})
    told = plays.play(
        {"name": "guest_facts", "virtops.guest_agent.guest_facts": {}},
        {"name": "run_command", "virtops.guest_agent.run_command": {"cmd": "echo hello"}},
        {"name": "raw", "ansible.builtin.raw": "echo hello", "ignore_unreachable": True},
        ignore_errors=True,
    )
    results: dict[tuple[str, str], Any] = {(result["host"], result["task"]): result for result in told}
    for name, guest in GUESTS.items():
        expected = EXPECTED[name]
        facts = results[guest, "guest_facts"]["ansible_facts"]
        assert facts.get("ansible_distribution") == expected.distribution, name
        assert expected.address in facts["ansible_all_ipv4_addresses"], name
        for task in ("run_command", "raw"):
            result = results[guest, task]
            if expected.refused:
                said = _NO_POSIX if task == "raw" and expected.os_id == "mswindows" else expected.refused
                assert said in result["msg"], (name, result)
                assert "hostile" not in result["msg"], (name, result)
            else:
                assert (result.get("rc"), result.get("stdout", "").strip()) == (0, "hello"), (name, result)


def test_an_agent_that_is_silent_on_what_it_does_not_know(lab: Lab, ansible: Ansible, answering: dict[str, ScriptedAgent]) -> None:
    name = "qemu-ga 3.1"
    agent = answering[name]
    before = agent.commands().count("guest-ping")
    agent.replies.update({"guest-info": None, "guest-get-users": None})
    (record,) = ansible.module("guest_info", uri=lab.uri, domain=GUESTS[name], agent_timeout=2)["guests"]
    assert record["agent"]["status"] == "restricted"
    assert record["agent"]["reason"] == "the agent does not answer guest-info, guest-get-users"
    assert (record["hostname"], record["os"]["id"], record["timezone"]["name"]) == ("old-lab", "debian", "UTC")
    assert "users" not in record
    assert agent.commands().count("guest-ping") - before == 2  # after each that was not answered
