# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hypervisor in memory and libvirt's own test driver get the same questions; what the fake gets wrong, fails here.

What the test driver cannot answer is not asked: agent commands, channels, waking, external snapshots, backups (test_backup.py
has them on real guests). Neither is what QEMU's driver
refuses with another code: the start of a domain that runs, the power button of one that is off.
"""

from __future__ import annotations

import queue
import typing as t
from pathlib import Path

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

import libvirt

from ansible_collections.virtops.guest_agent.plugins.module_utils._backup import documents
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import domain_xml, events
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import AUTOSTART, PERSISTENT, Domain, Hypervisor

Handle = t.Any
#: web and once run, db is off; once is transient.
NAMES = {"web": 1, "db": 2, "once": 3}
MAC = "52:54:00:00:00:01"
DEFINITION = 2
MEMORY = "<memory>524288</memory>"


def _xml(name: str) -> str:
    text = samples.domain_xml(name, NAMES[name], kind="test", macs=[MAC])
    disk = "<disk type='file'><driver name='qemu' type='qcow2'/><source file='/x'/><target dev='vda' bus='virtio'/></disk>"
    text = text.replace("</devices>", f"{disk}<memballoon model='virtio'/></devices>")
    return text.replace(MEMORY, f"{MEMORY}<title>of {name}</title><os><type>hvm</type></os>")


def _real(directory: Path) -> Handle:
    events.serve_events(libvirt)
    libvirt.registerErrorHandler(lambda *_details: None, None)
    network = "<network><name>default</name><bridge name='virbr0'/><ip address='192.168.122.1' netmask='255.255.255.0'/></network>"
    (directory / "node.xml").write_text(f"<node>{network}</node>", encoding="utf-8")
    handle = libvirt.open(f"test://{directory}/node.xml")
    handle.defineXML(_xml("web")).create()
    handle.lookupByName("web").setAutostart(1)
    handle.defineXML(_xml("db"))
    handle.createXML(_xml("once"), 0)
    return handle


def _fake() -> Handle:
    web, db, once = (Domain(name, number, state=5 if name == "db" else 1) for name, number in NAMES.items())
    for domain in (web, db, once):
        domain.text = _xml(domain.name())
        domain.known = {0: {MAC: ["192.168.122.3"]}}
    web.flags |= AUTOSTART
    once.flags = 0
    return Hypervisor(web, db, once).open()


@pytest.fixture
def handles(tmp_path: Path) -> t.Iterator[tuple[Handle, Handle]]:
    both = _fake(), _real(tmp_path)
    yield both
    for handle in both:
        handle.close()


class Refused(t.NamedTuple):
    code: int


Question = t.Callable[[Handle], t.Any]


def answer(question: Question, handle: Handle) -> t.Any:
    """The answer, or libvirt's number for the error; either with its type."""
    try:
        said = question(handle)
    except libvirt.libvirtError as error:
        return Refused(error.get_error_code()), bool(error.get_error_message())
    return said, type(said)


def of(name: str, method: str) -> Question:
    """A method that takes flags."""
    return lambda handle: getattr(handle.lookupByName(name), method)(0)


def _names(domains: t.Iterable[t.Any]) -> list[str]:
    return sorted(domain.name() for domain in domains)


def _after_its_end(handle: Handle) -> list[t.Any]:
    """What libvirt says of a transient domain that is off: to who knew it, to who looks for it, and of all."""
    domain = handle.lookupByName("once")
    domain.destroy()
    asked = (
        lambda _handle: domain.state(0),
        lambda handle: handle.lookupByName("once"),
        lambda handle: _names(handle.listAllDomains(0)),
    )
    return [answer(question, handle) for question in asked]


def _checkpoints(domain: t.Any) -> list[t.Any]:
    """What libvirt tells of two checkpoints, and of those that are left when the first is removed."""
    for name in ("one", "two"):
        domain.checkpointCreateXML(documents.checkpoint_xml(name, "/srv", ["vda"], []), 0)
    told = [(each.getName(), documents.parse_checkpoint(each.getXMLDesc(2))) for each in domain.listAllCheckpoints(2)]
    domain.checkpointLookupByName("one", 0).delete(0)
    return [*told, *(each.getName() for each in domain.listAllCheckpoints(2))]


