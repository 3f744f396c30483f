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
  - Sets the password of a guest's user through the guest's agent (qemu-ga), without a login, a network or the old password.
  - The agent can set passwords and cannot read them. The module therefore reads the user's entry in the guest's shadow file. It
    uses C(getent) in the guest when the agent may run programs, and the file itself when the agent may read files.
  - When the agent may do neither, and on Windows, the password is set each time, and the task is changed each time.
options:
  user:
    description:
      - Name of the user, which must exist in the guest.
    type: str
    required: true
  password:
    description:
      - The password in clear text, with at most 511 bytes and without control characters.
      - It is compared with the guest's hash by libxcrypt (C(libcrypt.so.1) or C(libcrypt.so.2)) or the Python library C(passlib) on
        the host where the module runs.
      - When that host has neither, or they do not support the guest's hash, or the comparison would take long, the password is set
        each time. The task is then changed each time.
    type: str
  password_hash:
    description:
      - The password as a hash of crypt(5). It is written to the guest's shadow file as it is, and compared with the present hash.
        The obsolete hashes of DES are refused.
      - V(!) and V(*) leave the user without a password. A V(!) in front of a hash locks it.
      - Windows guests refuse it, and it is not sent to them.
    type: str
  update_password:
    description:
      - V(always) sets the password when it differs from the user's.
      - V(when_unset) sets the password only when the user has none, as in a fresh image. The task fails when the agent does not
        allow the module to find out.
      - It replaces V(ignore:on_create) of M(ansible.builtin.user), because this module creates no user.
    type: str
    choices: [always, when_unset]
    default: always
extends_documentation_fragment:
  - virtops.guest_agent._guest
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
  - virtops.guest_agent._attributes.diff
notes:
  - The password is sent in base64 from libvirt to the agent, and in no program's arguments. It appears in no log, unless libvirt or
    the agent is configured to log all messages for debugging.
  - On Linux the agent runs C(chpasswd), whose behavior depends on the guest's PAM. Setting a password also unlocks it. A password
    that is right and locked stays locked, and the module warns.
  - The hash that is read from the guest appears in no result.
seealso:
  - module: ansible.builtin.user
  - module: virtops.guest_agent.authorized_keys
"""

EXAMPLES = r"""
- name: Set a password of root for the console
  virtops.guest_agent.user_password:
    domain: web1
    user: root
    password: "{{ lookup('ansible.builtin.password', 'credentials/web1', length=20) }}"

- name: Set the password of deploy, of which only the hash is known
  virtops.guest_agent.user_password:
    domain: web1
    user: deploy
    password_hash: $6$anexample1$mliQ..06axBfLhmjnol50N2YeErvtTpZWZN42MMlgkOaHg8QEMZ3nvNaM7p.pcJuNXgBnS.2Syu2UlQnQWCfb.

- name: Set a first password in a fresh image, and keep what users have changed since
  virtops.guest_agent.user_password:
    domain: web1
    user: debian
    password: "{{ lookup('ansible.builtin.password', 'credentials/first') }}"
    update_password: when_unset

- name: Remove the password of the user guest
  virtops.guest_agent.user_password:
    domain: web1
    user: guest
    password_hash: "!"
"""

RETURN = r"""
user:
  description: The name of the user.
  returned: success
  type: str
  sample: deploy
compared:
  description: Whether the given password could be compared with the user's. Otherwise it was set without a comparison.
  returned: success
  type: bool
  sample: true
reason:
  description: Why it could not be compared. Empty when it was compared.
  returned: success
  type: str
  sample: ""
locked:
  description: Whether the user's password is locked or missing, so that no login with a password is possible. Null where that is
    not known.
  returned: success
  type: bool
  sample: false
failure:
  description:
    - What went wrong. C(kind) is V(user_not_found), or V(command_failed) when the guest refused to set the password. It may be
      another stable word such as V(command_blocked), V(agent_timeout), V(domain_not_running) or V(invalid_input).
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
from ..module_utils._reach.guest import open_guest
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
    with open_guest(task.params, [COMMAND]) as guest:
        agent = guest.agent
        stored = users.stored_password(agent, user)
        is_same = _same(stored.password, secret, crypted)
        reason = "" if is_same is not None else _reason(stored)
        needed = not is_same
        if task.params["update_password"] == "when_unset":
            if stored.password is None:
                raise stored.trouble or CommandFailed("it is not known whether the user has a password", domain=agent.name)
            needed = not user_password.is_set(stored.password) and not is_same
        if needed and not task.check_mode:
            users.set_password(agent, user, secret, crypted)
            stored = _verified(agent, user, secret, crypted)
        locked = None if stored.password is None else user_password.is_locked(stored.password)
        if needed and task.check_mode:
            locked = crypted and user_password.is_locked(secret)
        elif is_same and locked and not (crypted and user_password.is_locked(secret)):
            task.warn(f"{agent.name}: the password of {user} is the given one and is locked, and stays locked")
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
    return "this host does not support the guest's kind of hash"


def _verified(agent: GuestAgent, user: str, secret: str, crypted: bool) -> users.Stored:
    """
    :raise CommandFailed: the guest has another password, whatever it said.
    """
    stored = users.stored_password(agent, user)
    if _same(stored.password, secret, crypted) is False:
        detail = "the agent reported success, and the guest's shadow file has another password"
        raise CommandFailed(detail, domain=agent.name, command=COMMAND, hint="check the guest's PAM configuration")
    return stored


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
