#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: user_password
short_description: Set the password of a guest's user
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Sets the password of a user of a guest through its agent (qemu-ga), without a login, a network or the old password.
  - The agent sets passwords and cannot tell them. To know whether there is anything to do, the module reads what the guest's shadow
    file has for the user, by C(getent) in the guest where the agent may execute programs, or else from the file where it may read
    files. Where it may do neither, and on Windows, the password is set each time, and the task is changed each time.
options:
  user:
    description:
      - Name of the user, who must exist in the guest.
    type: str
    required: true
  password:
    description:
      - The password in clear, of at most 511 bytes and without control characters.
      - It is compared with the guest's hash by libxcrypt (C(libcrypt.so.1) or C(libcrypt.so.2)) or the Python library C(passlib) on
        the host where the module runs. Where it has neither, or where the guest's hash is of a kind that they cannot make or that
        would take long, the password is set each time, and the task is changed each time.
    type: str
  password_hash:
    description:
      - The password as a hash of crypt(5), which is put into the guest's shadow file as it is and compared with what is there. The
        ancient ones of DES are refused.
      - V(!) and V(*) leave the user without a password. A V(!) in front of a hash locks it.
      - Windows guests refuse it.
    type: str
  update_password:
    description:
      - V(always) sets a password that differs from the one the user has.
      - V(when_unset) sets one only where the user has none, as in a fresh image. It is a failure where the agent gives no way to
        know that, as described above. It takes the place of V(ignore:on_create) of M(ansible.builtin.user), since this module
        creates no user.
    type: str
    choices: [always, when_unset]
    default: always
extends_documentation_fragment:
  - virtops.guest_agent._guest
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
  - virtops.guest_agent._attributes.diff
notes:
  - The password travels in base64 from libvirt to the agent, and in no program's arguments. No log has it, unless somebody has
    made libvirt or the agent log all messages for debugging.
  - On Linux the agent runs C(chpasswd), and what that does depends on the guest's PAM. Setting a password also unlocks it.
    A password that is right and locked stays locked, and the module warns of it.
  - The hash that is read from the guest appears in no result.
seealso:
  - module: ansible.builtin.user
  - module: virtops.guest_agent.authorized_keys
"""

EXAMPLES = r"""
- name: Let root in at the console again
  virtops.guest_agent.user_password:
    domain: web1
    user: root
    password: "{{ lookup('ansible.builtin.password', 'credentials/web1', length=20) }}"

- name: Give deploy the password of which only the hash is known here
  virtops.guest_agent.user_password:
    domain: web1
    user: deploy
    password_hash: $6$anexample1$mliQ..06axBfLhmjnol50N2YeErvtTpZWZN42MMlgkOaHg8QEMZ3nvNaM7p.pcJuNXgBnS.2Syu2UlQnQWCfb.

- name: Set a first password in a fresh image, and leave what users have changed since
  virtops.guest_agent.user_password:
    domain: web1
    user: debian
    password: "{{ lookup('ansible.builtin.password', 'credentials/first') }}"
    update_password: when_unset

- name: Take the password of guest away
  virtops.guest_agent.user_password:
    domain: web1
    user: guest
    password_hash: "!"
"""

RETURN = r"""
user:
  description: The user.
  returned: success
  type: str
  sample: deploy
compared:
  description: Whether the given password could be compared with the one that the user had. Where not, it was set without knowing.
  returned: success
  type: bool
  sample: true
reason:
  description: Why it could not be compared; empty where it could.
  returned: success
  type: str
  sample: ""
locked:
  description: Whether the user's password is locked or not there, so that it lets nobody in; null where that is not known.
  returned: success
  type: bool
  sample: false
failure:
  description:
    - What went wrong. Its C(kind) is V(user_not_found), V(command_failed) when the guest refused to set it, or another stable word
      such as V(command_blocked), V(agent_timeout), V(domain_not_running) or V(invalid_input).
  returned: failure
  type: dict
  sample:
    kind: user_not_found
    domain: web1
    command: guest-exec
    detail: the guest has no user 'deploy'
    hint: check the name, or create the user in the guest first
"""

from ..module_utils._agent.client import GuestAgent
from ..module_utils._commands import users
from ..module_utils._errors import CommandFailed
from ..module_utils._module import user_password
from ..module_utils._reach.needed import open_agent
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run

COMMAND = "guest-set-user-password"
SPEC = spec.Spec(
    {
        **spec.GUEST,
        "user": {"type": "str", "required": True},
        "password": {"type": "str", "no_log": True},
        "password_hash": {"type": "str", "no_log": True},
        "update_password": {"type": "str", "choices": ["always", "when_unset"], "default": "always", "no_log": False},
    },
    mutually_exclusive=[["password", "password_hash"]],
    required_one_of=[["password", "password_hash"]],
)


def ensure(task: Task) -> Outcome:
    user, secret, crypted = task.params["user"], *_wanted(task)
    users.check_name(user)
    with open_agent(task.params, [COMMAND]) as agent:
        stored = users.stored_password(agent, user)
        is_same = _same(stored.password, secret, crypted)
        reason = "" if is_same is not None else _reason(stored)
        needed = not is_same
        if task.params["update_password"] == "when_unset":
            if stored.password is None:
                raise stored.trouble or CommandFailed("what password the user has is not known", domain=agent.name)
            needed = not user_password.is_set(stored.password) and not is_same
        if needed and not task.check_mode:
            users.set_password(agent, user, secret, crypted)
            stored = _verified(agent, user, secret, crypted)
        locked = None if stored.password is None else user_password.is_locked(stored.password)
        if needed and task.check_mode:
            locked = crypted and user_password.is_locked(secret)
        elif is_same and locked and not (crypted and user_password.is_locked(secret)):
            task.warn(f"{agent.name}: the password of {user} is the given one and is locked, which this module leaves as it is")
    result = {"user": user, "compared": is_same is not None, "reason": reason, "locked": locked}
    before = {None: "not known", True: "as given", False: "another one or none"}[is_same]
    return Outcome(result, {"password": before}, {"password": "as given" if needed else before})


def _wanted(task: Task) -> tuple[str, bool]:
    """The password or its hash, and whether it is the hash."""
    password, password_hash = task.params["password"], task.params["password_hash"]
    if password_hash is None:
        user_password.check_password(password)
        return password, False
    user_password.check_hash(password_hash)
    return password_hash, True


def _same(stored: str | None, secret: str, crypted: bool) -> bool | None:
    if stored is None:
        return None
    return user_password.same_hash(stored, secret) if crypted else user_password.same_password(stored, secret)


def _reason(stored: users.Stored) -> str:
    if stored.trouble is not None:
        return f"the guest's shadow file could not be read: {stored.trouble.detail}"
    return "this host cannot make hashes of the kind that the guest has"


def _verified(agent: GuestAgent, user: str, secret: str, crypted: bool) -> users.Stored:
    """
    :raise CommandFailed: the guest has another password, whatever it said.
    """
    stored = users.stored_password(agent, user)
    if _same(stored.password, secret, crypted) is False:
        detail = "the agent said that the password was set, and the guest's shadow file has another one"
        raise CommandFailed(detail, domain=agent.name, command=COMMAND, hint="look at the guest's PAM configuration")
    return stored


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