def _shape(addresses: dict[str, t.Any]) -> list[t.Any]:
    """MAC addresses, and the keys with the types of the values."""
    return [
        (nic["hwaddr"].lower(), sorted(nic), [{key: type(value) for key, value in found.items()} for found in nic["addrs"]])
        for nic in addresses.values()
    ]


QUESTIONS: dict[str, Question] = {
    "all": lambda handle: _names(handle.listAllDomains(0)),
    "persistent": lambda handle: _names(handle.listAllDomains(PERSISTENT)),
    "autostart": lambda handle: _names(handle.listAllDomains(AUTOSTART)),
    "by name": lambda handle: handle.lookupByName("db").UUIDString(),
    "by UUID": lambda handle: handle.lookupByUUIDString(samples.uuid(1)).name(),
    "no such name": lambda handle: handle.lookupByName("nobody"),
    "no such UUID": lambda handle: handle.lookupByUUIDString(samples.uuid(9)),
    "states of all": lambda handle: sorted((d.name(), stats["state.state"]) for d, stats in handle.getAllDomainStats(1, 0)),
    "alive": lambda handle: handle.isAlive(),
    "URI and name": lambda handle: [type(text) for text in (handle.getURI(), handle.getHostname())],
    "runs": lambda handle: handle.lookupByName("web").state(0)[0],
    "is off": lambda handle: handle.lookupByName("db").state(0)[0],
    "is persistent": lambda handle: [handle.lookupByName(name).isPersistent() for name in NAMES],
    "XML": lambda handle: domain_xml.parse(handle.lookupByName("web").XMLDesc(0)).title,
    "definition": lambda handle: domain_xml.parse(handle.lookupByName("web").XMLDesc(DEFINITION)).title,
    "XML of one that is off": lambda handle: domain_xml.parse(handle.lookupByName("db").XMLDesc(0)).title,
    "memory": lambda handle: type(handle.lookupByName("web").memoryStats()["actual"]),
    "addresses": lambda handle: _shape(handle.lookupByName("web").interfaceAddresses(0, 0)),
    "power button": lambda handle: [handle.lookupByName("web").shutdownFlags(0), handle.lookupByName("web").state(0)[0]],
    "restart": of("web", "reboot"),
    "restart of one that is off": of("db", "reboot"),
    "reset": of("web", "reset"),
    "reset of one that is off": of("db", "reset"),
    "start": lambda handle: [handle.lookupByName("db").create(), handle.lookupByName("db").state(0)[0]],
    "destroyed": lambda handle: [handle.lookupByName("web").destroy(), handle.lookupByName("web").state(0)[0]],
    "destroyed when off": lambda handle: handle.lookupByName("db").destroy(),
    "a transient one ends": _after_its_end,
    "snapshots": of("web", "listAllSnapshots"),
    "checkpoints": lambda handle: handle.lookupByName("web").listAllCheckpoints(2),
    "no such checkpoint": lambda handle: handle.lookupByName("web").checkpointLookupByName("none", 0),
    "a checkpoint comes and goes": lambda handle: _checkpoints(handle.lookupByName("web")),
    "no such snapshot": lambda handle: handle.lookupByName("web").snapshotLookupByName("none", 0),
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_the_fake_says_what_libvirt_says(handles: tuple[Handle, Handle], question: Question) -> None:
    fake, real = handles
    assert answer(question, fake) == answer(question, real)


@pytest.mark.parametrize("kind", ["fake", "real"])
def test_events(handles: tuple[Handle, Handle], kind: str) -> None:
    handle = handles[kind == "real"]
    domain = handle.lookupByName("web")
    heard: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()

    def hear(_connection: object, _domain: object, event: int, detail: int, _opaque: object) -> None:
        heard.put((event, detail))

    number = handle.domainEventRegisterAny(domain, events.LIFECYCLE, hear, None)
    assert isinstance(number, int)
    with pytest.raises(libvirt.libvirtError, match="already tracked"):
        handle.domainEventRegisterAny(domain, events.LIFECYCLE, hear, None)
    domain.destroy()
    assert heard.get(timeout=60) == (5, 1)
    domain.create()
    assert heard.get(timeout=60) == (2, 0)
    domain.shutdownFlags(0)
    assert heard.get(timeout=60) == (5, 0)
    handle.domainEventDeregisterAny(number)
    domain.create()
    with pytest.raises(queue.Empty):
        heard.get(timeout=0.2)
