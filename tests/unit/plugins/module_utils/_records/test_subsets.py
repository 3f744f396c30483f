# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every subset of a record, through agents of both versions, through agents that refuse, and through agents that lie."""

from __future__ import annotations

import datetime
import gzip
import shutil
import subprocess
import tracemalloc
import typing as t

import pytest
import yaml
from hypothesis import given, settings, strategies as st

from ansible_collections.virtops.guest_agent.plugins.doc_fragments import _subsets as fragment
from ansible_collections.virtops.guest_agent.plugins.inventory import libvirt
from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import (
    cloud_init,
    hardware,
    packages,
    routes,
    ssh_host_keys,
    statistics,
    vcpus,
)
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import small_files
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt.domain_xml import Disk, parse
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import guest_facts as _facts
from ansible_collections.virtops.guest_agent.plugins.module_utils._records import (
    ask,
    probes,
    record as _record,
    subsets as _subsets,
)
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.subsets import DEFAULTS, SUBSETS
from ansible_collections.virtops.guest_agent.plugins.module_utils._windows.recognised import recognise
from ansible_collections.virtops.guest_agent.plugins.modules import guest_facts, guest_info
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import VERSIONS, FakeGuest, Program
from ansible_collections.virtops.guest_agent.tests.unit.fakes.windows import FakeWindows

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
MEMINFO = b"""MemTotal:         218172 kB
MemFree:          123160 kB
MemAvailable:     169616 kB
Buffers:            3824 kB
Cached:            46220 kB
SwapCached:            0 kB
SwapTotal:             0 kB
SwapFree:              0 kB
HugePages_Total:       0
"""
ROUTE = (
    b"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    b"eth0\t00000000\t0202000A\t0003\t0\t0\t1024\t00000000\t0\t0\t0\n"
    b"eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
)
IPV6_ROUTE = (
    b"fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000"
    b" 00000100 00000001 00000000 00000001     eth0\n"
    b"00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000002"
    b" 00000400 00000001 00000000 00450003     eth0\n"
    b"fe800000000000005054000fe3dd5250 80 00000000000000000000000000000000 00 00000000000000000000000000000000"
    b" 00000000 00000003 00000000 80200001     eth0\n"
    b"00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000"
    b" 00000000 00000003 00000000 80200001       lo\n"
    b"ff000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000"
    b" 00000100 00000004 00000000 00000001     eth0\n"
)
FILES = {
    "/proc/meminfo": MEMINFO,
    "/proc/loadavg": b"0.17 0.58 0.44 1/97 1234\n",
    "/proc/net/route": ROUTE,
    "/proc/net/ipv6_route": IPV6_ROUTE,
}
DPKG = b"dpkg\nii \tbase-files\t12.4+deb12u5\tamd64\nrc \tgone\t1\tall\nhi \tadduser\t3.134\tall\nend\t0\n"
LISTED = [
    {"name": "adduser", "version": "3.134", "arch": "all", "manager": "dpkg"},
    {"name": "base-files", "version": "12.4+deb12u5", "arch": "amd64", "manager": "dpkg"},
]
READING = small_files.READING
EXECUTING = ("guest-exec", "guest-exec-status")


def _programs(argv: tuple[str, ...]) -> Program | None:
    """cat, and the script that lists packages."""
    if "cat" in argv:
        content = FILES.get(argv[-1])
        return Program(0, b"", b"1\n") if content is None else Program(0, content, b"0\n")
    return Program(0, DPKG, b"0\n") if "dpkg-query" in argv[-1] else None


def _guest(version: str = "10.0", block: t.Iterable[str] = ()) -> FakeGuest:
    return FakeGuest(version, block, _programs, FILES)


@pytest.fixture(params=VERSIONS)
def guest(request: pytest.FixtureRequest) -> t.Iterator[FakeGuest]:
    found = _guest(request.param)
    yield found
    assert found.open_handles == 0


def test_what_is_gathered_when_nobody_says_what() -> None:
    """New subsets are for those who ask for them: they cost commands, and in guests time."""
    assert DEFAULTS == ("os", "hostname", "interfaces", "filesystems", "timezone", "users")
    assert (
        guest_info.SPEC.options["gather_subset"]["default"]
        == guest_facts.SPEC.options["gather_subset"]["default"]
        == list(DEFAULTS)
    )
    assert set(DEFAULTS) < set(SUBSETS)


