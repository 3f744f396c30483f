#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot_info
short_description: List the snapshots, chains of images and checkpoints of one, several or all domains
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Asks libvirt for the snapshots of domains, of this collection and of other programs. Says of each whether
    M(virtops.guest_agent.snapshot) can merge it with O(virtops.guest_agent.snapshot#module:state=absent), and if not, why.
  - Reports for each disk the chain of images that it stands on, with their sizes, and the block job that is at work on it.
  - Lists the checkpoints for increments, and for which directory M(virtops.guest_agent.backup) has made them.
  - Asks no agent.
options:
  domains:
    description:
      - Names or UUIDs of the domains. Without it all domains are listed.
      - On a guest of the inventory the default is that guest's domain alone.
    type: list
    elements: str
    aliases: [domain, name]
extends_documentation_fragment:
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes.info
notes:
  - Snapshots of disks keep neither memory nor firmware variables (NVRAM).
  - libvirt knows the whole chain of a disk only while its domain runs.
seealso:
  - module: virtops.guest_agent.snapshot
  - module: virtops.guest_agent.backup
"""

EXAMPLES = r"""
- name: List what the domains have
  virtops.guest_agent.snapshot_info:
  register: result

- name: Show why some snapshots cannot be merged
  ansible.builtin.debug:
    msg: "{{ snapshots_of_all | rejectattr('mergeable') | map(attribute='reason') }}"
  vars:
    snapshots_of_all: "{{ result.domains | map(attribute='snapshots') | flatten }}"

- name: Fail when a chain of db1 has become long
  virtops.guest_agent.snapshot_info:
    domain: db1
  register: chains
  failed_when: chains.domains[0].disks | map(attribute='images') | map('length') | max > 8
"""

RETURN = r"""
domains:
  description: What each domain has, in the given order, or by name.
  returned: success
  type: list
  elements: dict
  contains:
    domain:
      description: The domain's name.
      type: str
      sample: db1
    uuid:
      description: The domain's UUID.
      type: str
      sample: 0dd2ab2a-5b92-4b5b-9d16-7ad6ae0ac5ff
    state:
      description: State of the domain, such as V(running) or V(shutoff).
      type: str
      sample: running
    disks:
      description:
        - The disks with their chains in C(images), the image that is written to first. C(bytes) is what an image occupies, and null
          where libvirt does not know it. C(spared) says why snapshots leave the disk out by default.
        - C(job) is what libvirt copies between the images at the moment, such as C(active-commit).
      type: list
      elements: dict
      sample:
        - target: vda
          spared: ""
          job: ""
          images: [{image: /srv/db1.qcow2, kind: file, format: qcow2, bytes: 1245184, virtual_bytes: 10737418240}]
    snapshots:
      description:
        - The snapshots that libvirt has on record. C(external) is whether it is one of disks only, in images of its own.
        - C(ours) is whether its images are named as M(virtops.guest_agent.snapshot) names them. libvirt names them after a revert.
        - C(mergeable) is whether that module can merge it now, and C(reason) why it cannot.
      type: list
      elements: dict
      sample:
        - name: nightly
          description: ""
          created: "2026-11-30T02:00:07Z"
          parent: ""
          external: true
          ours: true
          mergeable: true
          reason: ""
          disks: [{target: vda, image: /srv/db1-vda.nightly.qcow2, base: /srv/db1.qcow2}]
    checkpoints:
      description:
        - The checkpoints for increments. C(directory) is that of the backup by M(virtops.guest_agent.backup), and empty for those
          of other programs.
      type: list
      elements: dict
      sample: [{name: nightly-2, disks: [vda], directory: /var/backups/guests}]
failures:
  description:
    - Those of all domains that libvirt could not tell this of, such as one whose QEMU hangs, with the reason. Each is warned of.
    - Of domains that are named in O(domains), and where it is true of all, this is a failure of the task.
  returned: success
  type: list
  elements: dict
  sample: [{kind: domain_busy, domain: db2, command: "", detail: libvirt is busy with another operation on this domain, hint: ""}]
failure:
  description:
    - What went wrong. Its C(kind) is a stable word such as V(domain_not_found) or V(hypervisor_unreachable).
  returned: failure
  type: dict
  sample: {kind: domain_not_found, domain: web9, command: "", detail: no domain of this name or UUID, hint: check the name}
"""

import contextlib

from ..module_utils._errors import DomainNotFound, GuestAgentError
from ..module_utils._libvirt.hypervisor import connect
from ..module_utils._libvirt.threads import each
from ..module_utils._module import snapshot_info
from ..module_utils._reach.guest import LIBVIRT_SECONDS
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run

SPEC = spec.Spec(
    {
        **spec.URI,
        **spec.AGENT_TIMEOUT,
        "domains": {"type": "list", "elements": "str", "aliases": ["domain", "name"]},
    }
)


def gather(task: Task) -> Outcome:
    params = task.params
    names = params["domains"]
    with contextlib.closing(connect(params["uri"], LIBVIRT_SECONDS, ssh_persist=params["ssh_persist"])) as connection:
        if names is None:
            domains = sorted(connection.domains().values(), key=lambda domain: domain.name)
        else:
            domains = list({domain.uuid: domain for domain in map(connection.domain, names)}.values())
        found = each(snapshot_info.of_domain, domains)
    failures = [said for said in found if isinstance(said, GuestAgentError)]
    if failures and (names is not None or len(failures) == len(found)):
        raise failures[0]
    # One that has gone meanwhile is none of all.
    failures = [failure for failure in failures if not isinstance(failure, DomainNotFound)]
    for failure in failures:
        task.warn(str(failure))
    known = [said for said in found if not isinstance(said, GuestAgentError)]
    return Outcome({"domains": known, "failures": [failure.failure() for failure in failures]})


def main() -> None:
    run(SPEC, gather)


if __name__ == "__main__":
    main()
