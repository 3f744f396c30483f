# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The floor, as a program of its own: the fewest requests for what our inventory asks by default. URI -> JSON on stdout."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import libvirt
import libvirt_qemu

_COMMANDS = ("guest-info", "guest-get-osinfo", "guest-get-host-name", "guest-network-get-interfaces")
_SECONDS = 5
_CONNECTIONS, _IN_FLIGHT = 2, 5  # libvirtd reads no sixth request of one connection


def main(uri: str) -> None:
    libvirt.registerErrorHandler(lambda *_: None, None)
    connections = [libvirt.open(uri) for _number in range(_CONNECTIONS)]
    running = [domain for domain, stats in connections[0].getAllDomainStats(1, 0) if stats.get("state.state") == 1]
    for flag in (4, 1024):  # which are persistent, which start by themselves
        connections[0].listAllDomains(flag)
    handles = [{domain.UUID(): domain for domain in connection.listAllDomains(0)} for connection in connections[1:]]
    domains = [([{}, *handles][place % _CONNECTIONS]).get(each.UUID(), each) for place, each in enumerate(running)]
    pools = [ThreadPoolExecutor(_IN_FLIGHT) for _connection in connections]
    futures = {domain.name(): pools[place % _CONNECTIONS].submit(_ask, domain) for place, domain in enumerate(domains)}
    print(json.dumps({name: future.result() for name, future in futures.items()}))


def _ask(domain: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"xml": domain.XMLDesc(0)}
    for command in _COMMANDS:
        try:
            reply = libvirt_qemu.qemuAgentCommand(domain, json.dumps({"execute": command}), _SECONDS, 0)
        except libvirt.libvirtError as error:
            return {**found, "error": str(error)}
        found[command] = json.loads(reply)["return"]
    return found


if __name__ == "__main__":
    main(sys.argv[1])
