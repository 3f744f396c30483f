#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: suspend
short_description: Suspend a guest, or wake it
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Asks a guest, through its agent (qemu-ga), to suspend itself to memory or to disk, and waits until its domain is suspended.
  - Wakes a suspended domain, and waits until the guest's agent answers again.
  - The agent usually gives no reply to this command, so the module checks the state of the domain.
options:
  state:
    description:
      - V(suspended) suspends the guest, V(awake) wakes it.
    type: str
    choices: [suspended, awake]
    required: true
  mode:
    description:
      - V(ram) keeps the guest in memory. The domain is then C(pmsuspended).
      - V(disk) writes the memory to the guest's swap space and shuts the domain off. libvirt does not distinguish this from a
        domain that is off, so a domain that is off counts as suspended. With O(state=awake) it is started.
      - V(hybrid) writes the memory to the swap space and then suspends to memory.
    type: str
    choices: [ram, disk, hybrid]
    default: ram
  wait:
    description:
      - Whether to wait until the domain is suspended, or until it runs and its agent answers.
    type: bool
    default: true
  timeout:
    description:
      - How long to wait for that state, in seconds.
    type: int
    default: 120
extends_documentation_fragment:
  - virtops.guest_agent._guest
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
  - virtops.guest_agent._attributes.diff
notes:
  - The module first looks for what makes a suspend impossible. That may be an element C(pm) in the domain's definition that
    disables it, a kernel without the mode (C(/sys/power/state)), or missing swap space. When the agent may neither read files nor
    run programs, only the definition is checked.
  - Whether a guest's drivers and firmware survive a suspend is known only when it is tried.
seealso:
  - module: virtops.guest_agent.shutdown
"""

EXAMPLES = r"""
- name: Suspend web1 to memory
  virtops.guest_agent.suspend:
    domain: web1
    state: suspended

- name: Wake web1, and continue when its agent answers
  virtops.guest_agent.suspend:
    domain: web1
    state: awake

- name: Suspend web2 to its disk, which may take minutes
  virtops.guest_agent.suspend:
    domain: web2
    state: suspended
    mode: disk
    timeout: 600
"""

RETURN = r"""
outcome:
  description:
    - V(suspended), V(off) after a suspend to disk, V(awake), or V(requested) when there was something to do, with O(wait=false) and
      in check mode.
    - When the guest could not suspend itself, the task fails with C(failure.kind) V(cannot_suspend) if that was known before, and
      V(not_suspended) if it was tried. The kind is V(not_awake) when the domain stays suspended, and V(not_back) when its agent
      does not answer again.
  returned: success
  type: str
  sample: suspended
seconds:
  description: How long it took, in seconds.
  returned: success
  type: float
  sample: 2.4
failure:
  description: What went wrong.
  returned: failure
  type: dict
  sample: {kind: cannot_suspend, domain: web1, command: guest-suspend-ram, detail: the definition disables suspend-to-mem, hint: ""}
"""

from ..module_utils._agent.client import GuestAgent
from ..module_utils._commands import power
from ..module_utils._deadline import Deadline
from ..module_utils._errors import DomainNotFound, DomainNotRunning, ProtocolError, UnknownOutcome
from ..module_utils._libvirt import domain_xml
from ..module_utils._module import suspend
from ..module_utils._reach.guest import LIBVIRT_SECONDS, Guest, open_guest
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run

SPEC = spec.Spec(
    {
        **spec.GUEST,
        "state": {"type": "str", "choices": ["suspended", "awake"], "required": True},
        "mode": {"type": "str", "choices": ["ram", "disk", "hybrid"], "default": "ram"},
        "wait": {"type": "bool", "default": True},
        "timeout": {"type": "int", "default": 120},
    }
)


def ensure(task: Task) -> Outcome:
    deadline = Deadline(task.params["timeout"])
    with open_guest(task.params, events=True) as guest:
        return (_suspended if task.params["state"] == "suspended" else _awake)(task, guest, deadline)


def _suspended(task: Task, guest: Guest, deadline: Deadline) -> Outcome:
    sleep = suspend.SLEEPS[task.params["mode"]]
    if guest.domain.state() == sleep.domain_state:
        return _outcome(deadline, before=sleep.state, after=sleep.state)
    agent = guest.require_agent(power.SUSPEND[sleep.mode])
    suspend.check(guest, agent, sleep)
    if not task.check_mode:
        watch = guest.domain.lifecycle()
        reply = _ask(task, agent, sleep, deadline)
        if task.params["wait"]:
            suspend.wait_until_suspended(guest.domain, watch, deadline, sleep, reply)
    return _outcome(deadline, before="awake", after=sleep.state, seen=_waits(task))


def _ask(task: Task, agent: GuestAgent, sleep: suspend.Sleep, deadline: Deadline) -> str:
    """What came of it. No reply is what a suspend looks like; the domain's state will tell."""
    try:
        power.suspend(agent, sleep.mode, max(1, min(task.params["agent_timeout"], int(deadline.remaining()))))
    except (UnknownOutcome, ProtocolError, DomainNotRunning, DomainNotFound) as error:
        return f"of the agent: {error.detail}"
    return "the agent said that it did"


def _awake(task: Task, guest: Guest, deadline: Deadline) -> Outcome:
    domain, state = guest.domain, guest.domain.state()
    if state in ("running", "blocked"):
        return _outcome(deadline, before="awake", after="awake")
    off = state == "shutoff" and task.params["mode"] == "disk"
    if state != "pmsuspended" and not off:
        hint = "with mode=disk a domain that is off is started" if state == "shutoff" else ""
        raise DomainNotRunning(f"the domain is {state}, and not suspended", domain=domain.name, hint=hint)
    if not task.check_mode:
        _wake(guest, off, task.params["wait"], deadline)
    return _outcome(deadline, before="off" if off else "suspended", after="awake", seen=_waits(task))


def _wake(guest: Guest, off: bool, wait: bool, deadline: Deadline) -> None:
    domain = guest.domain
    watch = domain.lifecycle()
    if off:
        domain.start(max(LIBVIRT_SECONDS, deadline.remaining()))
    elif wait:
        suspend.wake(domain, watch, deadline)
    else:
        domain.wake()
    # During a suspend libvirt takes the channel for disconnected, until the guest resumes.
    if wait and domain_xml.parse(domain.xml()).channel != "":
        suspend.wait_for_agent(guest.agent, deadline)


def _waits(task: Task) -> bool:
    return bool(task.params["wait"]) and not task.check_mode


def _outcome(deadline: Deadline, *, before: suspend.State, after: suspend.State, seen: bool = True) -> Outcome:
    """``seen``: it is so, and was not only asked for."""
    result = {"outcome": after if seen else "requested", "seconds": round(deadline.elapsed(), 2)}
    return Outcome(result, {"state": before}, {"state": after})


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
