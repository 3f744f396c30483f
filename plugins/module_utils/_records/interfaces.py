# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The domain's view of its NICs and the guest's view of its interfaces, joined. Pure."""

from __future__ import annotations

import ipaddress
import typing as t

# Collections are compiled anew at each start: the commands' modules are read only by who asks an agent.
if t.TYPE_CHECKING:
    from .._commands.network import GuestInterface
    from .._libvirt.domain_xml import Forward, Nic
    from .addresses import Candidate

_NO_MAC: t.Final = "00:00:00:00:00:00"


class PortForward(t.TypedDict):
    """So many TCP ``ports`` of the hypervisor, from ``port`` on, lead to the guest's from ``to`` on; ``address`` None is any."""

    address: str | None
    port: int
    to: int
    ports: int


class Interface(t.TypedDict, total=False):
    name: str | None
    interface_name: str | None
    mac: str | None
    ip_address: str | None
    ip_addresses: list[str]
    info_source: str
    target_dev: str | None
    user_mode: bool
    port_forwards: list[PortForward]
    statistics: dict[str, int] | None


def merge(nics: t.Sequence[Nic], guest: t.Sequence[GuestInterface] | None) -> list[Interface]:
    """Both views of the NICs, joined by MAC: the domain's first, then what only the guest has.

    A bridge or VLAN in the guest carries its NIC's MAC, so several guest interfaces may belong to one NIC.
    """
    by_mac = {nic.mac: nic for nic in nics if nic.mac}
    nameless = _without_mac(guest or ()) if len(nics) == len(by_mac) == 1 else None
    seen: set[str] = set()
    both: list[Interface] = []
    only_guest: list[Interface] = []
    for found in guest or ():
        nic = nics[0] if found is nameless else by_mac.get(found["mac"] or "")
        if nic is None:
            only_guest.append(_interface(None, found, "guest-agent"))
        else:
            seen.add(nic.mac)
            both.append(_interface(nic, found, "domain, guest-agent"))
    unseen = [_interface(nic, None, "domain") for nic in nics if nic.mac not in seen]
    return both + unseen + only_guest


def _without_mac(guest: t.Sequence[GuestInterface]) -> GuestInterface | None:
    """The only interface that leads out of a guest whose agent tells no MACs, as on FreeBSD; None where there are several."""
    if any((found["mac"] or _NO_MAC) != _NO_MAC for found in guest):
        return None
    leading_out = [found for found in guest if any(map(_leads_out, found["ip_addresses"]))]
    return leading_out[0] if len(leading_out) == 1 else None


def _leads_out(text: str) -> bool:
    address = ipaddress.ip_interface(text).ip
    return not address.is_loopback and not address.is_link_local


def _interface(nic: Nic | None, guest: GuestInterface | None, source: str) -> Interface:
    addresses = guest["ip_addresses"] if guest else []
    interface: Interface = {
        "name": nic.network if nic else None,
        "interface_name": guest["interface_name"] if guest else None,
        "mac": nic.mac if nic else guest and guest["mac"],
        "ip_address": addresses[0].split("/")[0] if addresses else None,
        "ip_addresses": addresses,
        "info_source": source,
        "target_dev": nic.target_dev if nic else None,
        "user_mode": nic is not None and nic.user_mode,
    }
    if nic and nic.forwards:
        interface["port_forwards"] = [_port_forward(forward) for forward in nic.forwards]
    if guest and guest["statistics"] is not None:
        interface["statistics"] = guest["statistics"]
    return interface


def _port_forward(forward: Forward) -> PortForward:
    return {"address": forward.address, "port": forward.port, "to": forward.to, "ports": forward.ports}


def candidates(interfaces: t.Sequence[Interface]) -> list[Candidate]:
    """Every address that the agent tells, with whether the domain has an interface for it that leads to the guest.

    slirp gives all guests one address, and passt gives a guest that of its hypervisor.
    """
    return [
        {
            "address": address,
            "prefix": int(prefix),
            "mac": interface["mac"],
            "network": interface["name"],
            "source": "agent" if _leads_to_guest(interface) else "agent_unverified",
        }
        for interface in interfaces
        for address, _slash, prefix in (text.partition("/") for text in interface["ip_addresses"])
    ]


def _leads_to_guest(interface: Interface) -> bool:
    return interface["info_source"] == "domain, guest-agent" and not interface["user_mode"]
