# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory plugin's options -> values of the core."""

from __future__ import annotations

import typing as t

from ...module_utils._errors import InvalidInput
from ...module_utils._records.addresses import SOURCES, AddressPolicy, parse_cidrs
from ...module_utils._records.plan import Plan
from ...module_utils._records.query import Selection

GetOption = t.Callable[[str], t.Any]

#: The options that decide what a cached record holds: a cache made with others is not used.
CACHED_OPTIONS: t.Final = (
    "uri",
    "states",
    "include",
    "exclude",
    "gather_subset",
    "probes",
    "max_items",
    "address_sources",
    "address_families",
    "address_cidrs",
    "address_exclude_cidrs",
    "address_networks",
)


def plan(get_option: GetOption, selection: Selection) -> Plan:
    """
    :raise InvalidInput: a value that cannot be.
    """
    from ...module_utils._records.probes import probes  # with what asks agents: see the plugin

    for option in ("agent_timeout", "timeout", "concurrency"):
        if not 1 <= get_option(option) <= 10**6:
            raise InvalidInput(f"{option} must be from 1 to {10**6}, and is {get_option(option):g}")
    if get_option("max_items") < 0:
        raise InvalidInput("max_items must be at least 0")
    states = get_option("states")
    return Plan(
        subsets=tuple(get_option("gather_subset")),
        states=() if "all" in states else tuple(states),
        select=selection.before_agent,
        policy=address_policy(get_option),
        probes=probes(get_option("probes")),
        agent_timeout=get_option("agent_timeout"),
        timeout=get_option("timeout"),
        concurrency=get_option("concurrency"),
        max_items=get_option("max_items"),
    )


def address_policy(get_option: GetOption) -> AddressPolicy:
    return AddressPolicy(
        families=tuple(get_option("address_families")),
        cidrs=parse_cidrs(get_option("address_cidrs"), "address_cidrs"),
        exclude_cidrs=parse_cidrs(get_option("address_exclude_cidrs"), "address_exclude_cidrs"),
        networks=tuple(get_option("address_networks")),
        sources=tuple(source for source in get_option("address_sources") if source in SOURCES),
    )


def uses_forwards(get_option: GetOption) -> bool:
    """A forwarded port is one of the hypervisor's: who asks for certain addresses or networks of guests does not mean it."""
    return "forward" in get_option("address_sources") and not (get_option("address_cidrs") or get_option("address_networks"))
