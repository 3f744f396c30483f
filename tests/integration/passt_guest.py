# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest in passt: what the inventory says of it, and a command over SSH by that. Prints both as JSON.

test_passt.py runs it in a network namespace, where it makes a lab and a network card of its own: passt gives its guest the
addresses of a card of the hypervisor, and here nothing can be sent anywhere by that one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.integration.ansible_cli import Ansible, hostvars, write_inventory
from tests.lab import Guest, Lab
from tests.lab.lab import free_port

ADDRESS = "192.0.2.10"
NAME = "it-passt"
CARD = f"""
ip link set lo up
ip link add v0 type veth peer name v1
ip addr add {ADDRESS}/24 dev v0
ip link set v0 up
ip link set v1 up
ip route add default via 192.0.2.1
"""
NIC = """
<interface type='user'>
  <backend type='passt'/><mac address='52:54:00:77:00:09'/><source dev='v0'/><model type='virtio'/>
  <portForward proto='tcp'><range start='{port}' to='22'/></portForward>
</interface>
"""


def main(place: Path) -> None:
    subprocess.run(["sh", "-ec", CARD], check=True)
    ansible = Ansible(place / "ansible")
    port = free_port()
    with Lab() as lab:
        lab.start_all([Guest(name=NAME, kind="debian12", devices=NIC.format(port=port))])
        lab.ssh(NAME, "true")  # by another card: until the server is up
        source = write_inventory(place / "it.libvirt.yml", uri=[lab.uri])
        found = hostvars(ansible.inventory(source))[NAME]
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ControlMaster=no"
        variables = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(lab.key(NAME)),
            "ansible_ssh_common_args": options,
            "ansible_connection": "ansible.builtin.ssh",
        }
        words = ["ansible", NAME, "-i", str(source), "-e", json.dumps(variables)]
        words += ["-m", "ansible.builtin.raw", "-a", "echo $SSH_CONNECTION"]
        done = ansible.run(*words, check=False, **ansible.TELLING)
    sys.stdout.write(f"{json.dumps({'port': port, 'found': found, 'ssh': Ansible.result(done)})}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
