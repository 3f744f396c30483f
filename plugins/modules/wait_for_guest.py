#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wait_for_guest
short_description: Wait until a guest is ready
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Waits until a guest's agent (qemu-ga) answers, the guest has a usable address, cloud-init has finished, the guest has been
    restarted, or a command succeeds in it. Several conditions must all hold at the same time.
  - Waits for libvirt's events of the domain and its agent. Every O(sleep) seconds it also checks what libvirt has no events for.
  - The module also waits for a domain that is off, paused or suspended, because it may be started meanwhile.
options:
  agent:
    description: Whether to wait until the agent answers.
    type: bool
    default: true
  address:
    description:
      - Whether to wait until the guest has a usable address. Loopback, link-local and multicast addresses are not usable. Neither
        are those of interfaces that the domain does not have, such as bridges of containers and tunnels.
    type: bool
    default: false
  address_families:
    description: Which address families are usable with O(address=true), in order of preference.
    type: list
    elements: str
    choices: [ipv4, ipv6]
    default: [ipv4, ipv6]
  address_cidrs:
    description:
      - Networks whose addresses are usable with O(address=true), in order of preference. By default those of all networks are
        usable.
    type: list
    elements: str
    default: []
  address_exclude_cidrs:
    description: Networks whose addresses are not usable with O(address=true).
    type: list
    elements: str
    default: []
  address_networks:
    description:
      - libvirt networks or bridges whose addresses are usable with O(address=true), in order of preference. By default all are
        usable.
    type: list
    elements: str
    default: []
  address_sources:
    description:
      - The sources of addresses with O(address=true), in order of preference. V(agent) is what the agent reports. V(lease) and
        V(arp) are what the hypervisor knows, and are asked when the agent reports no address. V(agent_unverified) is what the agent
        reports of an interface that the domain does not have, or that is in user-mode networking (slirp, passt).
      - An address of the hypervisor, or of the host that executes the module, is never used as the guest's.
    type: list
    elements: str
    choices: [agent, lease, arp, agent_unverified]
    default: [agent, lease, arp]
  cloud_init:
    description:
      - Whether to wait until cloud-init has finished or is disabled. RV(cloud_init) says whether something failed there.
      - Requires an agent that accepts the commands that read files, or those that execute programs.
    type: bool
    default: false
  boot_id:
    description:
      - Wait until the guest has been restarted since it had this boot id, which is RV(boot_id) of an earlier task.
    type: str
  command:
    description:
      - A program of the guest and its arguments. Wait until it ends with the exit code 0. It is started each time that all other
        conditions hold, so it should change nothing. It runs as the agent's user and without a shell's expansions.
      - Requires an agent that accepts the commands that execute programs, and a guest with a POSIX shell.
    type: list
    elements: str
  command_timeout:
    description: How long one run of O(command) may take, in seconds. After that it is killed, and counts as failed.
    type: int
    default: 10
  timeout:
    description: How long to wait for all conditions, in seconds.
    type: int
    default: 300
  sleep:
    description: Seconds between two checks of the guest, from V(0.1) to V(60).
    type: float
    default: 2
extends_documentation_fragment:
  - virtops.guest_agent._guest
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
attributes:
  check_mode:
    details:
      - Checks once, without O(command), and returns the state in RV(ready) and RV(missing).
    support: full
  diff_mode:
    description: Returns details of what has changed or would change.
    support: N/A
    details: The module changes nothing.
"""

EXAMPLES = r"""
- name: Wait until the agent answers
  virtops.guest_agent.wait_for_guest:
    domain: web1
  register: web1

- name: Restart the guest by a command
  virtops.guest_agent.run_command:
    domain: web1
    shell: (sleep 1; reboot) >/dev/null 2>&1 &

- name: Wait until web1 has been restarted, has its address and runs its web server
  virtops.guest_agent.wait_for_guest:
    domain: web1
    boot_id: "{{ web1.boot_id }}"
    address: true
    address_cidrs: [192.168.122.0/24]
    command: [systemctl, is-active, --quiet, nginx]
    timeout: 120

- name: Wait until a new guest is provisioned
  virtops.guest_agent.wait_for_guest:
    domain: web2
    cloud_init: true
    timeout: 900
  register: web2
  failed_when: web2 is failed or web2.cloud_init.status == 'error'
"""

RETURN = r"""
ready:
  description: Whether all conditions hold. It is false without a failure only in check mode.
  returned: always
  type: bool
  sample: true
held:
  description: The conditions that hold, by the names of their options.
  returned: always
  type: list
  elements: str
  sample: [agent, address]
missing:
  description:
    - The conditions that do not hold, and why. When any are left after O(timeout), the task fails with C(failure.kind)
      V(not_ready). It fails at once when the agent does not accept a command that a condition requires.
  returned: always
  type: dict
  sample: {cloud_init: cloud-init is at work on modules-config}
seconds:
  description: How long the module waited, in seconds.
  returned: always
  type: float
  sample: 14.2
state:
  description: The domain's state, by libvirt's name.
  returned: always
  type: str
  sample: running
