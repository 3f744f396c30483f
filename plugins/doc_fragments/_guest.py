# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that act on one guest."""

    DOCUMENTATION = r"""
options:
  domain:
    description:
      - Name or UUID of the libvirt domain. On a guest of the inventory the default is that guest's domain.
    type: str
    required: true
    aliases: [name]
"""

    HYPERVISOR = r"""
options:
  uri:
    description:
      - libvirt connection URI of the hypervisor, as seen from the host where the module runs, such as V(qemu:///system) or
        V(qemu+ssh://root@kvm1/system).
      - Without it libvirt's own default is used. That is the environment variable E(LIBVIRT_DEFAULT_URI) or the configuration of
        libvirt's client. Otherwise it is V(qemu:///system) for root and V(qemu:///session) for other users.
      - Agent commands need a read-write connection.
    type: str
  ssh_persist:
    description:
      - How long the SSH connection to a hypervisor with a C(qemu+ssh) URI is kept after its last use, in seconds. All tasks and
        hosts share it, and so does the inventory.
      - V(0) keeps none. Then libvirt starts C(ssh) for each task and host.
    type: int
    default: 60
  agent_timeout:
    description:
      - How long the agent may take to answer one command, in seconds.
    type: int
    default: 5
requirements:
  - libvirt-python on the host that executes the module
notes:
  - The module talks to libvirt, not to the guest's network.
  - On a guest of the inventory P(virtops.guest_agent.libvirt#inventory) it runs in the controller's process. It takes O(uri) and
    the domain from the guest's variables C(ansible_guest_agent_uri) and C(ansible_guest_agent_domain). Otherwise they come from the
    environment and C(ansible.cfg), as for P(virtops.guest_agent.agent#connection).
  - In the controller's process C(become), C(remote_user) and C(environment) have no effect. In the guest the module acts as root,
    or as the user in its option for that.
  - With C(delegate_to) the module runs on that host, and still acts on the guest. On a host other than the controller's own, set
    O(uri) in the task, or libvirt's default there is used. On a host that is no guest of the inventory set O(uri) and the domain.
  - An agent that does not answer fails the task and does not make the host unreachable, wherever the module runs.
  - After the first agent command libvirt marks the running domain with the taint C(custom-ga-command), which has no effect.
seealso:
  - plugin: virtops.guest_agent.libvirt
    plugin_type: inventory
"""
