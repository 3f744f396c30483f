# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory of domains that are odd, and of a guest that means harm."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import libvirt
import pytest
from ansible.release import __version__ as ansible_version

from tests.integration.ansible_cli import ROOT, Ansible, hostvars, write_inventory
from tests.lab import Guest, Lab
from tests.lab.guest import QUIET
from tests.lab.hostile import ScriptedAgent, agent_info
from tests.lab.second import second_hypervisor
from tests.lab.wire import Wire

NOT_TRIED = "SKIPPED OUT LOUD: the hostile guest is not tried on ansible-core"
PASST = """
<interface type='user'>
  <backend type='passt'/><mac address='52:54:00:00:00:01'/><source dev='eth0'/>
  <portForward proto='tcp'><range start='2022' to='22'/></portForward>
</interface>
"""
DEFINED = """
<domain type='qemu'>
  <name>{name}</name><memory>65536</memory><os><type arch='x86_64'>hvm</type></os><devices>{devices}</devices>
</domain>
"""
GET_XML = 14  # REMOTE_PROC_DOMAIN_GET_XML_DESC
LOCKED = "Timed out during operation: cannot acquire state change lock (held by monitor=remoteDispatchDomainMemoryStats)"


@contextlib.contextmanager
def _wired() -> Iterator[tuple[Lab, Wire, str]]:
    """A hypervisor, what is between it and who asks at the URI."""
    place = Path(tempfile.mkdtemp(prefix="vgal-", dir="/tmp"))  # a socket's path is short
    place.chmod(0o755)
    sock = place / "sock"
    with second_hypervisor() as hypervisor, Wire(sock, hypervisor.socket) as wire, hypervisor.lab() as lab:
        yield lab, wire, f"qemu+unix:///session?socket={sock}"
    shutil.rmtree(place)


def test_odd_domains_are_hosts_all_the_same(ansible: Ansible, options_file: Path, tmp_path: Path) -> None:
    """One called like the controller, one with a space, one in passt, and one whose XML cannot be had for a while."""
    with _wired() as (lab, wire, uri):
        lab.start_all([Guest(name="localhost", kernel=QUIET), Guest(name="it with a space", kernel=QUIET)])
        held = lab.connection.defineXML(DEFINED.format(name="it-held", devices=""))
        hosts = {"localhost": "", "it with a space": "it_with_a_space", "it-held": "it-held"}
        try:
            lab.connection.defineXML(DEFINED.format(name="it-passt", devices=PASST))
            hosts["it-passt"] = "it-passt"
        except libvirt.libvirtError as error:
            warnings.warn(f"LEFT OUT LOUD: this libvirt has no passt: {error}", stacklevel=1)
        wire.refuse(GET_XML, uuid.UUID(held.UUIDString()).bytes, 68, LOCKED)
        cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(tmp_path / "cache")}
        write_inventory(options_file, uri=[uri], states=["all"], **cache)
        done = ansible.run("ansible-inventory", "-i", str(options_file), "--list")
        wire.allow()
        again = ansible.run("ansible-inventory", "-i", str(options_file), "--list")
        hosts["localhost"] = f"localhost-{lab.domain('localhost').UUIDString().split('-')[0]}"
    for run, words in ((done, ["it-held", "localhost", "it with a space"]), (again, ["localhost", "it with a space"])):
        _check(hostvars(json.loads(run.stdout)), hosts)
        assert run.stderr.count("[WARNING]") == len(words), run.stderr
        assert all(word in run.stderr for word in words)
    first, second = (hostvars(json.loads(run.stdout))["it-held"] for run in (done, again))
    assert (first["guest_agent"]["status"], first["libvirt_state"], first["libvirt_vcpus"]) == ("unknown", "shutoff", None)
    assert "busy with another operation" in str(first["guest_agent"]["reason"])  # libvirt's words may be a template: not plain text
    # Nothing of it was cached.
    assert (second["guest_agent"]["status"], second["libvirt_vcpus"], second["libvirt_memory_mib"]) == ("not_configured", 1, 64)


def _check(found: Mapping[str, Any], hosts: Mapping[str, str]) -> None:
    assert {each["libvirt_name"]: name for name, each in found.items()} == hosts
    for name in ("localhost", "it with a space"):
        mine = found[hosts[name]]
        assert (mine["guest_agent"]["status"], mine["guest_os"]["id"]) == ("connected", "tiny")
        # User-mode networking: the agent is the way.
        assert (mine["guest_addresses"], mine["ansible_connection"]) == ([], "virtops.guest_agent.agent")
        assert "ansible_host" not in mine
    for nic in found.get("it-passt", {}).get("guest_interfaces", ()):
        assert (nic["name"], nic["user_mode"]) == ("user", True)
        assert nic["port_forwards"] == [{"address": None, "port": 2022, "to": 22, "ports": 1}]
    assert "ansible_host" not in found.get("it-passt", {})


