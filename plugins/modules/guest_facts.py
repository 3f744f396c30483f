#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_facts
short_description: Gather a guest's facts through its agent, without Python or SSH in the guest
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Returns the facts of a guest by the names of M(ansible.builtin.setup), so that roles work before the guest has a network, SSH or
    Python.
  - Facts that the agent (qemu-ga) cannot report are absent. A few facts are read from files of the guest or by programs, when the
    agent allows that.
  - These are the details of the distribution in C(/etc/os-release) and other files, such as Debian's point release, and the
    managers of packages and services. Before qemu-ga 9.1 they are also the default route, and the size of filesystems with the
    part reserved for root.
  - A guest without an agent, or with one that does not answer, is not an error. It gets only C(ansible_facts.guest_agent), and a
    warning.
extends_documentation_fragment:
  - virtops.guest_agent._subsets
  - virtops.guest_agent._guest
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes.info
attributes:
  facts:
    description: Returns an C(ansible_facts) dictionary that will update existing host facts.
    support: full
"""

EXAMPLES = r"""
- name: Use facts of guests without SSH and Python
  hosts: agent_connected
  gather_facts: false
  tasks:
    - name: Gather the facts on the hypervisor
      virtops.guest_agent.guest_facts:
        domain: "{{ libvirt_name }}"
        uri: "{{ libvirt_uri }}"
      delegate_to: localhost

    - name: Show the distribution
      ansible.builtin.debug:
        msg: "{{ ansible_facts.hostname }} runs {{ ansible_facts.distribution }}"
      when: ansible_facts.guest_agent.status == 'connected'

# Ansible runs the modules in ansible_facts_modules by the connection itself, so that is the controller here. A play
# with another connection may follow, which has the facts.
- name: Use this module for a play's own gathering of facts
  hosts: agent_connected
  gather_facts: true
  vars:
    ansible_connection: local
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    ansible_facts_modules: [virtops.guest_agent.guest_facts]
  module_defaults:
    virtops.guest_agent.guest_facts:
      domain: "{{ libvirt_name }}"
      uri: "{{ libvirt_uri }}"
  tasks:
    - name: Show how packages are installed there
      ansible.builtin.debug:
        msg: "{{ ansible_facts.hostname }} has {{ ansible_facts.pkg_mgr | default('no known package manager') }}"
      when: ansible_facts.guest_agent.status == 'connected'
