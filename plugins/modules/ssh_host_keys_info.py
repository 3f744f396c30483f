#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ssh_host_keys_info
short_description: Read the SSH host keys of a guest before the first login
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Reads the public host keys of a guest through its agent (qemu-ga) and returns lines for C(known_hosts). So the first connection
    does not have to trust the key that an unknown server shows.
  - The keys come from the guest itself, over a path that cannot be changed from the network.
options:
  hosts:
    description:
      - Names and addresses by which the guest will be reached, for RV(known_hosts).
      - By default the host name and the addresses that the agent reports are used.
      - Addresses that are local to the guest are left out, as are the hypervisor's own, those of interfaces that the domain does
        not have, and those in user-mode networking.
      - A guest can claim the name or the address of another host. Set O(hosts) when you do not trust the guest with that. Then its
        keys are valid for these hosts only, whatever it claims.
    type: list
    elements: str
  port:
    description: The port of the guest's SSH server, for RV(known_hosts).
    type: int
    default: 22
  hashed:
    description:
      - Whether to hash the hosts in RV(known_hosts), as C(HashKnownHosts) of ssh does. Each run then returns other lines with the
        same meaning.
    type: bool
    default: false
  paths:
    description:
      - Files of the guest with one public host key each, as absolute paths that end in C(.pub). Each of them must exist.
      - By default C(/etc/ssh/ssh_host_ed25519_key.pub), C(/etc/ssh/ssh_host_ecdsa_key.pub) and C(/etc/ssh/ssh_host_rsa_key.pub) are
        read. At least one of them must exist.
    type: list
    elements: str
extends_documentation_fragment:
  - virtops.guest_agent._guest
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes.info
notes:
  - Takes C(guest-file-open), C(guest-file-read) and C(guest-file-close) of the agent. Where these are refused, it takes
    C(guest-exec) and C(guest-exec-status). Distributions such as RHEL block all of them.
  - A key can be read as soon as the guest has created it. Most images do that during their first start.
seealso:
  - module: ansible.builtin.known_hosts
  - module: virtops.guest_agent.authorized_keys
"""

EXAMPLES = r"""
- name: Read the host keys of web1
  virtops.guest_agent.ssh_host_keys_info:
    domain: web1
    hosts: [web1.example.com, 192.0.2.10]
  register: result

- name: Add the keys to known_hosts
  ansible.builtin.known_hosts:
    name: "{{ item | split | first }}"
    key: "{{ item }}"
  loop: "{{ result.known_hosts }}"

- name: Show the fingerprints
  ansible.builtin.debug:
    msg: "{{ result.host_keys | map(attribute='fingerprint') | join(' ') }}"

- name: Read the keys of an SSH server on another port, for the names and addresses that web2 reports
  virtops.guest_agent.ssh_host_keys_info:
    domain: web2
    port: 2222
"""

RETURN = r"""
host_keys:
  description: The public host keys.
  returned: success
  type: list
  elements: dict
  contains:
    type:
      description: The type of the key.
      type: str
      sample: ssh-ed25519
    key:
      description: The key in base64.
      type: str
      sample: AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMgaXMgYW4gZXhhbXBsZSBhbmQgbm8ga2V5ICAx
    bits:
      description: The size of the key, as C(ssh-keygen -l) shows it.
      type: int
      sample: 256
    fingerprint:
      description: The fingerprint of the key, computed by the module, as C(ssh-keygen -l) shows it.
      type: str
      sample: SHA256:8YtIe3EQ1oVG0rWg8DTyZ7kgkqaTE2xXlPbk3QDKAhM
    comment:
      description: The comment in the file, which is often C(root@) and a name. It proves nothing.
      type: str
      sample: root@web1
    path:
      description: The path of the file in the guest.
      type: str
      sample: /etc/ssh/ssh_host_ed25519_key.pub
hosts:
  description: The hosts in RV(known_hosts), in the form in which ssh searches for them.
  returned: success
  type: list
  elements: str
  sample: [web1.example.com, 192.0.2.10]
known_hosts:
  description: One line for each host and key.
  returned: success
  type: list
  elements: str
  sample:
    - web1.example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMgaXMgYW4gZXhhbXBsZSBhbmQgbm8ga2V5ICAx
    - 192.0.2.10 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMgaXMgYW4gZXhhbXBsZSBhbmQgbm8ga2V5ICAx
failure:
  description:
    - What went wrong. C(kind) is V(command_failed) when there is no such file, and V(protocol_error) when the file does not contain
      a key. It may be another stable word such as V(command_blocked), V(agent_timeout), V(domain_not_running) or V(invalid_input).
  returned: failure
  type: dict
  sample:
    kind: command_blocked
    domain: web1
    command: guest-file-open
    detail: the agent's configuration blocks guest-file-open, guest-file-read, guest-file-close
    hint: allow the command in the agent's configuration in the guest
"""

import contextlib
import re

from ..module_utils._agent.client import GuestAgent
from ..module_utils._commands import network, system
from ..module_utils._commands.ssh_host_keys import host_keys
from ..module_utils._errors import CommandRefused, InvalidInput
from ..module_utils._inside.small_files import READING
from ..module_utils._libvirt import domain_xml
from ..module_utils._module import ssh_host_keys_info
from ..module_utils._reach.guest import open_guest
from ..module_utils._records import addresses, interfaces as _interfaces
from ..module_utils._records.own_addresses import OwnAddresses
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run
from ..module_utils._task.values import in_range

SPEC = spec.Spec(
    {
        **spec.GUEST,
        "hosts": {"type": "list", "elements": "str"},
        "port": {"type": "int", "default": 22},
        "hashed": {"type": "bool", "default": False},
        "paths": {"type": "list", "elements": "str"},
    }
)
_PATH = re.compile(r"(?:/|[A-Za-z]:[/\\])[^\x00-\x1f\x7f]{1,1000}\.pub")


def gather(task: Task) -> Outcome:
    port, paths, hosts = task.params["port"], task.params["paths"], task.params["hosts"]
    in_range(port, "port", 1, 65535, unit="")
    for path in paths or ():
        if not _PATH.fullmatch(path):
            raise InvalidInput(f"paths: {path!r} is not an absolute path that ends in .pub")
    hosts = None if hosts is None else list(dict.fromkeys(map(ssh_host_keys_info.checked, hosts)))
    with open_guest(task.params, READING) as guest:
        agent = guest.agent
        keys = host_keys(agent, paths or ())
        if hosts is None:
            hosts = _claimed_hosts(agent, domain_xml.parse(guest.domain.xml()), guest.domain.uri)
    if not hosts:
        task.warn(f"{task.params['domain']}: there is no name and no address for known_hosts; set hosts")
    lines = ssh_host_keys_info.lines(hosts, port, keys, task.params["hashed"])
    return Outcome({"host_keys": keys, "hosts": hosts, "known_hosts": lines})


def _claimed_hosts(agent: GuestAgent, domain: domain_xml.DomainXml, uri: str) -> list[str]:
    """What the guest says of itself, as far as it can be true; nothing where its agent does not tell."""
    hosts: list[str] = []
    with contextlib.suppress(CommandRefused):
        hosts += ssh_host_keys_info.claimed(system.hostname(agent))
    try:
        interfaces = network.interfaces(agent)
    except CommandRefused:
        return hosts
    claims = _interfaces.candidates(_interfaces.merge(domain.nics, interfaces))
    OwnAddresses(uri).mark(claims)
    return hosts + [found["address"] for found in addresses.usable(claims, addresses.AddressPolicy())]


def main() -> None:
    run(SPEC, gather)


if __name__ == "__main__":
    main()
