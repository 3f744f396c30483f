# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of connections over the agent to a guest with a POSIX shell, beside those of all."""

    DOCUMENTATION = r"""
options:
  data_lane:
    description:
      - Whether files are transferred as raw bytes through a virtio port of their own, C(org.virtops.guest_agent.0). That is several
        times as fast. When it fails, the agent's commands are used.
      - V(auto) - The port is used where the domain has it.
      - V(attach) - A domain without the port gets it while it runs, and keeps it until it is shut off.
      - V(never) - Files always go through agent commands.
    type: str
    default: auto
    choices: [auto, attach, never]
    ini:
      - section: guest_agent_connection
        key: data_lane
    env:
      - name: ANSIBLE_GUEST_AGENT_DATA_LANE
    vars:
      - name: ansible_guest_agent_data_lane
  executable:
    description: The shell of the guest that runs the commands.
    type: str
    default: /bin/sh
    ini:
      - section: defaults
        key: executable
    env:
      - name: ANSIBLE_EXECUTABLE
    vars:
      - name: ansible_executable
      - name: ansible_guest_agent_executable
  resident:
    description:
      - Whether a small program stays in the guest between tasks, so that they need no new shell and no new Python.
      - V(auto) - It is started by the first task, and used by those after it. Where it cannot run a command, the command is run
        without it. It needs Python 3.6 in the guest.
        A command that it runs is ended there when the agent has been unreachable for O(patience).
      - V(never) - Each task starts from nothing.
    type: str
    default: auto
    choices: [auto, never]
    ini:
      - section: guest_agent_connection
        key: resident
    env:
      - name: ANSIBLE_GUEST_AGENT_RESIDENT
    vars:
      - name: ansible_guest_agent_resident
  resident_idle:
    description: After how many seconds without a task the resident program ends.
    type: int
    default: 60
    ini:
      - section: guest_agent_connection
        key: resident_idle
    env:
      - name: ANSIBLE_GUEST_AGENT_RESIDENT_IDLE
    vars:
      - name: ansible_guest_agent_resident_idle
"""
