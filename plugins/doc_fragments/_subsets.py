# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What can be asked of a guest. The choices are those of ``_subsets.SUBSETS``."""

    DOCUMENTATION = r"""
options:
  gather_subset:
    description:
      - What to ask the agents for. Most entries cost one command for each guest.
      - One that a guest refuses or cannot answer is missing in what is returned, with the reason in C(agent). The others are not
        touched by it.
    type: list
    elements: str
    default: [os, hostname, interfaces, filesystems, timezone, users]
    choices:
      os: The operating system and its kernel.
      hostname: The host name.
      interfaces: The network interfaces and their addresses.
      filesystems: The mounted filesystems.
      timezone: The time zone.
      users: The users that are logged in.
      sessions: The login sessions, as C(systemd-logind) keeps them, which takes C(guest-exec).
      memory: The memory, from C(/proc/meminfo), and what the hypervisor leaves to the guest of it. Linux only.
      load: The load averages. Before qemu-ga 10.0 from C(/proc/loadavg).
      vcpus: The processors, and which of them are online.
      cpu_stats: What the processors have spent their time with, in milliseconds. Linux only, from qemu-ga 7.1 on.
      disk_stats: The kernel's counters of the disks. Linux only, from qemu-ga 7.1 on.
      disks: The disks and partitions. From qemu-ga 5.2 on.
      routes: The routes. Linux only. Before qemu-ga 9.1 from C(/proc/net).
      memory_blocks: The blocks that memory can be plugged by, and which of them are online. Linux only.
      packages:
        The installed packages, by the guest's own dpkg, apk or rpm, which takes C(guest-exec). On Windows the installed programs
        by PowerShell, which has not been tried on a real Windows.
      devices: The PCI devices and their drivers. Windows only.
      ssh_host_keys: The public host keys of the SSH server, from C(/etc/ssh).
  probes:
    description:
      - Statistics of your own. Each key is a name, each value a command that is executed in the guest, as a list of a program and
        its arguments, as a command line for C(/bin/sh), or as a mapping of C(command) and C(timeout) in seconds (5 if not given).
      - They need an agent that accepts C(guest-exec), and a guest with a POSIX shell. They are executed in check mode too, so they
        should change nothing.
    type: dict
    default: {}
"""
