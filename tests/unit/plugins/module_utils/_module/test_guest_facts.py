# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts by the names and with the values of ansible.builtin.setup; and advice."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._commands.system import _OS_KEYS
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import guest_facts as _facts
from ansible_collections.virtops.guest_agent.plugins.module_utils._reach import advice


def _os(**values: str) -> t.Any:
    return {**dict.fromkeys(key.replace("-", "_") for key in _OS_KEYS), **values}


OS = [
    # os-release and uname, /etc/debian_version, (distribution, family, system, version, major, release)
    (_os(id="debian", version="12 (bookworm)", version_id="12"), "12.5", ("Debian", "Debian", "Linux", "12.5", "12", "bookworm")),
    (_os(id="debian", version="13 (trixie)", version_id="13"), "trixie/sid", ("Debian", "Debian", "Linux", "13", "13", "trixie")),
    (_os(id="debian", version="12 (bookworm)", version_id="12"), None, ("Debian", "Debian", "Linux", "12", "12", "bookworm")),
    (_os(id="debian", version_id="12"), "12.5\n{{ evil }}", ("Debian", "Debian", "Linux", "12", "12", "NA")),
    (_os(id="debian", version_id="12"), "12.5.6", ("Debian", "Debian", "Linux", "12", "12", "NA")),
    (
        _os(id="ubuntu", version="24.04 LTS (Noble Numbat)", version_id="24.04"),
        None,
        ("Ubuntu", "Debian", "Linux", "24.04", "24", "noble"),
    ),
    (_os(id="ubuntu", version_id="24.04"), "12.5", ("Ubuntu", "Debian", "Linux", "24.04", "24", "NA")),
    (_os(id="rhel", version="9.4 (Plow)", version_id="9.4"), None, ("RedHat", "RedHat", "Linux", "9.4", "9", "Plow")),
    (_os(id="rocky", version_id="9.4"), None, ("Rocky", "RedHat", "Linux", "9.4", "9", "NA")),
    (_os(id="alpine", version_id="3.20.1"), None, ("Alpine", "Alpine", "Linux", "3.20.1", "3", "NA")),
    (_os(id="sles", version_id="15.6"), None, ("SLES", "Suse", "Linux", "15.6", "15", "6")),
    (_os(id="freebsd", version_id="14.1"), None, ("FreeBSD", "FreeBSD", "FreeBSD", "14.1", "14", "NA")),
    (_os(id="void", name="Void"), None, ("Void", "Void", "Linux", "NA", "NA", "NA")),
    (_os(), None, (None, None, "Linux", "NA", "NA", "NA")),
    (
        _os(kernel_release="13.1-RELEASE-p5", kernel_version="FreeBSD 13.1-RELEASE-p5", machine="amd64"),
        None,
        ("FreeBSD", "FreeBSD", "FreeBSD", "13.1", "13", "13.1-RELEASE-p5"),
    ),
]


@pytest.mark.parametrize(("os", "debian_version", "expected"), OS)
def test_os(os: t.Any, debian_version: str | None, expected: tuple) -> None:
    texts = {} if debian_version is None else {"/etc/debian_version": debian_version}
    facts = _facts.os_facts(os, texts)
    names = ("distribution", "os_family", "system", "distribution_version", "distribution_major_version", "distribution_release")
    assert tuple(facts[name] for name in names) == expected


@pytest.mark.parametrize(
    ("machine", "architecture"), [("x86_64", "x86_64"), ("i686", "i386"), ("i386", "i386"), ("aarch64", "aarch64")]
)
def test_architecture(machine: str, architecture: str) -> None:
    assert _facts.os_facts(_os(machine=machine), {})["architecture"] == architecture


@pytest.mark.parametrize(("name", "short", "domain"), [("web", "web", ""), ("web.example.com", "web", "example.com")])
def test_hostname(name: str, short: str, domain: str) -> None:
    assert _facts.hostname_facts(name) == {"hostname": short, "nodename": name, "fqdn": name, "domain": domain}


def _nic(name: str, *addresses: str) -> t.Any:
    return {"interface_name": name, "mac": "52:54:00:00:00:01", "ip_addresses": list(addresses), "statistics": None}


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("eth0", "eth0"),
        ("lo", "lo"),
        ("enp1s0", "enp1s0"),
        ("br-1a2b", "br_1a2b"),
        ("eth0.100", "eth0_100"),
        ("veth1@if2", "veth1_if2"),
    ],
)
def test_an_interface_is_a_fact(name: str, fact: str) -> None:
    facts = _facts.interface_facts([_nic(name, "10.0.0.5/24")], None)
    assert facts[fact]["device"] == name
    assert facts["interfaces"] == [name]


