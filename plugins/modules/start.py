#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: start
short_description: Start a domain and wait until its guest's agent answers
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Starts a libvirt domain, and waits until the guest's agent (qemu-ga) answers. It waits for libvirt's events of the domain and
    its agent.
  - A domain that a user has paused is resumed, and one that is suspended to memory is woken. A domain that is shutting down is
    started again when it is off.
  - A domain that was paused by something else, such as an I/O error or a migration, is not resumed. A domain that has crashed and
    is kept for analysis is not started. The task fails and says what to do.
  - A domain without an agent channel is started, and its agent is not waited for. A warning says so.
options:
  xml:
    description:
      - libvirt's XML of a transient domain. A domain that does not exist is created from it.
      - The XML must have the name or the UUID in O(domain). It is not compared with a domain that exists.
      - In check mode libvirt is asked whether it can run domains of this type, such as C(kvm).
    type: str
  wait:
    description:
      - Whether to wait until the agent answers, also when the domain already runs.
    type: bool
    default: true
  timeout:
    description:
      - How long to wait until the agent answers, in seconds.
    type: int
    default: 300
extends_documentation_fragment:
  - virtops.guest_agent._guest
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
  - virtops.guest_agent._attributes.diff
seealso:
  - module: virtops.guest_agent.shutdown
  - module: virtops.guest_agent.wait_for_guest
"""

EXAMPLES = r"""
- name: Start web1, and continue when its agent answers
  virtops.guest_agent.start:
    domain: web1

- name: Start two guests at the same time
  virtops.guest_agent.start:
    domain: "{{ item }}"
    wait: false
  loop: [web2, web3]

- name: Wait for both
  virtops.guest_agent.start:
    domain: "{{ item }}"
    timeout: 120
  loop: [web2, web3]
"""

RETURN = r"""
outcome:
  description:
    - V(running), or V(requested) in check mode when there is something to do.
    - When the agent does not answer within O(timeout), the task fails with C(failure.kind) V(not_ready). When the domain is off
      again by then, the kind is V(not_started). The domain may have been started in both cases.
  returned: success
  type: str
  sample: running
method:
  description: How the domain was brought to run, V(started), V(created), V(resumed) or V(woken). V(none) for a domain that already
    ran.
  returned: always, unless nothing could be tried
  type: str
  sample: started
agent:
  description: Whether the agent has answered. Null with O(wait=false) and in check mode.
  returned: always, unless nothing could be tried
  type: bool
  sample: true
boot_id:
  description: The identifier of the guest's boot. Null where the agent does not report it or was not asked.
  returned: always, unless nothing could be tried
  type: str
  sample: 0b5bca5e-8a3c-4a77-8e0f-2b7a0f9e8f10
seconds:
  description: How long it took, in seconds.
  returned: always, unless nothing could be tried
  type: float
  sample: 12.4
failure:
  description: What went wrong.
  returned: failure
  type: dict
  sample: {kind: not_ready, domain: web1, command: "", detail: still missing after 300 s, hint: look at its console}
"""

import contextlib

from ..module_utils._deadline import Deadline
from ..module_utils._errors import GuestAgentError
from ..module_utils._module import shutdown, start
from ..module_utils._module.answer import answer
from ..module_utils._reach.guest import Guest, open_guest
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run

SPEC = spec.Spec(
    {
        **spec.GUEST,
        "xml": {"type": "str"},
        "wait": {"type": "bool", "default": True},
        "timeout": {"type": "int", "default": 300},
    }
)


def ensure(task: Task) -> Outcome:
    deadline = Deadline(task.params["timeout"])
    created = task.params["xml"] is not None and start.create(task.params, task.check_mode, deadline)
    if created and task.check_mode:
        return _outcome(deadline, "created", "absent")
    with open_guest(task.params, events=True) as guest:
        if created:
            return _ready(task, guest, deadline, "created", "absent")
        state = guest.domain.state()
        method = start.choose(guest.domain, state)
        if task.check_mode:
            return _outcome(deadline, method, state)
        # libvirt takes one watch of a domain at a time on one connection: that for the agent comes after this.
        with contextlib.closing(guest.domain.lifecycle()) as watch:
            if state == "shutdown":
                shutdown.wait_until_off(guest.domain, watch, deadline, None)
            method = start.switch_on(guest.domain, method, watch, deadline)
        return _ready(task, guest, deadline, method, state)


def _ready(task: Task, guest: Guest, deadline: Deadline, method: start.Method, before: str) -> Outcome:
    if not task.params["wait"]:
        return _outcome(deadline, method, before, "running")
    said = answer(guest, deadline)
    if said.warning:
        task.warn(said.warning)
    return _outcome(deadline, method, before, said.state, agent=said.agent, boot_id=said.boot_id, failure=said.failure)


def _outcome(
    deadline: Deadline,
    method: start.Method,
    before: str,
    after: str = "",
    agent: bool | None = None,
    boot_id: str | None = None,
    failure: GuestAgentError | None = None,
) -> Outcome:
    """``after``: the domain's state; "" where that is only foreseen."""
    states = {"": "running", "blocked": "running"}
    before = "running" if method == "none" else before
    result = {"method": method, "agent": agent, "boot_id": boot_id, "seconds": round(deadline.elapsed(), 2)}
    if failure is None:
        result["outcome"] = "running" if after or method == "none" else "requested"
    return Outcome(result, {"state": before}, {"state": states.get(after, after)}, failure=failure)


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
