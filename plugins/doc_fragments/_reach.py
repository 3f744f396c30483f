# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that act on one guest, by any of the ways to its agent. ``_guest.hypervisor`` has the others."""

    DOCUMENTATION = r"""
options:
  domain:
    description:
      - Name or UUID of the libvirt domain. On a guest of the inventory the default is that guest's domain.
      - Required, except with O(transport=unix), where messages use it as the guest's name.
    type: str
    aliases: [name]
  transport:
    description:
      - How to reach the agent.
      - V(libvirt) - Through libvirt's own connection to the agent on the channel C(org.qemu.guest_agent.0).
      - V(channel) - Through libvirt to an agent on another virtio channel, which libvirt itself does not use.
      - V(unix) - Through a unix socket of the host where the module runs, without libvirt.
    type: str
    default: libvirt
    choices: [libvirt, channel, unix]
  channel:
    description: The name of the virtio channel for O(transport=channel).
    type: str
    default: org.qemu.guest_agent.1
  socket:
    description: The path of the socket for O(transport=unix), on which C(qemu-ga) or a character device of QEMU listens.
    type: path
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
  resident:
    description:
      - Whether a small program stays in the guest between tasks, so that they need no new shell and no new Python. It is the same
        that P(virtops.guest_agent.agent#connection) uses.
      - V(auto) - It is started by the first task, and used by those after it. Where it cannot run a command, the command is run
        without it. It needs Python 3.6 in the guest.
      - V(never) - Each task starts from nothing.
    type: str
    default: auto
    choices: [auto, never]
  resident_idle:
    description: After how many seconds without a task the resident program ends.
    type: int
    default: 60
requirements:
  - the agent must allow guest-exec and guest-exec-status, and guest-file-* for files and for input and output of more than a few
    hundred KiB
notes:
  - The guest needs a POSIX C(/bin/sh), and programs such as C(setsid), C(head), C(wc), C(rm), C(cat) and C(stat). A Windows guest
    needs its own C(cmd.exe). What is different there is in the guide
    R(Windows guests,ansible_collections.virtops.guest_agent.docsite.windows).
"""
