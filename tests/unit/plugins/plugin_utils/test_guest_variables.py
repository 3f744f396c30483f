# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which guest a host is, and what of that a module is told."""

from __future__ import annotations

import importlib
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.virtops.guest_agent.plugins import modules
from ansible_collections.virtops.guest_agent.plugins.doc_fragments import _agent_connection, _agent_connection_posix
from ansible_collections.virtops.guest_agent.plugins.module_utils._task.spec import GUEST, REACH
from ansible_collections.virtops.guest_agent.plugins.modules import guest_info, snapshot
from ansible_collections.virtops.guest_agent.plugins.plugin_utils._guest_variables import (
    NAMES,
    SETTINGS,
    VARIABLES,
    elsewhere,
    filled_in,
    guest_of,
    host_of,
    names_of,
)

MODULES = Path(next(iter(modules.__path__)))
GUEST_VARIABLES = {
    "inventory_hostname": "web1",
    "ansible_guest_agent_domain": "4dea22b3",
    "ansible_guest_agent_uri": "qemu:///system",
    "ansible_guest_agent_timeout": 9,
    "ansible_guest_agent_socket": "/run/a.sock",
    "ansible_guest_agent_channel": "org.qemu.guest_agent.1",
}


@pytest.mark.parametrize(
    ("variables", "by_agent", "guest"),
    [
        ({"inventory_hostname": "kvm1"}, False, None),
        ({"inventory_hostname": "kvm1", "ansible_guest_agent_uri": "qemu:///system"}, False, None),
        ({"inventory_hostname": "web1", "ansible_guest_agent_domain": ""}, False, None),
        ({"inventory_hostname": "web1", "ansible_guest_agent_domain": "d"}, False, {"domain": "d"}),
        ({"inventory_hostname": "web1"}, True, {"domain": "web1"}),
        ({"inventory_hostname": "w", "ansible_guest_agent_domain": "d"}, True, {"domain": "d"}),
        ({"ansible_guest_agent_domain": "d", "ansible_libvirt_uri": "a:///"}, False, {"domain": "d", "uri": "a:///"}),
        (
            {"ansible_guest_agent_domain": "d", "ansible_libvirt_uri": "a:///", "ansible_guest_agent_uri": "b:///"},
            False,
            {"domain": "d", "uri": "b:///"},
        ),
    ],
)
def test_which_guest_a_host_is(variables: dict[str, t.Any], by_agent: bool, guest: dict[str, t.Any] | None) -> None:
    assert guest_of(variables, by_agent) == guest


def test_the_environment_is_weaker_than_variables() -> None:
    settings = {"uri": "env:///", "agent_timeout": 3, "socket": None}
    host = {"ansible_guest_agent_domain": "d"}
    assert guest_of(host, False, settings) == {"domain": "d", "uri": "env:///", "agent_timeout": 3}
    assert guest_of({**host, "ansible_libvirt_uri": "a:///"}, False, settings) == {
        "domain": "d",
        "uri": "a:///",
        "agent_timeout": 3,
    }
    assert guest_of({"inventory_hostname": "kvm1"}, False, settings) is None


def test_of_a_delegate_it_is_the_delegate_that_is_meant() -> None:
    """Ansible gives a delegate's variables with the name of the host that delegates."""
    variables = {**GUEST_VARIABLES, "ansible_delegated_vars": {"web2": {"inventory_hostname": "web1"}}}
    assert guest_of(host_of(variables, "web2"), True) == {"domain": "web2"}
    assert guest_of(host_of(variables, None)) == guest_of(GUEST_VARIABLES)
    assert guest_of(host_of(variables, "elsewhere")) is None


def test_what_holds_on_another_host() -> None:
    guest = guest_of(GUEST_VARIABLES)
    assert guest is not None
    assert guest.keys() - elsewhere(guest).keys() == {"uri", "socket"}


def test_what_the_task_says_is_stronger() -> None:
    guest = guest_of(GUEST_VARIABLES)
    assert guest is not None
    assert filled_in({"uri": "other:///", "cmd": "id"}, guest, GUEST) == {
        "domain": "4dea22b3",
        "uri": "other:///",
        "agent_timeout": 9,
        "cmd": "id",
    }
    assert filled_in({}, guest, REACH).keys() == {"domain", "uri", "agent_timeout", "socket", "channel"}


def test_a_task_may_call_the_domain_name() -> None:
    assert filled_in({"name": "x"}, {"domain": "4dea22b3"}, GUEST) == {"name": "x"}
    assert filled_in({"name": "x"}, {"domain": "4dea22b3"}, REACH) == {"name": "x"}


@pytest.mark.parametrize("module", sorted(path.stem for path in MODULES.glob("[!_]*.py")))
def test_every_module_takes_the_domain_by_name(module: str) -> None:
    options = importlib.import_module(f"{modules.__name__}.{module}").SPEC.options
    assert ("name" in names_of("domain", options)) is (module not in ("backup", "snapshot"))


def test_the_name_of_a_snapshot_is_no_domains() -> None:
    assert filled_in({"name": "x"}, {"domain": "4dea22b3"}, snapshot.SPEC.options) == {"name": "x", "domains": ["4dea22b3"]}
    assert names_of("domain", snapshot.SPEC.options) == {"domain", "domains"}


@pytest.mark.parametrize("given", [{"domain": "x"}, {"name": "x"}, {"domains": ["x", "y"]}])
def test_a_module_for_several_domains(given: dict[str, t.Any]) -> None:
    guest = {"domain": "4dea22b3"}
    assert filled_in({}, guest, guest_info.SPEC.options) == {"domains": ["4dea22b3"]}
    assert filled_in(given, guest, guest_info.SPEC.options) == given


def test_the_variables_are_those_of_the_connection() -> None:
    fragments = (_agent_connection, _agent_connection_posix)
    options = {}
    for fragment in fragments:
        options.update(yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION)["options"])
    for option, names in VARIABLES.items():
        documented = [variable["name"] for variable in options[option]["vars"]]
        assert list(names) == documented[::-1], option  # the last one that is set wins there
        assert set(names) <= NAMES
        for place in ("env", "ini"):
            assert SETTINGS.get(option, {}).get(place) == options[option].get(place), option
