#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup
short_description: Back up the disks of one or several running domains as of one moment, with their guests frozen
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Copies the disks of running domains into a directory of the hypervisor, with libvirt's own backup job. There is no snapshot to
    merge afterwards. The guests are frozen only until the jobs have begun, which takes a fraction of a second.
  - A backup is full, or holds what was written since the last backup. For that, a checkpoint is made with each backup. It makes
    QEMU note what is written.
  - Several domains are a consistency group. All are checked first. Then all guests are frozen in parallel, all jobs are begun, and
    all guests are thawed. In the end either each domain has the backup, or none has it.
  - Up to ten guests are frozen at the same time. A larger group is frozen and thawed in rounds of ten.
  - The freeze is the one of M(virtops.guest_agent.snapshot), with a watchdog for each guest. It thaws the guest after
    O(max_seconds), and at once when the task is killed.
  - Each image is checked with C(qemu-img check), and so is the chain of images that it stands on. Only then it gets its name.
  - A task that fails, takes too long or is ended by SIGINT, SIGTERM or SIGHUP cancels its jobs, and removes its images and
    checkpoints. When it was killed, the next task for this domain and directory does that, with a warning that names what it found.
options:
  name:
    description:
      - Name of the backup, and a part of the names of its images, which are C(DOMAIN-DISK.NAME.qcow2). Its checkpoint has the
        same name.
    type: str
    required: true
  domains:
    description:
      - Names or UUIDs of the domains. On a guest of the inventory the default is that guest's domain.
    type: list
    elements: str
    required: true
    aliases: [domain]
  directory:
    description:
      - Directory on the hypervisor for the images. The host that executes the module must see it under the same path, so run the
        task on the hypervisor. QEMU's user must be able to enter it.
      - Beside the images of each backup is a note of it, C(DOMAIN.NAME.backup.json). The increments of a domain stand on the
        images in the same directory. They are named without the directory, so the directory can be moved as a whole.
    type: path
    required: true
  state:
    description:
      - V(present) takes the backup, unless all domains already have it.
      - V(absent) removes the images, the note and the checkpoint of the backup, unless increments stand on it.
    type: str
    choices: [present, absent]
    default: present
  mode:
    description:
      - V(auto) takes an increment where it can, and otherwise a full backup. The result says why a disk was copied in full.
      - V(incremental) fails before any guest is frozen when only a full backup is possible.
      - V(full) takes a full backup.
      - An increment requires libvirt 7.6 or later, a qcow2 image, a persistent domain, and an earlier backup of the domain in
        O(directory) whose checkpoint is there. A disk that has another image than at that backup is copied in full.
    type: str
    choices: [auto, incremental, full]
    default: auto
  max_increments:
    description:
      - After how many increments O(mode=auto) takes a full backup again.
    type: int
    default: 6
  checkpoint:
    description:
      - Whether a checkpoint is made, on which the next increment can be based. The checkpoints of earlier backups in
        O(directory) are removed then, because each of them makes QEMU note all writes again.
    type: bool
    default: true
  keep:
    description:
      - How many backups of each domain are kept in O(directory), the new one included. Older ones are removed when the new one
        is whole. What a kept increment stands on is kept with it. V(0) keeps all.
    type: int
    default: 0
  quiesce:
    description:
      - V(required) takes no backup unless all guests can be frozen and stay frozen until all jobs have begun.
      - V(preferred) freezes the guests that can be frozen. The backups of the others are crash-consistent.
      - V(never) freezes no guest, so the backups are crash-consistent.
    type: str
    choices: [required, preferred, never]
    default: required
  disks:
    description:
      - Targets of the disks, such as V(vda). The default is all writable disks. Disks whose domain says C(snapshot='no') are left
        out, and those that libvirt cannot copy (device C(lun), type C(vhostuser), C(shareable)).
    type: list
    elements: str
  timeout:
    description:
      - How long the freeze of all guests together may take, hooks included, in seconds.
    type: int
    default: 30
  max_seconds:
    description:
      - After how many seconds a watchdog thaws its guest, counted from before the freeze.
    type: int
    default: 60
  backup_timeout:
    description:
      - How long it may take to copy and check all disks, in seconds. Then the backup is cancelled.
    type: int
    default: 7200
