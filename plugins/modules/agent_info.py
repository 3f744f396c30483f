#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: agent_info
short_description: Report the state of a guest's agent, and why it does not work
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Asks libvirt and the guest agent (qemu-ga) of one domain for the agent's status, its version and its commands. Reports what is
    wrong and how to fix it.
  - A missing, blocked, frozen or hung agent is a result of this module and not an error.
extends_documentation_fragment:
  - virtops.guest_agent._guest
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes.info
"""

EXAMPLES = r"""
- name: Find out why the agent of web1 does not work
  virtops.guest_agent.agent_info:
    domain: web1
  register: result

- name: Show the status, the reason and the remedy
  ansible.builtin.debug:
    msg: "{{ result.agent.status }}: {{ result.agent.reason }} {{ result.agent.hint }}"

- name: Continue only when commands can be executed in the guest
  ansible.builtin.assert:
    that: result.agent.can_exec
    fail_msg: "The agent does not accept {{ result.agent.blocked_commands | join(', ') }}"
  when: result.agent.status == 'connected'
"""

RETURN = r"""
agent:
  description: The state of the agent.
  returned: success
  type: dict
  contains:
    status:
      description:
        - V(connected), or why the agent does not work or not for everything.
        - V(disconnected) means that the channel is there and no agent listens on it. V(not_configured) means that the domain has no
          channel. V(unresponsive) means that no answer came in time. V(frozen) means that the guest's filesystems are frozen.
        - V(restricted) means that the agent blocks or does not know a command for what M(virtops.guest_agent.guest_info) gathers by
          default. V(broken) means that libvirt stopped using the channel, or that no reply can be understood. The others are
          V(not_running) and V(unknown).
        - It does not depend on what else is asked of the guest.
      type: str
      sample: disconnected
    reason:
      description:
        - Why the status is what it is, and what is missing or was left out of the answers. Empty when there is nothing to report.
        - For an agent that is V(connected) it names the commands for programs and files that this agent does not accept.
      type: str
      sample: the channel is there, and no agent in the guest listens on it
    hint:
      description: How to fix it. For blocked commands, the file and the line to change on the guest's system.
      type: str
      sample: in the guest install and start qemu-guest-agent
    connected:
      description: Whether a process in the guest has the channel open.
      type: bool
    version:
      description: Version of qemu-ga, null when the agent did not report it.
      type: str
      sample: 10.0.13
    last_probe_time:
      description: When the agent was asked (ISO 8601, UTC), null when there was no agent to ask.
      type: str
      sample: "2026-01-31T08:00:00Z"
    status_since:
      description: Always null here. The inventory sets it with its option O(virtops.guest_agent.libvirt#inventory:stale).
      type: str
    stale:
      description: Always false here. The inventory sets it for answers from its cache.
      type: bool
    can_exec:
      description: Whether the agent accepts the commands that execute programs.
      type: bool
    blocked_commands:
      description:
        - Commands that the agent knows and does not accept. Its configuration blocks them, or, before qemu-ga 9.1, its platform
          does not support them.
      type: list
      elements: str
      sample: [guest-exec]
commands:
  description: Every command that the agent knows, and whether it accepts it now. Empty when the agent did not report them.
  returned: success
  type: dict
  sample: {guest-ping: true, guest-exec: false}
latency_ms:
  description: How long the agent took to answer guest-ping, in milliseconds. Null when it did not answer.
  returned: success
  type: float
  sample: 1.7
libvirt:
  description: The domain the agent belongs to.
  returned: success
  type: dict
  contains:
    name:
      description: Name of the domain.
      type: str
      sample: web1
    uuid:
      description: UUID of the domain.
      type: str
      sample: 4dea22b3-1d52-d8f3-2516-782e98ab3fa0
    state:
      description: State of the domain, such as V(running), V(paused) or V(shutoff).
      type: str
      sample: running
failure:
  description:
    - What went wrong. Its C(kind) is a stable word such as V(domain_not_found), V(hypervisor_unreachable) or V(invalid_input).
  returned: failure
  type: dict
  sample: {kind: domain_not_found, domain: web9, command: "", detail: no domain of this name or UUID, hint: check the name}
"""

import datetime
import time

from ..module_utils._agent.client import GuestAgent
from ..module_utils._errors import GuestAgentError
from ..module_utils._libvirt import domain_xml
from ..module_utils._reach import diagnosis, preflight
from ..module_utils._reach.guest import open_guest
from ..module_utils._records import ask, record
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run

SPEC = spec.Spec({**spec.GUEST})


def gather(task: Task) -> Outcome:
    with open_guest(task.params) as guest:
        state = guest.domain.state()
        problem = preflight.preflight(state, domain_xml.parse(guest.domain.xml()))
        agent = record.agent_part(problem)
        commands: dict[str, bool] = {}
        latency = None
        if problem is None:
            agent, _parts = ask.ask(guest.agent, (), {}, datetime.datetime.now(datetime.timezone.utc))
            commands = guest.agent.known_commands()
            limits = diagnosis.limits(guest.agent) if agent["status"] == "connected" else None
            if limits:
                agent["reason"], agent["hint"] = (
                    "; ".join(filter(None, pair)) for pair in zip(limits, (agent["reason"], agent["hint"]))
                )
            latency = _latency_ms(guest.agent)
        domain = {"name": guest.domain.name, "uuid": guest.domain.uuid, "state": state}
    return Outcome({"agent": agent, "commands": commands, "latency_ms": latency, "libvirt": domain})


def _latency_ms(agent: GuestAgent) -> float | None:
    started = time.monotonic()
    try:
        agent.call("guest-ping")
    except GuestAgentError:
        return None
    return round((time.monotonic() - started) * 1000, 2)


def main() -> None:
    run(SPEC, gather)


if __name__ == "__main__":
    main()
