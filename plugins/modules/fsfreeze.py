#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fsfreeze
short_description: Freeze and thaw the filesystems of a guest, never for longer than agreed
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Freezes or thaws the filesystems of a guest through its agent (qemu-ga), so that what is on its disks is consistent while a
    backup or a storage snapshot is taken. The agent runs its freeze hooks, if it has any.
  - A freeze is always guarded by a watchdog, a process of its own where the module runs. It is armed before the freeze, having
    proved that it reaches the agent, and thaws the guest after O(max_seconds) even if the task, the playbook or the connection
    were killed meanwhile. It ends within a second when the guest is thawed by somebody else, and at once when this module thaws the
    guest or freezes it anew on the same host.
  - The watchdog lives on the host that executes the module. Run the module on the hypervisor (with C(delegate_to)) where the
    guest must be thawed even when the controller itself is lost.
  - Where the end of a login session ends all its processes (C(KillUserProcesses=yes) of systemd-logind) it thaws the guest at once
    and ends with them. A container that is removed takes it along, so do not freeze from one.
  - A freeze whose outcome is unknown, since the agent did not answer in time, is thawed again and the task fails.
options:
  state:
    description:
      - V(frozen) freezes, V(thawed) thaws.
    type: str
    choices: [frozen, thawed]
    required: true
  mountpoints:
    description:
      - Mount points of the filesystems to freeze. Without it all are frozen.
      - The task fails, with nothing left frozen, when one of them is not a mounted filesystem of the guest, or cannot be frozen.
      - Thawing always thaws all.
    type: list
    elements: str
  max_seconds:
    description:
      - After how many seconds the watchdog thaws the guest, counted from before the freeze.
      - V(0) lets the guest stay frozen until somebody thaws it. The watchdog then guards the freeze itself only.
    type: int
    default: 60
  timeout:
    description:
      - How long the freeze or the thaw may take in the guest, hooks included, in seconds. No freeze may take longer than
        O(max_seconds).
    type: int
    default: 30
  force:
    description:
      - With O(state=frozen), takes over a freeze that somebody else made. Nothing is frozen anew, and the watchdog is armed over
        what is frozen. Without it a guest that is frozen already is an error, since nobody knows when it will be thawed.
      - With O(state=thawed), sends the thaw also to a guest that says it is thawed, which runs its thaw hooks.
    type: bool
    default: false
extends_documentation_fragment:
  - virtops.guest_agent._guest
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
  - virtops.guest_agent._attributes.diff
notes:
  - Windows thaws by itself after 10 seconds, and the thaw then reports an error.
  - While a guest is frozen its agent accepts no command but ping, info, freeze status and thaw.
"""

EXAMPLES = r"""
- name: Take a copy of a guest's disk while nothing is written to it
  block:
    - name: Freeze the guest, for no longer than 20 seconds whatever happens
      virtops.guest_agent.fsfreeze:
        domain: db1
        state: frozen
        max_seconds: 20

    - name: Take a snapshot of the volume
      ansible.builtin.command: lvcreate --snapshot --size 1G --name db1-backup vg0/db1
      changed_when: true

  always:
    - name: Thaw the guest
      virtops.guest_agent.fsfreeze:
        domain: db1
        state: thawed

- name: Freeze one filesystem only
  virtops.guest_agent.fsfreeze:
    domain: db1
    state: frozen
    mountpoints: [/var/lib/postgresql]
    max_seconds: 5
"""

RETURN = r"""
status:
  description: Whether the guest is V(frozen) or V(thawed) now.
  returned: success
  type: str
  sample: frozen
filesystems:
  description: How many filesystems the agent froze or thawed; null in check mode and when there was nothing to do.
  returned: success
  type: int
  sample: 3
watchdog_pid:
  description: Process id of the watchdog on the host that executed the module, null when there is none.
  returned: success
  type: int
  sample: 4711
