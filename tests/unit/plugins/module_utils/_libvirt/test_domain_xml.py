# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Domain XML as libvirt writes it, and as odd definitions leave it."""

from __future__ import annotations

import contextlib
import json
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, strategies as st

from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import LibvirtFailure
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import domain_xml
from ansible_collections.virtops.guest_agent.tests.unit import samples

RUNNING = """
<domain type='kvm' id='3'>
  <name>web</name>
  <uuid>5d3f0f1e-0000-4000-8000-00000000000a</uuid>
  <title>The web server</title>
  <description>Serves the web.</description>
  <metadata>
    <lab:owner xmlns:lab="urn:example:lab" team="net"><lab:name>ann</lab:name><lab:name>bob</lab:name></lab:owner>
    <libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0">
      <libosinfo:os id="http://debian.org/debian/12"/>
    </libosinfo:libosinfo>
    <note xmlns="urn:example:note" lang="en">kept</note>
    <plain xmlns="urn:example:plain"> text </plain>
  </metadata>
  <memory unit='KiB'>2097152</memory>
  <vcpu placement='static'>4</vcpu>
  <devices>
    <disk type='file' device='disk'>
      <target dev='vda' bus='virtio'/><serial>root</serial>
      <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/>
    </disk>
    <disk type='file' device='disk'>
      <target dev='sda' bus='scsi'/>
      <address type='drive' controller='0' bus='0' target='0' unit='2'/>
    </disk>
    <disk type='file' device='floppy'><target dev='fda'/></disk>
    <controller type='scsi' index='0'><address type='pci' domain='0x0000' bus='0x05' slot='0x00' function='0x0'/></controller>
    <controller type='sata' index='0'><address type='pci' domain='0x0000' bus='0x00' slot='0x1f' function='0x2'/></controller>
    <interface type='network'>
      <mac address='52:54:00:AA:BB:01'/><source network='default' bridge='virbr0'/><target dev='vnet0'/>
    </interface>
    <interface type='bridge'><mac address='52:54:00:aa:bb:02'/><source bridge='br0'/></interface>
    <interface type='direct'><mac address='52:54:00:aa:bb:03'/><source dev='eno1' mode='bridge'/></interface>
    <interface type='user'><mac address='52:54:00:aa:bb:04'/></interface>
    <interface type='hostdev'/>
    <channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0' state='disconnected'/></channel>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.1' state='disconnected'/></channel>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>
  </devices>
</domain>
"""


def _domain(inner: str = "", kind: str = "kvm") -> str:
    return f"<domain type='{kind}'><name>x</name><uuid>u</uuid>{inner}</domain>"


def _channel(state: str = "", name: str = "org.qemu.guest_agent.0", kind: str = "virtio") -> str:
    attribute = f" state='{state}'" if state else ""
    return f"<devices><channel type='unix'><target type='{kind}' name='{name}'{attribute}/></channel></devices>"


def test_a_running_domain() -> None:
    found = domain_xml.parse(RUNNING)
    assert found.channels[domain_xml.AGENT_CHANNEL] == found.channel
    assert found._replace(nics=(), disks=(), metadata={}, channels={}) == domain_xml.DomainXml(
        name="web",
        uuid="5d3f0f1e-0000-4000-8000-00000000000a",
        kind="kvm",
        title="The web server",
        description="Serves the web.",
        metadata={},
        vcpus=4,
        memory_mib=2048,
        channel="connected",
        nics=(),
        disks=(),
    )
    assert found.nics == (
        domain_xml.Nic("52:54:00:aa:bb:01", "default", "vnet0"),
        domain_xml.Nic("52:54:00:aa:bb:02", "br0", None),
        domain_xml.Nic("52:54:00:aa:bb:03", "eno1", None),
        domain_xml.Nic("52:54:00:aa:bb:04", "user", None, user_mode=True),
        domain_xml.Nic("", "hostdev", None),
    )
    assert found.disks == (
        ("vda", "root", "virtio", (0, 4, 0, 0), None),
        ("sda", None, "scsi", (0, 5, 0, 0), (0, 0, 2)),
        ("fda", None, "", None, None),
    )
    assert found.metadata == {
        "owner": {"team": "net", "name": ["ann", "bob"]},
        "libosinfo": {"os": {"id": "http://debian.org/debian/12"}},
        "note": {"lang": "en", "text": "kept"},
        "plain": "text",
    }


@pytest.mark.parametrize(
    ("inner", "channel"),
    [
        ("", ""),
        ("<devices/>", ""),
        (_channel("connected"), "connected"),
        (_channel("disconnected"), "disconnected"),
        (_channel(), None),
        (_channel("connected", name="org.qemu.guest_agent.1"), ""),
        (_channel("connected", kind="guestfwd"), ""),
    ],
)
def test_the_channel(inner: str, channel: str | None) -> None:
    assert domain_xml.parse(_domain(inner)).channel == channel


