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
  - Returns one record for each domain, with what libvirt knows of it and what its guest agent (qemu-ga) reports of the guest.
    Guests are asked in parallel.
  - A guest without an agent, or with one that is blocked, frozen or hung, is not an error. Its record has what is known, and
    RV(guests[].agent) says why it is not complete.
options:
  domains:
    description:
      - Names or UUIDs of the domains to ask. Without it all domains in one of O(states) are asked. With an empty list none is
        asked.
      - On a guest of the inventory the default is that guest's domain alone.
    type: list
    elements: str
    aliases: [domain, name]
  states:
    description:
      - Which states a domain may be in, by libvirt's names. An empty list allows all.
      - The default is V(running) without O(domains), and all states with O(domains).
    type: list
    elements: str
    choices: [running, blocked, paused, shutdown, shutoff, crashed, pmsuspended, nostate]
  max_items:
    description:
      - How many users, filesystems, packages and so on a record lists. The totals are returned beside the lists. V(0) lists all.
      - Interfaces are never cut off.
    type: int
    default: 10
  query:
    description:
      - A JMESPath expression that is applied to the list of records. Its result is returned as RV(query_result).
      - C(match(text, regex)) is true when a text begins with what the regular expression describes.
    type: str
  timeout:
    description:
      - The time limit for all guests together, in seconds. Guests that have not answered by then are returned with the status
        V(unknown).
    type: float
    default: 30
  concurrency:
    description:
      - How many guests are asked at the same time.
    type: int
    default: 10
requirements:
  - jmespath on the host that executes the module, for O(query)
notes:
  - An empty list for O(gather_subset), without O(probes), asks no agent at all.
extends_documentation_fragment:
  - virtops.guest_agent._subsets
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
    gather_subset: [hostname, interfaces]
  register: web1

- name: Find the guests whose agent needs attention
  virtops.guest_agent.guest_info:
    gather_subset: [os]
    query: "[?agent.status != 'connected'].{name: libvirt.name, why: agent.reason, remedy: agent.hint}"
  register: troubled

- name: List the packages of the web servers, and how many updates wait there
  virtops.guest_agent.guest_info:
    domains: [web1, web2]
    gather_subset: [os, packages]
    probes:
      updates:
        command: apt list --upgradable 2>/dev/null | grep -c /
        timeout: 30
    max_items: 0
    timeout: 120

- name: Find the guests that are short of memory
  virtops.guest_agent.guest_info:
    gather_subset: [memory]
    query: "[?memory.available_bytes < `104857600`].libvirt.name"
  register: short_of_memory

- name: Find the filesystems that are more than nine tenths full
  virtops.guest_agent.guest_info:
    gather_subset: [filesystems]
    max_items: 0
  register: usage