@pytest.mark.parametrize("block", [(), READING], ids=["by file", "by program"])
def test_memory(block: tuple, guest: FakeGuest) -> None:
    guest.blocked |= {*block}
    assert statistics.memory(guest.agent()) == {
        "total_bytes": 218172 * 1024,
        "available_bytes": 169616 * 1024,
        "free_bytes": 123160 * 1024,
        "buffers_bytes": 3824 * 1024,
        "cached_bytes": 46220 * 1024,
        "swap_total_bytes": 0,
        "swap_free_bytes": 0,
        "balloon_bytes": None,
    }
    assert ("guest-exec" in guest.sent) is bool(block)


def test_load(guest: FakeGuest) -> None:
    found = statistics.load(guest.agent())
    if "guest-get-load" in guest.sent:
        assert found == {"1m": 3.42, "5m": 1.13, "15m": 0.4}
    else:
        assert found == {"1m": 0.17, "5m": 0.58, "15m": 0.44}


def test_routes(guest: FakeGuest) -> None:
    found = routes.routes(guest.agent())
    default = {"interface_name": "eth0", "destination": "0.0.0.0/0", "metric": 1024}
    assert [{**default, "gateway": route["gateway"]} for route in found if route["destination"] == "0.0.0.0/0"] == [found[0]]
    assert found[0]["gateway"] == "10.0.2.2"
    assert {"interface_name": "eth0", "destination": "::/0", "gateway": "fe80::2", "metric": 1024} in found
    assert {"interface_name": "eth0", "destination": "fe80::/64", "gateway": None, "metric": 256} in found
    # the loopback's, multicast, and the guest's own addresses
    assert not [route for route in found if route["destination"].endswith("/128") or route["interface_name"] == "lo"]
    assert not [route for route in found if route["destination"].startswith("ff")]


def test_a_guest_without_ipv6() -> None:
    guest = FakeGuest("7.2", files={"/proc/net/route": ROUTE})
    assert [route["destination"] for route in routes.routes(guest.agent())] == ["0.0.0.0/0", "10.0.2.0/24"]


ROUTES = [
    ({"destination": "10.0.0.0", "mask": "255.0.0.0", "gateway": "10.0.0.1", "version": 4}, "10.0.0.0/8"),
    ({"destination": "10.0.0.0", "mask": "255.0.255.0", "version": 4}, None),
    ({"destination": "10.0.0.0", "version": 4}, None),
    ({"destination": "{{ 7 * 7 }}", "mask": "255.0.0.0", "version": 4}, None),
    ({"destination": "2001:db8::", "desprefixlen": "64", "nexthop": "fe80::1%{{ x }}", "version": 6}, "2001:db8::/64"),
    ({"destination": "2001:db8::", "desprefixlen": "640", "version": 6}, None),
    ({"destination": "fe80::%eth0", "desprefixlen": "64", "version": 6}, None),
    ({"destination": "0.0.0.0", "mask": "0.0.0.0", "iface": "lo", "version": 4}, None),
]


@pytest.mark.parametrize(("route", "destination"), ROUTES)
def test_a_route_is_one_or_is_left_out(route: dict, destination: str | None) -> None:
    guest = FakeGuest()
    guest.replies["guest-network-get-route"] = [{"iface": "eth0", "metric": 0, **route}]
    found = routes.routes(guest.agent())
    assert [entry["destination"] for entry in found] == ([destination] if destination else [])
    assert not [entry for entry in found if "%" in (entry["gateway"] or "")]


