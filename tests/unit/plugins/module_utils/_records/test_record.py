# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two views of one domain become one record."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given, strategies as st

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent import protocol
from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import filesystems, network, system
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt.domain_xml import Disk, DomainXml, Forward, Nic, parse
from ansible_collections.virtops.guest_agent.plugins.module_utils._records import interfaces as _interfaces, record as _record
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.harmless import harmless, texts

A, B, C = "52:54:00:00:00:0a", "52:54:00:00:00:0b", "52:54:00:00:00:0c"
NICS = (Nic(A, "default", "vnet0"), Nic(B, "br0", None))


def _nic(name: str, mac: str | None, *addresses: str, statistics: t.Any = None) -> network.GuestInterface:
    return {"interface_name": name, "mac": mac, "ip_addresses": list(addresses), "statistics": statistics}


def _short(interfaces: t.Sequence[_record.Interface]) -> list[tuple[t.Any, ...]]:
    return [(i["name"], i["interface_name"], i["mac"], i["ip_address"], i["info_source"]) for i in interfaces]


MERGES = [
    (None, [("default", None, A, None, "domain"), ("br0", None, B, None, "domain")]),
    ([], [("default", None, A, None, "domain"), ("br0", None, B, None, "domain")]),
    (
        [_nic("lo", None, "127.0.0.1/8"), _nic("eth1", B, "10.0.0.2/24", "10.0.0.3/24")],
        [
            ("br0", "eth1", B, "10.0.0.2", "domain, guest-agent"),
            ("default", None, A, None, "domain"),
            (None, "lo", None, "127.0.0.1", "guest-agent"),
        ],
    ),
    (  # a bridge carries its NIC's MAC: both belong to it
        [_nic("eth0", A), _nic("br0", A, "10.0.0.1/24"), _nic("docker0", C, "172.17.0.1/16")],
        [
            ("default", "eth0", A, None, "domain, guest-agent"),
            ("default", "br0", A, "10.0.0.1", "domain, guest-agent"),
            ("br0", None, B, None, "domain"),
            (None, "docker0", C, "172.17.0.1", "guest-agent"),
        ],
    ),
]


@pytest.mark.parametrize(("guest", "merged"), MERGES)
def test_interfaces_are_joined_by_mac(guest: t.Any, merged: list) -> None:
    assert _short(_interfaces.merge(NICS, guest)) == merged


def test_a_nic_without_a_mac_is_no_interface_without_one() -> None:
    """A passed-through device may have no MAC in the domain, and a tunnel has none in the guest: they are not the same."""
    merged = _interfaces.merge([Nic("", "hostdev", None)], [_nic("tun0", None, "10.8.0.1/24"), _nic("tap0", "", "10.9.0.1/24")])
    assert [(i["interface_name"], i["info_source"]) for i in merged] == [
        (None, "domain"),
        ("tun0", "guest-agent"),
        ("tap0", "guest-agent"),
    ]
    record = _record.build(
        samples.libvirt_part(),
        DomainXml("web", "u", "kvm", None, None, {}, 1, 512, "connected", (Nic("", "hostdev", None),), ()),
        samples.agent_part(),
        {"interfaces": [_nic("tun0", None, "10.8.0.1/24")]},
        10,
    )
    assert [(c["address"], c["source"]) for c in record["addresses"]] == [("10.8.0.1", "agent_unverified")]


def _build(parts: t.Any, max_items: int = 10, disks: tuple[Disk, ...] = ()) -> _record.Record:
    domain = DomainXml("web", "u", "kvm", None, None, {}, 1, 512, "connected", NICS, disks)
    return _record.build(samples.libvirt_part(), domain, samples.agent_part(), parts, max_items)


def test_only_the_domains_own_nics_are_believed() -> None:
    record = _build({"interfaces": [_nic("eth0", A, "10.0.0.1/24"), _nic("fake0", C, "10.0.0.66/24")]})
    assert [(c["address"], c["source"], c["network"]) for c in record["addresses"]] == [
        ("10.0.0.1", "agent", "default"),
        ("10.0.0.66", "agent_unverified", None),
    ]


#: FreeBSD's agent before 7.2 tells no MACs.
WITHOUT_MACS = [
    ([_nic("vtnet0", None, "10.0.0.1/24"), _nic("lo0", None, "127.0.0.1/8", "fe80::1/64")], "vtnet0"),
    ([_nic("lo", "00:00:00:00:00:00", "127.0.0.1/8"), _nic("eth0", None, "2001:db8::1/64")], "eth0"),
    ([_nic("vtnet0", None, "10.0.0.1/24"), _nic("tun0", None, "10.8.0.1/24")], None),  # which of them it is, is not known
    ([_nic("vtnet0", None, "fe80::1/64")], None),
    ([_nic("tun0", None, "10.8.0.1/24"), _nic("bond0", C)], None),  # this agent does tell MACs
    ([_nic("tun0", None, "10.8.0.1/24"), _nic("eth0", A)], None),
]