- name: Show these filesystems
  ansible.builtin.debug:
    msg: "{{ item.0.libvirt.name }} {{ item.1.mount_point }}"
  loop: "{{ usage.guests | subelements('filesystems', skip_missing=True) }}"
  loop_control:
    label: "{{ item.0.libvirt.name }} {{ item.1.mount_point }}"
  when:
    - item.1.total_bytes is not none
    - item.1.used_bytes is not none
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
      description:
        - What libvirt knows of the domain. C(channels) has its virtio channels, such as Spice's C(com.redhat.spice.0), with their
          states. A state is null where libvirt does not know it.
        - C(title), C(description), C(vcpus) and C(memory_mib) are null, with a warning, when libvirt does not return the domain's
          XML.
      type: dict
      sample:
        name: web1
        uuid: 4dea22b3-1d52-d8f3-2516-782e98ab3fa0
        state: running
        vcpus: 2
        memory_mib: 2048
        channels: {org.qemu.guest_agent.0: connected, com.redhat.spice.0: disconnected}
    agent:
      description: The state of the agent, as RV(virtops.guest_agent.agent_info#module:agent).
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
        - The network interfaces of the domain and of the guest, joined by MAC. RV(guests[].interfaces[].info_source) says which of
          the two knows an interface.
      type: list
      elements: dict
      contains:
        name:
          description: The libvirt network or bridge that the interface is plugged into. Null where only the guest knows the
            interface.
          type: str
        interface_name:
          description: The interface's name in the guest.
          type: str
        mac:
          description: The interface's MAC address.
          type: str
        ip_address:
          description: The interface's first address.
          type: str
        ip_addresses:
          description: All addresses of the interface, with prefix length.
          type: list
          elements: str
        info_source:
          description: V(domain), V(guest-agent), or both.
          type: str
        target_dev:
          description: The name of the interface on the hypervisor.
          type: str
        user_mode:
          description: Whether the interface is in user-mode networking (slirp, passt), where no address leads to the guest.
          type: bool
        port_forwards:
          description:
            - The TCP ports of the hypervisor that passt forwards. The range of C(ports) ports from C(port) on leads to the guest's
              ports from C(to) on.
          returned: where ports are forwarded
          type: list
          elements: dict
          sample: [{address: null, port: 2022, to: 22, ports: 1}]
        statistics:
          description: The interface's counters, where the agent reports them.
          type: dict
      sample:
        - name: default
          interface_name: eth0
          mac: "52:54:00:12:34:56"
          ip_address: 192.168.122.10
          ip_addresses: [192.168.122.10/24]
          info_source: domain, guest-agent
          target_dev: vnet0
          user_mode: false
    addresses:
      description:
        - Every known address with its source, which is V(agent), V(lease), V(arp) or V(agent_unverified). V(own) is an address of
          the hypervisor or of the host that executes the module, whatever the guest says of it.
      type: list
      elements: dict
      sample: [{address: 192.168.122.10, prefix: 24, mac: "52:54:00:12:34:56", network: default, source: agent}]
    filesystems:
      description: Mounted filesystems, at most O(max_items) of them, with the domain's disks that hold them.
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
    sessions:
      description: The login sessions, at most O(max_items) of them, as C(loginctl) shows them.
      type: list
      elements: dict
      sample:
        - id: "3"
          user_name: ann
          seat: seat0
          tty: tty1
          state: active
          type: tty
          class: user
          remote: false
          active: true
          locked: false
    sessions_total:
      description: How many login sessions there are.
      type: int
    memory:
      description:
        - The guest's memory in bytes. A value is null where the guest's kernel does not count it. C(available_bytes) is what
          programs can still get without swapping. C(balloon_bytes) is what the hypervisor leaves to the domain now.
      type: dict
      sample:
        total_bytes: 2067468288
        available_bytes: 1733251072
        free_bytes: 1420000000
        buffers_bytes: 21000192
        cached_bytes: 402000000
        swap_total_bytes: 0
        swap_free_bytes: 0
        balloon_bytes: 2147483648
    load:
      description: The mean number of processes that run or wait, over the last 1, 5 and 15 minutes.
      type: dict
      sample: {1m: 0.17, 5m: 0.58, 15m: 0.44}
    vcpus:
      description: The processors, at most O(max_items) of them.
      type: list
      elements: dict
      sample: [{id: 0, online: true, can_offline: false}]
    vcpus_total:
      description: How many processors the guest knows.
      type: int
    cpu_stats:
      description: The milliseconds that each processor has spent in each mode, at most O(max_items) processors.
      type: list
      elements: dict
      sample: [{cpu: 0, user: 37440, nice: 0, system: 52660, idle: 341820, iowait: 750, steal: 0}]
    cpu_stats_total:
      description: How many processors have counters.
      type: int
    disk_stats:
      description:
        - The counters of the kernel's C(/proc/diskstats), at most O(max_items) disks, and those in use first. A sector has 512
          bytes, and a tick is a millisecond.
      type: list
      elements: dict
      sample: [{name: vda, major: 254, minor: 0, statistics: {read_ios: 1161, read_sectors: 94938, write_ios: 503}}]
    disk_stats_total:
      description: How many disks and partitions have counters.
      type: int
    disks:
      description:
        - The disks and partitions, at most O(max_items) of them. C(target) is the domain's disk. C(dependencies) are the devices
          below it.
      type: list
      elements: dict
      sample: [{name: /dev/vda, partition: false, dependencies: [], target: vda, serial: root, device: /dev/vda, bus: virtio}]
    disks_total:
      description: How many disks and partitions there are.
      type: int
    routes:
      description: The routes of IPv4 and IPv6, at most O(max_items) of them, without those of the loopback.
      type: list
      elements: dict
      sample: [{interface_name: eth0, destination: 0.0.0.0/0, gateway: 192.168.122.1, metric: 100}]
    routes_total:
      description: How many routes there are.
      type: int
    memory_blocks:
      description: The blocks in which memory can be plugged, at most O(max_items) of them, with their size and how much of it is
        online.
      type: dict
      sample:
        block_bytes: 134217728
        online_bytes: 268435456
        blocks_total: 2
        blocks: [{id: 0, online: true, can_offline: true}]
    packages:
      description:
        - The installed packages sorted by name, at most O(max_items) of them. C(manager) is V(dpkg), V(apk), V(rpm) or V(windows).
      type: list
      elements: dict
      sample: [{name: adduser, version: 3.152, arch: all, manager: dpkg}]
    packages_total:
      description: How many packages are installed.
      type: int
    devices:
      description: The PCI devices of a Windows guest and their drivers, at most O(max_items) of them.
      type: list
      elements: dict
      sample: [{driver_name: Red Hat VirtIO Ethernet Adapter, driver_version: 100.85.104.20800, vendor_id: 6900, device_id: 4161}]
    devices_total:
      description: How many devices there are.
      type: int
    ssh_host_keys:
      description: The public host keys of the guest's SSH server, the keys in base64.
      type: list
      elements: dict
      sample:
        - type: ssh-ed25519
          key: AAAAC3NzaC1lZDI1NTE5AAAAIJ3wHlE2mYhGUvKVyyEsVEPRnGtBiy1n4nCl9OJoc1Qa
          bits: 256
          fingerprint: SHA256:n5ngGSJdpPBnIo5ZWfQKJh3NXkBQoFf1vFXvpyVSbV0
          comment: root@web1
          path: /etc/ssh/ssh_host_ed25519_key.pub
    probes:
      description:
        - The result of each of the O(probes). It has the exit code, the output (one line of at most 64 KiB), the output as data
          where it is JSON, and what went wrong.
      type: dict
      sample: {updates: {rc: 0, output: "3", json: 3, error: null}}
query_result:
  description: The result of O(query) on RV(guests).
  returned: when O(query) is given
  type: raw
failure:
  description:
    - What went wrong. Its C(kind) is a stable word such as V(domain_not_found), V(hypervisor_unreachable) or V(invalid_input).
  returned: failure
  type: dict
  sample: {kind: domain_not_found, domain: web9, command: "", detail: no domain of this name or UUID, hint: check the name}
"""

from ..module_utils._errors import DomainNotFound
from ..module_utils._records.gather import gather as gather_records
from ..module_utils._records.plan import Plan
from ..module_utils._records.probes import probes
from ..module_utils._records.query import Expression
from ..module_utils._records.subsets import DEFAULTS, SUBSETS
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run
from ..module_utils._task.values import in_range

STATES = ["running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended", "nostate"]
SPEC = spec.Spec(
    {
        **spec.URI,
        **spec.AGENT_TIMEOUT,
        "domains": {"type": "list", "elements": "str", "aliases": ["domain", "name"]},
        "states": {"type": "list", "elements": "str", "choices": STATES},
        "gather_subset": {"type": "list", "elements": "str", "choices": list(SUBSETS), "default": list(DEFAULTS)},
        "probes": {"type": "dict", "default": {}},
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
        subsets=tuple(params["gather_subset"]),
        states=tuple(params["states"] if params["states"] is not None else () if named else ("running",)),
        domains=named,
        probes=probes(params["probes"]),
        agent_timeout=params["agent_timeout"],
        timeout=params["timeout"],
        concurrency=params["concurrency"],
        max_items=params["max_items"],
        ssh_persist=params["ssh_persist"],
    )
    in_range(plan.concurrency, "concurrency", 1, 10**6, unit="")
    in_range(plan.max_items, "max_items", 0, 10**6, unit="")
    asks_none = params["domains"] is not None and not named
    gathered = gather_records([] if asks_none else [uri], plan)
    for error in gathered.failures.values():
        raise error
    for error in gathered.troubles:
        task.warn(str(error))
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
