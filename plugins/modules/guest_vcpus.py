#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_vcpus
short_description: Bring vCPUs of a guest online, and take them offline
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Has the operating system of a guest use more or fewer of the vCPUs that its domain has, through the guest's agent (qemu-ga).
  - The domain keeps its vCPUs. This is for the guest's half of plugging them; bring those online that were plugged in, and take
    those offline that are to be unplugged.
  - Without O(count), O(online) and O(offline) the vCPUs are only listed.
options:
  count:
    description:
      - How many vCPUs shall be online. Those with the lowest numbers are brought online first, those with the highest numbers are
        taken offline first, and those that the guest cannot do without are left alone.
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
  - Windows tells of its vCPUs and cannot switch them.
  - What was switched does not outlast the guest's next boot.
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

- name: Look which there are
  virtops.guest_agent.guest_vcpus:
    domain: web1
  register: result
"""

RETURN = r"""
vcpus:
  description: All vCPUs as they are now; in check mode as they would be.
  returned: success, or when some could not be switched
  type: list
  elements: dict
  contains:
    id:
      description: The guest's number for it.
      type: int
      sample: 0
    online:
      description: Whether the guest uses it.
      type: bool
      sample: true
    can_offline:
      description: Whether the guest can do without it.
      type: bool
      sample: false
count:
  description: How many of them are online.
  returned: as RV(vcpus)
  type: int
  sample: 4
errors:
  description: Those that could not be switched, each with its C(id) and the C(error). All others have been.
  returned: as RV(vcpus)
  type: list
  elements: dict
  sample: []
failure:
  description:
    - What went wrong. C(kind) is V(command_failed) when vCPUs are not as they should be afterwards, V(wait_timeout) when O(timeout)
      was over, V(invalid_input) for vCPUs that are not there or cannot go offline, or another stable word such as
      V(command_blocked), V(guest_frozen), V(agent_timeout) or V(domain_not_running).
  returned: failure
  type: dict
  sample:
    kind: invalid_input
    domain: web1
    command: guest-set-vcpus
    detail: vCPU 0 cannot go offline
    hint: ""
"""

import typing as t

from ..module_utils import _argspec
from ..module_utils._commands import vcpus as commands
from ..module_utils._deadline import Deadline
from ..module_utils._errors import CommandFailed, InvalidInput
from ..module_utils._guest import open_guest
from ..module_utils._task import Outcome, Task, run

COMMAND = "guest-set-vcpus"
SPEC = _argspec.Spec(
    {
        **_argspec.GUEST,
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
        agent.require("guest-get-vcpus")
        before = commands.vcpus(agent)
        try:
            changes = plan(before, task.params["count"], task.params["online"] or [], task.params["offline"] or [])
        except InvalidInput as error:
            error.domain, error.command = agent.name, COMMAND
            raise
        refused: dict[int, str] = {}
        wanted = {vcpu["id"]: changes.get(vcpu["id"], vcpu["online"]) for vcpu in before}
        if not changes:
            return _outcome(before, before, refused)
        agent.require(COMMAND)
        if task.check_mode:
            return _outcome(before, [{**vcpu, "online": wanted[vcpu["id"]]} for vcpu in before], refused)
        refused = commands.switch(agent, list(changes.items()), Deadline(task.params["timeout"]))
        after = commands.vcpus(agent)
    now = {vcpu["id"]: vcpu["online"] for vcpu in after}
    wrong = [number for number, online in changes.items() if now.get(number) is not online]
    outcome = _outcome(before, after, refused)
    if not wrong:
        return outcome
    why = f" ({refused[wrong[0]]})" if wrong[0] in refused else ""
    names = ", ".join(str(number) for number in sorted(wrong)[:8])
    failure = CommandFailed(f"vCPU {names} could not be switched{why}", domain=agent.name, command=COMMAND)
    return outcome._replace(failure=failure)


def plan(vcpus: t.Sequence[commands.Vcpu], count: int | None, online: t.Sequence[int], offline: t.Sequence[int]) -> dict[int, bool]:
    """vCPU -> whether it shall be online, for those that are not as they shall be; those to bring online come first."""
    by_id = {vcpu["id"]: vcpu for vcpu in vcpus}
    if count is not None:
        return _plan_count(vcpus, count)
    for number in (*online, *offline):
        if number not in by_id:
            raise InvalidInput(f"the guest has no vCPU {number}", hint=f"it has {len(by_id)}; plug in more, or name others")
        if number in online and number in offline:
            raise InvalidInput(f"vCPU {number} cannot be both online and offline")
    changes = {number: True for number in online if not by_id[number]["online"]}
    changes.update({number: False for number in offline if by_id[number]["online"]})
    stuck = [number for number, up in changes.items() if not up and not by_id[number]["can_offline"]]
    if stuck:
        raise InvalidInput(f"vCPU {stuck[0]} cannot go offline")
    if not any(changes.get(number, vcpu["online"]) for number, vcpu in by_id.items()):
        raise InvalidInput("no vCPU would be left online")
    return changes


def _plan_count(vcpus: t.Sequence[commands.Vcpu], count: int) -> dict[int, bool]:
    up = [vcpu for vcpu in vcpus if vcpu["online"]]
    if not 1 <= count <= len(vcpus):
        raise InvalidInput(f"count must be from 1 to {len(vcpus)}, for so many vCPUs the guest has", hint="plug in more first")
    if count >= len(up):
        return {vcpu["id"]: True for vcpu in [vcpu for vcpu in vcpus if not vcpu["online"]][: count - len(up)]}
    spare = [vcpu["id"] for vcpu in reversed(up) if vcpu["can_offline"]]
    if len(spare) < len(up) - count:
        raise InvalidInput(f"{len(up) - len(spare)} vCPUs cannot go offline, and count is {count}")
    return dict.fromkeys(spare[: len(up) - count], False)


def _outcome(before: t.Sequence[commands.Vcpu], after: t.Sequence[commands.Vcpu], refused: t.Mapping[int, str]) -> Outcome:
    result = {
        "vcpus": list(after),
        "count": sum(vcpu["online"] for vcpu in after),
        "errors": [{"id": number, "error": why} for number, why in sorted(refused.items())],
    }
    return Outcome(result, _state(before), _state(after))


def _state(vcpus: t.Sequence[commands.Vcpu]) -> dict[str, list[int]]:
    return {
        "online": [vcpu["id"] for vcpu in vcpus if vcpu["online"]],
        "offline": [vcpu["id"] for vcpu in vcpus if not vcpu["online"]],
    }


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
