# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory of real guests: complete, bounded in time, and on nobody's word."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ansible_cli import ROOT, Ansible, hostvars, write_inventory
from tests.lab import Guest, Lab
from tests.lab.guest import QUIET
from tests.lab.hostile import ScriptedAgent, agent_info
from tests.lab.second import second_hypervisor

#: A silent agent's time; a run that waited for it twice took longer than the rest of it takes on a busy machine.
AGENT_TIMEOUT = 15
#: What no test waits for.
LONG = 300


def test_installed_collection_lists_guests_in_groups(
    lab: Lab, start: Callable[..., str], debians: Mapping[str, str], options_file: Path, tmp_path: Path
) -> None:
    """From the checkout through ansible-galaxy, as a user gets it."""
    name = start(title="a tiny one")
    installed = Ansible(tmp_path / "home", collections=tmp_path / "collections")
    installed.run("ansible-galaxy", "collection", "install", str(ROOT), "-p", str(tmp_path / "collections"))
    write_inventory(options_file, uri=[lab.uri])
    graph = installed.run("ansible-inventory", "-i", str(options_file), "--graph").stdout
    groups: dict[str, list[str]] = {}
    for line in graph.splitlines():
        word = line.strip(" |-")
        if word.startswith("@"):
            group = groups.setdefault(word.strip("@:"), [])
        elif word:
            group.append(word)
    everybody = {name, *debians.values()}
    assert name in groups["os_tiny"]
    assert set(debians.values()) <= set(groups["os_debian"])
    assert everybody <= set(groups["state_running"])
    assert everybody <= set(groups["agent_connected"])
    assert [group for group in groups if group.startswith("hypervisor_")]


def test_documentation_renders(ansible: Ansible) -> None:
    modules = sorted(f"virtops.guest_agent.{path.stem}" for path in (ROOT / "plugins/modules").glob("*.py"))
    assert ansible.run("ansible-doc", "-t", "module", *modules).stdout.count("\nEXAMPLES:\n") == len(modules)
    shown = ansible.run("ansible-doc", "-t", "inventory", "virtops.guest_agent.libvirt").stdout
    assert "agent_timeout" in shown


def test_host_variables(lab: Lab, start: Callable[..., str], ansible: Ansible, options_file: Path) -> None:
    metadata = '<fleet:role xmlns:fleet="https://example.com/fleet" name="db"/>'
    name = start(title="a title", metadata=metadata)
    write_inventory(
        options_file,
        uri=[lab.uri],
        gather_subset=["os", "hostname", "interfaces", "filesystems", "timezone", "users"],
        include=[f"libvirt.name == '{name}'"],
        probes={"answer": "echo '[4, 2]'", "words": ["echo", "two words"], "fails": {"command": "exit 3", "timeout": 2}},
        keyed_groups=[{"key": "libvirt_metadata.role.name", "prefix": "role"}],
        compose={"composed": "guest_hostname ~ '.example.com'"},
    )
    listed = ansible.inventory(options_file)
    found = hostvars(listed)[name]
    assert list(hostvars(listed)) == [name]
    assert listed["role_db"]["hosts"] == [name]
    # What a template of the user's makes is untrusted text since ansible-core 2.19, and exported so.
    assert found["composed"] in (f"{name}.example.com", {"__ansible_unsafe": f"{name}.example.com"})
    assert found["libvirt_title"] == "a title"
    assert found["libvirt_uuid"] == lab.domain(name).UUIDString()
    assert found["guest_agent"]["status"] == "connected"
    assert found["guest_os"]["id"] == "tiny"
    assert found["guest_hostname"] == name
    assert found["guest_timezone"]["text"] == "UTC, 0"
    assert [(mount["mount_point"], mount["disks"][0]["target"]) for mount in found["guest_filesystems"]] == [("/data", "vda")]
    assert found["guest_filesystems_total"] == 1
    assert found["guest_users"] == []
    assert found["guest_probes"]["answer"] == {"rc": 0, "output": "[4, 2]", "json": [4, 2], "error": None}
    assert found["guest_probes"]["words"]["output"] == "two words"
    assert found["guest_probes"]["fails"]["rc"] == 3
    assert found["ansible_guest_agent_domain"] == lab.domain(name).UUIDString()
    eth0 = next(nic for nic in found["guest_interfaces"] if nic["interface_name"] == "eth0")
    assert eth0["info_source"] == "domain, guest-agent"
    # The address that slirp gives every guest leads to none of them: the agent is the way there.
    assert (eth0["ip_address"], eth0["user_mode"]) == ("10.0.2.15", True)
    assert "ansible_host" not in found
    assert found["ansible_connection"] == "virtops.guest_agent.agent"


