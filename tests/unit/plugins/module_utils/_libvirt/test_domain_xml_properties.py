# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any XML in a domain's place is read, or is a typed error: one odd definition costs nobody's inventory."""

from __future__ import annotations

import json
import typing as t
import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given, settings, strategies as st

from ansible_collections.virtops.guest_agent.plugins.module_utils._backup import documents
from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import LibvirtFailure
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import disk_images, domain_xml
from ansible_collections.virtops.guest_agent.plugins.module_utils._records import record as _record
from ansible_collections.virtops.guest_agent.plugins.module_utils._snapshot import images
from ansible_collections.virtops.guest_agent.tests.unit import samples

#: Where a number belongs: what int() refuses, what it takes and nobody means, and what Python does not print any more.
NUMBERS = st.sampled_from(
    ["", "0x", "-1", "0x1f", "010", "1_0", "\u0663", "1.5", " 2 ", "9" * 40, "9" * 5000, "0x" + "f" * 6000]
) | st.text("0123456789abcdefx-_ ", max_size=8)
WORDS = st.sampled_from(["", "virtio", "pci", "drive", "connected", "yes", "no", "file", "KiB", "GiB", domain_xml.AGENT_CHANNEL])
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc",), exclude_characters="\ufffe\uffff"), max_size=12)
VALUES = NUMBERS | WORDS | TEXTS
#: Path from the domain -> its attributes: all that is read, each in its place.
PLACES = {
    "": "type",
    "name": "",
    "uuid": "",
    "title": "",
    "description": "",
    "vcpu": "current",
    "memory": "unit",
    "pm/suspend-to-mem": "enabled",
    "metadata": "",
    "metadata/note": "text lang",
    "metadata/note/{urn:x}note": "text",
    "devices/controller": "type",
    "devices/channel/target": "type name state",
    "devices/interface": "type",
    "devices/interface/mac": "address",
    "devices/interface/source": "network bridge dev path",
    "devices/interface/target": "dev",
    "devices/disk": "type device snapshot",
    "devices/disk/serial": "",
    "devices/disk/source": "file dev name",
    "devices/disk/target": "dev bus",
    "devices/disk/mirror": "job ready",
    "devices/disk/address": "type domain bus slot function controller target unit",
    "devices/disk/backingStore/source": "file",
}


def _grow(root: ET.Element, path: str, anew: bool, attributes: dict[str, str], text: str) -> None:
    """``path`` under ``root``; ``anew``: beside what is there already."""
    *parents, last = path.split("/")
    for tag in parents:
        found = root.find(tag)
        root = ET.SubElement(root, tag) if found is None else found
    if last:
        found = None if anew else root.find(last)
        root = ET.SubElement(root, last) if found is None else found
    root.attrib.update(attributes)
    root.text = text


@st.composite
def domains(draw: st.DrawFn) -> str:
    root = ET.Element("domain")
    for path in draw(st.lists(st.sampled_from(sorted(PLACES)), max_size=10)):
        keys = st.sampled_from(PLACES[path].split() or ["x"])
        _grow(root, path, draw(st.booleans()), draw(st.dictionaries(keys, VALUES, max_size=8)), draw(VALUES))
    return ET.tostring(root, encoding="unicode")


def _address(**numbers: str) -> str:
    words = " ".join(f"{name}='{number}'" for name, number in numbers.items())
    return f"<domain><devices><disk><target dev='vda'/><address type='pci' {words}/></disk></devices></domain>"


READERS: list[t.Callable[[str], t.Any]] = [
    domain_xml.channels,
    domain_xml.has_serial_controller,
    domain_xml.power_management,
    lambda xml: domain_xml.plugged_channel(xml, domain_xml.AGENT_CHANNEL),
    disk_images.disks,
    images.parse_snapshot,
    documents.parse_checkpoint,
    documents.files_of,
]


@settings(max_examples=80)
@given(domains())
@example(_address(bus="0x"))
@example(_address(slot="9" * 5000))
@example(_address(function="0x" + "f" * 6000))
def test_whatever_stands_in_its_places_a_domain_is_read(xml: str) -> None:
    parsed = domain_xml.parse(xml)
    record = _record.build(samples.libvirt_part(metadata=parsed.metadata), parsed, _record.agent_part(), {})
    assert len(json.dumps([record, parsed], allow_nan=False)) < 40 * len(xml) + 4000
    assert 0 <= parsed.vcpus < 10**24
    assert parsed.memory_mib >= 0
    for disk in parsed.disks:
        assert all(0 <= number < 2**32 for number in (*(disk.pci or ()), *(disk.drive or ())))
    for read in READERS:
        read(xml)


@settings(max_examples=80)
@given(
    st.text(st.characters(codec=None, exclude_categories=()), max_size=60),
    st.text("<>/&;#x=' \"!?[]ab0\ud800", max_size=40),
    st.sampled_from(
        ["{0}{1}", "<domain>{0}{1}</domain>", "<domain {1}><name>{0}</name></domain>", "<?xml {1}?><domain>{0}</domain>"]
    ),
)
@example("\ud800", "", "<domain>{0}</domain>")
def test_any_text_is_a_domain_or_a_typed_error(text: str, markup: str, form: str) -> None:
    xml = form.format(text, markup)
    for read in (domain_xml.parse, *READERS):
        try:
            read(xml)
        except LibvirtFailure as error:
            assert str(error).isprintable()  # noqa: PT017
            assert len(str(error)) < 200  # noqa: PT017


@pytest.mark.parametrize("levels", [1, 30, 300, 50_000])
def test_metadata_of_any_depth_is_plain_data_of_little_depth(levels: int) -> None:
    """Whoever copies, templates or dumps a record goes down in it by calling himself."""
    xml = f"<domain><metadata>{'<a>' * levels}{'</a>' * levels}</metadata></domain>"
    metadata: t.Any = domain_xml.parse(xml).metadata
    depth = 0
    while isinstance(metadata, dict):
        depth, metadata = depth + 1, metadata["a"]
    assert depth == min(levels, domain_xml.METADATA_DEPTH_MAX)
    assert metadata == ("" if levels <= domain_xml.METADATA_DEPTH_MAX else None)


def test_entities_that_grow_without_measure_are_refused() -> None:
    entities = "".join(f"<!ENTITY e{n} '{f'&e{n - 1};' * 100 if n else 'x' * 100}'>" for n in range(5))
    with pytest.raises(LibvirtFailure):
        domain_xml.parse(f"<!DOCTYPE d [{entities}]><domain><name>&e4;</name></domain>")
