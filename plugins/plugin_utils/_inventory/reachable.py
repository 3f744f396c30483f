# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why a host has no address although one is known: sentences for the user. Pure."""

from __future__ import annotations

import typing as t

from ...module_utils._records.addresses import AddressPolicy, Assigned, Candidate, canonical, usable
from ...module_utils._records.record import Record

#: Of hosts or addresses in one sentence.
_NAMED_MAX: t.Final = 5


class Found(t.NamedTuple):
    """One host: its record, its addresses, and whether there is another way to it."""

    record: Record
    addresses: Assigned
    otherwise: bool


def sentences(hosts: t.Sequence[Found], policy: AddressPolicy) -> list[str]:
    told = [_contested(hosts)]
    without = [host for host in hosts if not host.addresses.own]
    told += [_elsewhere(without, policy), _user_mode([host for host in without if not host.otherwise])]
    return [sentence for sentence in told if sentence]


def _contested(hosts: t.Sequence[Found]) -> str:
    claimants: dict[str, list[Record]] = {}
    owned = {canonical(address) for host in hosts for address in host.addresses.own}
    for host in hosts:
        for address in host.addresses.contested:
            claimants.setdefault(canonical(address), []).append(host.record)
    if not claimants:
        return ""
    said = [
        f"{address} ({', '.join(map(_who, records[:_NAMED_MAX]))}{', and its owner' if address in owned else ''})"
        for address, records in sorted(claimants.items())
    ]
    return (
        f"An address that several domains claim is used only for its confirmed owner: {_few(said)}. Two hypervisors with"
        " the same NAT network cause this: use connection=agent for such guests, or address_exclude_cidrs."
    )


def _elsewhere(hosts: t.Sequence[Found], policy: AddressPolicy) -> str:
    """A bridge, a bond or a switch in the guest may have a MAC of its own."""
    if "agent_unverified" in policy.sources:
        return ""
    said = []
    for host in hosts:
        unverified = usable(host.record["addresses"], policy._replace(sources=("agent_unverified",)))
        found = next((candidate for candidate in unverified if candidate["network"] is None), None)
        if found is not None:
            said.append(f"{host.record['libvirt']['name']} ({_interface(host.record, found)} has {found['address']})")
    if not said:
        return ""
    return (
        f"No address is known on a NIC of the domain, but on another interface of the guest: {_few(said)}. If that is its bridge or"
        " bond, add agent_unverified to address_sources."
    )


def _user_mode(hosts: t.Sequence[Found]) -> str:
    names = [
        host.record["libvirt"]["name"]
        for host in hosts
        if any(nic["user_mode"] and nic["ip_addresses"] for nic in host.record["interfaces"])
    ]
    if not names:
        return ""
    return (
        f"No address leads to a guest in user-mode networking: {_few(names)}."
        " Use connection=agent, or let passt forward a port to 22."
    )


def _interface(record: Record, candidate: Candidate) -> str | None:
    text = f"{candidate['address']}/{candidate['prefix']}"
    return next((nic["interface_name"] for nic in record["interfaces"] if text in nic["ip_addresses"]), None)


def _few(said: t.Sequence[str]) -> str:
    more = len(said) - _NAMED_MAX
    return ", ".join(said[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def _who(record: Record) -> str:
    return f"{record['libvirt']['name']} on {record['libvirt']['hypervisor']}"