@pytest.mark.parametrize(("guest", "name"), WITHOUT_MACS)
def test_an_interface_without_a_mac_where_the_domain_has_one_nic(guest: t.Any, name: str | None) -> None:
    interfaces = _interfaces.merge(NICS[:1], guest)
    joined = [i for i in interfaces if i["info_source"] == "domain, guest-agent" and i["interface_name"] != "eth0"]
    if name is None:
        assert joined == []
        assert {c["source"] for c in _interfaces.candidates(interfaces)} <= {"agent_unverified"}
    else:
        (nic,) = (i for i in interfaces if i["interface_name"] == name)
        assert (nic["name"], nic["mac"], nic["info_source"]) == ("default", A, "domain, guest-agent")
        assert [c["source"] for c in _interfaces.candidates([nic])] == ["agent"]
    two = _interfaces.merge(NICS, guest)
    assert [i["interface_name"] for i in two if i["name"]] == [i["interface_name"] for i in two if i["mac"] in (A, B)]
    assert all(c["source"] == "agent_unverified" for c in _interfaces.candidates(two))


@pytest.mark.parametrize("kind", [{}, {"forwards": (Forward(None, 2022, 22, 1),)}])
def test_no_address_leads_into_user_mode_networking(kind: dict) -> None:
    """slirp gives every guest 10.0.2.15, passt gives each that of its hypervisor."""
    nics = (Nic(A, "user", None, user_mode=True, **kind), NICS[1])
    interfaces = _interfaces.merge(nics, [_nic("eth0", A, "192.0.2.10/24"), _nic("eth1", B, "10.0.0.1/24")])
    assert [(c["address"], c["source"]) for c in _interfaces.candidates(interfaces)] == [
        ("192.0.2.10", "agent_unverified"),
        ("10.0.0.1", "agent"),
    ]
    assert [i["user_mode"] for i in interfaces] == [True, False]
    forwards = [{"address": None, "port": 2022, "to": 22, "ports": 1}] if kind else None
    assert interfaces[0].get("port_forwards") == forwards


def test_what_was_not_answered_is_absent() -> None:
    assert set(_build({})) == {"libvirt", "agent", "interfaces", "addresses"}
    parts = {"hostname": "h", "os": {}, "timezone": {}, "probes": {}, "filesystems": [], "users": []}
    assert set(_build(parts)) == {"libvirt", "agent", "interfaces", "addresses", *parts, "filesystems_total", "users_total"}


def test_statistics_only_where_there_are_some() -> None:
    record = _build({"interfaces": [_nic("eth0", A, statistics={"rx_bytes": 1}), _nic("eth1", B)]})
    assert [i.get("statistics", "absent") for i in record["interfaces"]] == [{"rx_bytes": 1}, "absent"]


@pytest.mark.parametrize(("max_items", "shown"), [(10, 10), (3, 3), (0, 15), (99, 15)])
def test_lists_are_capped_and_the_total_is_said(max_items: int, shown: int) -> None:
    users = [{"user_name": f"u{number}", "domain": None, "login_time": 1.0} for number in range(15)]
    mounts = [{**_mount(), "mount_point": f"/{number}"} for number in range(15)]
    record = _build({"users": users, "filesystems": mounts}, max_items)
    assert (len(record["users"]), record["users_total"]) == (shown, 15)
    assert (len(record["filesystems"]), record["filesystems_total"]) == (shown, 15)
    assert record["users"][0]["user_name"] == "u0"


def _guest_disk(**values: t.Any) -> filesystems.GuestDisk:
    base = {"serial": None, "device": "/dev/x", "bus": "virtio", "pci": None, "bus_number": 0, "target_number": 0, "unit": 0}
    return t.cast(filesystems.GuestDisk, {**base, **values})


def _mount(*disks: filesystems.GuestDisk) -> filesystems.GuestFilesystem:
    return {
        "disk_name": "vda1",
        "mount_point": "/",
        "file_system_type": "ext4",
        "total_bytes": 10,
        "used_bytes": 5,
        "total_bytes_privileged": None,
        "disks": list(disks),
    }


