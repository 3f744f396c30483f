# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of connections over the agent."""

    DOCUMENTATION = r"""
options:
  domain:
    description: Name or UUID of the libvirt domain. The default is the name of the host.
    type: str
    vars:
      - name: ansible_guest_agent_domain
  inventory_hostname:
    description: Set by Ansible, and used when O(domain) is not set.
    type: str
    vars:
      - name: inventory_hostname
  delegate_to:
    description: Set by Ansible from the task's keyword. C(inventory_hostname) stays that of the delegating host.
    type: str
    keyword:
      - name: delegate_to
  uri:
    description:
      - libvirt connection URI of the hypervisor, such as V(qemu:///system) or V(qemu+ssh://root@kvm1/system).
      - Without it libvirt's own default is used.
    type: str
    ini:
      - section: guest_agent_connection
        key: uri
    env:
      - name: ANSIBLE_GUEST_AGENT_URI
    vars:
      - name: ansible_libvirt_uri
      - name: ansible_guest_agent_uri
  ssh_persist:
    description:
      - How long the SSH connection to a hypervisor with a C(qemu+ssh) URI is kept after its last use, in seconds. All tasks and
        hosts share it, and so does the inventory.
      - V(0) keeps none. Then libvirt starts C(ssh) for each task and host.
    type: int
    default: 60
    ini:
      - section: guest_agent_connection
        key: ssh_persist
    env:
      - name: ANSIBLE_GUEST_AGENT_SSH_PERSIST
    vars:
      - name: ansible_guest_agent_ssh_persist
  transport:
    description:
      - How to reach the agent.
      - V(libvirt) - Through libvirt's own connection to the agent on the channel C(org.qemu.guest_agent.0).
      - V(channel) - Through libvirt to an agent on another virtio channel, which libvirt itself does not use.
      - V(unix) - Through a unix socket of the controller, without libvirt.
    type: str
    default: libvirt
    choices: [libvirt, channel, unix]
    ini:
      - section: guest_agent_connection
        key: transport
    env:
      - name: ANSIBLE_GUEST_AGENT_TRANSPORT
    vars:
      - name: ansible_guest_agent_transport
  channel:
    description: The name of the virtio channel for O(transport=channel).
    type: str
    default: org.qemu.guest_agent.1
    ini:
      - section: guest_agent_connection
        key: channel
    env:
      - name: ANSIBLE_GUEST_AGENT_CHANNEL
    vars:
      - name: ansible_guest_agent_channel
  socket:
    description: The path of the socket for O(transport=unix), on which C(qemu-ga) or a character device of QEMU listens.
    type: path
    ini:
      - section: guest_agent_connection
        key: socket
    env:
      - name: ANSIBLE_GUEST_AGENT_SOCKET
    vars:
      - name: ansible_guest_agent_socket
  agent_timeout:
    description: How long the agent may take to answer one command, in seconds. The agent answers while a task's command runs.
    type: int
    default: 10
    ini:
      - section: guest_agent_connection
        key: agent_timeout
    env:
      - name: ANSIBLE_GUEST_AGENT_TIMEOUT
    vars:
      - name: ansible_guest_agent_timeout
  command_timeout:
    description:
      - How long one command of a task may run, in seconds. After that its processes are killed and the task fails.
      - The C(timeout) of a task does the same.
      - Nothing else ends a command. When libvirt restarts, the connection breaks, the guest is paused or frozen, or another client
        uses the agent, the plugin asks again until the agent answers.
    type: int
    default: 86400
    ini:
      - section: guest_agent_connection
        key: command_timeout
    env:
      - name: ANSIBLE_GUEST_AGENT_COMMAND_TIMEOUT
    vars:
      - name: ansible_guest_agent_command_timeout
  patience:
    description:
      - How long the agent may be unreachable while a command runs, in seconds. After that the host is unreachable, and the command
        continues in the guest.
      - When the domain is off, the host is unreachable at once. When it is paused or suspended, or the guest is frozen, the task
        waits until O(command_timeout).
    type: int
    default: 600
    ini:
      - section: guest_agent_connection
        key: patience
    env:
      - name: ANSIBLE_GUEST_AGENT_PATIENCE
    vars:
      - name: ansible_guest_agent_patience
"""
