# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's variables and groups, and how it is reached."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._records.record import Record
from ansible_collections.virtops.guest_agent.plugins.plugin_utils._inventory import variables as _variables
from ansible_collections.virtops.guest_agent.tests.unit import samples

ADDRESS = "10.0.0.5"
WINDOWS = "virtops.guest_agent.windows"


CONNECTIONS = [
    # connection, addresses, whether the agent may execute, the variables beside those that say where
    ("none", [ADDRESS], True, None),
    ("auto", [ADDRESS, "10.0.0.6"], True, {"ansible_host": ADDRESS}),
    ("auto", [], True, {"ansible_connection": "virtops.guest_agent.agent"}),
    ("auto", [], False, {}),
    ("agent", [ADDRESS], False, {"ansible_host": ADDRESS, "ansible_connection": "virtops.guest_agent.agent"}),
    ("agent", [], True, {"ansible_connection": "virtops.guest_agent.agent"}),
    ("ssh", [ADDRESS], True, {"ansible_host": ADDRESS, "ansible_connection": "ssh"}),
    ("ssh", [], True, {"ansible_connection": "ssh"}),
    ("ssh_or_agent", [ADDRESS], True, {"ansible_host": ADDRESS, "ansible_connection": "virtops.guest_agent.ssh_or_agent"}),
    ("ssh_or_agent", [], True, {"ansible_connection": "virtops.guest_agent.agent"}),
    ("ssh_or_agent", [], False, {"ansible_connection": "virtops.guest_agent.ssh_or_agent"}),
]


@pytest.mark.parametrize(("connection", "addresses", "can_exec", "expected"), CONNECTIONS)
def test_how_to_reach_the_guest(connection: str, addresses: list, can_exec: bool, expected: dict | None) -> None:
    record = samples.record(agent={"can_exec": can_exec})
    where = {"ansible_guest_agent_uri": samples.URI, "ansible_guest_agent_domain": samples.uuid(1)}
    found = _variables.connection_vars(record, addresses, connection)
    assert found == ({} if expected is None else {**where, **expected})


@pytest.mark.parametrize(
    ("connection", "addresses", "windows", "way"),
    [
        ("auto", [ADDRESS], "psrp", "psrp"),
        ("auto", [ADDRESS], "winrm", "winrm"),
        ("auto", [ADDRESS], "none", None),
        ("auto", [], "psrp", None),
        ("ssh", [ADDRESS], "psrp", "ssh"),
        ("agent", [ADDRESS], "psrp", "virtops.guest_agent.agent"),
        ("auto", [ADDRESS], "agent", WINDOWS),
        ("auto", [], "agent", WINDOWS),
        ("ssh_or_agent", [], "agent", WINDOWS),
        ("agent", [], "agent", WINDOWS),
        ("ssh", [], "agent", "ssh"),
    ],
)
def test_how_to_reach_a_windows_guest(connection: str, addresses: list, windows: str, way: str | None) -> None:
    record = samples.record(agent={"can_exec": True}, os={"id": "mswindows"})
    found = _variables.connection_vars(record, addresses, connection, windows=windows)
    assert (found.get("ansible_connection"), found.get("ansible_host")) == (way, ADDRESS if addresses else None)
    assert "ansible_connection" not in _variables.connection_vars(record, [], "auto", ("kvm1", 2022), "psrp")


@pytest.mark.parametrize("windows", ["psrp", "agent"])
def test_another_system_is_not_reached_as_windows(windows: str) -> None:
    record = samples.record(agent={"can_exec": True}, os={"id": "debian"})
    assert "ansible_connection" not in _variables.connection_vars(record, [ADDRESS], "auto", windows=windows)
    unknown = samples.record(agent={"can_exec": True})
    for connection in ("auto", "agent"):
        found = _variables.connection_vars(unknown, [], connection, windows=windows)
        assert found["ansible_connection"] == "virtops.guest_agent.agent"


def test_a_windows_guest_whose_agent_may_not_execute_is_not_reached_by_it() -> None:
    record = samples.record(agent={"can_exec": False}, os={"id": "mswindows"})
    for addresses in ([ADDRESS], []):
        assert "ansible_connection" not in _variables.connection_vars(record, addresses, "auto", windows="agent")


