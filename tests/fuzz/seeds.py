# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the fuzzer starts from: what real agents said, the lies of the fault suite's corpus, and a domain's XML."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ansible_collections.virtops.guest_agent.plugins.module_utils._records.subsets import SUBSETS
from ansible_collections.virtops.guest_agent.tests.faults import corpus
from ansible_collections.virtops.guest_agent.tests.unit.fakes.liar import REPORT, TEXTS, honest

MAX_LENGTH = 8192
DOMAIN = """<domain type='kvm' id='3'><name>web</name><uuid>5d3f0f1e-0000-4000-8000-00000000000a</uuid><title>The web server</title>
<description>Serves.</description><metadata><o:owner xmlns:o="urn:x" team="net"><o:name>ann</o:name><o:name>bob</o:name></o:owner>
<note lang="en">kept</note></metadata><memory unit='KiB'>2097152</memory><vcpu placement='static'>4</vcpu>
<pm><suspend-to-mem enabled='yes'/><suspend-to-disk enabled='no'/></pm><devices>
<controller type='virtio-serial' index='0'/>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/x'/><backingStore type='file'><format type='raw'/>
<source file='/y'/></backingStore><mirror type='file' job='active-commit' ready='yes'/><target dev='vda' bus='virtio'/>
<serial>root</serial><address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/></disk>
<disk type='network' device='cdrom'><target dev='sda' bus='scsi'/><readonly/>
<address type='drive' controller='0' bus='0' target='0' unit='2'/></disk>
<interface type='network'><mac address='52:54:00:AA:BB:01'/><source network='default'/><target dev='vnet0'/></interface>
<interface type='direct'><mac address='52:54:00:aa:bb:03'/><source dev='eno1' mode='bridge'/></interface>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel></devices></domain>"""
SNAPSHOT = """<domainsnapshot><name>s</name><memory snapshot='no'/><disks>
<disk name='vda' snapshot='external'><source file='/x'/></disk>
<disk name='sda' snapshot='no'/></disks></domainsnapshot>"""


def of_reply() -> Iterator[bytes]:
    """Whole messages."""
    for command, value in honest().items():
        for lie in corpus.ENTRIES.values() if command == "guest-get-osinfo" else ():
            yield lie({"return": value, "id": 7})
        yield corpus.lines({"return": value, "id": 7})
    for text in ("The command guest-x has not been found", "Command guest-x has been disabled", "No such file or directory"):
        yield corpus.lines({"error": {"class": "CommandNotFound", "desc": text}, "id": 7})
        yield corpus.lines({"error": {"class": "GenericError", "desc": text}, "id": 7})


def of_record() -> Iterator[bytes]:
    """Of each subset one that is honest, one whose agent is older, one whose agent refuses, and one for each lie."""
    old, new = honest("7.2"), honest()
    for name, subset in SUBSETS.items():
        command = subset.command
        text = TEXTS.get(name, "")
        yield _case([name], {command: new[command]}, text)
        yield _case([name], {"guest-info": old["guest-info"]}, text)
        yield _case([name], {}, text, {command: {"class": "GenericError", "desc": "Permission denied"}})
        for lie in corpus.ENTRIES.values():
            try:
                told = json.loads(lie({"return": new[command], "id": 7}))["return"]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            yield _case([name], {command: told}, text)
    yield _case(["probes"], {}, TEXTS["probes"])
    yield _case(list(SUBSETS), {}, TEXTS["sessions"])


def of_domain_xml() -> Iterator[bytes]:
    yield from (
        DOMAIN.encode(),
        SNAPSHOT.encode(),
        b"<domain/>",
        b"<!DOCTYPE d [<!ENTITY a 'xx'>]><domain><name>&a;</name></domain>",
    )


#: By the names of the targets.
SEEDS: dict[str, Callable[[], Iterator[bytes]]] = {"reply": of_reply, "record": of_record, "domain_xml": of_domain_xml}


def write(seeds: Iterator[bytes], place: Path) -> None:
    for number, seed in enumerate(seeds):
        if len(seed) <= MAX_LENGTH:
            (place / f"{number:04}").write_bytes(seed)


def _case(ask: list[str], returns: dict[str, Any], text: str, errors: dict[str, Any] | None = None) -> bytes:
    return json.dumps(
        {"ask": ask, "return": returns, "error": errors or {}, "out": text, "err": REPORT.decode(), "file": text}
    ).encode()