failure:
  description:
    - What went wrong. C(kind) is a stable word such as V(guest_frozen), V(command_blocked), V(agent_timeout),
      V(agent_not_configured), V(domain_not_running) or V(invalid_input).
  returned: failure
  type: dict
  sample: {kind: guest_frozen, domain: db1, command: guest-fsfreeze-freeze, detail: it is frozen already, hint: thaw it first}
"""

from ..module_utils import _argspec, _watchdog
from ..module_utils._client import GuestAgent
from ..module_utils._commands import freeze
from ..module_utils._errors import CommandFailed, GuestAgentError, GuestFrozen, InvalidInput
from ..module_utils._guarded_freeze import check_freezable, guarded_freeze
from ..module_utils._guest import Guest, open_guest
from ..module_utils._task import Outcome, Task, run
from ..module_utils._watchdog_registry import dismiss

SPEC = _argspec.Spec(
    {
        **_argspec.GUEST,
        "state": {"type": "str", "choices": ["frozen", "thawed"], "required": True},
        "mountpoints": {"type": "list", "elements": "str"},
        "max_seconds": {"type": "int", "default": 60},
        "timeout": {"type": "int", "default": 30},
        "force": {"type": "bool", "default": False},
    }
)


def ensure(task: Task) -> Outcome:
    if task.params["mountpoints"] == []:
        raise InvalidInput("mountpoints is empty, which would freeze nothing; leave it out to freeze all filesystems")
    if task.params["state"] == "thawed":
        with open_guest(task.params) as guest:
            return _thaw(task, guest.require_agent(), guest.domain.uuid)
    # Forked while this process still has neither threads nor connections.
    watchdog = None if task.check_mode else _watchdog.hatch()
    try:
        with open_guest(task.params) as guest:
            return _freeze(task, guest, watchdog)
    finally:
        if watchdog is not None:
            watchdog.leave()


def _freeze(task: Task, guest: Guest, watchdog: _watchdog.Watchdog | None) -> Outcome:
    agent = guest.require_agent()
    frozen = agent.frozen()
    if frozen and not task.params["force"]:
        raise GuestFrozen(
            "the guest is frozen already, and not by this task",
            domain=agent.name,
            command="guest-fsfreeze-freeze",
            hint="thaw it with state=thawed, or take the freeze over with force=true",
        )
    mountpoints = task.params["mountpoints"] and list(dict.fromkeys(task.params["mountpoints"]))
    if not frozen:
        check_freezable(agent, mountpoints)
    before, after = {"status": "frozen" if frozen else "thawed"}, {"status": "frozen"}
    if watchdog is None:
        return Outcome({**before, "filesystems": None, "watchdog_pid": None}, before, after)
    seconds, uuid = task.params["max_seconds"], guest.domain.uuid
    timeout = min(task.params["timeout"], seconds or task.params["timeout"])
    pid = watchdog.arm(_watchdog.Order(task.params["uri"], uuid, seconds, timeout, task.params["agent_timeout"]))
    dismiss(uuid, but=pid)
    if frozen:
        count = None
        watchdog.tell("freezing")
        watchdog.hold()
    else:
        count = guarded_freeze(agent, mountpoints, timeout, watchdog)
    return Outcome({**after, "filesystems": count, "watchdog_pid": pid if seconds else None}, before, after)


def _thaw(task: Task, agent: GuestAgent, uuid: str) -> Outcome:
    before = {"status": "frozen" if agent.frozen() else "thawed"}
    needed = before["status"] == "frozen" or task.params["force"]
    if not needed or task.check_mode:
        return Outcome({**before, "filesystems": None, "watchdog_pid": None}, before, {"status": "thawed"})
    try:
        count = freeze.thaw(agent, task.params["timeout"])
    except GuestAgentError as error:
        trouble = freeze.thaw_until_thawed(agent, task.params["timeout"])
        if trouble is not None:
            raise trouble from error
        count = None
    if agent.frozen():
        raise CommandFailed("the guest is still frozen", domain=agent.name, command="guest-fsfreeze-thaw")
    dismiss(uuid)
    after = {"status": "thawed"}
    return Outcome({**after, "filesystems": count, "watchdog_pid": None}, before, after)


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