def _forwarding(uri: str = "qemu+ssh://root@kvm1/system", state: str = "running", **forward: t.Any) -> Record:
    nic: t.Any = {
        "user_mode": True,
        "ip_addresses": [],
        "port_forwards": [{"address": None, "port": 2022, "to": 22, "ports": 1, **forward}],
    }
    return samples.record(libvirt={"uri": uri, "state": state}, interfaces=[{"ip_addresses": []}, nic])


@pytest.mark.parametrize(
    ("record", "place"),
    [
        (_forwarding(), ("kvm1", 2022)),
        (_forwarding(uri="qemu:///session"), ("127.0.0.1", 2022)),
        (_forwarding(address="192.0.2.10"), ("192.0.2.10", 2022)),
        (_forwarding(address="0.0.0.0"), ("kvm1", 2022)),
        (_forwarding(port=2000, to=20, ports=5), ("kvm1", 2002)),
        (_forwarding(port=2000, to=20, ports=2), None),
        (_forwarding(to=80), None),
        (_forwarding(state="shutoff"), None),
        (_forwarding(address="127.0.0.1"), None),
        (_forwarding(uri="qemu:///session", address="127.0.0.1"), ("127.0.0.1", 2022)),
        (samples.record(), None),
    ],
)
def test_a_port_that_leads_to_the_guests_ssh(record: Record, place: tuple | None) -> None:
    assert _variables.forwarded_ssh(record) == place


def test_a_forwarded_port_is_for_hosts_without_an_address() -> None:
    record, forward = samples.record(agent={"can_exec": True}), ("kvm1", 2022)
    found = _variables.connection_vars(record, [], "auto", forward)
    assert (found["ansible_host"], found["ansible_port"], found.get("ansible_connection")) == ("kvm1", 2022, None)
    assert "ansible_port" not in _variables.connection_vars(record, [ADDRESS], "auto", forward)
    assert "ansible_host" not in _variables.connection_vars(record, [], "none", forward)


@pytest.mark.parametrize(("prefix", "suffix"), [("", ""), ("x_", ""), ("", "_y"), ("x_", "_y")])
def test_host_variables(prefix: str, suffix: str) -> None:
    record = samples.record("web", 1, ADDRESS, hostname="inside", os={"id": "debian"}, users=[], users_total=0)
    found = _variables.host_vars(record, [ADDRESS], prefix, suffix)
    named = {name.removeprefix(prefix).removesuffix(suffix): value for name, value in found.items()}
    assert len(named) == len(found)
    assert named["libvirt_name"] == "web"
    assert named["guest_hostname"] == "inside"
    assert named["guest_addresses"] == [ADDRESS]
    assert named["guest_agent"]["status"] == "connected"
    assert named["guest_users_total"] == 0
    assert "guest_timezone" not in named
    assert all(name.startswith(prefix) and name.endswith(suffix) for name in found)


@pytest.mark.parametrize(
    ("record", "group_by", "names"),
    [
        (
            samples.record(os={"id": "debian"}),
            list(_variables.GROUPINGS),
            ["hypervisor_kvm1", "state_running", "os_debian", "agent_connected"],
        ),
        (samples.record(), ["os"], []),
        (samples.record(os={"id": None}), ["os"], []),
        (samples.record(os={"id": "opensuse-leap"}), ["os"], ["os_opensuse_leap"]),
        (samples.record(os={"id": "{{ lookup('pipe', 'x') }}"}), ["os"], ["os____lookup__pipe____x_____"]),
        (samples.record(os={"id": "x" * 255}), ["os"], ["os_" + "x" * 97]),
        (samples.record(os={"id": "ä\n"}), ["os"], ["os___"]),
        (samples.record(libvirt={"hypervisor": "kvm1.example.com"}), ["hypervisor"], ["hypervisor_kvm1_example_com"]),
        (samples.record(), [], []),
    ],
)
def test_groups(record: Record, group_by: list, names: list) -> None:
    assert _variables.group_names(record, group_by) == names
