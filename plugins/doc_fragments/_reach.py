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
      - Name or UUID of the libvirt domain. Where the host is a guest of the inventory, it is that guest's if not given.
      - Required but for O(transport=unix), where it is only what messages call the guest.
    type: str
  transport:
    description: How to reach the agent.
    type: str
    default: libvirt
    choices:
      libvirt: By libvirt's own link to the agent on the channel C(org.qemu.guest_agent.0).
      channel: Through libvirt to an agent on another virtio channel, which libvirt itself leaves alone.
      unix: By a unix socket of the host where the module runs, without libvirt.
  channel:
    description: The name of the virtio channel for O(transport=channel).
    type: str
    default: org.qemu.guest_agent.1
  socket:
    description: The path of the socket for O(transport=unix), on which C(qemu-ga) or a character device of QEMU listens.
    type: path
  data_lane:
    description:
      - Whether files go as raw bytes through a virtio port of their own, C(org.virtops.guest_agent.0), which is several times as
        fast. Where that fails, the agent's commands are used.
    type: str
    default: auto
    choices:
      auto: Where the domain has the port.
      attach: Also where it does not; the port is plugged into the running domain, and stays until that is shut off.
      never: No.
requirements:
  - guest-exec and guest-exec-status allowed by the agent; guest-file-* too for files, input and output of more than a few hundred
    KiB
notes:
  - A guest's POSIX C(/bin/sh), and programs such as C(setsid), C(head), C(wc), C(rm), C(cat) and C(stat) are used around each
    command. Windows guests are not supported.
"""
