#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: agent_channel
short_description: Add the guest agent's channel to a domain, or remove it
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Adds the virtio channel of the guest agent (qemu-ga) to a domain, or removes it, both in the running domain and in its
    definition.
  - The module asks libvirt only, and needs no agent.
  - The guest also needs the agent itself, which most distributions package as C(qemu-guest-agent). Once it is installed, it usually
    starts by itself as soon as the channel is there.
options:
  state:
    description:
      - Whether the channel is V(present) or V(absent).
      - For a domain that is off only the definition is changed. For a transient domain only the running domain is changed.
      - A channel of this name with another type than C(unix), such as C(pty), is replaced, because libvirt cannot use it.
    type: str
    choices: [present, absent]
    default: present
  channel_name:
    description:
      - The name of the channel, by which the guest finds it.
      - libvirt uses only V(org.qemu.guest_agent.0) for its agent. This collection transfers files over
        V(org.virtops.guest_agent.0).
    type: str
    default: org.qemu.guest_agent.0
  timeout:
    description:
      - How long the guest may take to release a channel that is removed from the running domain, in seconds.
    type: int
    default: 30
extends_documentation_fragment:
  - virtops.guest_agent._guest
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
  - virtops.guest_agent._attributes.diff
notes:
  - libvirt cannot plug a virtio-serial controller into a running domain. When there is none, the channel and its controller are
    added to the definition only. RV(restart_required) is then true until the domain has been shut off and started. A restart inside
    the guest is not enough.
  - The controller stays when the channel is removed.
  - O(agent_timeout) is ignored.
"""

EXAMPLES = r"""
- name: Add the agent's channel to web1
  virtops.guest_agent.agent_channel:
    domain: web1
  register: channel

- name: Start web1 again when its running domain could not get the channel
  when: channel.restart_required
  block:
    - name: Shut it down by its power button, because no agent can be asked
      virtops.guest_agent.shutdown:
        domain: web1
        mode: acpi

    - name: Start it
      virtops.guest_agent.start:
        domain: web1

- name: Add the port for files, which makes transfers several times as fast
  virtops.guest_agent.agent_channel:
    domain: web1
    channel_name: org.virtops.guest_agent.0

- name: Remove the port again
  virtops.guest_agent.agent_channel:
    domain: web1
    channel_name: org.virtops.guest_agent.0
    state: absent
"""

RETURN = r"""
running:
  description:
    - Whether the running domain has the channel now, V(present) or V(absent). Null when the domain is off. In check mode, the
      predicted state.
  returned: success
  type: str
  sample: absent
definition:
  description: Whether the definition has the channel. Null for a transient domain.
  returned: success
  type: str
  sample: present
restart_required:
  description: Whether the domain must be shut off and started before it has the channel.
  returned: success
  type: bool
  sample: true
failure:
  description: What went wrong.
  returned: failure
  type: dict
  sample: {kind: libvirt_error, domain: web1, command: "", detail: "libvirt says: unsupported", hint: ""}
"""

from ..module_utils._deadline import Deadline
from ..module_utils._errors import InvalidInput
from ..module_utils._module import agent_channel
from ..module_utils._reach.guest import open_guest
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run

SPEC = spec.Spec(
    {
        **spec.GUEST,
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "channel_name": {"type": "str", "default": "org.qemu.guest_agent.0"},
        "timeout": {"type": "int", "default": 30},
    }
)


def ensure(task: Task) -> Outcome:
    wish = agent_channel.Wish(task.params["channel_name"], task.params["state"] == "present")
    if not wish.name.isprintable() or not wish.name or len(wish.name) > 255 or " " in wish.name:
        raise InvalidInput("channel_name must be the name of a channel, such as org.qemu.guest_agent.0")
    with open_guest(task.params) as guest:
        domain = guest.domain
        before = agent_channel.read(domain, wish.name)
        plan = agent_channel.plan(before, wish)
        agent_channel.check(domain, plan)
        if plan.change and not task.check_mode:
            plan = agent_channel.apply(domain, wish, plan, Deadline(task.params["timeout"]))
    if plan.obstacle:
        task.warn(
            f"Domain {domain.name}: the channel is not in the running domain: {plan.obstacle}; shut the domain off and start it."
        )
    return _outcome(before, plan)


def _outcome(before: agent_channel.Places, plan: agent_channel.Plan) -> Outcome:
    after = plan.after
    result = {"running": _word(after.running), "definition": _word(after.definition), "restart_required": bool(plan.obstacle)}
    old, new = agent_channel.text(before), agent_channel.text(after)
    return Outcome(result, {"xml": old}, {"xml": new}, {"before": old, "after": new})


def _word(parts: agent_channel.Parts | None) -> str | None:
    return parts and ("present" if parts.channel else "absent")


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
