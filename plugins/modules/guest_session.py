#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_session
short_description: Lock, unlock, end or start login sessions of a guest
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Finds login sessions in the guest by their id, user, seat or terminal, and locks, unlocks or ends them. It can also start a
    session.
  - Asks systemd-logind in the guest, with C(loginctl) run by the guest's agent (qemu-ga), and reads the result back.
options:
  state:
    description:
      - V(locked) and V(unlocked) ask the sessions' screen lockers, and fail when there is no such session.
      - V(absent) ends the sessions with all their processes.
      - V(present) starts a session of O(user) on O(tty) or O(seat) when that user has none there. No password is asked. The session
        runs the user's login shell on that terminal.
    type: str
    choices: [locked, unlocked, absent, present]
    required: true
  session:
    description:
      - The id of a session, as C(loginctl) shows it. It can also name a login screen or the like. Without it only the logins of
        users are considered.
    type: str
  user:
    description:
      - The name of the sessions' user.
    type: str
  seat:
    description:
      - The sessions' seat, such as V(seat0). With O(state=present) and without O(tty), the first of tty2 to tty12 without a session
        is used.
    type: str
  tty:
    description:
      - The sessions' terminal, such as V(tty2) or V(ttyS1).
    type: str
  timeout:
    description:
      - How long logind and the screen lockers may take, in seconds.
    type: int
    default: 60
extends_documentation_fragment:
  - virtops.guest_agent._reach
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
  - virtops.guest_agent._attributes.diff
notes:
  - A session must match all of O(session), O(user), O(seat) and O(tty) that are given. At least one of them is required.
  - A session is locked when its screen locker reports that to logind. A login on a text terminal has no screen locker, so the task
    fails after O(timeout).
  - A session is started as a transient systemd service C(virtops-session-TTY.service) with the PAM service C(login). A login prompt
    (getty) on the terminal is stopped, and comes back when the session has ended.
  - The guest requires systemd-logind. Otherwise the task fails with C(failure.kind) V(no_logind).
"""

EXAMPLES = r"""
- name: Lock the screens of all sessions of ann
  virtops.guest_agent.guest_session:
    domain: desktop1
    user: ann
    state: locked

- name: End all sessions at the guest's own screen
  virtops.guest_agent.guest_session:
    domain: desktop1
    seat: seat0
    state: absent

- name: Start a session of the user kiosk on the second terminal
  virtops.guest_agent.guest_session:
    domain: kiosk1
    user: kiosk
    tty: tty2
    state: present
"""

RETURN = r"""
sessions:
  description:
    - The sessions that match, as they are now. In check mode, as they were. C(locked) is null where logind does not report it.
  returned: success
  type: list
  elements: dict
  sample:
    - id: "3"
      user_name: kiosk
      seat: seat0
      tty: tty2
      state: active
      type: tty
      class: user
      remote: false
      active: true
      locked: false
failure:
  description:
    - What went wrong. C(kind) is a stable word such as V(no_logind), V(session_missing), V(wait_timeout), V(command_failed),
      V(command_blocked) or V(invalid_input).
  returned: failure
  type: dict
  sample: {kind: no_logind, domain: web1, command: guest-exec, detail: the guest has no loginctl, hint: ""}
"""

from ..module_utils._agent.client import GuestAgent
from ..module_utils._commands.sessions import sessions
from ..module_utils._deadline import Deadline
from ..module_utils._module import guest_session
from ..module_utils._reach.advice import EXEC
from ..module_utils._reach.guest import open_guest
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run

SPEC = spec.Spec(
    {
        **spec.REACH,
        "state": {"type": "str", "choices": ["locked", "unlocked", "absent", "present"], "required": True},
        "session": {"type": "str"},
        "user": {"type": "str"},
        "seat": {"type": "str"},
        "tty": {"type": "str"},
        "timeout": {"type": "int", "default": 60},
    },
    required_if=spec.REACH_REQUIRES,
)


def ensure(task: Task) -> Outcome:
    params = task.params
    meant = guest_session.check(
        guest_session.Meant(params["session"], params["user"], params["seat"], params["tty"]), params["state"]
    )
    deadline = Deadline(params["timeout"])
    with open_guest(params, EXEC) as guest:
        outcome = (_present if params["state"] == "present" else _converge)(task, guest.agent, meant, deadline)
        task.warn_of_left_out(guest.agent)
        return outcome


def _present(task: Task, agent: GuestAgent, meant: guest_session.Meant, deadline: Deadline) -> Outcome:
    found = sessions(agent)
    meant = guest_session.by_logind(agent, meant, found)
    selected = guest_session.select(found, meant)
    before = guest_session.lines(selected)
    if selected:
        return Outcome({"sessions": selected}, before, before)
    tty = guest_session.terminal(found, meant, agent.name)
    if task.check_mode:
        return Outcome({"sessions": []}, before, guest_session.started(meant, tty))
    now = guest_session.begin(agent, meant, tty, deadline)
    return Outcome({"sessions": now}, before, guest_session.lines(now))


def _converge(task: Task, agent: GuestAgent, meant: guest_session.Meant, deadline: Deadline) -> Outcome:
    state = task.params["state"]
    found = sessions(agent)
    meant = guest_session.by_logind(agent, meant, found)
    selected = guest_session.select(found, meant)
    if not selected and state != "absent":
        raise guest_session.SessionMissing("the guest has no such session", domain=agent.name)
    ids = [session["id"] for session in guest_session.todo(selected, state)]
    before = guest_session.lines(selected)
    if not ids:
        return Outcome({"sessions": selected}, before, before)
    if task.check_mode:
        return Outcome({"sessions": selected}, before, guest_session.lines(selected, state))
    now = guest_session.change(agent, meant, state, ids, deadline)
    return Outcome({"sessions": now}, before, guest_session.lines(now))


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