@pytest.mark.parametrize("text", ["", "x", "eth0 zz", "eth0 0 0 0 0 0 x 0", "eth0 " + "0" * 100, "\0" * 9])
def test_lines_of_proc_that_are_no_routes(text: str) -> None:
    files = {"/proc/net/route": f"head\n{text}\n".encode(), "/proc/net/ipv6_route": f"{text}\n".encode()}
    assert routes.routes(FakeGuest("7.2", files=files).agent()) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_metric_that_no_kernel_has(version: str) -> None:
    """Python reads a longer number in hexadecimal than it can print."""
    ipv6 = f"{'0' * 32} 00 {'0' * 32} 00 fe80{'0' * 28} {'f' * 5000} 0 0 00000003 eth0\n"
    ipv4 = f"head\neth0 00000000 0202000A 0003 0 0 {'9' * 4000} 00000000\n"
    guest = FakeGuest(version, files={"/proc/net/route": ipv4.encode(), "/proc/net/ipv6_route": ipv6.encode()})
    guest.replies["guest-network-get-route"] = [
        {"iface": "eth0", "destination": "0.0.0.0", "mask": "0.0.0.0", "gateway": "10.0.2.2", "metric": 2**32, "version": 4}
    ]
    assert routes.routes(guest.agent()) == []
    assert routes.default_route(guest.agent()) is None


def test_vcpus_come_in_order(guest: FakeGuest) -> None:
    assert vcpus.vcpus(guest.agent())[0] == {"id": 0, "online": True, "can_offline": False}
    guest.replies["guest-get-vcpus"] = [{"logical-id": 2, "online": False}, {"logical-id": 1, "online": True, "can-offline": True}]
    assert vcpus.vcpus(guest.agent()) == [
        {"id": 1, "online": True, "can_offline": True},
        {"id": 2, "online": False, "can_offline": False},
    ]


def test_cpu_stats(guest: FakeGuest) -> None:
    found = statistics.cpu_stats(guest.agent())
    assert found[0]["cpu"] == 0
    assert found[0]["idle"] > 0
    assert "type" not in found[0]


def test_disk_stats(guest: FakeGuest) -> None:
    found = statistics.disk_stats(guest.agent())
    assert (found[0]["name"], found[0]["minor"]) == ("vda", 0)
    assert found[0]["statistics"]["read_ios"] > 0
    assert {"ios_pgr", "weight_ticks", "discard_ios", "flush_ticks"} <= set(found[0]["statistics"])


def test_disks_that_nobody_uses_come_last() -> None:
    guest = FakeGuest()
    disk = {"major": 7, "minor": 0}
    names = ["loop0", "vda", "loop1", "vdb"]
    guest.replies["guest-get-diskstats"] = [{**disk, "name": n, "stats": {"read-ios": int(n.startswith("vd"))}} for n in names]
    assert [found["name"] for found in statistics.disk_stats(guest.agent())] == ["vda", "vdb", "loop0", "loop1"]


def test_memory_blocks(guest: FakeGuest) -> None:
    found = statistics.blocks_of_memory(guest.agent())
    online = [block for block in found["blocks"] if block["online"]]
    assert (found["block_bytes"], found["online_bytes"]) == (134217728, len(online) * 134217728)
    assert [block["id"] for block in found["blocks"]] == list(range(found["blocks_total"]))


def test_disks(guest: FakeGuest) -> None:
    found = hardware.disks(guest.agent())
    assert (found[0]["name"], found[0]["partition"], found[0]["dependencies"]) == ("/dev/vda", False, [])
    address = found[0]["address"]
    assert address
    assert (address["bus"], address["device"]) == ("virtio", "/dev/vda")
    disk = _record.block_device(found[0], [Disk("vdx", None, "virtio", address["pci"], None)])
    assert (disk["target"], disk["bus"], disk["device"]) == ("vdx", "virtio", "/dev/vda")


def test_a_partition_has_no_address() -> None:
    guest = FakeGuest()
    guest.replies["guest-get-disks"] = [{"name": "/dev/vda1", "partition": True, "dependencies": ["/dev/vda"], "alias": "x"}]
    disk = _record.block_device(hardware.disks(guest.agent())[0], [])
    assert (disk["partition"], disk["dependencies"], disk["alias"]) == (True, ["/dev/vda"], "x")
    assert (disk["target"], disk["serial"], disk["device"], disk["bus"]) == (None, None, None, None)


