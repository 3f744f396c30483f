# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory plugin's options -> values of the core."""

from __future__ import annotations

import datetime
import typing as t

from ...module_utils._records.addresses import AddressPolicy
from ...module_utils._records.plan import Plan
from ...module_utils._records.query import Selection
from ...module_utils._task.values import in_range

if t.TYPE_CHECKING:
    from ...module_utils._inside.exec import Probe

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
#: In languages of their own, in which braces may mean something else.
_EXPRESSIONS: t.Final = ("compose", "groups", "keyed_groups", "hostnames", "include", "exclude", "probes")
_NO_TEXT: t.Final = (bool, int, float, datetime.date, type(None))


def rendered(given: t.Mapping[str, t.Any], template: t.Callable[[str], t.Any]) -> dict[str, t.Any]:
    """The options of a file, with what their templates and vault values stand for."""
    return {name: value if name in _EXPRESSIONS else _rendered(value, template) for name, value in given.items()}


def _rendered(value: t.Any, template: t.Callable[[str], t.Any]) -> t.Any:
    if isinstance(value, str):
        return template(value)
    if isinstance(value, (list, tuple)):
        return [_rendered(member, template) for member in value]
    if isinstance(value, t.Mapping):
        return {name: _rendered(member, template) for name, member in value.items()}
    # What else YAML gives is a vault's, which is decrypted when its text is asked for.
    return value if isinstance(value, _NO_TEXT) else str(value)


def plan(get_option: GetOption, selection: Selection, policy: AddressPolicy) -> Plan:
    """
    :raise InvalidInput: a value that cannot be.
    """
    for option, unit in (("agent_timeout", " seconds"), ("timeout", " seconds"), ("concurrency", "")):
        in_range(get_option(option), option, 1, 10**6, unit)
    in_range(get_option("ssh_persist"), "ssh_persist", 0)
    in_range(get_option("max_items"), "max_items", 0, 10**6, "")
    states = get_option("states")
    return Plan(
        subsets=tuple(get_option("gather_subset")),
        states=() if "all" in states else tuple(states),
        select=selection.before_agent,
        policy=policy,
        probes=_probes(get_option("probes")),
        agent_timeout=get_option("agent_timeout"),
        timeout=get_option("timeout"),
        concurrency=get_option("concurrency"),
        max_items=get_option("max_items"),
        ssh_persist=get_option("ssh_persist"),
    )


def _probes(option: t.Mapping[str, object]) -> t.Mapping[str, Probe]:
    if not option:
        return {}
    from ...module_utils._records.probes import probes  # with what runs programs in a guest: see the plugin

    return probes(option)


def uses_forwards(get_option: GetOption) -> bool:
    """A forwarded port is one of the hypervisor's: who asks for certain addresses or networks of guests does not mean it."""
    return "forward" in get_option("address_sources") and not (get_option("address_cidrs") or get_option("address_networks"))
