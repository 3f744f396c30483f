#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_info
short_description: Gather what libvirt and the guest agents know of one, several or all guests
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Returns one record for each domain with what libvirt knows of it and what its guest agent (qemu-ga) says of the guest.
    Guests are asked in parallel.
  - A guest without an agent, or with one that is blocked, frozen or hung, is not an error. Its record has what is known, and
    RV(guests[].agent) says why there is not more.
options:
  domains:
    description:
      - Names or UUIDs of the domains to ask. Without it all domains in one of O(states) are asked, with an empty list none.
    type: list
    elements: str
    aliases: [domain]
  states:
    description:
      - Which states a domain may be in, as libvirt names them. An empty list allows all.
      - The default is V(running) without O(domains), and all states with it.
    type: list
    elements: str
    choices: [running, blocked, paused, shutdown, shutoff, crashed, pmsuspended, nostate]
  gather:
    description:
      - What to ask the agents for. Each entry costs one command for each guest. An empty list asks no agent at all.
    type: list
    elements: str
    choices: [os, hostname, interfaces, filesystems, timezone, users]
    default: [os, hostname, interfaces, filesystems, timezone, users]
  max_items:
    description:
      - How many users and filesystems a record lists. The true numbers stand beside the lists. V(0) lists all.
    type: int
    default: 10
  query:
    description:
      - A JMESPath expression that is applied to the list of records; what it finds is returned as RV(query_result).
    type: str
  timeout:
    description:
      - How long all may take together, in seconds. Guests that have not answered by then are returned with the status V(unknown).
    type: float
    default: 30
  concurrency:
    description:
      - How many guests are asked at the same time.
    type: int
    default: 10
requirements:
  - jmespath on the host that executes the module, for O(query)
extends_documentation_fragment:
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes.info
"""

EXAMPLES = r"""
- name: Gather everything of all running guests
  virtops.guest_agent.guest_info:
  register: fleet

- name: Gather the addresses and the name of one guest
  virtops.guest_agent.guest_info:
    domain: web1
    gather: [hostname, interfaces]
  register: web1

- name: Find the guests whose agent needs attention
  virtops.guest_agent.guest_info:
    gather: [os]
    query: "[?agent.status != 'connected'].{name: libvirt.name, why: agent.reason, remedy: agent.hint}"
  register: troubled

- name: Find the filesystems that are more than nine tenths full
  virtops.guest_agent.guest_info:
    gather: [filesystems]
    max_items: 0
  register: usage

- name: Show them
  ansible.builtin.debug:
    msg: "{{ item.0.libvirt.name }} {{ item.1.mount_point }}"
  loop: "{{ usage.guests | subelements('filesystems', skip_missing=True) }}"
  loop_control:
    label: "{{ item.0.libvirt.name }} {{ item.1.mount_point }}"
  when:
    - item.1.total_bytes is not none
    - item.1.used_bytes > 0.9 * item.1.total_bytes
