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
      - An entry that a guest refuses or cannot answer is missing in the result, and C(agent) has the reason. The other entries are
        not affected.
      - V(os) - The operating system and its kernel.
      - V(hostname) - The host name.
      - V(interfaces) - The network interfaces and their addresses.
      - V(filesystems) - The mounted filesystems.
      - V(timezone) - The time zone.
      - V(users) - The users that are logged in.
      - V(sessions) - The login sessions of C(systemd-logind). Requires C(guest-exec).
      - V(memory) - The memory, from C(/proc/meminfo), and what the hypervisor leaves to the guest of it. Linux only.
      - V(load) - The load averages. Before qemu-ga 10.0 from C(/proc/loadavg).
      - V(vcpus) - The processors, and which of them are online.
      - V(cpu_stats) - How the processors have spent their time, in milliseconds. Linux only, from qemu-ga 7.1 on.
      - V(disk_stats) - The kernel's counters of the disks. Linux only, from qemu-ga 7.1 on.
      - V(disks) - The disks and partitions. From qemu-ga 5.2 on.
      - V(routes) - The routes. Linux only. Before qemu-ga 9.1 from C(/proc/net).
      - V(memory_blocks) - The blocks in which memory can be plugged, and which of them are online. Linux only.
      - V(packages) - The installed packages, from the guest's own dpkg, apk or rpm. On Windows the installed programs, from
        PowerShell, which was not tested on a real Windows. Requires C(guest-exec).
      - V(devices) - The PCI devices and their drivers. Windows only.
      - V(ssh_host_keys) - The public host keys of the SSH server, from C(/etc/ssh).
    type: list
    elements: str
    default: [os, hostname, interfaces, filesystems, timezone, users]
    choices:
      - os
      - hostname
      - interfaces
      - filesystems
      - timezone
      - users
      - sessions
      - memory
      - load
      - vcpus
      - cpu_stats
      - disk_stats
      - disks
      - routes
      - memory_blocks
      - packages
      - devices
      - ssh_host_keys
  probes:
    description:
      - Statistics of your own. Each key is a name, and each value is a command to execute in the guest.
      - A command is a list of a program and its arguments, a command line for C(/bin/sh), or a mapping of C(command) and C(timeout)
        in seconds. The default timeout is 5 seconds.
      - Probes require an agent that accepts C(guest-exec), and a guest with a POSIX shell. They are executed in check mode too, so
        they should change nothing.
    type: dict
    default: {}
"""
