# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records and their parts, as short as a test needs them."""

from __future__ import annotations

import typing as t

from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import domain_xml as _domain_xml
from ansible_collections.virtops.guest_agent.plugins.module_utils._records import record as _record
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.addresses import Candidate

URI = "test:///default"


def uuid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def candidate(
    address: str, source: str = "agent", network: str | None = "default", mac: str | None = "52:54:00:00:00:01"
) -> Candidate:
    return {"address": address, "prefix": 24, "mac": mac, "network": network, "source": source}


def libvirt_part(name: str = "web", number: int = 1, **values: t.Any) -> _record.LibvirtPart:
    part: dict[str, t.Any] = {
        "uri": URI,
        "hypervisor": "kvm1",
        "name": name,
        "uuid": uuid(number),
        "state": "running",
        "title": None,
        "description": None,
        "metadata": {},
        "vcpus": 1,
        "memory_mib": 512,
        "persistent": True,
        "autostart": False,
        "channels": {_domain_xml.AGENT_CHANNEL: "connected"},
    }
    return t.cast(_record.LibvirtPart, {**part, **values})


def agent_part(status: str = "connected", **values: t.Any) -> _record.AgentPart:
    part = _record.agent_part()
    part.update(t.cast(t.Any, {"connected": status == "connected", "status": status, "version": "10.0.13", "reason": "", **values}))
    return part


def record(name: str = "web", number: int = 1, *addresses: str | Candidate, **values: t.Any) -> _record.Record:
    """``libvirt`` and ``agent`` given as mappings are merged; everything else becomes a key of the record."""
    found: dict[str, t.Any] = {
        "libvirt": libvirt_part(name, number, **values.pop("libvirt", {})),
        "agent": agent_part(**values.pop("agent", {})),
        "interfaces": [],
        "addresses": [candidate(found) if isinstance(found, str) else found for found in addresses],
        **values,
    }
    return t.cast(_record.Record, found)


def domain_xml(
    name: str = "web", number: int = 1, channel: str | None = "connected", macs: t.Sequence[str] = (), kind: str = "kvm"
) -> str:
    """``channel`` None: no channel; empty: one without a state."""
    state = f" state='{channel}'" if channel else ""
    port = f"<channel type='unix'><target type='virtio' name='{_domain_xml.AGENT_CHANNEL}'{state}/></channel>"
    nics = "".join(f"<interface type='network'><mac address='{mac}'/><source network='default'/></interface>" for mac in macs)
    devices = f"<devices>{'' if channel is None else port}{nics}</devices>"
    return f"<domain type='{kind}'><name>{name}</name><uuid>{uuid(number)}</uuid><memory>524288</memory>{devices}</domain>"
