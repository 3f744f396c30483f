#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot
short_description: Take disk snapshots of one or several domains at one moment, with their guests frozen
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Creates new images over the disks of the domains (external, disk-only snapshots), so that the images below stay as they were at
    that moment. Copy or back them up, and then merge the new images back with O(state=absent), while the guests run on.
  - Several domains are a consistency group. All are checked first. Then all guests are frozen in parallel, all snapshots are taken,
    all guests are thawed, and the result is verified. In the end either each domain has the snapshot, or none has it.
  - For each guest a watchdog is armed before the first guest is frozen. It is a process of its own on the host where the module
    runs, with a connection of its own. It freezes and thaws its guest. It thaws the guest after O(max_seconds), and at once when
    the task is killed.
  - Up to ten guests are frozen at the same time. A larger group is frozen and thawed in rounds of ten.
  - Reports for each domain whether its guest was frozen from before the snapshot until after it, for how long, and if not, why.
options:
  name:
    description:
      - Name of the snapshot, and a part of the names of its images, which are C(DOMAIN-DISK.NAME.qcow2).
    type: str
    required: true
  domains:
    description:
      - Names or UUIDs of the domains. On a guest of the inventory the default is that guest's domain.
    type: list
    elements: str
    required: true
    aliases: [domain]
  state:
    description:
      - V(present) takes the snapshot, unless all domains already have it.
      - V(absent) merges the snapshot's images into those below them, removes their files, and removes the snapshot from libvirt's
        records. The state of that moment is lost, and nothing else. Later snapshots stay. Before libvirt 6.0 the files stay, with a
        warning.
      - V(reverted) takes the domains back to the snapshot. What the guests have written since is lost. The domains are stopped
        without a shutdown of their guests, get back their disks and their definition of that moment, and are started. It
        requires libvirt 9.9. Each task does it again, so it always reports a change.
    type: str
    choices: [present, absent, reverted]
    default: present
  quiesce:
    description:
      - V(required) takes no snapshot unless all guests can be frozen and stay frozen until it is taken. A guest with a filesystem
        that its agent cannot freeze, such as ZFS, cannot be frozen. A read-only filesystem, or the firmware's own, does not matter.
      - V(preferred) freezes the guests that can be frozen. The snapshots of the others are crash-consistent.
      - V(never) freezes no guest, so the snapshots are crash-consistent.
    type: str
    choices: [required, preferred, never]
    default: required
  disks:
    description:
      - Targets of the disks, such as V(vda). The default is all writable disks. Disks whose domain says C(snapshot='no') are left
        out, and those that libvirt cannot take a snapshot of (device C(lun), type C(vhostuser), C(shareable)).
    type: list
    elements: str
  directory:
    description:
      - Directory on the hypervisor for the new images. By default each is beside the image below it. Required for images that are
        not files, such as volumes of a pool, RBD, iSCSI, NBD or NVMe.
    type: str
  description:
    description:
      - Description of the snapshot in libvirt.
    type: str
    default: ""
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
  merge_timeout:
    description:
      - How long the merge may take with O(state=absent), in seconds.
    type: int
    default: 3600
  after_revert:
    description:
      - What becomes of the domains with O(state=reverted), whatever they did before.
      - V(answering) starts them and waits until the agents of all guests answer. V(running) starts them. V(stopped) leaves them
        off.
    type: str
    choices: [answering, running, stopped]
    default: answering
  reset_nvram:
    description:
      - Whether the firmware's variables (NVRAM) are made anew from their template when the domains are started with
        O(state=reverted). They are no part of a snapshot, so without this option they stay as they are now.
    type: bool
    default: false
  revert_timeout:
    description:
      - How long to wait with O(state=reverted) until the agents answer, in seconds.
    type: int
    default: 300
extends_documentation_fragment:
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
  - virtops.guest_agent._attributes.diff
