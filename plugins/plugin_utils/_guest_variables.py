# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables of a host -> the options of a module that acts on the guest which this host is. Pure."""

from __future__ import annotations

import typing as t

AGENT_CONNECTION: t.Final = "virtops.guest_agent.agent"
SSH_OR_AGENT: t.Final = "virtops.guest_agent.ssh_or_agent"
WINDOWS_CONNECTION: t.Final = "virtops.guest_agent.windows"
#: A host that is reached by one of these is a guest, whatever its variables say.
OVER_AGENT: t.Final = (AGENT_CONNECTION, SSH_OR_AGENT, WINDOWS_CONNECTION)
#: option of a module -> the variables that say it, the stronger first. The connection plugin has the same.
VARIABLES: t.Final[dict[str, tuple[str, ...]]] = {
    "domain": ("ansible_guest_agent_domain",),
    "uri": ("ansible_guest_agent_uri", "ansible_libvirt_uri"),
    "ssh_persist": ("ansible_guest_agent_ssh_persist",),
    "agent_timeout": ("ansible_guest_agent_timeout",),
    "transport": ("ansible_guest_agent_transport",),
    "channel": ("ansible_guest_agent_channel",),
    "socket": ("ansible_guest_agent_socket",),
    "data_lane": ("ansible_guest_agent_data_lane",),
    "resident": ("ansible_guest_agent_resident",),
    "resident_idle": ("ansible_guest_agent_resident_idle",),
}
#: The same options, as the connection plugin takes them from the environment and from ansible.cfg.
SETTINGS: t.Final[dict[str, dict[str, t.Any]]] = {
    option: {
        "env": [{"name": f"ANSIBLE_GUEST_AGENT_{option.removeprefix('agent_').upper()}"}],
        "ini": [{"section": "guest_agent_connection", "key": option}],
        "default": None,
    }
    for option in VARIABLES
    if option != "domain"
}
#: All that ``guest_of`` looks at.
NAMES: t.Final = frozenset({"inventory_hostname"}.union(*VARIABLES.values()))
#: What has a meaning only where the inventory's own host is: a path there, and a URI as seen from there.
_LOCAL: t.Final = frozenset({"uri", "socket"})

Options = t.Mapping[str, t.Mapping[str, t.Any]]


def host_of(variables: t.Mapping[str, t.Any], delegate: str | None) -> t.Mapping[str, t.Any]:
    """The variables of the host that a task is for, from the task's. Of a delegate Ansible keeps the name of who delegates."""
    if not delegate:
        return variables
    return {**variables.get("ansible_delegated_vars", {}).get(delegate, {}), "inventory_hostname": delegate}


def guest_of(
    variables: t.Mapping[str, t.Any], by_agent: bool = False, settings: t.Mapping[str, t.Any] | None = None
) -> dict[str, t.Any] | None:
    """What the host's variables say of its guest, or else ``settings`` (option -> value); None for a host that is none.

    A guest is a host with a domain, or one that is reached over the agent (``by_agent``): there its name is the domain's.
    """
    found = {option: _first(variables, names) for option, names in VARIABLES.items()}
    found.update({option: (settings or {}).get(option) for option, value in found.items() if value is None})
    if found["domain"] is None and by_agent:
        found["domain"] = variables.get("inventory_hostname")
    if not found["domain"]:
        return None
    return {option: value for option, value in found.items() if value is not None}


def elsewhere(guest: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What of it holds on another host too."""
    return {option: value for option, value in guest.items() if option not in _LOCAL}


def filled_in(args: t.Mapping[str, t.Any], guest: t.Mapping[str, t.Any], options: Options) -> dict[str, t.Any]:
    """``args`` with what they leave out and the guest's variables say, for a module with these ``options``."""
    filled = dict(args)
    for option, value in guest.items():
        names = names_of(option, options)
        name = next((name for name in names if name in options), None)
        if name is not None and not args.keys() & names:
            filled[name] = [value] if options[name].get("type") == "list" else value
    return filled


def names_of(option: str, options: Options) -> t.AbstractSet[str]:
    """Every name of the option in a module with these ``options``: guest_info takes several domains, and one under this name."""
    every = ({name, *about.get("aliases", ())} for name, about in options.items())
    return next((names for names in every if option in names), set())


def _first(variables: t.Mapping[str, t.Any], names: t.Iterable[str]) -> t.Any:
    return next((variables[name] for name in names if variables.get(name) is not None), None)