"""

RETURN = r"""
ansible_facts:
  description: The facts, by the names of M(ansible.builtin.setup).
  returned: success
  type: dict
  contains:
    guest_agent:
      description: The state of the agent, as RV(virtops.guest_agent.agent_info#module:agent).
      type: dict
    ansible_distribution:
      description:
        - The distribution. Also C(ansible_distribution_version), C(_major_version), C(_release) and C(ansible_os_family). The
          family is that of the ansible-core which runs the module.
      type: str
      sample: Debian
    ansible_pkg_mgr:
      description: The manager of packages, where the family of the distribution tells which one it can be.
      type: str
      sample: apt
    ansible_service_mgr:
      description: The manager of services of a Linux or a BSD.
      type: str
      sample: systemd
    ansible_product_uuid:
      description: The UUID of the domain, which is that of its virtual hardware.
      type: str
      sample: 0dd2ab2a-5b92-4b5b-9d16-7ad6ae0ac5ff
    ansible_virtualization_type:
      description:
        - Always V(kvm), as M(ansible.builtin.setup) calls all guests of QEMU. Also C(ansible_virtualization_role).
      type: str
      sample: kvm
    ansible_kernel:
      description: The release of the kernel. Also C(ansible_kernel_version), C(ansible_architecture) and C(ansible_machine).
      type: str
      sample: 6.12.48+deb13-cloud-amd64
    ansible_hostname:
      description: The host name up to the first dot. Also C(ansible_nodename), C(ansible_fqdn) and C(ansible_domain).
      type: str
      sample: web1
    ansible_interfaces:
      description:
        - The names of the interfaces. Each has a fact of its own, such as C(ansible_eth0). Also C(ansible_default_ipv4),
          C(ansible_default_ipv6), C(ansible_all_ipv4_addresses) and C(ansible_all_ipv6_addresses).
      type: list
      elements: str
      sample: [lo, eth0]
    ansible_mounts:
      description: The mounted filesystems, with their size in bytes.
      type: list
      elements: dict
      sample: [{mount: /, device: /dev/vda1, fstype: ext4, size_total: 10403692544, size_available: 8123396096}]
    ansible_memtotal_mb:
      description:
        - The memory in MiB, with V(memory) in O(gather_subset). Also C(ansible_memfree_mb), C(ansible_memory_mb),
          C(ansible_swaptotal_mb) and C(ansible_swapfree_mb).
      type: int
      sample: 1971
    ansible_loadavg:
      description: The load averages, with V(load) in O(gather_subset).
      type: dict
      sample: {1m: 0.17, 5m: 0.58, 15m: 0.44}
    ansible_processor_vcpus:
      description: How many processors are online, with V(vcpus) in O(gather_subset). Also C(ansible_processor_nproc).
      type: int
      sample: 2
    ansible_ssh_host_key_ed25519_public:
      description:
        - The SSH server's public host key of this type in base64, with V(ssh_host_keys) in O(gather_subset). Also
          C(ansible_ssh_host_key_ed25519_public_keytype), and the same for C(ecdsa) and C(rsa).
      type: str
      sample: AAAAC3NzaC1lZDI1NTE5AAAAIJ3wHlE2mYhGUvKVyyEsVEPRnGtBiy1n4nCl9OJoc1Qa
    guest_timezone:
      description: The time zone, with its offset in seconds.
      type: dict
      sample: {name: UTC, offset_seconds: 0, text: "UTC, 0"}
    guest_users:
      description: The users that are logged in, with the time of their login in seconds since the epoch.
      type: list
      elements: dict
      sample: [{user_name: root, domain: null, login_time: 1735689600.25}]
    guest_probes:
      description: The result of each of the O(probes), as RV(virtops.guest_agent.guest_info#module:guests[].probes).
      type: dict
      sample: {updates: {rc: 0, output: "3", json: 3, error: null}}
    guest_memory:
      description:
        - The result of V(memory) in O(gather_subset).
        - The other entries are returned in the same way as C(guest_sessions), C(guest_load), C(guest_vcpus), C(guest_cpu_stats),
          C(guest_disk_stats), C(guest_disks), C(guest_routes), C(guest_memory_blocks), C(guest_packages), C(guest_devices) and
          C(guest_ssh_host_keys). They have the form of RV(virtops.guest_agent.guest_info#module:guests), and are not cut off.
      type: dict
      sample: {total_bytes: 2067468288, available_bytes: 1733251072, balloon_bytes: 2147483648}
failure:
  description:
    - What went wrong. Its C(kind) is a stable word such as V(domain_not_found), V(hypervisor_unreachable) or V(invalid_input).
  returned: failure
  type: dict
  sample: {kind: domain_not_found, domain: web9, command: "", detail: no domain of this name or UUID, hint: check the name}
"""

import datetime

from ..module_utils._agent.client import GuestAgent
from ..module_utils._commands import filesystems, routes
from ..module_utils._errors import GuestAgentError
from ..module_utils._inside import files
from ..module_utils._libvirt import domain_xml
from ..module_utils._module import guest_facts as setup
from ..module_utils._reach import preflight
from ..module_utils._reach.guest import Guest, open_guest
from ..module_utils._records import ask, distribution, managers, record
from ..module_utils._records.probes import probes
from ..module_utils._records.subsets import DEFAULTS, SUBSETS
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run
from ..module_utils._windows.recognised import recognise

SPEC = spec.Spec(
    {
        **spec.GUEST,
        "gather_subset": {"type": "list", "elements": "str", "choices": list(SUBSETS), "default": list(DEFAULTS)},
        "probes": {"type": "dict", "default": {}},
    }
)
#: Subsets that are facts by setup's names, and by no others.
STANDARD = ("os", "hostname", "interfaces", "filesystems")
#: Those that have facts of setup's names beside their own.
TRANSLATIONS: dict = {
    "memory": setup.memory_facts,
    "load": setup.load_facts,
    "vcpus": setup.vcpu_facts,
    "ssh_host_keys": setup.host_key_facts,
}


def gather(task: Task) -> Outcome:
    wanted = probes(task.params["probes"])
    with open_guest(task.params) as guest:
        domain = domain_xml.parse(guest.domain.xml())
        agent, parts = _ask(guest, domain, task.params["gather_subset"], wanted)
        facts = {f"ansible_{name}": value for name, value in _setup_facts(guest.agent, domain, parts).items()}
    unanswered = {*task.params["gather_subset"], *(["probes"] if wanted else [])} - {*parts}
    # An agent may be restricted in what was not asked for.
    if agent["reason"] and (agent["status"] != "restricted" or unanswered or guest.agent.left_out()):
        task.warn(f"Domain {guest.domain.name}: {agent['reason']}; {agent['hint'] or 'some facts are missing'}.")
    own = {f"guest_{name}": value for name, value in parts.items() if name not in STANDARD}
    return Outcome({"ansible_facts": {**facts, **own, "guest_agent": agent}})


def _ask(guest: Guest, domain: domain_xml.DomainXml, subsets: list, wanted: dict) -> tuple:
    problem = preflight.preflight(guest.domain.state(), domain)
    if problem is not None:
        return record.agent_part(problem), {}
    agent, parts = ask.ask(guest.agent, subsets, wanted, datetime.datetime.now(datetime.timezone.utc))
    ask.complete(parts, guest.domain)
    if agent["status"] in ("connected", "restricted"):
        recognise(guest.agent, parts["os"]["id"] if "os" in parts else None)
    own: dict = {**parts}
    if "disks" in parts:
        own["disks"] = [record.block_device(found, domain.disks) for found in parts["disks"]]
    return agent, own


def _setup_facts(agent: GuestAgent, domain: domain_xml.DomainXml, parts: dict) -> dict:
    facts: dict = {}
    if "interfaces" in parts:
        facts.update(setup.interface_facts(parts["interfaces"], _default_route(agent)))
        if agent.windows is not None:
            facts["interfaces"] = agent.windows.interface_facts(parts["interfaces"])
    if "os" in parts:
        facts.update(setup.os_facts(parts["os"], files.readable_texts(agent, distribution.wanted(parts["os"]))))
        facts.update(setup.machine_facts(domain))
        facts.update(managers.facts(agent, facts))
    if "hostname" in parts:
        facts.update(setup.hostname_facts(parts["hostname"]))
    if "filesystems" in parts:
        facts.update(setup.mount_facts(parts["filesystems"], _totals(agent, parts["filesystems"])))
    for name, translate in TRANSLATIONS.items():
        if name in parts:
            facts.update(translate(parts[name]))
    return facts


def _default_route(agent: GuestAgent) -> routes.Route | None:
    try:
        return routes.default_route(agent)
    except GuestAgentError:  # the other facts are none the worse
        return None


def _totals(agent: GuestAgent, found: list) -> dict:
    incomplete = [entry["mount_point"] for entry in found if entry["total_bytes_privileged"] is None]
    try:
        if incomplete and agent.can("guest-exec") and agent.can("guest-exec-status"):
            return filesystems.privileged_totals(agent, incomplete)
    except GuestAgentError:
        pass
    return {}


def main() -> None:
    run(SPEC, gather)


if __name__ == "__main__":
    main()