@pytest.mark.parametrize("dependencies", ["/dev/vda", 5, {"a": 1}, [5], [["/dev/vda"]]])
def test_dependencies_that_are_none(dependencies: t.Any) -> None:
    guest = FakeGuest()
    guest.replies["guest-get-disks"] = [{"name": "/dev/vda1", "partition": True, "dependencies": dependencies}]
    if dependencies == "/dev/vda":
        assert hardware.disks(guest.agent())[0]["dependencies"] == ["/dev/vda"]
        return
    agent = guest.agent()
    if isinstance(dependencies, dict):
        dependencies = [dependencies]
    assert hardware.disks(agent)[0]["dependencies"] == []
    assert agent.left_out()[0].startswith("guest-get-disks: 1 of what the disks lie on left out, because the agent's reply has ")


@pytest.mark.parametrize("content", [b"", b"MemFree: 1 kB\n", b"MemTotal: x kB\n", b"MemTotal: " + b"9" * 99 + b" kB\n", b"\xff\0"])
def test_a_meminfo_that_is_none(content: bytes) -> None:
    with pytest.raises(_errors.ProtocolError, match="meminfo"):
        statistics.memory(FakeGuest(files={"/proc/meminfo": content}).agent())


@pytest.mark.parametrize("content", [b"", b"a b c", b"0.1 0.2 0.3", b"0.10 0.20", b"9999999999.00 0.00 0.00"])
def test_a_loadavg_that_is_none(content: bytes) -> None:
    with pytest.raises(_errors.ProtocolError, match="loadavg"):
        statistics.load(FakeGuest("7.2", files={"/proc/loadavg": content}).agent())


def test_devices_are_told_by_windows() -> None:
    guest = FakeGuest("7.2")
    with pytest.raises(_errors.CommandFailed, match="only the agent on Windows"):
        hardware.devices(guest.agent())
    agent = FakeWindows(block=["guest-get-devices"]).agent()
    recognise(agent)
    with pytest.raises(_errors.CommandBlocked):
        hardware.devices(agent)

    class Windows(FakeGuest):
        def _commands(self) -> dict[str, bool]:
            return {**super()._commands(), "guest-get-devices": True}

        def _info(self) -> t.Any:
            commands = [{"name": name, "enabled": enabled} for name, enabled in self._commands().items()]
            return {"version": "10.0.13", "supported_commands": commands}

    guest = Windows()
    guest.replies["guest-get-devices"] = [
        {
            "driver-name": "NetKVM",
            "driver-version": "1.2",
            "driver-date": 1_700_000_000_500_000_000,
            "id": {"type": "pci", "vendor-id": 6900, "device-id": 4161},
        },
        {"driver-name": "x"},
    ]
    first, second = hardware.devices(guest.agent())
    assert first == {
        "driver_name": "NetKVM",
        "driver_version": "1.2",
        "driver_date": 1_700_000_000.5,
        "vendor_id": 6900,
        "device_id": 4161,
    }
    assert set(second.values()) == {"x", None}


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
def test_packages(pack: t.Callable[[bytes], bytes], guest: FakeGuest) -> None:
    guest._programs = lambda _argv: Program(0, pack(DPKG), b"0\n")
    assert packages.packages(guest.agent()) == LISTED


@pytest.mark.parametrize(
    ("output", "kind", "words"),
    [
        (b"none\nend\t0\n", _errors.CommandFailed, "none of dpkg, rpm and apk"),
        (b"rpm\nii\ta\t1\tx86_64\nend\t1\n", _errors.CommandFailed, "rpm failed"),
        (b"rpm\nii\ta\t1\tx86_64\nii\tb", _errors.CommandFailed, "longer than"),
        (gzip.compress(DPKG, mtime=0)[:-20], _errors.CommandFailed, "longer than"),
        (b"", _errors.CommandFailed, "not listed within"),
        (b"evil\nend\t0\n", _errors.ProtocolError, "cannot be read"),
        (b"rpm\nii\ta\nend\t0\n", _errors.ProtocolError, "cannot be read"),
        (b"\x1f\x8b" + b"x" * 50, _errors.ProtocolError, "cannot be read"),
        (b"\xff" * 50, _errors.ProtocolError, "cannot be read"),
    ],
)
def test_packages_that_cannot_be_listed(output: bytes, kind: type, words: str) -> None:
    guest = FakeGuest(programs=lambda _argv: Program(0, output, b"0\n"))
    with pytest.raises(kind, match=words) as caught:
        packages.packages(guest.agent())
    assert caught.value.__class__ is kind


