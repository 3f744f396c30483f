#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_vcpus
short_description: Bring vCPUs of a guest online, or take them offline
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Brings vCPUs of a guest online, or takes them offline, through the guest's agent (qemu-ga). The guest uses more or fewer of its
    domain's vCPUs.
  - The domain keeps its vCPUs. This is the guest's half of plugging vCPUs. Bring vCPUs online after they were plugged in, and take
    vCPUs offline before they are unplugged.
  - Without O(count), O(online) and O(offline) the vCPUs are only listed. To read them, prefer the subset V(vcpus) of
    M(virtops.guest_agent.guest_info), which asks several guests at once.
options:
  count:
    description:
      - How many vCPUs shall be online. Those with the lowest numbers are brought online first, and those with the highest numbers
        are taken offline first. Those that must stay online are left alone. When the guest refuses one, the next one is tried.
    type: int
  online:
    description: Numbers of vCPUs that shall be online, as the guest counts them.
    type: list
    elements: int
  offline:
    description: Numbers of vCPUs that shall be offline.
    type: list
    elements: int
  timeout:
    description: How long the guest may take to switch them, in seconds.
    type: int
    default: 60
extends_documentation_fragment:
  - virtops.guest_agent._guest
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
  - virtops.guest_agent._attributes.diff
notes:
  - The agent on Windows lists vCPUs and cannot switch them.
  - The change does not outlast the guest's next boot.
seealso:
  - module: virtops.guest_agent.guest_info
"""

EXAMPLES = r"""
- name: Use all vCPUs that were plugged in
  virtops.guest_agent.guest_vcpus:
    domain: web1
    count: 4

- name: Free the last two, so that the hypervisor may unplug them
  virtops.guest_agent.guest_vcpus:
    domain: web1
    offline: [2, 3]

- name: Read them of all guests at once
  virtops.guest_agent.guest_info:
    gather_subset: [vcpus]
  register: result
"""

RETURN = r"""
vcpus:
  description: All vCPUs as they are now. In check mode, as predicted.
  returned: success, or when some could not be switched
  type: list
  elements: dict
  contains:
    id:
      description: The number of the vCPU in the guest.
      type: int
      sample: 0
    online:
      description: Whether the guest uses it.
      type: bool
      sample: true
    can_offline:
      description: Whether the vCPU can go offline.
      type: bool
      sample: false
count:
  description: How many of them are online.
  returned: as RV(vcpus)
  type: int
  sample: 4
errors:
  description:
    - vCPUs that could not be switched, each with its C(id) and the C(error). All other vCPUs were switched.
    - With O(count) this is no failure as long as other vCPUs could be switched instead.
  returned: as RV(vcpus)
  type: list
  elements: dict
  sample: []
failure:
  description:
    - What went wrong. C(kind) is V(command_failed) when vCPUs are not in the requested state afterwards, and V(wait_timeout) when
      O(timeout) has passed. It is V(invalid_input) for vCPUs that do not exist or cannot go offline.
    - It may be another stable word such as V(command_blocked), V(guest_frozen), V(agent_timeout) or V(domain_not_running).
  returned: failure
  type: dict
  sample:
    kind: invalid_input
    domain: web1
    command: guest-set-vcpus
    detail: the guest cannot do without vCPU 0
    hint: ""
"""

import typing as t

from ..module_utils._commands import vcpus as commands
from ..module_utils._commands.units import Unit
from ..module_utils._module import online
from ..module_utils._reach.guest import open_guest
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run

KIND = online.Kind("guest-set-vcpus", "vCPU", commands.vcpus, commands.switch)
SPEC = spec.Spec(
    {
        **spec.GUEST,
        "count": {"type": "int"},
        "online": {"type": "list", "elements": "int"},
        "offline": {"type": "list", "elements": "int"},
        "timeout": {"type": "int", "default": 60},
    },
    mutually_exclusive=[["count", "online"], ["count", "offline"]],
)


def ensure(task: Task) -> Outcome:
    with open_guest(task.params) as guest:
        agent = guest.require_agent()
        before = commands.vcpus(agent)
        task.warn_of_left_out(agent)
        return online.converge(task, agent, KIND, before, lambda: _plan(before, task.params), _shown)


def _plan(vcpus: t.Sequence[Unit], params: t.Mapping[str, t.Any]) -> online.Plan:
    if params["count"] is not None:
        return online.plan_count(vcpus, params["count"], KIND.noun)
    return online.plan_ids(vcpus, params["online"] or [], params["offline"] or [], KIND.noun)


def _shown(vcpus: t.Sequence[Unit]) -> dict[str, t.Any]:
    return {"vcpus": list(vcpus), "count": sum(vcpu["online"] for vcpu in vcpus)}


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
