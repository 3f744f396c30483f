#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: agent_command
short_description: Send any command to a guest's agent
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Sends one command to the guest agent (qemu-ga) of a domain as it is given, and returns the agent's answer as data.
  - Use it for commands that no other module of this collection covers, of newer agents or of your own agent. The other modules do
    more than send a command. They wait, verify and clean up.
options:
  command:
    description:
      - Name of the command, such as V(guest-get-osinfo).
      - V(guest-sync) and V(guest-sync-delimited) are refused, because libvirt uses them itself, and they would put the channel out
        of step.
    type: str
    required: true
  arguments:
    description:
      - Arguments of the command. They appear in no log.
      - Numbers must stay numbers. Before ansible-core 2.19 a template turns a number into text, unless it renders the whole
        dictionary, as in the examples.
    type: dict
    default: {}
  changed:
    description:
      - Whether the command changes the guest.
      - By default V(guest-ping), V(guest-info), V(guest-get-*), V(guest-network-get-*), V(guest-ssh-get-*),
        V(guest-fsfreeze-status) and V(guest-exec-status) do not. All other commands do.
    type: bool
extends_documentation_fragment:
  - virtops.guest_agent._guest
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
attributes:
  check_mode:
    support: partial
    description: Can run in C(check_mode) and return changed status prediction without modifying the guest.
    details:
      - Commands that are known to change nothing are sent. For others the agent is asked whether it would accept them, and
        RV(request) shows what would be sent.
  diff_mode:
    support: none
    description: Returns details of what has changed or would change.
notes:
  - A request may have 128 KiB. A reply over 4 MiB never arrives. After one over 10 MiB libvirt does not use the channel until the
    agent is restarted. Use M(virtops.guest_agent.run_command) for programs whose output may be large.
  - V(guest-shutdown) and V(guest-suspend-*) give no reply when they succeed. A missing reply is not an error for them.
  - This module arms no watchdog for a freeze. Use M(virtops.guest_agent.fsfreeze).
seealso:
  - name: QEMU Guest Agent Protocol Reference
    description: All commands of qemu-ga with their arguments.
    link: https://www.qemu.org/docs/master/interop/qemu-ga-ref.html
  - module: virtops.guest_agent.agent_info
"""

EXAMPLES = r"""
- name: Read the CPU statistics of a guest
  virtops.guest_agent.agent_command:
    domain: web1
    command: guest-get-cpustats
  register: cpus

- name: Open a file of the guest, which returns a handle, a number
  virtops.guest_agent.agent_command:
    domain: web1
    command: guest-file-open
    arguments:
      path: /run/motd.dynamic
      mode: w
  register: opened

- name: Write a line
  virtops.guest_agent.agent_command:
    domain: web1
    command: guest-file-write
    arguments: "{{ {'handle': opened.response, 'buf-b64': 'Hello\n' | b64encode} }}"

- name: Close the file again
  virtops.guest_agent.agent_command:
    domain: web1
    command: guest-file-close
    arguments: "{{ {'handle': opened.response} }}"
    changed: false
"""

RETURN = r"""
response:
  description:
    - What the agent returned, as data. Control characters in texts are replaced. Null when nothing was sent, and for commands
      without a reply.
  returned: success
  type: raw
  sample: {timezone: UTC}
request:
  description: What would be sent. Passwords, environments and contents are hidden.
  returned: in check mode, of a command that may change the guest
  type: dict
  sample: {execute: guest-file-open, arguments: {path: /run/motd.dynamic, mode: w}}
failure:
  description:
    - What went wrong. C(kind) is one of the words below, or another stable word such as V(agent_not_configured),
      V(domain_not_running) or V(invalid_input).
    - V(command_unknown) means that the agent does not know the command; C(hint) names similar ones. V(command_blocked) means that
      its configuration blocks the command.
    - V(command_failed) means that the agent returned an error. V(guest_frozen) means that the guest's filesystems are frozen.
      V(agent_timeout) means that it is not known whether the command ran.
  returned: failure
  type: dict
  sample:
    kind: command_unknown
    domain: web1
    command: guest-get-cpustat
    detail: qemu-ga 10.0.13 has no such command
    hint: did you mean guest-get-cpustats or guest-get-vcpus
"""

import re
import typing as t

from ..module_utils._agent import untrusted
from ..module_utils._agent.client import GuestAgent
from ..module_utils._agent.protocol import REPLY_MAX
from ..module_utils._errors import (
    CommandFailed,
    CommandUnknown,
    ConnectionLost,
    DomainNotFound,
    DomainNotRunning,
    ProtocolError,
    StillInFlight,
    UnknownOutcome,
)
from ..module_utils._module import agent_command
from ..module_utils._reach.guest import open_guest
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run

SPEC = spec.Spec(
    {
        **spec.GUEST,
        "command": {"type": "str", "required": True},
        "arguments": {"type": "dict", "default": {}, "no_log": True},
        "changed": {"type": "bool"},
    },
    # An answer may well hold what an argument says, such as a path.
    echoes=True,
)
_DEPTH = 32
_WRONG_TYPE = re.compile("Invalid parameter type for .* expected: (integer|boolean|number)")


def ensure(task: Task) -> Outcome:
    command, arguments = task.params["command"], task.params["arguments"] or {}
    agent_command.check(command, arguments)
    read_only = agent_command.is_read_only(command)
    changes = not read_only if task.params["changed"] is None else task.params["changed"]
    after = {"sent": command} if changes else {}
    with open_guest(task.params) as guest:
        agent = guest.require_agent()
        _require(agent, command)
        if task.check_mode and not read_only:
            return Outcome({"response": None, "request": _shown(command, arguments)}, after=after)
        return Outcome({"response": untrusted.plain(_send(agent, command, arguments), _DEPTH, REPLY_MAX)}, after=after)


def _require(agent: GuestAgent, command: str) -> None:
    try:
        agent.require(command)
    except CommandUnknown as error:
        error.hint = agent_command.similar(command, agent.known_commands()) or error.hint
        raise


def _send(agent: GuestAgent, command: str, arguments: t.Mapping[str, t.Any]) -> t.Any:
    try:
        return agent.call(command, arguments)
    except CommandFailed as error:
        if _WRONG_TYPE.search(error.detail):
            error.hint = (
                "write arguments as one template, so that numbers stay numbers: arguments: \"{{ {'pid': started.response.pid} }}\""
            )
        raise
    except (UnknownOutcome, ProtocolError, DomainNotRunning, DomainNotFound) as error:
        # After either of these two it is not known whether the agent received the command.
        if command in agent_command.NO_REPLY and not isinstance(error, (ConnectionLost, StillInFlight)):
            return None
        raise


def _shown(command: str, arguments: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {"execute": command, "arguments": agent_command.shown(arguments)}


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