def test_a_list_of_packages_does_not_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_LIST_MAX", 1000)
    bomb = gzip.compress(b"dpkg\n" + b"ii\ta\t1\tall\n" * 500_000 + b"end\t0\n")
    agent = FakeGuest(programs=lambda _argv: Program(0, bomb, b"0\n")).agent()
    tracemalloc.start()
    try:
        with pytest.raises(_errors.CommandFailed, match="longer than"):
            packages.packages(agent)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_more_packages_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_PACKAGES_MAX", 3)
    output = b"rpm\n" + b"ii\ta\t1\tx86_64\n" * 3 + b"end\t0\n"
    with pytest.raises(_errors.ProtocolError, match="more than 3 packages"):
        packages.packages(FakeGuest(programs=lambda _argv: Program(0, output, b"0\n")).agent())


def test_what_a_package_is_called_is_cleaned() -> None:
    output = b"rpm\nii\ta\x1b[31m" + b"n" * 999 + b"\t1:2-3\t(none)\nend\t0\n"
    found = packages.packages(FakeGuest(programs=lambda _argv: Program(0, output, b"0\n")).agent())
    assert len(found[0]["name"]) == 255
    assert "\x1b" not in found[0]["name"]
    assert (found[0]["version"], found[0]["arch"], found[0]["manager"]) == ("1:2-3", None, "rpm")


def test_packages_of_windows() -> None:
    output = b"windows\r\nii\tSome Program\t1.0\t\r\nii\tOther\t2\tx86\r\nend\t0\r\n"
    guest = FakeWindows(programs=lambda argv: Program(0, output) if argv[0] == "powershell.exe" else None)
    agent = guest.agent()
    recognise(agent)
    found = packages.packages(agent)
    assert [(package["name"], package["arch"]) for package in found] == [("Other", "x86"), ("Some Program", None)]


APK = "C:Q1x=\nP:musl\nV:1.2.5-r0\nA:x86_64\nF:lib\nR:P:x\n\nC:Q1y=\nP:busybox\nV:1.36.1-r2\nA:x86_64\n"


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
@pytest.mark.parametrize("manager", ["dpkg", "apk", "rpm", "none"])
def test_the_script_on_real_shells(shell: str, manager: str, tmp_path: t.Any) -> None:
    """With stand-ins for the managers and their databases, but for dpkg, which this machine may have."""
    program = shutil.which(shell)
    if (shell, manager) == ("busybox", "rpm"):
        pytest.skip("SKIPPED OUT LOUD: packages of rpm are not tried with busybox, for it prefers an rpm of its own")
    if program is None:
        pytest.skip(f"SKIPPED OUT LOUD: packages are not tried with {shell}, for it is not installed here")
    dpkg, apk, rpm = tmp_path / "status", tmp_path / "installed", tmp_path / "rpm"
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("dpkg-query", "printf 'ii \\ta\\t1\\tall\\n'"), ("rpm", "printf 'ii\\tb\\t2-1\\tnoarch\\n'")):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    if manager == "dpkg":
        dpkg.write_text("x")
    if manager == "apk":
        apk.write_text(APK)
    if manager == "rpm":
        rpm.mkdir()
    script = packages._SCRIPT.replace("/var/lib/dpkg/status", str(dpkg)).replace("/lib/apk/db/installed", str(apk))
    script = script.replace("/var/lib/rpm", str(rpm)).replace("/usr/lib/sysimage/rpm", str(tmp_path / "no"))
    words = [program, *(["sh"] if shell == "busybox" else []), "-c", script]
    done = subprocess.run(words, capture_output=True, check=True, env={"PATH": f"{tools}:/usr/bin:/bin"}, timeout=20)
    output, agent = packages._unpacked(FakeGuest().agent(), done.stdout), FakeGuest().agent()
    if manager == "none":
        with pytest.raises(_errors.CommandFailed, match="none of"):
            packages._parse(agent, output)
        return
    names = [(package["name"], package["version"], package["arch"]) for package in packages._parse(agent, output)]
    expected = {"dpkg": [("a", "1", "all")], "rpm": [("b", "2-1", "noarch")]}
    assert names == expected.get(manager, [("busybox", "1.36.1-r2", "x86_64"), ("musl", "1.2.5-r0", "x86_64")])