boot_id:
  description: The identifier of the guest's present boot, for O(boot_id) of a later task. Null where the agent does not report it.
  returned: always
  type: str
  sample: 0b5bca5e-8a3c-4a77-8e0f-2b7a0f9e8f10
address:
  description: The best usable address. Null with O(address=false) and where there is none.
  returned: always
  type: str
  sample: 192.168.122.10
addresses:
  description: All usable addresses, best first.
  returned: with O(address=true)
  type: list
  elements: str
  sample: [192.168.122.10, "2001:db8::10"]
cloud_init:
  description:
    - The state of cloud-init. C(status) is V(done), V(error), V(disabled), V(running) or V(not started). V(error) means that
      cloud-init has finished, and a part of it failed.
  returned: with O(cloud_init=true), when the agent answers
  type: dict
  sample: {status: done, datasource: DataSourceNoCloud, errors: [], stage: null}
command:
  description: The result of the last run of O(command).
  returned: with O(command), when it has been run
  type: dict
  sample: {rc: 0, output: active, json: null, error: null}
failure:
  description:
    - What went wrong. Its C(kind) is a stable word such as V(not_ready), V(domain_not_found), V(hypervisor_unreachable) or
      V(invalid_input).
  returned: failure
  type: dict
  sample: {kind: not_ready, domain: web1, command: "", detail: "still missing after 9 s: cloud_init (at work)", hint: wait longer}
"""

import typing as t

from ..module_utils._deadline import Deadline
from ..module_utils._errors import InvalidInput
from ..module_utils._inside.exec import Probe
from ..module_utils._inside.small_files import BOOT_ID
from ..module_utils._module.wait_for_guest import Readiness, Wanted
from ..module_utils._reach.guest import open_guest
from ..module_utils._records.addresses import SOURCES, address_policy
from ..module_utils._task import spec as _spec
from ..module_utils._task.run import Outcome, Task, run
from ..module_utils._task.values import in_range

FAMILIES = ["ipv4", "ipv6"]
POLICY = {
    "address_families": {"type": "list", "elements": "str", "choices": FAMILIES, "default": FAMILIES},
    "address_cidrs": {"type": "list", "elements": "str", "default": []},
    "address_exclude_cidrs": {"type": "list", "elements": "str", "default": []},
    "address_networks": {"type": "list", "elements": "str", "default": []},
    "address_sources": {"type": "list", "elements": "str", "choices": list(SOURCES), "default": ["agent", "lease", "arp"]},
}
SPEC = _spec.Spec(
    {
        **_spec.GUEST,
        "agent": {"type": "bool", "default": True},
        "address": {"type": "bool", "default": False},
        **POLICY,
        "cloud_init": {"type": "bool", "default": False},
        "boot_id": {"type": "str"},
        "command": {"type": "list", "elements": "str"},
        "command_timeout": {"type": "int", "default": 10},
        "timeout": {"type": "int", "default": 300},
        "sleep": {"type": "float", "default": 2},
    }
)


def gather(task: Task) -> Outcome:
    wanted = _wanted(task.params)
    deadline = Deadline(task.params["timeout"])
    with open_guest(task.params, events=not task.check_mode) as guest:
        readiness = Readiness(guest, wanted)
        if task.check_mode:
            look = readiness.look(deadline.remaining(), runs=False)
        else:
            look = readiness.wait(deadline, task.params["sleep"])
        failure = None
        if look.missing and not task.check_mode:
            failure = readiness.failure(look, round(deadline.elapsed(), 1) if look.hopeless else deadline.seconds)
    addresses = look.found.get("addresses", [])
    result = {
        "boot_id": None,
        **look.found,
        "address": addresses[0] if addresses else None,
        "ready": not look.missing,
        "held": look.held,
        "missing": {name: error.detail for name, error in look.missing.items()},
        "seconds": round(deadline.elapsed(), 2),
        "state": look.state,
    }
    return Outcome(result, failure=failure)


def _wanted(params: t.Mapping[str, t.Any]) -> Wanted:
    in_range(params["sleep"], "sleep", 0.1, 60)
    in_range(params["command_timeout"], "command_timeout", 1, 3600)
    if params["command"] is not None and not any(params["command"][:1]):
        raise InvalidInput("there is no command", hint="set command to a program and its arguments")
    for option, spec in POLICY.items():
        if not params["address"] and params[option] != spec["default"]:
            raise InvalidInput(f"{option} says which address to wait for", hint="set address to true, or leave this out")
    if params["boot_id"] is not None and not BOOT_ID.fullmatch(params["boot_id"]):
        hint = "use the boot_id of an earlier task; it is null when the agent may neither read files nor run programs"
        raise InvalidInput("boot_id is not a boot id", hint=hint)
    wanted = Wanted(
        agent=params["agent"],
        boot_id=params["boot_id"],
        address=address_policy(params.get) if params["address"] else None,
        cloud_init=params["cloud_init"],
        command=Probe(tuple(params["command"]), params["command_timeout"]) if params["command"] else None,
    )
    if not wanted.names():
        raise InvalidInput("there is nothing to wait for", hint="leave agent at true, or set another condition")
    return wanted


def main() -> None:
    run(SPEC, gather)


if __name__ == "__main__":
    main()