DISKS = (
    Disk("vda", "root", "virtio", (0, 4, 0, 0), None),
    Disk("vdb", None, "virtio", (0, 5, 0, 0), None),
    Disk("vdc", "a serial number of thirty chars", "virtio", (0, 6, 0, 0), None),
    Disk("sda", None, "scsi", (0, 7, 0, 0), (0, 0, 2)),
    Disk("sdb", "data", "scsi", (0, 8, 0, 0), (0, 0, 3)),
    Disk("sdc", None, "scsi", (0, 8, 0, 0), (0, 0, 2)),
    Disk("sdd", None, "sata", (0, 0, 31, 2), (0, 0, 0)),
    Disk("sde", None, "sata", (0, 0, 31, 2), (0, 0, 1)),
    Disk("sdf", "twice", "scsi", (0, 8, 0, 0), (0, 0, 5)),
    Disk("sdg", "twice", "scsi", (0, 8, 0, 0), (0, 0, 6)),
    Disk("sdh", "stick", "usb", None, None),
    Disk("sdi", " ", "scsi", None, (0, 0, 9)),
)
LONG = "a serial number of t"


@pytest.mark.parametrize(
    ("disk", "target"),
    [
        ({"pci": (0, 5, 0, 0)}, "vdb"),
        ({"pci": (0, 9, 0, 0)}, None),
        ({"pci": (0, 9, 0, 0), "bus": "scsi", "serial": "data"}, "sdb"),
        ({"serial": "root"}, "vda"),
        ({"serial": "nothing"}, None),
        # of the serial number, whatever the guest's numbers say
        ({"serial": LONG}, "vdc"),
        ({"serial": LONG.replace(" ", "_"), "pci": (0, 4, 0, 0)}, "vdc"),
        ({"bus": "scsi", "serial": "0QEMU_QEMU_HARDDISK_data", "pci": (0, 7, 0, 0), "unit": 2}, "sdb"),
        ({"bus": "unknown", "serial": "QEMU_QEMU_HARDDISK_stick-0:0"}, "sdh"),
        ({"serial": "another", "pci": (0, 4, 0, 0)}, None),
        ({"bus": "scsi", "serial": "drive-scsi0-0-0-2", "pci": (0, 7, 0, 0), "unit": 2}, "sda"),
        ({"bus": "scsi", "serial": "twice"}, None),
        ({"bus": "scsi", "serial": "twice", "pci": (0, 8, 0, 0), "unit": 6}, "sdg"),
        # the bus must fit: Windows calls virtio scsi
        ({"bus": "virtio", "serial": "data"}, None),
        ({"bus": "scsi", "serial": "root"}, "vda"),
        ({"bus": "scsi", "pci": (0, 5, 0, 0)}, "vdb"),
        ({"bus": "sata", "pci": (0, 5, 0, 0)}, None),
        ({"bus": "unknown", "pci": (0, 5, 0, 0)}, None),
        # numbers mean something on their controller only
        ({"bus": "scsi", "pci": (0, 7, 0, 0), "unit": 2}, "sda"),
        ({"bus": "scsi", "pci": (0, 8, 0, 0), "unit": 2}, "sdc"),
        ({"bus": "sas", "pci": (0, 8, 0, 0), "unit": 2}, "sdc"),
        ({"bus": "scsi", "pci": (0, 8, 0, 0), "unit": 7}, None),
        ({"bus": "scsi", "unit": 2}, None),
        ({"bus": "sata", "pci": (0, 0, 31, 2), "unit": 1}, "sde"),
        ({"bus": "sata"}, None),
        ({"bus": "scsi", "unit": 9}, None),
        ({}, None),
    ],
)
def test_a_guests_disk_is_found_in_the_domain(disk: dict, target: str | None) -> None:
    found = _build({"filesystems": [_mount(_guest_disk(**disk))]}, disks=DISKS)["filesystems"][0]["disks"][0]
    assert found["target"] == target


WINDOWS_XML = """<domain><devices>
<disk device='cdrom'><target dev='sda' bus='sata'/><address type='drive' controller='0' bus='0' target='0' unit='0'/></disk>
<disk device='cdrom'><target dev='sdb' bus='sata'/><address type='drive' controller='0' bus='0' target='0' unit='1'/></disk>
<disk><target dev='sdc' bus='scsi'/><address type='drive' controller='0' bus='0' target='0' unit='0'/></disk>
<controller type='sata' index='0'><address type='pci' domain='0x0000' bus='0x00' slot='0x1f' function='0x2'/></controller>
<controller type='scsi' index='0'><address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/></controller>
</devices></domain>"""