@pytest.mark.parametrize(
    ("read", "version", "block", "named"),
    [
        (statistics.memory, "10.0", (*READING, *EXECUTING), "guest-file-open"),
        (statistics.load, "10.0", ("guest-get-load", *READING, *EXECUTING), "guest-get-load"),
        (statistics.load, "7.2", (*READING, *EXECUTING), "guest-file-open"),
        (routes.routes, "10.0", ("guest-network-get-route", *READING, *EXECUTING), "guest-network-get-route"),
        (packages.packages, "10.0", EXECUTING, "guest-exec"),
        (vcpus.vcpus, "10.0", ("guest-get-vcpus",), "guest-get-vcpus"),
        (statistics.blocks_of_memory, "10.0", ("guest-get-memory-blocks",), "guest-get-memory-blocks"),
    ],
)
def test_the_command_to_allow_is_named(read: t.Any, version: str, block: tuple, named: str) -> None:
    with pytest.raises(_errors.CommandBlocked) as caught:
        read(_guest(version, block).agent())
    assert caught.value.command == named


@pytest.mark.parametrize("read", [statistics.load, routes.routes])
def test_another_way_is_taken_where_the_first_is_blocked(read: t.Any) -> None:
    assert read(_guest(block=("guest-get-load", "guest-network-get-route")).agent())


#: What no agent may make of a subset: any reply gives plain data or a typed error.
VALUES: t.Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_ENTRY = {
    "guest-get-load": ["load1m", "load5m", "load15m"],
    "guest-get-vcpus": ["logical-id", "online", "can-offline"],
    "guest-get-cpustats": ["cpu", "user", "idle", "type"],
    "guest-get-diskstats": ["name", "major", "minor", "stats"],
    "guest-get-disks": ["name", "partition", "dependencies", "alias", "address"],
    "guest-get-memory-blocks": ["phys-index", "online", "can-offline"],
    "guest-get-memory-block-info": ["size"],
    "guest-network-get-route": ["iface", "destination", "metric", "version", "mask", "desprefixlen", "gateway", "flags"],
    "guest-exec": ["pid"],
}


@pytest.mark.parametrize("command", _ENTRY)
@settings(max_examples=25)
@given(data=st.data())
def test_no_reply_gets_through_unchecked(command: str, data: st.DataObject) -> None:
    guest = _guest()
    entry = st.fixed_dictionaries({}, optional=dict.fromkeys(_ENTRY[command], VALUES))
    guest.replies[command] = data.draw(VALUES | entry | st.lists(entry, max_size=3))
    wanted = [name for name in SUBSETS if name not in ("sessions",)]
    part, answers = ask.ask(guest.agent(), wanted, {}, NOW)
    # a process that the agent does not know is one of an agent before it
    assert part["status"] in ("connected", "broken", *(["disconnected"] if command == "guest-exec" else []))
    record = _record.build(samples.libvirt_part(), parse(samples.domain_xml()), part, answers)
    assert len(record.get("vcpus", ())) <= 10


def test_lists_are_cut_with_their_true_length_beside_them() -> None:
    guest = _guest()
    guest.replies["guest-get-vcpus"] = [{"logical-id": number, "online": True} for number in range(30)]
    guest.replies["guest-get-memory-blocks"] = [{"phys-index": number, "online": True} for number in range(30)]
    subsets = ("vcpus", "memory_blocks", "packages")
    part, answers = ask.ask(guest.agent(), subsets, {}, NOW)
    for most, seen in ((0, 30), (4, 4), (40, 30)):
        record = _record.build(samples.libvirt_part(), parse(samples.domain_xml()), part, answers, most)
        assert (len(record["vcpus"]), record["vcpus_total"]) == (seen, 30)
        assert (len(record["memory_blocks"]["blocks"]), record["memory_blocks"]["blocks_total"]) == (seen, 30)
        assert (record["packages"], record["packages_total"]) == (LISTED, 2)


def test_absurdly_long_lists_are_bounded() -> None:
    guest = FakeGuest()
    guest.replies["guest-get-cpustats"] = [{"cpu": 1}] * 20_000
    guest.replies["guest-network-get-route"] = [{"iface": "e", "destination": "10.0.0.0", "mask": "255.0.0.0", "version": 4}] * 9000
    assert len(statistics.cpu_stats(guest.agent())) == statistics._CPUS_MAX
    assert len(routes.routes(guest.agent())) == routes._ROUTES_MAX


