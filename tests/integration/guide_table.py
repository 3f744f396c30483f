# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the code of each guide is run. test_examples.py walks pages; tests/unit/test_guides.py holds this table to the pages."""

from __future__ import annotations

#: Pages whose files are written and whose commands are run on tiny guests, from top to bottom, and words that they then print.
WALKED: dict[str, tuple[str, ...]] = {
    "start": ("agent_connected", "Linux", "app1-vda.first.qcow2", "db1-vda.first.qcow2"),
    "community_libvirt": ("libvirt_uuid", "CHANGED | rc=0 >>", "changed=2"),
    "backups": ("db1: full", "db1: incremental", "app1: incremental", "/restored/db1-vda.tuesday.qcow2"),
    "repair": ("agent_connected", "ok=1"),
    "hardening": ("app1", "guest_addresses"),
    "awx": ("changed=0",),
}
#: The one that everyone begins with. The others are walked in the full form.
FIRST = "start"

#: Page -> files that its reader has from elsewhere.
PREPARED: dict[str, tuple[str, ...]] = {}

_INSTALLED = "the environment of the tests has it"
_MOLECULE = "make molecule ONLY=copy"
_WINDOWS = "no guest is a real Windows; test_windows.py has the agent"
_DISK = "GUEST_DISK=/var/lib/libvirt/images/debian-13-with-agent.qcow2"
_IMAGE = "make ee"
_IN_IMAGE = (
    "ansible-runner run runner -p site.yml --process-isolation --container-image guest_agent_ee"
    "   --container-volume-mount /run/libvirt:/run/libvirt --container-option=--user=root"
)
#: (page, first line of the YAML or command) -> where it is run, or why it cannot be.
ELSEWHERE: dict[tuple[str, str], str] = {
    ("start", "$ sudo apt install python3-venv python3-libvirt qemu-utils"): _INSTALLED,
    ("start", "$ python3 -m venv --system-site-packages ~/guests"): _INSTALLED,
    ("start", "$ . ~/guests/bin/activate"): _INSTALLED,
    ("start", "$ pip install ansible-core jmespath"): _INSTALLED,
    ("repair", "$ ansible-playbook -i fleet.libvirt.yml virtops.guest_agent.repair_network -e target=db1"): "test_ssh_or_agent.py",
    ("repair", "$ ansible-playbook -i examples/local.libvirt.yml examples/repair_network.yml --limit db1"): "test_examples.py",
    ("molecule", "$ pip install ansible-core molecule libvirt-python"): _INSTALLED,
    ("molecule", "$ ansible-galaxy collection install ."): "on the page start",
    ("molecule", "$ mkdir -p ~/my_role/molecule"): _MOLECULE,
    ("molecule", "$ cp -r docs/molecule/journal_size/molecule/default ~/my_role/molecule/"): _MOLECULE,
    ("molecule", f"$ {_DISK} molecule test"): _MOLECULE,
    ("molecule", f"$ {_DISK} molecule converge"): _MOLECULE,
    ("molecule", f"$ {_DISK} molecule destroy"): _MOLECULE,
    ("hardening", "# agents.yml"): "wants SSH and a Debian 13; the molecule scenario of agent_setup has a list to block",
    ("failures", "- name: Freeze the guest, where it has an agent"): "test_module_examples.py runs tasks like it",
    ("awx", "# execution-environment.yml"): _IMAGE,
    ("awx", "$ make build"): _IMAGE,
    ("awx", "$ ansible-builder build --tag guest_agent_ee --squash all"): _IMAGE,
    ("awx", f"$ {_IN_IMAGE}"): _IMAGE,
    ("using", "all:"): "test_resident.py",
    ("windows", "- name: List the services"): _WINDOWS,
    ("windows", "# hosts.yml"): "test_windows_connection.py has such a host, without a real Windows",
}
