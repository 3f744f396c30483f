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
      - Name or UUID of the libvirt domain. Where the host is a guest of the inventory, it is that guest's if not given.
    type: str
    required: true
"""

    HYPERVISOR = r"""
options:
  uri:
    description:
      - libvirt connection URI of the hypervisor, seen from where the module runs, such as V(qemu:///system) or
        V(qemu+ssh://root@kvm1/system).
      - Without it libvirt's own default is used, which is the environment variable E(LIBVIRT_DEFAULT_URI), the
        configuration of libvirt's client, or V(qemu:///system) for root and V(qemu:///session) for anybody else.
      - Agent commands need a read-write connection.
    type: str
  agent_timeout:
    description:
      - How long the agent may take to answer one command, in seconds.
    type: int
    default: 5
requirements:
  - libvirt-python on the host that executes the module
notes:
  - The module talks to libvirt, not to the guest's network. On a guest of the inventory P(virtops.guest_agent.libvirt#inventory) it
    runs in the controller's process and takes O(uri) and the domain from the guest's variables
    (C(ansible_guest_agent_uri), C(ansible_guest_agent_domain)), or else from the environment and C(ansible.cfg), as
    P(virtops.guest_agent.agent#connection) does.
  - With C(delegate_to) it runs on that host, still for the guest; on a host other than the controller's own O(uri) is then left to
    the task and to libvirt's default there. On any other host say which O(uri) and which domain.
  - An agent that does not answer fails the task and does not make the host unreachable, wherever the module runs.
  - The first agent command of a domain's run makes libvirt note C(custom-ga-command) as a taint of the domain, which has no effect.
seealso:
  - plugin: virtops.guest_agent.libvirt
    plugin_type: inventory
"""
