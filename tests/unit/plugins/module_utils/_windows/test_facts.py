# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of a Windows guest, by the names that ansible.windows.setup has."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import network, system
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import guest_facts
from ansible_collections.virtops.guest_agent.plugins.module_utils._windows import facts
from ansible_collections.virtops.guest_agent.tests.unit.fakes.windows import VERSIONS, FakeWindows

OS: dict[str, t.Any] = {
    "id": "mswindows",
    "pretty_name": "Windows Server 2022 Standard",
    "version": "Microsoft Windows Server 2022",
    "version_id": "2022",
    "variant_id": "server",
    "kernel_version": "10.0",
    "kernel_release": "20348",
    "machine": "x86_64",
    "name": "Microsoft Windows",
    "variant": "server",
}


def test_a_server() -> None:
    assert guest_facts.os_facts(t.cast(t.Any, OS), {}) == {
        "distribution": "Microsoft Windows Server 2022 Standard",
        "distribution_version": "10.0.20348.0",
        "distribution_major_version": "10",
        "os_family": "Windows",
        "os_name": "Microsoft Windows Server 2022 Standard",
        "os_product_type": "server",
        "system": "Win32NT",
        "kernel": "10.0.20348.0",
        "kernel_version": "10.0",
        "machine": "x86_64",
        "architecture": "64-bit",
        "architecture2": "x86_64",
    }


@pytest.mark.parametrize(
    ("said", "name", "expected"),
    [
        ({"kernel_release": None}, "distribution_version", "NA"),
        ({"kernel_version": "10.0{{ x }}"}, "kernel", "NA"),
        ({"variant_id": "client"}, "os_product_type", "workstation"),
        ({"variant_id": "x"}, "os_product_type", "unknown"),
        ({"machine": "sparc"}, "architecture", None),
        ({"machine": "aarch64"}, "architecture2", "arm64"),
        ({"pretty_name": "Microsoft Windows 10"}, "distribution", "Microsoft Windows 10"),
        ({"pretty_name": None}, "distribution", "Microsoft Windows"),
    ],
)
def test_what_it_says_otherwise(said: dict[str, t.Any], name: str, expected: t.Any) -> None:
    assert facts.system({**OS, **said})[name] == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_as_recorded(version: str) -> None:
    agent = FakeWindows(version).agent()
    found = facts.system(system.os_info(agent))
    assert (found["distribution"], found["distribution_version"]) == ("Microsoft Windows 10", "10.0.18362.0")
    told = facts.interfaces(network.interfaces(agent))
    assert [each["connection_name"] for each in told] == ["ifb0", "ifb1", "eth0"]
    assert told[2] == {
        "connection_name": "eth0",
        "macaddress": "02:FC:00:00:00:01",
        "ipv4": {"address": "192.0.2.2", "prefix": "24"},
        "ipv6": {"address": "fd00::2", "prefix": "64"},
    }
    assert (told[0]["ipv4"], told[0]["ipv6"]) == (None, None)


def test_several_addresses_are_a_list() -> None:
    interface = {"interface_name": "Ethernet", "mac": "52:54:00:00:00:01", "ip_addresses": ["192.0.2.1/24", "192.0.2.2/24"]}
    assert facts.interfaces([interface])[0]["ipv4"] == [{"address": f"192.0.2.{last}", "prefix": "24"} for last in (1, 2)]


def test_a_volume_is_no_device_of_a_unix() -> None:
    volume = "\\\\?\\Volume{x}\\"
    found: t.Any = [
        {
            "mount_point": "C:\\",
            "disk_name": volume,
            "file_system_type": "NTFS",
            "total_bytes": 9,
            "used_bytes": 4,
            "total_bytes_privileged": None,
        }
    ]
    (mount,) = guest_facts.mount_facts(found, {})["mounts"]
    assert (mount["mount"], mount["device"], mount["size_available"]) == ("C:\\", volume, 5)
