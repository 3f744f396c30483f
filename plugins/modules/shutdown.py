#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: shutdown
short_description: Shut a guest down and wait until its domain is off
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Asks a guest to shut down, through its agent (qemu-ga) or its power button, and waits until its domain is off.
  - The agent usually gives no reply to this command, so the module waits for libvirt's events of the domain.
  - A guest that is suspended to memory is woken first, because it could not shut down otherwise.
options:
  wait:
    description:
      - Whether to wait until the domain is off.
    type: bool
    default: true
  timeout:
    description:
      - How long to wait until the domain is off, in seconds.
    type: int
    default: 120
  force_after:
    description:
      - After how many seconds of waiting the domain is destroyed, as by pulling its plug. By default it is never destroyed. The
        value must be less than O(timeout).
      - With it, a guest that cannot be asked is no error. A paused or frozen guest is asked as soon as it can react. A domain that
        has crashed, or lacks the agent that O(mode=agent) requires, is only waited for.
    type: int
  undefine:
    description:
      - Whether to remove the domain's definition when it is off, so that the domain does not exist any more. libvirt's records of
        its snapshots and checkpoints go with it, and so does its saved memory. Disks and their images are never removed.
      - Requires O(wait=true).
    type: bool
    default: false
extends_documentation_fragment:
  - virtops.guest_agent._guest
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._power
  - virtops.guest_agent._attributes
  - virtops.guest_agent._attributes.diff
"""

EXAMPLES = r"""
- name: Shut web1 down and wait for it
  virtops.guest_agent.shutdown:
    domain: web1

- name: Shut web2 down by its power button, and pull the plug after a minute
  virtops.guest_agent.shutdown:
    domain: web2
    mode: acpi
    timeout: 90
    force_after: 60

- name: Ask several guests to shut down, without waiting
  virtops.guest_agent.shutdown:
    domain: "{{ item }}"
    wait: false
  loop: [web3, web4]

- name: Pull the plug of test1, and remove its domain
  virtops.guest_agent.shutdown:
    domain: test1
    mode: acpi
    force_after: 0
    undefine: true
"""

RETURN = r"""
outcome:
  description:
    - V(off), V(gone), or V(requested) with O(wait=false) and in check mode. V(gone) means that the domain does not exist any
      more, because it was transient or O(undefine=true). A domain that did not exist before is V(gone) too, with a warning.
    - When the domain is still on after O(timeout), the task fails with C(failure.kind) V(still_on).
  returned: success
  type: str
  sample: "off"
method:
  description: How the guest was shut down, V(agent), V(acpi) or V(forced). V(none) for a domain that was already off or shutting
    down.
  returned: success
  type: str
  sample: agent
seconds:
  description: How long the shutdown took, in seconds.
  returned: success
  type: float
  sample: 2.4
failure:
  description: What went wrong.
  returned: failure
  type: dict
  sample: {kind: still_on, domain: web1, command: guest-shutdown, detail: still running after 120 s, hint: look at its console}
"""

from ..module_utils._deadline import Deadline
from ..module_utils._errors import DomainNotFound, InvalidInput
from ..module_utils._module import shutdown
from ..module_utils._reach.guest import Guest, open_guest
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run

SPEC = spec.Spec({**spec.GUEST, **shutdown.options(120), "undefine": {"type": "bool", "default": False}})


def ensure(task: Task) -> Outcome:
    shutdown.check(task.params)
    if task.params["undefine"] and not task.params["wait"]:
        raise InvalidInput("undefine needs wait=true")
    deadline = Deadline(task.params["timeout"])
    try:
        with open_guest(task.params, events=True) as guest:
            return _shut_down(task, guest, deadline)
    except DomainNotFound as error:
        # A transient domain does not exist any more once it is off.
        task.warn(f"Domain {error.domain}: {error.detail}. There is nothing to shut down.")
        return _outcome("gone", "none", deadline, {"state": "gone"}, "gone")


def _shut_down(task: Task, guest: Guest, deadline: Deadline) -> Outcome:
    state = guest.domain.state()
    undefine = task.params["undefine"]
    if state == "shutoff":
        if undefine and not task.check_mode:
            guest.domain.undefine()
        outcome = ("requested" if task.check_mode else "gone") if undefine else "off"
        return _outcome(outcome, "none", deadline, {"state": "off"}, "gone" if undefine else "off")
    persistent = guest.domain.persistent()
    gone = "off" if persistent and not undefine else "gone"
    way = shutdown.Shutdown(guest, guest.domain.lifecycle(), task.params, deadline)
    if task.check_mode:
        return _outcome("requested", way.foresee(), deadline, {"state": state}, gone)
    way.ask()
    if not task.params["wait"]:
        return _outcome("requested", way.method, deadline, {"state": state})
    way.wait()
    if undefine and persistent:
        guest.domain.undefine()
    return _outcome(gone, way.method, deadline, {"state": state}, gone)


def _outcome(outcome: str, method: str, deadline: Deadline, before: dict[str, str], after: str = "off") -> Outcome:
    result = {"outcome": outcome, "method": method, "seconds": round(deadline.elapsed(), 2)}
    return Outcome(result, before, {"state": after})


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