def test_prefix_and_nothing_asked(lab: Lab, start: Callable[..., str], ansible: Ansible, options_file: Path) -> None:
    name = start(agent="stopped")
    options = {"include": [f"libvirt.name == '{name}'"], "gather_subset": [], "hostvars_prefix": "kvm_", "connection": "none"}
    write_inventory(options_file, uri=[lab.uri], group_by=["state"], agent_timeout=LONG, timeout=LONG, **options)
    listed = ansible.inventory(options_file)
    assert set(listed) == {"_meta", "all", "state_running"}
    found = hostvars(listed)[name]
    assert all(key.startswith("kvm_") for key in found)
    assert found["kvm_guest_agent"]["last_probe_time"] is None


def test_predicates_and_states(lab: Lab, start: Callable[..., str], ansible: Ansible, options_file: Path) -> None:
    running, paused, stopped = start("it-a"), start("it-b"), start("it-c", agent="stopped")
    lab.pause(paused)

    def names(**options: Any) -> set[str]:
        write_inventory(options_file, uri=[lab.uri], exclude=["!starts_with(libvirt.name, 'it-') || contains(libvirt.name, 'deb')"])
        write_inventory(options_file, **{**json.loads(options_file.read_text()), **options})
        return set(hostvars(ansible.inventory(options_file))) & {running, paused, stopped}

    # A predicate that needs no guest data spares the hung agent.
    started = time.monotonic()
    assert names(include=["libvirt.name == 'it-a'"], agent_timeout=LONG, timeout=LONG) == {running}
    assert time.monotonic() - started < LONG / 2
    assert names(include=["os.id == 'tiny'"]) == {running}
    assert names(include=["agent.status == 'unresponsive'"]) == {stopped}
    assert names(states=["paused"]) == {paused}
    assert names(states=["all"]) == {running, paused, stopped}
    refused = ansible.run("ansible-inventory", "-i", str(options_file), "--list", check=False)
    write_inventory(options_file, uri=[lab.uri], include=["libvirt.name =="])
    refused = ansible.run("ansible-inventory", "-i", str(options_file), "--list", check=False)
    assert "is not a JMESPath expression" in refused.stderr


@pytest.mark.parametrize("well", [4, pytest.param(34, marks=pytest.mark.full)])
def test_many_guests_of_which_some_are_odd(lab: Lab, ansible: Ansible, options_file: Path, well: int) -> None:
    """Three hung agents, one domain without a channel, one paused, one that is destroyed while it is asked."""
    normal = [Guest(name=f"it-many-{number}", kernel=QUIET) for number in range(well)]
    hung = [Guest(name=f"it-hung-{number}", agent="stopped", kernel=QUIET) for number in range(3)]
    odd = [Guest(name="it-plain", channel=False), Guest(name="it-paused"), Guest(name="it-doomed", agent="relay")]
    started = [*normal, *hung, *odd]
    try:
        lab.start_all(started, parallel=6, timeout=300)
        lab.pause("it-paused")
        doomed = lab.domain("it-doomed")
        write_inventory(options_file, uri=[lab.uri], states=["all"], agent_timeout=AGENT_TIMEOUT)
        replies = {
            "guest-info": agent_info(["guest-info", "guest-get-host-name"]),
            "guest-get-host-name": lambda _request: doomed.destroy(),
        }
        with ScriptedAgent(lab.relay("it-doomed"), replies):
            listed, seconds = ansible.timed_inventory(options_file)
    finally:
        for guest in started:
            if guest.name in lab.names():
                lab.destroy(guest.name)
    print(f"{len(started)} guests, 3 hung: {seconds:.1f} s")  # noqa: T201 - for the log
    found = hostvars(listed)
    assert seconds < 2 * AGENT_TIMEOUT
    for guest in normal:
        assert found[guest.name]["guest_agent"]["status"] == "connected"
        assert found[guest.name]["guest_hostname"] == guest.name
        assert found[guest.name]["guest_os"]["id"] == "tiny"
        assert "10.0.2.15" in str(found[guest.name]["guest_interfaces"])
    status = {name: found[name]["guest_agent"] for name in [guest.name for guest in [*hung, *odd]]}
    assert {status[guest.name]["status"] for guest in hung} == {"unresponsive"}
    assert (status["it-plain"]["status"], status["it-paused"]["status"]) == ("not_configured", "not_running")
    assert status["it-doomed"]["status"] == "not_running"
    assert found["it-doomed"]["libvirt_state"] in ("shutdown", "shutoff")  # on its way, or there
    assert all(how["reason"] and how["hint"] for how in status.values())
    assert set(listed["agent_unresponsive"]["hosts"]) == {guest.name for guest in hung}


def test_overall_deadline(lab: Lab, start: Callable[..., str], ansible: Ansible, options_file: Path) -> None:
    """One worker, and a hung guest first in line: who was not asked in time is there, and unknown."""
    hung, last = start("it-hung", agent="stopped"), start("it-last")
    only = {"include": ["starts_with(libvirt.name, 'it-hung') || starts_with(libvirt.name, 'it-last')"]}
    write_inventory(options_file, uri=[lab.uri], concurrency=1, agent_timeout=LONG, timeout=3, **only)
    listed, seconds = ansible.timed_inventory(options_file)
    assert seconds < 60
    found = hostvars(listed)
    assert found[hung]["guest_agent"]["status"] == "unknown"
    assert found[last]["guest_agent"]["status"] in ("connected", "unknown")
    assert found[last]["libvirt_uuid"] == lab.domain(last).UUIDString()