def test_one_that_is_refused_hides_no_other_one() -> None:
    """Nor its reason."""
    guest = _guest(block=["guest-get-vcpus"])
    guest.raises["guest-get-disks"] = _errors.CommandFailed("udev is not there")
    guest.replies["guest-get-cpustats"] = 5
    part, answers = ask.ask(guest.agent(), tuple(name for name in SUBSETS if name != "sessions"), {}, NOW)
    assert set(SUBSETS) - set(answers) == {"vcpus", "disks", "cpu_stats", "devices", "sessions", "ssh_host_keys"}
    assert part["status"] == "connected"
    for words in ("blocks guest-get-vcpus", "guest-get-disks: udev is not there", "should be a list", "only the agent on Windows"):
        assert words in part["reason"]


def test_a_refused_family_is_named_once_and_whole() -> None:
    guest = _guest("7.2", block=(*READING, *EXECUTING))
    part, answers = ask.ask(guest.agent(), ("memory", "load", "routes", "packages"), {}, NOW)
    assert (part["status"], answers) == ("connected", {})
    assert part["reason"].count("guest-file-open") == part["reason"].count("guest-exec-status") == 1
    assert all(command in part["reason"] for command in (*READING, *EXECUTING))


def test_a_frozen_and_a_silent_guest_are_asked_no_further() -> None:
    guest = _guest()
    guest.frozen = True
    assert ask.ask(guest.agent(), tuple(SUBSETS), {}, NOW)[0]["status"] == "frozen"
    guest = _guest()
    guest.silent.add("guest-file-read")
    part, answers = ask.ask(guest.agent(), ("os", "memory", "load"), {}, NOW)
    assert (part["status"], set(answers)) == ("unresponsive", {"os"})
    assert guest.sent.count("guest-file-read") == 1


ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3wHlE2mYhGUvKVyyEsVEPRnGtBiy1n4nCl9OJoc1Qa"
KEY_PATH = "/etc/ssh/ssh_host_ed25519_key.pub"


@pytest.mark.parametrize("block", [(), READING], ids=["by file", "by program"])
def test_ssh_host_keys(block: tuple) -> None:
    def cat(argv: tuple[str, ...]) -> Program:
        return Program(0, f"{ED25519} root@web\n".encode(), b"0\n") if argv[-1] == KEY_PATH else Program(0, b"", b"1\n")

    guest = FakeGuest(block=block, files={KEY_PATH: f"{ED25519} root@web\n".encode()}, programs=cat)
    found = ssh_host_keys.host_keys(guest.agent())
    assert [(key["type"], key["key"], key["bits"], key["path"]) for key in found] == [(*ED25519.split(), 256, KEY_PATH)]
    assert found[0]["fingerprint"].startswith("SHA256:")
    assert found[0]["comment"] == "root@web"
    assert _facts.host_key_facts(found) == {
        "ssh_host_key_ed25519_public": ED25519.split()[1],
        "ssh_host_key_ed25519_public_keytype": "ssh-ed25519",
    }


@pytest.mark.parametrize(
    "content",
    [
        "",
        "x",
        "ssh-ed25519 AAAA",
        ED25519.replace("ssh-ed25519", "ssh-rsa"),
        f'command="x" {ED25519}',
        f"{ED25519} root@\x1bweb",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ],
)
def test_a_file_that_is_no_host_key(content: str) -> None:
    with pytest.raises(_errors.ProtocolError, match="is not a public host key") as caught:
        ssh_host_keys.host_keys(FakeGuest(files={KEY_PATH: content.encode()}).agent())
    assert "PRIVATE" not in str(caught.value)


def test_a_guest_without_host_keys_or_that_hides_them() -> None:
    guest = FakeGuest()
    with pytest.raises(_errors.CommandFailed, match="has no SSH host keys"):
        ssh_host_keys.host_keys(guest.agent())
    guest.raises["guest-file-open"] = _errors.CommandFailed("failed to open file: Permission denied")
    with pytest.raises(_errors.CommandFailed, match="Permission denied"):
        ssh_host_keys.host_keys(guest.agent())