PASST = "<backend type='passt'/><source dev='eth0'/><mac address='52:54:00:00:00:01'/>"
FORWARDED = [
    ("", ()),
    ("<portForward proto='tcp'><range start='2022' to='22'/></portForward>", ((None, 2022, 22, 1),)),
    ("<portForward proto='tcp' address='192.0.2.10'><range start='22'/></portForward>", (("192.0.2.10", 22, 22, 1),)),
    ("<portForward proto='tcp'><range start='8000' end='8010' to='80'/></portForward>", ((None, 8000, 80, 11),)),
    ("<portForward proto='udp'><range start='2022' to='22'/></portForward>", ()),
    # which ports are free on the hypervisor is not known, and 22 is often its own
    ("<portForward proto='tcp'/>", ()),
    ("<portForward proto='tcp' address='192.0.2.10'/>", ()),
    ("<portForward proto='tcp'><range start='20' end='30'/><range start='22' exclude='yes'/></portForward>", ()),
    ("<portForward proto='tcp'><range start='1' end='5'/><range start='22' exclude='yes'/></portForward>", ((None, 1, 1, 5),)),
    ("<portForward proto='tcp'><range start='x'/><range/><range start='9' end='3'/><range start='70000'/></portForward>", ()),
]


@pytest.mark.parametrize("kind", ["user", "vhostuser"])
@pytest.mark.parametrize(("inner", "forwards"), FORWARDED)
def test_passt_is_user_mode_networking_and_forwards_ports(kind: str, inner: str, forwards: tuple) -> None:
    """The device that it listens on is no network of the guest's."""
    (nic,) = domain_xml.parse(_domain(f"<devices><interface type='{kind}'>{PASST}{inner}</interface></devices>")).nics
    assert nic == domain_xml.Nic("52:54:00:00:00:01", "user", None, True, forwards)


def test_vhostuser_without_passt_is_a_switch_of_the_hypervisors() -> None:
    (nic,) = domain_xml.parse(_domain("<devices><interface type='vhostuser'><source path='/s'/></interface></devices>")).nics
    assert (nic.network, nic.user_mode, nic.forwards) == ("/s", False, ())


@pytest.mark.parametrize(
    ("memory", "mib"),
    [
        ("<memory>1048576</memory>", 1024),
        ("<memory unit='KiB'>1048576</memory>", 1024),
        ("<memory unit='k'>1048576</memory>", 1024),
        ("<memory unit='MiB'>512</memory>", 512),
        ("<memory unit='GiB'>2</memory>", 2048),
        ("<memory unit='b'>1073741824</memory>", 1024),
        ("<memory unit='bytes'>1073741824</memory>", 1024),
        ("<memory/>", 0),
        ("", 0),
    ],
)
def test_memory(memory: str, mib: int) -> None:
    assert domain_xml.parse(_domain(memory)).memory_mib == mib


def test_what_is_missing() -> None:
    found = domain_xml.parse("<domain/>")
    assert found == domain_xml.DomainXml("", "", "", None, None, {}, 1, 0, "", (), ())


@pytest.mark.parametrize("text", ["", "hello", "<domain>", "<domain></network>", "\x00"])
def test_what_is_no_xml(text: str) -> None:
    with pytest.raises(LibvirtFailure, match="cannot be read"):
        domain_xml.parse(text)


def test_a_kind_and_a_bus_address_in_any_notation() -> None:
    disk = "<devices><disk><target dev='vdb'/><address type='pci' domain='0' bus='0x1f' slot='3'/></disk></devices>"
    found = domain_xml.parse(_domain(disk, kind="lxc"))
    assert found.kind == "lxc"
    assert found.disks[0].pci == (0, 31, 3, 0)


#: What the parser looks at, and names that it does not know.
_TAGS = [
    "name",
    "uuid",
    "title",
    "metadata",
    "memory",
    "vcpu",
    "devices",
    "channel",
    "interface",
    "disk",
    "target",
    "source",
    "mac",
    "pm",
    "x",
]
_KEYS = ["type", "name", "state", "dev", "bus", "address", "unit", "network", "bridge", "current", "enabled"]
_VALUES = st.sampled_from(["virtio", domain_xml.AGENT_CHANNEL, "connected", "network", "KiB", "", "-1", "9" * 40]) | st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"), max_size=20
)


def _element(tag: str, attributes: dict[str, str], text: str, children: list[ET.Element]) -> ET.Element:
    element = ET.Element(tag, attributes)
    element.text = text
    element.extend(children)
    return element


_ELEMENTS = st.recursive(
    st.builds(_element, st.sampled_from(_TAGS), st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=3), _VALUES, st.just([])),
    lambda children: st.builds(
        _element,
        st.sampled_from(_TAGS),
        st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=3),
        _VALUES,
        st.lists(children, max_size=4),
    ),
    max_leaves=12,
)


@given(st.lists(_ELEMENTS, max_size=6))
def test_any_elements_in_any_place_are_read(elements: list[ET.Element]) -> None:
    """What libvirt adds one day, or what a hypervisor's owner writes into metadata, costs nobody's inventory."""
    xml = ET.tostring(_element("domain", {"type": "qemu"}, "", elements), encoding="unicode")
    parsed = domain_xml.parse(xml)
    assert parsed.channel in ("connected", "disconnected", None, "")
    json.dumps(parsed)
    domain_xml.channels(xml)
    domain_xml.has_serial_controller(xml)


@given(st.text(max_size=200))
def test_any_text_is_a_domain_or_a_typed_error(text: str) -> None:
    for xml in (text, f"<domain>{text}</domain>"):
        with contextlib.suppress(LibvirtFailure):
            assert domain_xml.parse(xml).vcpus >= 0


def test_all_channels_and_their_states() -> None:
    spice = "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0' state='disconnected'/></channel>"
    found = domain_xml.parse(samples.domain_xml().replace("<devices>", f"<devices>{spice}"))
    assert found.channels == {"com.redhat.spice.0": "disconnected", domain_xml.AGENT_CHANNEL: "connected"}
    assert (found.channel, found.channel_type) == ("connected", "unix")