@pytest.mark.parametrize(
    "name",
    [
        *("", "user", "password", "host", "connection", "become", "facts", "port", "default_ipv4", "all_ipv4_addresses"),
        *(
            "py3_interpreter",
            "py3-interpreter",
            "python3.interpreter",
            "py3@interpreter",
            "py3:interpreter",
            "python3_interpreter",
            "ssh_common_args",
            "shell_executable",
            "0eth",
            "a b0",
            "{{x}}0",
            "e" * 20 + "0",
            "eth0\n",
        ),
    ],
)
def test_an_interface_cannot_name_itself_after_something_else(name: str) -> None:
    """A guest that calls its interface "user" must not set ansible_user."""
    nameless = set(_facts.interface_facts([], None))
    assert set(_facts.interface_facts([_nic(name, "10.0.0.5/24")], None)) == nameless


def test_what_is_known_of_an_interface() -> None:
    nic = _nic("eth0", "10.0.0.5/24", "10.0.0.6/24", "2001:db8::5/64", "fe80::1/64", "::1/128")
    fact = _facts.interface_facts([nic], None)["eth0"]
    first = {"address": "10.0.0.5", "broadcast": "10.0.0.255", "netmask": "255.255.255.0", "network": "10.0.0.0", "prefix": "24"}
    assert fact == {
        "device": "eth0",
        "macaddress": "52:54:00:00:00:01",
        "ipv4": first,
        "ipv4_secondaries": [{**first, "address": "10.0.0.6"}],
        "ipv6": [
            {"address": "2001:db8::5", "prefix": "64", "scope": "global"},
            {"address": "fe80::1", "prefix": "64", "scope": "link"},
            {"address": "::1", "prefix": "128", "scope": "host"},
        ],
    }
    assert _facts.interface_facts([_nic("eth1")], None)["eth1"] == {"device": "eth1", "macaddress": "52:54:00:00:00:01"}


NICS = [
    _nic("lo", "127.0.0.1/8", "::1/128"),
    _nic("eth0", "fe80::1/64", "2001:db8::5/64"),
    _nic("eth1", "169.254.0.1/16", "10.0.0.5/24"),
]


@pytest.mark.parametrize(
    ("route", "ipv4", "gateway"),
    [
        (None, "10.0.0.5", None),
        ({"interface_name": "eth1", "gateway": "10.0.0.1"}, "10.0.0.5", "10.0.0.1"),
        ({"interface_name": "eth1", "gateway": None}, "10.0.0.5", None),
        ({"interface_name": "eth0", "gateway": "10.0.0.1"}, None, None),
    ],
)
def test_the_default_addresses(route: t.Any, ipv4: str | None, gateway: str | None) -> None:
    facts = _facts.interface_facts(NICS, route)
    assert facts["default_ipv4"].get("address") == ipv4
    assert facts["default_ipv4"].get("gateway") == gateway
    assert facts["default_ipv6"]["address"] == "2001:db8::5"
    assert facts["all_ipv4_addresses"] == ["169.254.0.1", "10.0.0.5"]
    assert facts["all_ipv6_addresses"] == ["fe80::1", "2001:db8::5"]


def _mount(**values: t.Any) -> t.Any:
    base = {"disk_name": "vda1", "mount_point": "/", "file_system_type": "ext4", "total_bytes": 90, "used_bytes": 30}
    return {**base, "total_bytes_privileged": None, "disks": [], **values}


@pytest.mark.parametrize(
    ("mount", "totals", "device", "size", "available"),
    [
        (_mount(), {}, "/dev/vda1", 90, 60),
        (_mount(), {"/": 100}, "/dev/vda1", 100, 60),
        (_mount(total_bytes_privileged=99), {}, "/dev/vda1", 99, 60),
        (_mount(disk_name="server:/export"), {}, "server:/export", 90, 60),
        (_mount(total_bytes=None), {}, "/dev/vda1", None, None),
        (_mount(used_bytes=None), {}, "/dev/vda1", 90, None),
    ],
)
def test_mounts(mount: t.Any, totals: dict, device: str, size: int | None, available: int | None) -> None:
    expected = {"mount": "/", "device": device, "fstype": "ext4", "size_total": size, "size_available": available}
    assert _facts.mount_facts([mount], totals) == {"mounts": [expected]}


@pytest.mark.parametrize(
    ("os_id", "words"),
    [
        ("rhel", "/etc/sysconfig/qemu-ga"),
        ("almalinux", "/etc/sysconfig/qemu-ga"),
        ("ubuntu", "/etc/default/qemu-guest-agent"),
        ("mswindows", "sc qc QEMU-GA"),
        ("alpine", "/etc/qemu/qemu-ga.conf or"),
        ("{{ evil }}", "/etc/qemu/qemu-ga.conf or"),
        (None, "/etc/qemu/qemu-ga.conf or"),
    ],
)
def test_advice(os_id: str | None, words: str) -> None:
    assert words in advice.allow_commands(os_id)
    assert "apt install qemu-guest-agent" in advice.install_agent()