"""

RETURN = r"""
guests:
  description:
    - One record for each domain, sorted by name. Keys that the guest did not answer are absent.
  returned: success
  type: list
  elements: dict
  contains:
    libvirt:
      description: What libvirt knows of the domain.
      type: dict
      sample: {name: web1, uuid: 4dea22b3-1d52-d8f3-2516-782e98ab3fa0, state: running, vcpus: 2, memory_mib: 2048}
    agent:
      description: How the agent is, as RV(virtops.guest_agent.agent_info#module:agent).
      type: dict
      sample: {status: connected, reason: "", hint: "", version: 10.0.13}
    hostname:
      description: The guest's own host name.
      type: str
      sample: web1.example.com
    os:
      description: The guest's operating system and kernel.
      type: dict
      sample: {id: debian, pretty_name: Debian GNU/Linux 13 (trixie), kernel_release: 6.12.48+deb13-cloud-amd64}
    timezone:
      description: The guest's time zone.
      type: dict
      sample: {name: UTC, offset_seconds: 0, text: "UTC, 0"}
    interfaces:
      description:
        - The network interfaces, joined by MAC from the domain's view and the guest's. RV(guests[].interfaces[].info_source)
          says which of the two knows of it.
      type: list
      elements: dict
      contains:
        name:
          description: The libvirt network or bridge that the interface is plugged into, null where only the guest knows it.
          type: str
        interface_name:
          description: Its name in the guest.
          type: str
        mac:
          description: Its MAC.
          type: str
        ip_address:
          description: Its first address.
          type: str
        ip_addresses:
          description: All its addresses, with prefix length.
          type: list
          elements: str
        info_source:
          description: V(domain), V(guest-agent), or both.
          type: str
        target_dev:
          description: The hypervisor's end of it.
          type: str
        statistics:
          description: Its counters, where the agent tells them.
          type: dict
      sample:
        - name: default
          interface_name: eth0
          mac: "52:54:00:12:34:56"
          ip_address: 192.168.122.10
          ip_addresses: [192.168.122.10/24]
          info_source: domain, guest-agent
          target_dev: vnet0
    addresses:
      description: Every address that is known, with where it is known from (V(agent), V(lease), V(arp) or V(agent_unverified)).
      type: list
      elements: dict
      sample: [{address: 192.168.122.10, prefix: 24, mac: "52:54:00:12:34:56", network: default, source: agent}]
    filesystems:
      description: Mounted filesystems, at most O(max_items) of them, with the disks of the domain that they are on.
      type: list
      elements: dict
      sample: [{disk_name: vda1, mount_point: /, file_system_type: ext4, total_bytes: 4096, disks: [{target: vda}]}]
    filesystems_total:
      description: How many filesystems there are.
      type: int
    users:
      description: Users that are logged in, at most O(max_items) of them. The login time is in seconds since the epoch.
      type: list
      elements: dict
      sample: [{user_name: root, domain: null, login_time: 1735689600.25}]
    users_total:
      description: How many users are logged in.
      type: int
query_result:
  description: What O(query) found in RV(guests).
  returned: when O(query) is given
  type: raw
failure:
  description:
    - What went wrong. Its C(kind) is a stable word such as V(domain_not_found), V(hypervisor_unreachable) or V(invalid_input).
  returned: failure
  type: dict
  sample: {kind: domain_not_found, domain: web9, command: "", detail: no domain of this name or UUID, hint: check the name}
"""

from ..module_utils import _argspec
from ..module_utils._errors import DomainNotFound, InvalidInput
from ..module_utils._gather import Plan, gather as gather_records
from ..module_utils._query import Expression
from ..module_utils._subsets import SUBSETS
from ..module_utils._task import Outcome, Task, run

STATES = ["running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended", "nostate"]
SPEC = _argspec.Spec(
    {
        **_argspec.URI,
        **_argspec.AGENT_TIMEOUT,
        "domains": {"type": "list", "elements": "str", "aliases": ["domain"]},
        "states": {"type": "list", "elements": "str", "choices": STATES},
        "gather": {"type": "list", "elements": "str", "choices": list(SUBSETS), "default": list(SUBSETS)},
        "max_items": {"type": "int", "default": 10},
        "query": {"type": "str"},
        "timeout": {"type": "float", "default": 30},
        "concurrency": {"type": "int", "default": 10},
    }
)


def gather(task: Task) -> Outcome:
    params = task.params
    expression = Expression(params["query"], "query") if params["query"] else None
    named = tuple(dict.fromkeys(params["domains"] or ()))
    uri = params["uri"] or ""
    plan = Plan(
        subsets=tuple(params["gather"]),
        states=tuple(params["states"] if params["states"] is not None else () if named else ("running",)),
        domains=named,
        agent_timeout=params["agent_timeout"],
        timeout=params["timeout"],
        concurrency=params["concurrency"],
        max_items=params["max_items"],
    )
    if plan.concurrency < 1 or plan.max_items < 0:
        raise InvalidInput("concurrency must be at least 1, and max_items at least 0")
    nobody = params["domains"] is not None and not named
    gathered = gather_records([] if nobody else [uri], plan)
    for error in gathered.failures.values():
        raise error
    result: dict = {"guests": gathered.records}
    if params["states"] is None:
        _check_found(named, gathered.records, uri)
    if expression is not None:
        result["query_result"] = expression.search(gathered.records)
    return Outcome(result)


def _check_found(named: tuple, records: list, uri: str) -> None:
    found = {record["libvirt"][key] for record in records for key in ("name", "uuid")}
    missing = [name for name in named if name not in found]
    if missing:
        raise DomainNotFound(f"no domain of this name or UUID on {uri or 'the default hypervisor'}", domain=", ".join(missing))


def main() -> None:
    run(SPEC, gather)


if __name__ == "__main__":
    main()
