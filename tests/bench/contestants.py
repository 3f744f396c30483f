# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is compared: one inventory host each, all the same guest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab import Lab

ROOT = Path(__file__).resolve().parents[2]
OUR_PLUGIN = ROOT / "plugins/connection/agent.py"
DATA_PORT = "org.virtops.guest_agent.0"
GUEST_DIR = "/var/tmp/virtops-bench"

AGENT, WARM, LINK, DATA, COMMUNITY, SSH, LOCAL = "agent", "warm", "link", "data", "community", "ssh", "local"
TITLES = {
    AGENT: "agent lane",
    WARM: "warm",
    LINK: "by qemu+ssh",
    DATA: "data lane",
    COMMUNITY: "community.libvirt",
    SSH: "SSH",
    LOCAL: "local",
}
#: Those whose commands to the agent can be counted.
OVER_AGENT = (AGENT, WARM, LINK, DATA, COMMUNITY)
NOTES = {
    AGENT: "virtops.guest_agent.agent, ansible_guest_agent_data_lane=never",
    WARM: "virtops.guest_agent.agent, ansible_guest_agent_resident=auto, by named pipes, or by the virtio port with --warm port",
    LINK: "as agent lane, with the hypervisor by qemu+ssh over 127.0.0.1",
    DATA: f"virtops.guest_agent.agent, ansible_guest_agent_data_lane=auto, virtio port {DATA_PORT}",
    COMMUNITY: "community.libvirt.libvirt_qemu; it cannot expand ~ in a Debian guest, so ansible_remote_tmp is absolute for it",
    SSH: "a forward from 127.0.0.1, pipelining and ControlPersist on, Ansible's default -C",
    LOCAL: "connection: local on the controller: what Ansible and the module cost without any guest",
}


@dataclass(frozen=True)
class Contestant:
    """directory: where it puts files and takes them from, in the guest or, for local, on the controller."""

    key: str
    variables: dict[str, Any]
    directory: str = GUEST_DIR

    @property
    def title(self) -> str:
        return TITLES[self.key]

    @property
    def note(self) -> str:
        return NOTES[self.key]


def contestants(lab: Lab, by_ssh: str, name: str, work: Path, python: Path, warm: str = "pipes") -> list[Contestant]:
    """Everybody who can take part: ours only once the plugin exists. ``by_ssh``: the hypervisor's URI over SSH, or ""; ``warm``:
    the way to the resident. One that has the port keeps it from the data lane.
    """
    found = []
    if OUR_PLUGIN.exists():
        resident = {"ansible_guest_agent_resident": "auto", "ansible_guest_agent_resident_idle": 600}
        way = {"pipes": "never", "port": "auto"}[warm]
        found += [Contestant(AGENT, _ours(lab.uri, name, "never")), Contestant(WARM, _ours(lab.uri, name, way) | resident)]
        found += [Contestant(DATA, _ours(lab.uri, name, "auto"))] if warm == "pipes" else []
        found += [Contestant(LINK, _ours(by_ssh, name, "never"))] if by_ssh else []
    local = work / "local"
    local.mkdir()
    return [
        *found,
        Contestant(COMMUNITY, _community(lab, name)),
        Contestant(SSH, _ssh(lab, name)),
        Contestant(LOCAL, {"ansible_connection": "local", "ansible_python_interpreter": str(python)}, str(local)),
    ]


def write_inventory(directory: Path, everybody: list[Contestant], uri: str, name: str) -> Path:
    """WARM comes from the collection's own inventory, as users have it: that loads once what each task needs otherwise."""
    directory.mkdir()
    hosts = {each.key: {"ansible_python_interpreter": "/usr/bin/python3", **each.variables} for each in everybody}
    (directory / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    if WARM in hosts:
        source = {"uri": uri, "include": [f"libvirt.name == '{name}'"], "hostnames": [f"'{WARM}'"], "connection": "agent"}
        text = json.dumps({"plugin": "virtops.guest_agent.libvirt", **source})
        (directory / "guests.libvirt.yml").write_text(text, encoding="utf-8")
    return directory


def _ours(uri: str, name: str, data_lane: str) -> dict[str, Any]:
    return {
        "ansible_connection": "virtops.guest_agent.agent",
        "ansible_guest_agent_domain": name,
        "ansible_guest_agent_uri": uri,
        "ansible_guest_agent_data_lane": data_lane,
        "ansible_guest_agent_resident": "never",
    }


def _community(lab: Lab, name: str) -> dict[str, Any]:
    return {
        "ansible_connection": "community.libvirt.libvirt_qemu",
        "ansible_host": name,
        "ansible_libvirt_uri": lab.uri,
        "ansible_remote_tmp": "/tmp/.ansible-bench",
    }


def _ssh(lab: Lab, name: str) -> dict[str, Any]:
    return {
        "ansible_connection": "ssh",
        "ansible_host": "127.0.0.1",
        "ansible_port": lab.forward(name, 22),
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(lab.key(name)),
        "ansible_ssh_pipelining": True,
        "ansible_ssh_args": "-C -o ControlMaster=auto -o ControlPersist=600s",
        "ansible_ssh_common_args": "-o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
    }