def test_what_libvirt_adds() -> None:
    class Busy:
        def balloon_bytes(self) -> int | None:
            raise _errors.HypervisorUnreachable("QEMU is busy")

    parts = t.cast(_record.GuestParts, {"memory": statistics.memory(_guest().agent())})
    ask.complete(parts, Busy())
    assert parts["memory"]["balloon_bytes"] is None


def test_facts_have_setups_names() -> None:
    agent = _guest().agent()
    found = _facts.memory_facts(statistics.memory(agent))
    assert (found["memtotal_mb"], found["memfree_mb"], found["swaptotal_mb"]) == (213, 120, 0)
    assert found["memory_mb"]["nocache"] == {"free": 120 + 3 + 45, "used": 213 - 168}
    assert _facts.vcpu_facts(vcpus.vcpus(agent)) == {"processor_vcpus": 1, "processor_nproc": 1}


@pytest.mark.parametrize("value", [{}, {"x": ["a", 1]}, {"x": "a"}, {"x": {"command": ["a"], "timeout": 2}}])
def test_probes_that_can_be(value: t.Any) -> None:
    assert set(probes.probes(value)) == set(value)


@pytest.mark.parametrize("value", [{"x": []}, {"x": ""}, {"x": None}, {"x": {"timeout": 2}}, {"x": {"command": "a", "timeout": 0}}])
def test_probes_that_cannot_be(value: t.Any) -> None:
    with pytest.raises(_errors.InvalidInput, match="probes"):
        probes.probes(value)


RESULT = b'{"v1": {"datasource": "DataSourceNoCloud", "errors": []}}'
CLOUD = [
    ({"result.json": RESULT}, "done"),
    ({"result.json": RESULT.replace(b"[]", b'["x failed"]')}, "error"),
    ({"result.json": b'{"v1": {}}'}, "done"),
    ({"result.json": b'{"v1": {"errors": "x"}}'}, "done"),
    ({"result.json": b'{"v1": {"da'}, "not started"),  # it is just being written
    ({"disabled": b""}, "disabled"),
    ({"status.json": b'{"v1": {"stage": "modules-config"}}'}, "running"),
    ({"status.json": b'{"v1": {"stage": null}}'}, "running"),
    ({}, "not started"),
]


@pytest.mark.parametrize("block", [(), READING], ids=["by file", "by program"])
@pytest.mark.parametrize(("files", "status"), CLOUD)
def test_cloud_init(files: dict, status: str, block: tuple) -> None:
    there = {f"/run/cloud-init/{name}": content for name, content in files.items()}

    def cat(argv: tuple[str, ...]) -> Program:
        content = there.get(argv[-1])
        return Program(0, b"", b"1\n") if content is None else Program(0, content, b"0\n")

    guest = FakeGuest(block=block, files=there, programs=cat)
    found = cloud_init.status(guest.agent())
    assert found["status"] == status
    assert cloud_init.finished(found) is (status in ("done", "error", "disabled"))
    assert guest.open_handles == 0


@pytest.mark.parametrize("content", [b"[]", b"5", b'{"v1": 5}', b'{"v1": {"datasource": 5}}', b"{}"])
def test_what_cloud_init_never_writes(content: bytes) -> None:
    guest = FakeGuest(files={"/run/cloud-init/result.json": content})
    with pytest.raises(_errors.ProtocolError):
        cloud_init.status(guest.agent())


def test_what_cloud_init_says_is_bounded() -> None:
    errors = ", ".join([f'"{"x" * 900}"'] * 50)
    guest = FakeGuest(files={"/run/cloud-init/result.json": f'{{"v1": {{"errors": [{errors}]}}}}'.encode()})
    found = cloud_init.status(guest.agent())
    assert (len(found["errors"]), len(found["errors"][0])) == (20, 500)


def test_the_documented_choices_are_the_subsets() -> None:
    documented = yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION)["options"]["gather_subset"]
    assert list(documented["choices"]) == list(_subsets.SUBSETS)
    assert documented["default"] == list(DEFAULTS)
    assert yaml.safe_load(libvirt.DOCUMENTATION)["options"]["gather_subset"]["choices"] == list(_subsets.SUBSETS)