notes:
  - After O(state=reverted) the guest writes to a new image over the image that keeps the moment. libvirt names it after that image,
    with the time in seconds instead of its suffix, such as C(db1.1796040546). The image that was written to before is removed. The
    snapshot stays on record, so it can be reverted to again, or merged with O(state=absent).
  - With O(state=reverted) all domains are reverted before the first is started. When one cannot be reverted, none is started.
  - libvirt reverts all disks of a domain. Therefore a domain with a hard disk that is no part of the snapshot is not reverted.
    Media, such as those of CD-ROM drives, stay as the domain's definition has them now. Remove later snapshots first.
  - Windows holds writes back for 10 seconds. When the snapshot of a Windows guest takes longer, the guest was not quiesced, and is
    reported so.
  - On a guest of the inventory the module takes a snapshot of that guest alone. For a consistency group, set O(domains) on the
    hypervisor or with C(run_once).
  - libvirt merges images of running domains only.
  - A domain with snapshots in libvirt's records is undefined by M(virtops.guest_agent.shutdown) with
    O(virtops.guest_agent.shutdown#module:undefine=true).
seealso:
  - module: virtops.guest_agent.fsfreeze
"""

EXAMPLES = r"""
- name: Back up a database and its application server as of one moment
  block:
    - name: Take the snapshot
      virtops.guest_agent.snapshot:
        name: nightly
        domains: [db1, app1]
      register: nightly

    - name: Copy the images that no guest writes to now
      ansible.builtin.command:
        argv:
          - qemu-img
          - convert
          - -O
          - qcow2
          - "{{ item.1.base }}"
          - "/var/backups/{{ item.0.domain }}-{{ item.1.target }}.qcow2"
      loop: "{{ nightly.domains | subelements('disks') }}"
      changed_when: true

  always:
    - name: Merge the images again
      virtops.guest_agent.snapshot:
        name: nightly
        domains: [db1, app1]
        state: absent

- name: Freeze the guest if possible, and take the snapshot in any case
  virtops.guest_agent.snapshot:
    name: before-upgrade
    domains: [legacy1]
    quiesce: preferred

- name: Go back to it, and continue when the agent answers
  virtops.guest_agent.snapshot:
    name: before-upgrade
    domains: [legacy1]
    state: reverted
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
      quiesced: true
      reason: ""
      seconds_frozen: 0.31
      unfrozen: ["/boot/efi (vfat)"]
      disks: [{target: vda, image: /srv/db1-vda.nightly.qcow2, base: /srv/db1.qcow2}]
      spared: {sda: it is no hard disk}
  contains:
    domain:
      description: The domain's name.
      type: str
    uuid:
      description: The domain's UUID.
      type: str
    quiesced:
      description:
        - Whether the guest was frozen from before the snapshot until after it. Null when this task took no snapshot.
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
    disks:
      description:
        - The disks of the snapshot. The guest writes to C(image) now, and C(base) keeps the moment. In check mode, as predicted.
        - When it is not a file or a block device, C(base) is POOL/VOLUME, or the name on its server.
        - In check mode C(image) is V(a new image) with O(state=reverted), because libvirt chooses its name.
        - When an older snapshot has been merged, C(base) is the image that it was merged into. libvirt reports that for running
          domains only. For others C(base) is the image from when the snapshot was taken.
      type: list
      elements: dict
    spared:
      description: Disks without a snapshot, with the reason.
      type: dict
    agent:
      description:
        - Whether the guest's agent has answered since the revert. Null in check mode and when it was not waited for.
      type: bool
      returned: with state=reverted
    boot_id:
      description: The identifier of the boot since the revert. Null where the agent does not report it or was not asked.
      type: str
      returned: with state=reverted
failure:
  description:
    - What went wrong. C(kind) is a stable word such as V(guest_frozen), V(not_quiesced), V(partial_snapshot), V(foreign_snapshot),
      V(disk_busy), V(not_merged), V(agent_timeout) or V(domain_not_running).
  returned: failure
  type: dict
  sample: {kind: partial_snapshot, domain: db1, command: "", detail: it has the snapshot nightly and others do not, hint: remove it}
"""

import contextlib
import typing as t

from ..module_utils._agent.client import GuestAgent
from ..module_utils._errors import InvalidInput
from ..module_utils._freeze import group as freezing, moment, watchdog as _watchdog
from ..module_utils._libvirt.hypervisor import Domain, connect
from ..module_utils._module.snapshot import removed, reverted
from ..module_utils._reach.guest import LIBVIRT_SECONDS, Guest
from ..module_utils._snapshot import group as snapshots, plan, report
from ..module_utils._task import spec, values
from ..module_utils._task.run import Outcome, Task, run

SPEC = spec.Spec(
    {
        **spec.URI,
        **spec.AGENT_TIMEOUT,
        "name": {"type": "str", "required": True},
        "domains": {"type": "list", "elements": "str", "required": True, "aliases": ["domain"]},
        "state": {"type": "str", "choices": ["present", "absent", "reverted"], "default": "present"},
        "quiesce": {"type": "str", "choices": ["required", "preferred", "never"], "default": "required"},
        "disks": {"type": "list", "elements": "str"},
        "directory": {"type": "str"},
        "description": {"type": "str", "default": ""},
        "timeout": {"type": "int", "default": 30},
        "max_seconds": {"type": "int", "default": 60},
        "merge_timeout": {"type": "int", "default": 3600},
        "after_revert": {"type": "str", "choices": ["answering", "running", "stopped"], "default": "answering"},
        "reset_nvram": {"type": "bool", "default": False},
        "revert_timeout": {"type": "int", "default": 300},
    }
)


def ensure(task: Task) -> Outcome:
    params = task.params
    names = _names(params)
    freezes = params["state"] == "present" and params["quiesce"] != "never" and not task.check_mode
    # Forked while this process still has neither threads nor connections.
    watchdogs = [_watchdog.hatch() for _name in names] if freezes else []
    try:
        reverts = params["state"] == "reverted"
        opened = connect(params["uri"], LIBVIRT_SECONDS, events=reverts, ssh_persist=params["ssh_persist"])
        with contextlib.closing(opened) as connection:
            domains = list({domain.uuid: domain for domain in map(connection.domain, names)}.values())
            if reverts:
                return reverted(task, connection, domains)
            found = snapshots.look_at(domains, params["name"])
            if params["state"] == "absent":
                return removed(task, domains, found)
            if plan.all_there(found, params["name"], params["disks"]):
                states = report.states(found)
                return Outcome({"domains": report.all_as_found(domains, found)}, states, states)
            return _take(task, _prepared(task, domains, found), watchdogs)
    finally:
        for watchdog in watchdogs:
            watchdog.leave()


def _names(params: t.Mapping[str, t.Any]) -> list[str]:
    names = list(dict.fromkeys(params["domains"]))
    if not names or "" in names:
        raise InvalidInput("domains is empty, or one of its names is")
    values.in_range(params["max_seconds"], "max_seconds", moment.MAX_SECONDS_LEAST)
    values.name_of_images(params["name"], "snapshot")
    return names


def _prepared(task: Task, domains: t.Sequence[Domain], found: t.Sequence[plan.Found]) -> list[snapshots.Subject]:
    """What is to become of each domain, and which guests can be frozen for it."""
    params = task.params
    group = [
        snapshots.Subject(domain, state, plan.overlays(state, params["name"], params["disks"], params["directory"]))
        for domain, state in zip(domains, found)
    ]
    if params["quiesce"] != "never":
        guests = {domain.uuid: Guest(GuestAgent(domain, params["agent_timeout"]), domain) for domain in domains}
        moment.prepare(group, guests, params["quiesce"] == "required", "snapshot")
    return group


def _take(task: Task, group: t.Sequence[snapshots.Subject], watchdogs: t.Sequence[_watchdog.Watchdog]) -> Outcome:
    params, failure = task.params, None
    if not task.check_mode:
        wish = snapshots.Wish(params["name"], params["description"], params["quiesce"] == "required")
        terms = freezing.Terms(params["uri"], params["timeout"], params["max_seconds"], params["agent_timeout"])
        failure = snapshots.take(group, wish, watchdogs, terms)
        for warning in moment.warnings(group):
            task.warn(warning)
    reports = [report.taken(subject, task.check_mode) for subject in group]
    after = {subject.found.name: report.taken_state(subject, subject.taken or task.check_mode) for subject in group}
    return Outcome({"domains": reports}, report.states(subject.found for subject in group), after, failure=failure)


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
