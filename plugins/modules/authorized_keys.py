#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: authorized_keys
short_description: Manage the authorized SSH keys of a guest's user
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Adds public keys to C(.ssh/authorized_keys) in the home of a guest's user, or removes keys from it, through the guest's agent.
    Neither SSH nor a network is needed.
  - When the agent may run programs, the file is changed with the rights of the user, and keeps its comments and empty lines.
  - Otherwise the agent's own commands are used (qemu-ga 5.2). They work as C(root) in the user's directory, follow links there, and
    remove empty lines when a key is added.
  - A key is identified by its type and its data. The comment after it is ignored, so a line with another comment stays as it is.
    The options before it are compared, because they say what the key allows.
options:
  user:
    description:
      - Name of the user, which must exist in the guest.
    type: str
    required: true
  keys:
    description:
      - Public keys as lines of C(authorized_keys), such as V(ssh-ed25519 AAAA... comment), with or without options in front. An
        entry may have several lines, like a file of public keys. Empty lines and comment lines in it are ignored.
      - Each key is checked by the rules of sshd before anything is changed.
    type: list
    elements: str
    required: true
  state:
    description:
      - V(present) adds the keys that are missing. A line with the same key and other options than in O(keys) is replaced.
      - V(absent) removes every line with one of the keys, whatever its options.
    type: str
    choices: [present, absent]
    default: present
  exclusive:
    description:
      - Whether to remove all other keys. With an empty list in O(keys) no key can log in.
      - The file is replaced in one step. Comment lines are lost when something changes.
    type: bool
    default: false
extends_documentation_fragment:
  - virtops.guest_agent._guest
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
  - virtops.guest_agent._attributes.diff
notes:
  - Only C(.ssh/authorized_keys) in the user's home is changed. The module does not help where sshd is configured to use another
    file (C(AuthorizedKeysFile)).
  - On Windows the agent has these commands since qemu-ga 9.1.
seealso:
  - module: ansible.posix.authorized_key
  - module: virtops.guest_agent.user_password
  - module: virtops.guest_agent.ssh_host_keys_info
"""

EXAMPLES = r"""
- name: Allow two people to log in as deploy
  virtops.guest_agent.authorized_keys:
    domain: web1
    user: deploy
    keys:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMgaXMgYW4gZXhhbXBsZSBhbmQgbm8ga2V5ICAx anna@example.com
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMgaXMgYW4gZXhhbXBsZSBhbmQgbm8ga2V5ICAy ben@example.com

- name: Allow a backup host to run one command only
  virtops.guest_agent.authorized_keys:
    domain: web1
    user: root
    keys:
      - >-
        restrict,command="rrsync -ro /srv" ssh-ed25519
        AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMgaXMgYW4gZXhhbXBsZSBhbmQgbm8ga2V5ICAx backup

- name: Allow exactly the keys of these files
  virtops.guest_agent.authorized_keys:
    domain: web1
    user: deploy
    keys: "{{ query('ansible.builtin.file', 'keys/anna.pub', 'keys/ben.pub') }}"
    exclusive: true

- name: Remove the key of a person who has left
  virtops.guest_agent.authorized_keys:
    domain: web1
    user: deploy
    keys: "{{ [lookup('ansible.builtin.file', 'keys/former/carla.pub')] }}"
    state: absent
"""

RETURN = r"""
user:
  description: The name of the user.
  returned: success
  type: str
  sample: deploy
authorized_keys:
  description: The lines of the file, without comments and empty lines. In check mode, the predicted lines.
  returned: success
  type: list
  elements: str
  sample: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMgaXMgYW4gZXhhbXBsZSBhbmQgbm8ga2V5ICAx anna@example.com]
added:
  description: The lines that were added.
  returned: success
  type: list
  elements: str
  sample: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMgaXMgYW4gZXhhbXBsZSBhbmQgbm8ga2V5ICAx anna@example.com]
removed:
  description: The lines that were removed.
  returned: success
  type: list
  elements: str
  sample: []