def cores() -> list[Any]:
    """The environments of the matrix that this machine has; the one the tests run in is always there."""
    found = {path.name.removeprefix(".venv-core"): path / "bin" for path in ROOT.glob(".venv-core*") if path.is_dir()}
    running = ".".join(ansible_version.split(".")[:2])
    found.setdefault(running, Path(sys.executable).parent)
    missing = [core for core in ("2.16", "2.19", "2.21") if core not in found]
    skipped = [
        pytest.param(core, None, marks=pytest.mark.skip(reason=f"{NOT_TRIED} {core}, of which there is no environment here"))
        for core in missing
    ]
    ends = {min(found), max(found)}
    marks = {core: () if core in ends else pytest.mark.full for core in found}
    return [pytest.param(core, path, id=core, marks=marks[core]) for core, path in sorted(found.items())] + skipped


#: What shows all that there is of a host.
PLAY = (
    "- hosts: all\n  gather_facts: false\n  connection: local\n  tasks:\n"
    "    - debug: {msg: '{{ hostvars[inventory_hostname] }}'}\n"
    "    - debug: {msg: '{{ guest_hostname }} {{ composed }} {{ guest_interfaces }} {{ guest_users }}'}\n"
)


def _replies(evil: str, mac: str, name: Mapping[str, str]) -> dict[str, Any]:
    """What the agent says of itself, with what is called ``evil`` in each place; ``name`` is asked each time."""
    asked = ["ping", "info", "get-host-name", "get-osinfo", "get-users", "get-timezone", "get-fsinfo", "network-get-interfaces"]
    return {
        "guest-info": agent_info([f"guest-{command}" for command in asked]),
        "guest-get-host-name": lambda _request: name,
        "guest-get-osinfo": {"id": evil, "name": evil, "pretty-name": evil, "version": f"#jinja2: a:b\n{evil}", "machine": evil},
        "guest-get-users": [{"user": evil, "login-time": 1.5, "domain": evil}],
        "guest-get-timezone": {"zone": evil, "offset": 0},
        "guest-get-fsinfo": [{"name": evil, "mountpoint": evil, "type": evil, "disk": []}],
        "guest-network-get-interfaces": [
            {
                "name": evil,
                "hardware-address": mac,
                "ip-addresses": [{"ip-address": evil, "ip-address-type": "ipv4", "prefix": 24}],
            },
            {"name": "eth0", "hardware-address": mac, "ip-addresses": [{"ip-address": "10.0.2.15", "prefix": 24}]},
            {"name": "x", "hardware-address": "52:54:00:aa:bb:cc", "ip-addresses": [{"ip-address": "192.0.2.7", "prefix": 24}]},
        ],
    }


@pytest.mark.parametrize(("core", "bin_dir"), cores())
def test_hostile_guest(lab: Lab, start: Callable[..., str], core: str, bin_dir: Path, options_file: Path, tmp_path: Path) -> None:
    """It calls itself by a template, by another host's name, and claims that host's address."""
    victim = start("it-victim")
    hostile = start("it-hostile", agent="relay")
    owned = tmp_path / "owned"
    ansible = Ansible(tmp_path / "home", bin_dir)
    evil = "{{ lookup('pipe', 'touch " + str(owned) + "') }}"
    mac = lab.domain(hostile).XMLDesc(0).split("mac address='")[1].split("'")[0]
    name = {"host-name": evil}
    options = {
        "uri": [lab.uri],
        "include": [f"libvirt.name == '{victim}' || libvirt.name == '{hostile}'"],
        "gather_subset": ["os", "hostname", "interfaces", "filesystems", "timezone", "users"],
        "hostnames": ["guest_hostname", "name"],
        "compose": {"composed": "guest_os.pretty_name", "nested": "[guest_hostname, guest_users]"},
        "keyed_groups": [{"key": "guest_os.id", "prefix": "k"}],
    }
    play = tmp_path / "play.yml"
    play.write_text(PLAY, encoding="utf-8")
    with ScriptedAgent(lab.relay(hostile), _replies(evil, mac, name)):
        write_inventory(options_file, **options)
        found = hostvars(ansible.inventory(options_file))
        assert set(found) == {victim, hostile}
        assert "lookup" in json.dumps(found[hostile])
        # Neither the address that slirp gives everybody nor that of an invented NIC leads to a guest.
        assert "ansible_host" not in found[hostile]
        assert "ansible_host" not in found[victim]
        # Plain text stays plain, for AWX.
        assert found[victim]["guest_os"]["id"] == "tiny"
        assert found[hostile]["guest_agent"]["version"] == "7.2.22"
        ansible.playbook(play, "-i", str(options_file))
        for claim in (victim, "localhost", "127.0.0.1", "all"):
            name["host-name"] = claim
            found = hostvars(ansible.inventory(options_file))
            assert victim in found
            assert found[victim]["libvirt_name"] == victim
            assert {v["libvirt_name"] for v in found.values()} == {victim, hostile}
            assert not {"localhost", "127.0.0.1", "all"} & set(found)
    assert not owned.exists()