extends_documentation_fragment:
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
  - virtops.guest_agent._attributes.diff
requirements:
  - libvirt 6.0 or later with QEMU 4.2 or later
  - libvirt 7.6 or later for increments
  - C(qemu-img) on the host that executes the module
notes:
  - While a disk is copied, QEMU writes the old content of a block to the backup before the guest overwrites it. So a slow
    target slows the guest down.
  - On a guest of the inventory the progress is shown at C(-v). Elsewhere it is in the system log of the host that executes the
    module, because Ansible shows nothing of a module before its end. C(virsh domjobinfo) shows it too.
  - To restore an image with all that it stands on, copy it with C(qemu-img convert).
  - A domain with checkpoints can be undefined only together with their metadata (C(--checkpoints-metadata) of libvirt's client).
  - The images belong to root and are as secret as the disks.
seealso:
  - module: virtops.guest_agent.snapshot
  - module: virtops.guest_agent.fsfreeze
"""

EXAMPLES = r"""
- name: Make a place for the backups, which QEMU may enter
  ansible.builtin.file:
    path: /var/backups/guests
    state: directory
    mode: "0711"

- name: Back up a database and its application server as of one moment, and keep a week
  virtops.guest_agent.backup:
    name: "nightly-{{ now(utc=true, fmt='%Y%m%dT%H%M%SZ') }}"
    domains: [db1, app1]
    directory: /var/backups/guests
    keep: 7
  register: nightly

- name: Restore a disk, with all increments that it stands on
  ansible.builtin.command:
    argv:
      - qemu-img
      - convert
      - -O
      - qcow2
      - "{{ item.1.image }}"
      - "/var/backups/restored-{{ item.0.domain }}-{{ item.1.target }}.qcow2"
  loop: "{{ nightly.domains | subelements('disks') }}"
  changed_when: true

- name: Take a full backup in any case, also when the guest cannot be frozen
  virtops.guest_agent.backup:
    name: before-upgrade
    domains: [legacy1]
    directory: /var/backups/guests
    mode: full
    checkpoint: false
    quiesce: preferred

- name: Remove it
  virtops.guest_agent.backup:
    name: before-upgrade
    domains: [legacy1]
    directory: /var/backups/guests
    state: absent
"""

RETURN = r"""
domains:
  description: The result for each domain, in the given order.
  returned: when the domains could be checked
  type: list
  elements: dict
  sample:
    - domain: db1
      uuid: 0dd2ab2a-5b92-4b5b-9d16-7ad6ae0ac5ff
      kind: incremental
      quiesced: true
      reason: ""
      seconds_frozen: 0.05
      unfrozen: ["/boot/efi (vfat)"]
      checkpoint: nightly-2
      disks:
        - target: vda
          image: /var/backups/guests/db1-vda.nightly-2.qcow2
          kind: incremental
          chain: [/var/backups/guests/db1-vda.nightly-1.qcow2]
          bytes: 1245184
          virtual_bytes: 10737418240
          reason: ""
      spared: {sda: it is not a hard disk}
      backups:
        - name: nightly-2
          kind: incremental
          begun: "2026-11-30T02:00:07.123456Z"
          parent: nightly-1
          bytes: 1245184
          images: [/var/backups/guests/db1-vda.nightly-2.qcow2]
      removed: [nightly-0]
  contains:
    domain:
      description: The domain's name.
      type: str
    uuid:
      description: The domain's UUID.
      type: str
    kind:
      description: V(full), or V(incremental) when at least one of its images is. Empty when there is no such backup.
      type: str
    quiesced:
      description:
        - Whether the guest was frozen from before the jobs had begun until after it. Null when there is no such backup.
      type: bool
    reason:
      description: Why the guest was not quiesced.
      type: str
    seconds_frozen:
      description: How long the guest was frozen, from before the freeze was sent until the thaw was answered. Null when it was not.
      type: float
    unfrozen:
      description:
        - The firmware's own filesystems, with their type. They cannot be frozen and are hardly ever written to.
      type: list
      elements: str
    checkpoint:
      description: The checkpoint that was made with the backup. Empty when there is none.
      type: str
    disks:
      description:
        - The images of the backup. C(chain) has the images that an increment stands on, C(bytes) what the image occupies.
          C(reason) says why a disk was copied in full. In check mode, as predicted.
      type: list
      elements: dict
    spared:
      description: Disks without a backup, with the reason.
      type: dict
    backups:
      description: All backups of the domain in O(directory), the older before the newer. In check mode, those that would stay.
      type: list
      elements: dict
    removed:
      description: The backups that were outdated, or that were to be removed.
      type: list
      elements: str
failure:
  description:
    - What went wrong. C(kind) is a stable word such as V(guest_frozen), V(not_quiesced), V(partial_backup), V(foreign_backup),
      V(backup_failed), V(domain_busy), V(disk_busy), V(wait_timeout) or V(domain_not_running).
  returned: failure
  type: dict
  sample: {kind: wait_timeout, domain: "", command: "", detail: the disks of db1 were not copied within 7200 s, hint: run it again}
"""

import contextlib
import typing as t

from ..module_utils._backup import images, plan
from ..module_utils._backup.interrupts import interruptible
from ..module_utils._backup.notes import Directory
from ..module_utils._errors import InvalidInput
from ..module_utils._freeze import moment, watchdog as _watchdog
from ..module_utils._libvirt.hypervisor import connect
from ..module_utils._module import backup
from ..module_utils._reach.guest import LIBVIRT_SECONDS
from ..module_utils._task import spec, values
from ..module_utils._task.run import Outcome, Task, run

SPEC = spec.Spec(
    {
        **spec.URI,
        **spec.AGENT_TIMEOUT,
        "name": {"type": "str", "required": True},
        "domains": {"type": "list", "elements": "str", "required": True, "aliases": ["domain"]},
        "directory": {"type": "path", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "mode": {"type": "str", "choices": ["auto", "incremental", "full"], "default": "auto"},
        "max_increments": {"type": "int", "default": 6},
        "checkpoint": {"type": "bool", "default": True},
        "keep": {"type": "int", "default": 0},
        "quiesce": {"type": "str", "choices": ["required", "preferred", "never"], "default": "required"},
        "disks": {"type": "list", "elements": "str"},
        "timeout": {"type": "int", "default": 30},
        "max_seconds": {"type": "int", "default": 60},
        "backup_timeout": {"type": "int", "default": 7200},
    }
)


def ensure(task: Task) -> Outcome:
    params = task.params
    names, wish, directory = _names(params), _wish(params), Directory(params["directory"])
    images.require_program()
    freezes = params["state"] == "present" and params["quiesce"] != "never" and not task.check_mode
    # Forked while this process still has neither threads nor connections.
    watchdogs = [_watchdog.hatch() for _name in names] if freezes else []
    try:
        with interruptible(), contextlib.closing(connect(params["uri"], LIBVIRT_SECONDS, ssh_persist=params["ssh_persist"])) as at:
            domains = list({domain.uuid: domain for domain in map(at.domain, names)}.values())
            work = backup.begin(task, directory, wish, domains)
            return backup.absent(work) if params["state"] == "absent" else backup.present(work, watchdogs)
    finally:
        for watchdog in watchdogs:
            watchdog.leave()


def _names(params: t.Mapping[str, t.Any]) -> list[str]:
    names = list(dict.fromkeys(params["domains"]))
    if not names or "" in names:
        raise InvalidInput("domains is empty, or one of its names is")
    return names


def _wish(params: t.Mapping[str, t.Any]) -> plan.Wish:
    values.name_of_images(params["name"], "backup")
    values.in_range(params["max_seconds"], "max_seconds", moment.MAX_SECONDS_LEAST)
    values.in_range(params["keep"], "keep", 0, unit="")
    values.in_range(params["max_increments"], "max_increments", 0, unit="")
    directory = Directory(params["directory"]).path
    return plan.Wish(params["name"], directory, params["mode"], params["disks"], params["max_increments"], params["checkpoint"])


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