failure:
  description:
    - What went wrong. C(kind) is V(invalid_input) for a line that sshd would not accept, V(user_not_found), or V(command_failed)
      when the guest's filesystem prevented the change. It may be another stable word such as V(command_blocked) or
      V(domain_not_running).
  returned: failure
  type: dict
  sample:
    kind: user_not_found
    domain: web1
    command: guest-ssh-get-authorized-keys
    detail: the guest has no user 'deploy'
    hint: check the name, or create the user in the guest first
"""

import typing as t

from ..module_utils._agent import untrusted
from ..module_utils._agent.client import GuestAgent
from ..module_utils._commands import key_file, ssh_keys, users
from ..module_utils._errors import CommandFailed, InvalidInput
from ..module_utils._module import authorized_keys
from ..module_utils._reach.guest import open_guest
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run

SPEC = spec.Spec(
    {
        **spec.GUEST,
        "user": {"type": "str", "required": True},
        "keys": {"type": "list", "elements": "str", "required": True, "no_log": False},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "exclusive": {"type": "bool", "default": False},
    }
)
_SHOWN_MAX = 16 * 1024


def ensure(task: Task) -> Outcome:
    user = task.params["user"]
    users.check_name(user)
    wish = _wish(task.params)
    with open_guest(task.params) as guest:
        agent = guest.require_agent()
        keys = key_file.keys_of(agent, user)
        before = keys.lines()
        plan = wish.plan(before)
        _check_allowed(agent, keys, plan, wish.exclusive)
        after = plan.after
        if plan.changes and not task.check_mode:
            after = _converge(task, agent, keys, wish, plan)
    shown = {"user": user, "authorized_keys": _shown(after), "added": _shown(plan.add), "removed": _shown(plan.remove)}
    return Outcome(shown, {"keys": before}, {"keys": after}, _diff(user, _shown(before), shown["authorized_keys"]))


def _wish(params: t.Mapping[str, t.Any]) -> authorized_keys.Wish:
    present, exclusive = params["state"] == "present", params["exclusive"]
    if exclusive and not present:
        raise InvalidInput("exclusive needs state=present", hint="list the keys that shall stay, or none")
    return authorized_keys.Wish(authorized_keys.wanted(params["keys"]), present, exclusive)


def _converge(
    task: Task, agent: GuestAgent, keys: key_file.Keys, wish: authorized_keys.Wish, plan: authorized_keys.Plan
) -> list[str]:
    """The lines in the end."""
    user = task.params["user"]
    _apply(keys, plan, wish.exclusive)
    after = keys.lines()
    left = wish.plan(after)
    if left.remove and not left.add and not wish.exclusive:
        # The agent takes out what is the same to the last blank, and does not tell of blanks around a line.
        task.warn(f"{agent.name}: the keys of {user} had blanks around them, so the file was written again, without comments")
        keys.replace(left.after)
        after = keys.lines()
        left = wish.plan(after)
    if left.changes:
        raise CommandFailed(f"the keys of {user} differ from those the agent was sent", domain=agent.name, command=ssh_keys.ADD)
    return after


def _check_allowed(agent: GuestAgent, keys: key_file.Keys, plan: authorized_keys.Plan, exclusive: bool) -> None:
    """Check mode fails where the change would."""
    if keys.by_file:
        return
    if plan.add or (exclusive and plan.remove):
        agent.require(ssh_keys.ADD)
    if plan.remove and not exclusive:
        agent.require(ssh_keys.REMOVE)


def _apply(keys: key_file.Keys, plan: authorized_keys.Plan, exclusive: bool) -> None:
    """No key that is to stay is missing for a moment: what is new comes first, and exclusive keys come all at once."""
    if exclusive:
        keys.replace(plan.after)
        return
    if plan.add:
        keys.add(plan.add)
    if plan.remove:
        keys.remove(plan.remove)


def _shown(lines: t.Iterable[str]) -> list[str]:
    return [untrusted.clean(line, _SHOWN_MAX) for line in lines]


def _diff(user: str, before: t.Sequence[str], after: t.Sequence[str]) -> dict[str, str]:
    name = f"authorized_keys of {user}"
    texts = ["".join(f"{line}\n" for line in lines) for lines in (before, after)]
    return {"before": texts[0], "after": texts[1], "before_header": name, "after_header": name}


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
