#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fsfreeze
short_description: Freeze and thaw the filesystems of a guest, within a time limit
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Freezes or thaws the filesystems of a guest through its agent (qemu-ga), so that its disks are consistent while a backup or a
    storage snapshot is taken. The agent runs its freeze hooks, if it has any.
  - A watchdog guards every freeze. It is a process of its own on the host where the module runs. It first proves that it reaches
    the agent, and then freezes the guest. It thaws the guest after O(max_seconds), even when the playbook or the connection was
    killed, and at once when the task is killed.
  - The watchdog thaws only its own freeze. It ends within a second when another client thaws the guest, and at once when this
    module thaws the guest on the same host.
  - When other clients thaw the guest and freeze it again within half a second, the watchdog does not notice, and thaws it after
    O(max_seconds).
  - The watchdog runs on the host that executes the module. Run the module on the hypervisor (with C(delegate_to)) when the guest
    must be thawed even if the controller is lost.
  - When the end of a login session ends all its processes (C(KillUserProcesses=yes) of systemd-logind), the watchdog thaws the
    guest at once and ends. When a container is removed, a watchdog in it is killed, so do not freeze from a container.
  - When the agent does not answer a freeze in time, the outcome is unknown. The guest is then thawed, and the task fails.
options:
  state:
    description:
      - V(frozen) freezes, V(thawed) thaws.
    type: str
    choices: [frozen, thawed]
    required: true
  mountpoints:
    description:
      - Mount points of the filesystems to freeze. By default all are frozen.
      - The task fails, and leaves nothing frozen, when one of them is not a mounted filesystem of the guest or cannot be frozen.
        Without O(mountpoints) it fails when a filesystem with data, such as ZFS, cannot be frozen.
      - Several mount points of one device count as one.
      - A thaw always applies to all filesystems.
    type: list
    elements: str
  max_seconds:
    description:
      - After how many seconds the watchdog thaws the guest, counted from before the freeze.
      - With V(0) the guest stays frozen until a task or another client thaws it. The watchdog then guards only the freeze itself.
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
      - With O(state=frozen), whether to take over the freeze of another client. No freeze is sent, and the watchdog is armed for
        the existing one. Without it a guest that is already frozen is an error, because it is not known when it will be thawed.
      - With O(state=thawed), whether to send the thaw also to a guest that reports to be thawed, which runs its thaw hooks.
    type: bool
    default: false
extends_documentation_fragment:
  - virtops.guest_agent._guest
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
  - virtops.guest_agent._attributes.diff
notes:
  - V(thawed) ends every freeze, also that of another client. Do not thaw in the C(always) section of the block that contains the
    freeze, because the freeze may have failed on another client's freeze. A freeze that fails leaves nothing to thaw.
  - When a thaw hook of the agent fails, the guest is thawed all the same. The module warns.
  - Windows thaws by itself after 10 seconds, and the thaw then reports an error.
  - The agent of a frozen guest accepts no command but ping, info, freeze status and thaw.
"""

EXAMPLES = r"""
- name: Freeze the guest, for at most 20 seconds
  virtops.guest_agent.fsfreeze:
    domain: db1
    state: frozen
    max_seconds: 20

- name: Take a copy of the guest's disk while nothing is written to it
  block:
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
  description: How many filesystems the agent froze or thawed. Null in check mode and when there was nothing to do.
  returned: success
  type: int
  sample: 3
unfrozen:
  description:
    - The firmware's own filesystems, with their type. They cannot be frozen and are hardly ever written to.
  returned: success
  type: list
  elements: str
  sample: ["/boot/efi (vfat)"]
watchdog_pid:
  description: Process id of the watchdog on the host that executed the module, null when there is none.
  returned: success
  type: int
  sample: 4711
failure:
  description:
    - What went wrong. C(kind) is a stable word such as V(guest_frozen), V(command_blocked), V(agent_timeout),
      V(agent_not_configured), V(domain_not_running), V(watchdog_failed) or V(invalid_input).
  returned: failure
  type: dict
  sample: {kind: guest_frozen, domain: db1, command: guest-fsfreeze-freeze, detail: it is frozen already, hint: thaw it first}
"""

from ..module_utils._agent.client import GuestAgent
from ..module_utils._commands import freeze
from ..module_utils._deadline import SYSTEM_CLOCK
from ..module_utils._errors import InvalidInput
from ..module_utils._freeze import group, watchdog as _watchdog
from ..module_utils._freeze.registry import ask_to_thaw, dismiss
from ..module_utils._reach.guest import Guest, open_guest
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run

SPEC = spec.Spec(
    {
        **spec.GUEST,
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
    params, agent = task.params, guest.require_agent()
    mountpoints = params["mountpoints"] and list(dict.fromkeys(params["mountpoints"]))
    member = group.Member(agent, guest.domain.uuid, mountpoints)
    taken_over = params["force"] and agent.frozen()
    if not taken_over:
        member.check()
    before, after = {"status": "frozen" if taken_over else "thawed"}, {"status": "frozen"}
    unfrozen = list(member.extent.spared)
    if watchdog is None:
        return Outcome({**before, "filesystems": None, "unfrozen": unfrozen, "watchdog_pid": None}, before, after)
    terms = group.Terms(params["uri"], params["timeout"], params["max_seconds"], params["agent_timeout"])
    (group.arm_all if taken_over else group.freeze_all)([member], [watchdog], terms)
    if member.not_frozen is not None:
        raise member.not_frozen
    if taken_over:
        watchdog.take_over()
    member.keep()
    pid = member.pid if params["max_seconds"] else None
    return Outcome({**after, "filesystems": member.count, "unfrozen": unfrozen, "watchdog_pid": pid}, before, after)


def _thaw(task: Task, agent: GuestAgent, uuid: str) -> Outcome:
    before = {"status": "frozen" if agent.frozen() else "thawed"}
    needed = before["status"] == "frozen" or task.params["force"]
    nothing: dict[str, object] = {"unfrozen": [], "watchdog_pid": None}
    if not needed or task.check_mode:
        return Outcome({**before, "filesystems": None, **nothing}, before, {"status": "thawed"})
    # A watchdog thaws its own freeze and ends: no later freeze is taken for its own, whatever becomes of this task.
    answer = ask_to_thaw(uuid, SYSTEM_CLOCK.monotonic(), task.params["timeout"]) if before["status"] == "frozen" else {}
    thawed = freeze.Thawed(**answer) if answer else _thaw_alone(agent, uuid, task.params["timeout"])
    if thawed.warning:
        task.warn(f"Domain {agent.name}: the guest is thawed, and its agent reports a failure: {thawed.warning}")
    after = {"status": "thawed"}
    return Outcome({**after, "filesystems": thawed.filesystems, **nothing}, before, after)


def _thaw_alone(agent: GuestAgent, uuid: str, seconds: int) -> freeze.Thawed:
    since = SYSTEM_CLOCK.monotonic()
    thawed = freeze.thaw_until_thawed(agent, seconds, first_seconds=seconds)
    dismiss(uuid, since)
    return thawed


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
