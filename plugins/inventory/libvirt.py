# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: libvirt
short_description: libvirt domains as hosts, enriched by their guest agents
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Turns the domains of one or many libvirt hypervisors into hosts, with what libvirt knows of them. When a guest agent (qemu-ga)
    answers, the host has the guest's host name, operating system, addresses and more.
  - An agent is optional. A missing, blocked, frozen or hung agent costs no more than O(agent_timeout), and never the data of
    another guest. C(guest_agent) in the host's variables has the agent's state and the remedy.
  - The answers of guests are never trusted. They are bounded and never templated. A guest cannot take another host's name. It
    cannot take an address that another guest claims or that its domain has no interface for.
  - Options may be templates, over lookups and the variables of the command line (C(--extra-vars)), and vault values. Those that are
    expressions by themselves are not templated. These are O(compose), O(groups), O(keyed_groups), O(hostnames), O(include),
    O(exclude) and O(probes).
  - The name of the file must end in C(libvirt.yml), C(libvirt.yaml), C(guest_agent.yml) or C(guest_agent.yaml).
options:
  plugin:
    description:
      - Name of this plugin. The short one is understood where C(enable_plugins) of the configuration names this plugin, since
        Ansible itself finds a plugin of a collection by its whole name only.
    type: str
    required: true
    choices: [virtops.guest_agent.libvirt, libvirt]
  uri:
    description:
      - libvirt connection URIs of the hypervisors, such as V(qemu:///system) or V(qemu+ssh://root@kvm1/system).
      - Without any, libvirt's own default is used.
      - Agent commands need a read-write connection.
    type: list
    elements: str
    default: []
    env:
      - name: LIBVIRT_DEFAULT_URI
  ssh_persist:
    description:
      - How long the SSH connection to a hypervisor with a C(qemu+ssh) URI is kept after its last use, in seconds. It is the
        connection that tasks use afterwards, if they have the same URI and the same value.
      - V(0) keeps none. Then libvirt starts C(ssh) for each connection.
    type: int
    default: 60
    ini:
      - section: guest_agent_connection
        key: ssh_persist
    env:
      - name: ANSIBLE_GUEST_AGENT_SSH_PERSIST
  hostnames:
    description:
      - Sources of a host's name, in order of preference. V(name), V(uuid) and V(title) are the domain's. V(guest_hostname) is the
        name that the guest reports. Any other value is a Jinja expression (without braces) over the host's variables.
      - A domain that another source of this plugin has already added keeps that host's name.
      - In libvirt's names, characters with a meaning in Ansible's patterns and templates are replaced by C(_), with a warning. A
        domain with the name C(localhost), or with a loopback address as its name, gets a part of its UUID appended.
      - A name that the guest can influence is used only if it is a valid host name that no other host has. It must not be
        C(localhost) or an address. The domain's name is used when no other name can be. With its name the guest chooses its
        C(host_vars), also those of a domain that is not in the inventory.
      - Two domains never become one host. When several want the same name, it belongs to the one that has it from libvirt.
        Otherwise all of them get a part of their UUID appended, with a warning.
    type: list
    elements: str
    default: [name]
  states:
    description:
      - The states of the domains to include, by libvirt's names, or V(all). A domain whose state libvirt does not tell to this user
        is always included. Its state is C(unknown).
    type: list
    elements: str
    choices: [all, running, blocked, paused, shutdown, shutoff, crashed, pmsuspended, nostate]
    default: [running]
  include:
    description:
      - JMESPath predicates over the record that M(virtops.guest_agent.guest_info) returns. A domain is included if one of them
        matches, or if there are none.
      - When all of them use only C(libvirt), the agents of the other domains are not asked.
      - C(match(text, regex)) is true when a text begins with what the regular expression describes, as with the test
        P(ansible.builtin.match#test). A text that a guest did not report matches nothing.
      - A predicate that cannot be applied to what a guest reports, such as C(starts_with) to a text that is missing, does not
        match, and a warning says so. With O(strict=true) it is an error.
    type: list
    elements: str
    default: []
  exclude:
    description:
      - JMESPath predicates over the same record. A domain is left out if one of them matches. Predicates that use only C(libvirt)
        are applied before the agent is asked.
    type: list
    elements: str
    default: []
  gather_subset:
    description:
      - What to ask the agents for. Most entries cost one command for each guest. An empty list, without O(probes), asks no agent
        at all.
      - The names are those of O(virtops.guest_agent.guest_info#module:gather_subset). The result is in a variable by the same name,
        such as C(guest_memory).
    type: list
    elements: str
    choices:
      - os
      - hostname
      - interfaces
      - filesystems
      - timezone
      - users
      - sessions
      - memory
      - load
      - vcpus
      - cpu_stats
      - disk_stats
      - disks
      - routes
      - memory_blocks
      - packages
      - devices
      - ssh_host_keys
    default: [os, hostname, interfaces]
  probes:
    description:
      - Statistics of your own. Each key is a name, and each value is a command to execute in the guest.
      - A command is a command line for C(/bin/sh), a list of a program and its arguments, or a mapping of C(command) and C(timeout)
        in seconds.
      - The results are in C(guest_probes), each with C(rc), C(output) (one line of at most 64 KiB), C(json) (the output as data
        where it is JSON) and C(error).
      - Probes require an agent that accepts C(guest-exec).
    type: dict
    default: {}
  max_items:
    description:
      - How many users, filesystems, packages and so on a host's variables list. V(0) lists all.
    type: int
    default: 10
  address_families:
    description: Which address families to use, in order of preference.
    type: list
    elements: str
    choices: [ipv4, ipv6]
    default: [ipv4, ipv6]
  address_cidrs:
    description:
      - Networks to use addresses from, in order of preference. By default all addresses are used except loopback, link-local and
        multicast ones. Such an address is used only from a network that has no others, such as V(169.254.0.0/16), and never
        from V(0.0.0.0/0).
    type: list
    elements: str
    default: []
  address_exclude_cidrs:
    description: Networks to use no address from.
    type: list
    elements: str
    default: []
  address_networks:
    description: libvirt networks or bridges to use addresses from, in order of preference. By default all are used.
    type: list
    elements: str
    default: []
  address_sources:
    description:
      - The sources of addresses, in order of preference. V(agent) is what the guest reports of an interface that its domain has.
        V(lease) and V(arp) are what the hypervisor knows, and are asked only when the agent reported no address.
        They are not used for an address that the guest has given up, according to its agent, unless V(agent) is no source.
        V(agent_unverified) is what the guest reports of an interface that its domain does not have, or that is in user-mode
        networking (slirp, passt).
      - V(forward) is a port of the hypervisor that passt forwards to the guest's port 22. It is used when no address is known, and
        only without O(address_cidrs) and O(address_networks). C(ansible_host) and C(ansible_port) are then the hypervisor's.
      - An address that several domains claim is used for none of them, unless the hypervisor confirms the owner. When several
        hypervisors confirm it, a lease of the controller's own libvirt decides. A warning names the addresses that are not used.
      - An address of the controller or of the hypervisor itself is never used, unless it is on a NIC with the controller's own MAC.
    type: list
    elements: str
    choices: [agent, lease, arp, agent_unverified, forward]
    default: [agent, lease, arp, forward]
  connection:
    description:
      - How tasks reach the guests. V(auto) sets C(ansible_host) when an address is known, and leaves the connection plugin to you
        (SSH by default). When no address is known and the agent may execute commands, it sets the connection plugin
        P(virtops.guest_agent.agent#connection). It never does so for Windows, where that plugin has no shell; see
        O(windows_connection).
      - V(agent) always sets that connection plugin. For Windows guests it sets P(virtops.guest_agent.windows#connection) with
        O(windows_connection=agent).
      - V(ssh) always sets SSH. V(none) sets nothing.
      - V(ssh_or_agent) sets the connection plugin P(virtops.guest_agent.ssh_or_agent#connection). That is SSH, and the agent where
        SSH cannot connect. When no address is known and the agent may execute commands, it sets the agent's. A Windows guest is
        treated as by V(auto).
    type: str
    choices: [auto, agent, ssh, ssh_or_agent, none]
    default: auto
  windows_connection:
    description:
      - The connection plugin that O(connection=auto) and O(connection=ssh_or_agent) set for a Windows guest when an address is
        known. A guest is known to be Windows when V(os) is in O(gather_subset).
      - User, password, port and certificates are yours to set, as for any host that is reached by V(psrp) or V(winrm).
      - V(agent) sets P(virtops.guest_agent.windows#connection), with or without an address, when the agent may execute commands.
        It is experimental.
      - V(none) sets no connection plugin, so variables of a group can do it.
    type: str
    choices: [psrp, winrm, agent, none]
    default: psrp
    version_added: 0.1.0
  group_by:
    description:
      - Which groups to create. V(hypervisor) creates C(hypervisor_NAME), and V(state) creates C(state_running) and so on. V(os)
        creates C(os_debian) and so on, and V(agent_status) creates C(agent_connected) and so on.
    type: list
    elements: str
    choices: [hypervisor, state, os, agent_status]
    default: [hypervisor, state, os, agent_status]
  hostvars_prefix:
    description: A prefix for the names of the variables C(libvirt_*) and C(guest_*).
    type: str
    default: ""
  hostvars_suffix:
    description: A suffix for the names of the variables C(libvirt_*) and C(guest_*).
    type: str
    default: ""
  agent_timeout:
    description: How long an agent may take to answer one command, in seconds. After that this agent is not asked again.
    type: int
    default: 5
  timeout:
    description:
      - The time limit for all guests together, in seconds. Guests that were not reached by then have the agent status V(unknown).
      - When libvirt lists a domain and does not return its XML, the agent status is V(unknown) too, and values from the XML are
        null. A warning says so. An inventory with such a domain is not cached.
    type: float
    default: 30
  concurrency:
    description: How many guests of one hypervisor are asked at the same time. One connection serves five of them.
    type: int
    default: 10
  on_unreachable:
    description:
      - What to do about a hypervisor that cannot be reached. V(fail) fails the whole inventory source, and V(warn) continues
        without it.
    type: str
    choices: [fail, warn]
    default: fail
  stale:
    description:
      - Whether to keep each guest's last good answer in the cache, and use it when its agent does not answer. C(guest_agent.stale)
        is then true, and C(guest_agent.status) is not changed. An address from such an answer is not used when another guest has
        it.
      - C(guest_agent.status_since) then tells since when the agent has its status. It is the time of the first run in a row that
        has seen it.
      - Requires a O(cache_plugin) that outlives the run, such as C(jsonfile). O(cache) itself may be off.
    type: bool
    default: false
extends_documentation_fragment:
  - constructed
  - inventory_cache
requirements:
  - libvirt-python on the controller
  - jmespath on the controller, for O(include) and O(exclude)
notes:
  - After the first agent command libvirt marks the running domain with the taint C(custom-ga-command), which has no effect.
"""

EXAMPLES = r"""
# fleet.libvirt.yml: several hypervisors, of which some may be down. Only the first line is required.
# The collection's folder examples has more inventories.
plugin: virtops.guest_agent.libvirt
uri:
  - qemu+ssh://root@kvm1.example.com/system
  - qemu+ssh://root@kvm2.example.com/system
on_unreachable: warn
hostnames: [guest_hostname, name]
exclude:
  - starts_with(libvirt.name, 'template-')
  - match(libvirt.name, '.*-(old|test[0-9]+)$')
address_cidrs: [10.20.0.0/16]
compose:
  ansible_user: "'debian' if guest_os.id == 'debian' else 'root'"
keyed_groups:
  - key: guest_os.version_id
    prefix: version
probes:
  load: cat /proc/loadavg
  failed_units: [systemctl, list-units, --failed, --output=json]
# Answers are kept for ten minutes. A guest that is silent keeps its last ones, marked as old.
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/guest-agent-inventory
cache_timeout: 600
stale: true
"""

import hashlib
import importlib
import json
import socket
import time
import typing as t

from ansible import context
from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable, get_cache_plugin
from ansible.plugins.loader import connection_loader

from ..plugin_utils import _compiled  # pylint: disable=unused-import  # noqa: F401

# isort: split
from ..module_utils._errors import GuestAgentError
from ..module_utils._records.addresses import AddressPolicy, Assigned, address_policy, assign
from ..module_utils._records.own_addresses import host_of
from ..module_utils._records.plan import Gathered
from ..module_utils._records.query import Selection
from ..module_utils._records.record import Record, key
from ..plugin_utils._guest_variables import AGENT_CONNECTION, OVER_AGENT, WINDOWS_CONNECTION
from ..plugin_utils._inventory import names as _names, options as _options, reachable, stale, variables as _variables
from ..plugin_utils._inventory.unsafe import untrusted

ENDINGS = tuple(f"{name}.{ending}" for name in ("libvirt", "guest_agent") for ending in ("yml", "yaml"))
SHORT_NAME = "libvirt"
#: These reach a guest without an address.
_BY_AGENT = (AGENT_CONNECTION, WINDOWS_CONNECTION)


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    NAME = "virtops.guest_agent.libvirt"

    def verify_file(self, path: str) -> bool:
        if path.endswith(ENDINGS):
            return bool(super().verify_file(path))
        self.display.vvv(f"{self.NAME}: {path} is left to other plugins, because it does not end in {', '.join(ENDINGS)}")
        return False

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        # The names that core takes for this plugin's; who is asked by a file with the short one has been enabled by the user.
        self._redirected_names = [*(getattr(self, "_redirected_names", None) or [self.NAME]), SHORT_NAME]
        self._read_config_data(path)
        try:
            selection = Selection(self.get_option("include"), self.get_option("exclude"), self.get_option("strict"))
            policy = address_policy(self.get_option)
            self._populate(self._records(path, cache, selection, policy), selection, policy)
        except GuestAgentError as error:
            raise AnsibleParserError(str(error)) from error

    def set_options(self, task_keys: t.Any = None, var_options: t.Any = None, direct: t.Any = None) -> None:
        """What the file says may be a template, over the variables of the command line, and a vault value."""
        templar = getattr(self, "templar", None)  # ansible-core 2.16 makes it when a file is read
        if direct is not None and templar is not None:
            templar.available_variables = self._vars
            direct = _options.rendered(direct, templar.template)
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)

    def _records(self, path: str, cache: bool, selection: Selection, policy: AddressPolicy) -> list[Record]:
        """From the cache where that is wanted and has them, else from the hypervisors. Raw records are cached, nothing else."""
        if not self.get_option("cache"):
            return self._gathered(path, selection, policy).records
        self.load_cache_plugin()
        cache_key = self._cache_key(path)
        if cache:
            cached = stale.kept(self._cache.get(cache_key))
            if cached is not None:
                return list(cached.values())
        gathered = self._gathered(path, selection, policy)
        complete = not any(record["agent"]["status"] == "unknown" for record in gathered.records)
        if complete and not gathered.failures and not gathered.troubles:
            self._cache[cache_key] = stale.keep(gathered.records)
        return gathered.records

    def _gathered(self, path: str, selection: Selection, policy: AddressPolicy) -> Gathered:
        # Here, for a collection's modules are compiled at each start: an inventory from the cache needs none of the agent's.
        from ..module_utils._records.gather import gather

        gathered = gather(self.get_option("uri") or [""], _options.plan(self.get_option, selection, policy))
        for error in gathered.failures.values():
            if self.get_option("on_unreachable") == "fail":
                raise error
            self.display.warning(f"{self.NAME}: {error}")
        for error in gathered.troubles:
            self.display.warning(f"{self.NAME}: {error}")
        if self.get_option("stale"):
            if self.get_option("cache_plugin") in ("memory", "ansible.builtin.memory"):
                self.display.warning(f"{self.NAME}: stale needs a cache_plugin that outlives the run, such as jsonfile.")
            self._fill_from_last(path, gathered.records)
        return gathered

    def _fill_from_last(self, path: str, records: list[Record]) -> None:
        """The last answers live in the same cache plugin under a key of their own, and never expire."""
        options = {"_uri": "cache_connection", "_prefix": "cache_prefix"}
        given = {name: self.get_option(option) for name, option in options.items()}
        keeper = get_cache_plugin(
            self.get_option("cache_plugin"), _timeout=0, **{name: value for name, value in given.items() if value is not None}
        )
        keeper_key = f"last_{self._cache_key(path)}"
        before = keeper.get(keeper_key)
        last = stale.kept(before) or {}
        statuses = stale.since(records, stale.statuses(before), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        keeper[keeper_key] = {**stale.keep(stale.remember(records, last).values()), "statuses": statuses}
        keeper.set_cache()
        stale.fill(records, last)

    def _cache_key(self, path: str) -> str:
        options = {name: self.get_option(name) for name in _options.CACHED_OPTIONS}
        digest = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()
        return f"{self.get_cache_key(path)}_{digest[:8]}"

    def _populate(self, gathered: list[Record], selection: Selection, policy: AddressPolicy) -> None:
        # A guest that is left out keeps its address all the same.
        claims = {key(record): record["addresses"] for record in gathered}
        addresses = assign(claims, policy, {key(record) for record in gathered if _is_near(record)})
        records = [record for record in gathered if selection.after_agent(record)]
        for sentence in selection.troubles():
            self.display.warning(f"{self.NAME}: {sentence}")
        found = [self._found(record, addresses[key(record)]) for record in records]
        for sentence in reachable.sentences(found, policy) if self.get_option("connection") not in ("agent", "none") else ():
            self.display.warning(f"{self.NAME}: {sentence}")
        variables = [untrusted(self._variables(record, addresses[key(record)].own)) for record in records]
        for name, record, host_vars in zip(self._host_names(records, variables), records, variables):
            self._add_host(name, record, host_vars)
        if _runs_tasks():
            _load_connections({host.get_vars().get("ansible_connection") for host in self.inventory.hosts.values()})

    def _found(self, record: Record, addresses: Assigned) -> reachable.Found:
        way = self._way(record, addresses.own)
        return reachable.Found(record, addresses, "ansible_host" in way or way.get("ansible_connection") in _BY_AGENT)

    def _way(self, record: Record, addresses: list[str]) -> dict[str, t.Any]:
        options = self.get_option("connection"), self._forward(record), self.get_option("windows_connection")
        return _variables.connection_vars(record, addresses, *options)

    def _forward(self, record: Record) -> tuple[str, int] | None:
        return _variables.forwarded_ssh(record) if _options.uses_forwards(self.get_option) else None

    def _variables(self, record: Record, addresses: list[str]) -> dict[str, t.Any]:
        prefix, suffix = self.get_option("hostvars_prefix"), self.get_option("hostvars_suffix")
        return {
            **_variables.host_vars(record, addresses, prefix, suffix),
            **self._way(record, addresses),
        }

    def _host_names(self, records: list[Record], variables: list[dict[str, t.Any]]) -> list[str]:
        taken = {record["libvirt"][what] for record in records for what in ("name", "uuid")}
        groups = {*self.inventory.groups, *self.get_option("groups")}
        groups |= {group for record in records for group in _variables.group_names(record, self.get_option("group_by"))}
        taken |= {*self.inventory.hosts, *groups}
        preference = self.get_option("hostnames")
        known = _names.hosts_of_domains({name: host.get_vars() for name, host in self.inventory.hosts.items()})
        ours = {(record["libvirt"][place], record["libvirt"]["uuid"]) for record in records for place in ("uri", "hypervisor")}
        foreign = {name for domain, name in known.items() if domain not in ours}
        candidates = []
        for record, host_vars in zip(records, variables):

            def evaluate(expression: str, host_vars: dict[str, t.Any] = host_vars) -> object:
                try:
                    return self._compose(expression, host_vars)
                except Exception as error:  # whatever a template of the user's may raise
                    if self.get_option("strict"):
                        raise AnsibleParserError(f"hostnames: {expression!r} cannot be evaluated: {error}") from error
                    self.display.v(f"{self.NAME}: hostnames: {expression!r} cannot be evaluated: {error}")
                    return None

            settled = _names.settled(record, known)
            candidates.append(settled or _names.choose(record, preference, evaluate, taken))
        names, sentences = _names.distinct(records, candidates, {*groups, *foreign})
        for sentence in sentences:
            self.display.warning(sentence)
        return names

    def _add_host(self, name: str, record: Record, host_vars: dict[str, t.Any]) -> None:
        self.inventory.add_host(name)
        for group in _variables.group_names(record, self.get_option("group_by")):
            self.inventory.add_group(group)
            self.inventory.add_host(name, group=group)
        for variable, value in host_vars.items():
            self.inventory.set_variable(name, variable, value)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), host_vars, name, strict=strict)
        all_vars = {**host_vars, **self.inventory.get_host(name).get_vars()}
        self._add_host_to_composed_groups(self.get_option("groups"), all_vars, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), all_vars, name, strict=strict)


def _is_near(record: Record) -> bool:
    """Whether the domain's hypervisor is this computer, and not one that a socket here leads to."""
    name = record["libvirt"]["hypervisor"].split(".")[0].lower()
    return host_of(record["libvirt"]["uri"]) is None and name == socket.gethostname().split(".")[0].lower()


def _runs_tasks() -> bool:
    """ansible-inventory, which alone draws graphs, runs none."""
    return "graph" not in context.CLIARGS


def _load_connections(names: set[object]) -> None:
    """Tasks run in forks of this process: what each of them would load, 50 ms a task and host, is loaded here once."""
    for name in names & {*OVER_AGENT}:
        connection_loader.get(name, class_only=True)
    if names & {*OVER_AGENT}:
        importlib.import_module("..module_utils._reach.warm", __package__)