def test_two_hypervisors(lab: Lab, start: Callable[..., str], ansible: Ansible, options_file: Path) -> None:
    name = start("it-twin")
    with second_hypervisor() as second, second.lab() as other:
        other.start_all([Guest(name=name)])
        uris = [lab.uri, second.uri]
        write_inventory(options_file, uri=uris, include=[f"libvirt.name == '{name}'"])
        found = hostvars(ansible.inventory(options_file))
        parts = {lab.uri: lab.domain(name).UUIDString(), second.uri: other.domain(name).UUIDString()}
        assert set(found) == {f"{name}-{uuid.split('-')[0]}" for uuid in parts.values()}
        assert {v["libvirt_uri"]: v["libvirt_uuid"] for v in found.values()} == parts
        said = ansible.run("ansible-inventory", "-i", str(options_file), "--list").stderr
        assert f"Several domains want the name {name}" in said

        other.destroy(name)
        second.stop()
        write_inventory(options_file, uri=uris, on_unreachable="warn", include=[f"libvirt.name == '{name}'"])
        done = ansible.run("ansible-inventory", "-i", str(options_file), "--list")
        assert list(hostvars(json.loads(done.stdout))) == [name]
        assert second.uri in done.stderr
        write_inventory(options_file, uri=uris)
        assert second.uri in ansible.run("ansible-inventory", "-i", str(options_file), "--list").stderr


def test_cache_and_stale_answers(lab: Lab, start: Callable[..., str], ansible: Ansible, options_file: Path, tmp_path: Path) -> None:
    name = start()
    cache = {"cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(tmp_path / "cache"), "stale": True}
    options = {"uri": [lab.uri], "include": [f"libvirt.name == '{name}'"], "agent_timeout": 5, **cache}
    write_inventory(options_file, cache=True, **options)
    first = hostvars(ansible.inventory(options_file))[name]
    assert first["guest_agent"]["stale"] is False
    assert first["guest_agent"]["status_since"] >= first["guest_agent"]["last_probe_time"]
    assert lab.run(name, "kill -STOP $(pidof qemu-ga)").returncode == 0

    # From the cache, groups made anew.
    write_inventory(options_file, cache=True, keyed_groups=[{"key": "guest_os.id", "prefix": "cached"}], **options)
    cached = ansible.inventory(options_file)
    assert hostvars(cached)[name]["guest_agent"] == first["guest_agent"]
    assert cached["cached_tiny"]["hosts"] == [name]

    # Asked again, it is silent: its last answers, marked.
    fresh = hostvars(ansible.inventory(options_file, "--flush-cache"))[name]
    assert fresh["guest_agent"]["status"] == "unresponsive"
    assert fresh["guest_agent"]["stale"] is True
    assert fresh["guest_agent"]["last_probe_time"] == first["guest_agent"]["last_probe_time"]
    assert fresh["guest_os"] == first["guest_os"]
    assert fresh["guest_agent"]["status_since"] > first["guest_agent"]["status_since"]
    later = hostvars(ansible.inventory(options_file, "--flush-cache"))[name]
    assert later["guest_agent"]["status_since"] == fresh["guest_agent"]["status_since"]


def test_nothing_in_flight_beyond_the_limits(lab: Lab, start: Callable[..., str], ansible: Ansible, options_file: Path) -> None:
    """One domain never has two commands at once: an agent that is slow to answer sees them one after the other."""
    name = start("it-slow", agent="relay")
    busy, most = threading.Lock(), []

    def slowly(reply: Any) -> Callable[[Any], Any]:
        def handler(_request: Any) -> Any:
            most.append(busy.acquire(blocking=False))
            time.sleep(0.3)
            busy.release()
            return reply

        return handler

    commands = ["guest-ping", "guest-info", "guest-get-host-name", "guest-get-timezone"]
    replies = {
        "guest-info": agent_info(commands),
        "guest-get-host-name": slowly({"host-name": "slow"}),
        "guest-get-timezone": slowly({"zone": "UTC", "offset": 0}),
    }
    with ScriptedAgent(lab.relay(name), replies) as agent:
        write_inventory(options_file, uri=[lab.uri], include=[f"libvirt.name == '{name}'"], gather_subset=["hostname", "timezone"])
        ansible.inventory(options_file)
        asked = [command for command in agent.commands() if command != "guest-sync"]
    assert all(most)
    # One round trip for each subset, and guest-info before them; libvirt's own synchronisation aside.
    assert asked == ["guest-info", "guest-get-host-name", "guest-get-timezone"]
