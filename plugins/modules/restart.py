#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: restart
short_description: Restart a guest and verify it
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Asks a guest to restart, through its agent (qemu-ga) or its power button, and waits until its agent answers again.
  - With O(mode=acpi) libvirt starts the guest again once it is down.
  - The agent usually gives no reply to this command, so the module looks for a proof instead. That is a changed boot id of the
    guest's kernel.
  - When the agent may neither read files nor run programs, the proof is a reset that libvirt has seen, and an agent that has
    answered since.
options:
  wait:
    description:
      - Whether to wait for the proof.
    type: bool
    default: true
  timeout:
    description:
      - How long to wait for the proof, in seconds.
    type: int
    default: 300
  force_after:
    description:
      - After how many seconds a guest that has not gone down is reset, as by its reset button. By default it is never reset. The
        value must be less than O(timeout).
      - With it, a running guest that cannot be asked is no error. Such a guest is frozen, or lacks the agent that O(mode=agent)
        requires.
    type: int
extends_documentation_fragment:
  - virtops.guest_agent._guest
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._power
  - virtops.guest_agent._attributes
  - virtops.guest_agent._attributes.diff
notes:
  - When the agent does not listen before the restart, the module waits only until libvirt has seen the guest's reset.
seealso:
  - module: virtops.guest_agent.shutdown
"""

EXAMPLES = r"""
- name: Restart web1, and continue when its agent answers
  virtops.guest_agent.restart:
    domain: web1

- name: Restart web2, and reset it when it has not gone down after a minute
  virtops.guest_agent.restart:
    domain: web2
    force_after: 60

- name: Restart web3 by its power button
  virtops.guest_agent.restart:
    domain: web3
    mode: acpi
    timeout: 600
"""

RETURN = r"""
outcome:
  description:
    - V(restarted), or V(requested) with O(wait=false) and in check mode.
    - When the guest did not go down, the task fails with C(failure.kind) V(not_restarted). When it did not come back, the kind is
      V(not_back).
  returned: success
  type: str
  sample: restarted
method:
  description: How the guest was restarted, V(agent), V(acpi) or V(forced).
  returned: success
  type: str
  sample: agent
proof:
  description:
    - V(boot_id) when the boot id of the guest's kernel has changed. V(events) when libvirt has seen the guest reset, and its agent,
      if it had one, has answered since. Null with O(wait=false) and in check mode.
  returned: success
  type: str
  sample: boot_id
boot_id_before:
  description: The boot id before the restart. Null where the agent may not read it.
  returned: success
  type: str
  sample: 0b5bca5e-8a3c-4a77-8e0f-2b7a0f9e8f10
boot_id:
  description: The boot id after the restart. Null where the agent may not read it, or with O(wait=false).
  returned: success
  type: str
  sample: 5c4e0a17-9d52-41a6-b7c0-6a1d9f3f2e11
seconds:
  description: How long the restart took, in seconds.
  returned: success
  type: float
  sample: 21.7
failure:
  description: What went wrong.
  returned: failure
  type: dict
  sample: {kind: not_restarted, domain: web1, command: "", detail: the guest did not go down, hint: look at its console}
"""

from ..module_utils._deadline import Deadline
from ..module_utils._errors import DomainNotRunning
from ..module_utils._module import shutdown
from ..module_utils._module.restart import Before, Restart, Restarted, look
from ..module_utils._reach.guest import open_guest
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run

SPEC = spec.Spec({**spec.GUEST, **shutdown.options(300)})


def ensure(task: Task) -> Outcome:
    shutdown.check(task.params)
    force_after = task.params["force_after"]
    deadline = Deadline(task.params["timeout"])
    with open_guest(task.params, events=True) as guest:
        state = guest.domain.state()
        if state not in ("running", "blocked"):
            raise DomainNotRunning(f"the domain is {state} and cannot restart", domain=guest.domain.name)
        try:
            method = shutdown.choose(task.params["mode"], guest)
        except shutdown.OBSTACLES:
            if force_after is None:
                raise
            method = "none"  # it is reset in the end
        before = look(guest)
        if task.check_mode:
            return _outcome("forced" if method == "none" else method, before, None, deadline)
        watch = guest.domain.lifecycle(restarts=True)
        method = shutdown.request(guest, method, task.params, deadline, "reboot")
        if not task.params["wait"]:
            return _outcome(method, before, None, deadline)
        restarted = Restart(guest, watch, before, deadline).wait(force_after)
        return _outcome("forced" if restarted.forced else method, before, restarted, deadline)


def _outcome(method: str, before: Before, restarted: Restarted | None, deadline: Deadline) -> Outcome:
    result = {
        "outcome": "restarted" if restarted else "requested",
        "method": method,
        "proof": restarted and restarted.proof,
        "boot_id_before": before.boot_id,
        "boot_id": restarted and restarted.boot_id,
        "seconds": round(deadline.elapsed(), 2),
    }
    now = restarted and restarted.boot_id
    return Outcome(result, {"boot": before.boot_id or "the one before"}, {"boot": now or "a new one"})


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