def test_the_system_disk_of_a_windows_guest_is_not_its_cd() -> None:
    guest = FakeGuest()
    no_pci = {"domain": -1, "bus": -1, "slot": -1, "function": -1}
    iso = {"bus-type": "sata", "pci-controller": no_pci, "bus": 0, "target": 0, "unit": 0}
    system = {**iso, "bus-type": "scsi", "serial": "AAAAAAAA", "pci-controller": {"domain": 0, "bus": 4, "slot": 0, "function": 0}}
    guest.replies["guest-get-fsinfo"] = [
        {"name": name, "mountpoint": name, "type": kind, "disk": [disk]}
        for name, kind, disk in (("D:", "CDFS", iso), ("E:", "UDF", iso), ("C:", "NTFS", system))
    ]
    disks = parse(WINDOWS_XML).disks
    found = _build({"filesystems": filesystems.filesystems(guest.agent())}, disks=disks)["filesystems"]
    assert {each["mount_point"]: each["disks"][0]["target"] for each in found} == {"C:": "sdc", "D:": None, "E:": None}


@pytest.mark.parametrize(
    ("error", "status", "reason", "hint"),
    [
        (None, "unknown", "it was not asked", ""),
        (_errors.AgentDisconnected("nobody", hint="start it"), "disconnected", "nobody", "start it"),
        (_errors.CommandFailed("it failed"), "connected", "it failed", ""),
    ],
)
def test_the_agent_of_which_little_is_known(error: t.Any, status: str, reason: str, hint: str) -> None:
    part = _record.agent_part(error)
    assert (part["connected"], part["status"], part["reason"], part["hint"]) == (False, status, reason, hint)


def test_what_makes_a_domain_itself() -> None:
    assert _record.key(samples.record(number=1)) == f"{samples.URI} {samples.uuid(1)}"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
TEXTS = st.text(alphabet=st.characters() | st.sampled_from("\x00\x1b\n\u202e:%/"), max_size=40)


def _objects(**members: t.Any) -> t.Any:
    """Objects as the agent gives them, now and then with a member missing or of another type."""
    return st.fixed_dictionaries({}, optional={name.replace("_", "-"): kind | VALUES for name, kind in members.items()})


ADDRESSES = _objects(ip_address=TEXTS | st.ip_addresses().map(str), prefix=st.integers(0, 140))
INTERFACES = _objects(
    name=TEXTS,
    hardware_address=TEXTS | st.sampled_from([A, B, C, A.upper()]),
    ip_addresses=st.lists(ADDRESSES, max_size=3),
    statistics=_objects(rx_bytes=st.integers()),
)
GUEST_DISKS = _objects(
    bus_type=TEXTS,
    serial=TEXTS,
    bus=st.integers(),
    unit=st.integers(),
    pci_controller=_objects(domain=st.integers(), bus=st.integers(), slot=st.integers(), function=st.integers()),
)
MOUNTS = _objects(name=TEXTS, mountpoint=TEXTS, type=TEXTS, used_bytes=st.integers(0), disk=st.lists(GUEST_DISKS, max_size=2))
USERS = _objects(user=TEXTS, domain=TEXTS, login_time=st.floats())
READERS: dict[str, tuple[str, t.Callable[..., t.Any], t.Any]] = {
    "interfaces": ("guest-network-get-interfaces", network.interfaces, st.lists(INTERFACES, max_size=3)),
    "filesystems": ("guest-get-fsinfo", filesystems.filesystems, st.lists(MOUNTS, max_size=3)),
    "users": ("guest-get-users", system.users, st.lists(USERS, max_size=3)),
    "os": ("guest-get-osinfo", system.os_info, _objects(id=TEXTS, name=TEXTS, version_id=TEXTS)),
    "hostname": ("guest-get-host-name", system.hostname, _objects(host_name=TEXTS)),
    "timezone": ("guest-get-timezone", system.timezone, _objects(zone=TEXTS, offset=st.integers(-99999, 99999))),
}


@pytest.mark.parametrize("part", READERS)
@given(data=st.data())
def test_whatever_an_agent_says_the_record_is_harmless(part: str, data: st.DataObject) -> None:
    command, read, replies = READERS[part]
    guest = FakeGuest()
    guest.replies[command] = data.draw(replies | VALUES)
    try:
        answer = read(guest.agent())
    except _errors.GuestAgentError as error:
        answer = None
        assert harmless(str(error)), str(error)  # noqa: PT017
    if answer is not None:
        record = _build({part: answer}, disks=DISKS)
        assert all(harmless(text) for text in texts(record))
        assert max(map(len, texts(record))) <= protocol.REQUEST_MAX
