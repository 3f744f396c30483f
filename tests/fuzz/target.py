# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""python -m tests.fuzz.target NAME [libFuzzer's options] [FILE or DIRECTORY]: one target; with a FILE, only that input.

It ends with a traceback where the core raises what is no GuestAgentError, or hands on what is not bounded, printable JSON.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import atheris

# Only the core is what coverage guides through.
with atheris.instrument_imports(include=["ansible_collections.virtops.guest_agent.plugins.module_utils"]):
    from ansible_collections.virtops.guest_agent.plugins.module_utils import _deadline
    from ansible_collections.virtops.guest_agent.plugins.module_utils._agent import protocol
    from ansible_collections.virtops.guest_agent.plugins.module_utils._backup import documents
    from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import GuestAgentError
    from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.exec import Probe
    from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import disk_images, domain_xml
    from ansible_collections.virtops.guest_agent.plugins.module_utils._records import addresses, ask, record as _record
    from ansible_collections.virtops.guest_agent.plugins.module_utils._records.subsets import SUBSETS
    from ansible_collections.virtops.guest_agent.plugins.module_utils._snapshot import images

from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.fakes.liar import Liar
from ansible_collections.virtops.guest_agent.tests.unit.harmless import harmless, texts

from . import mutation, seeds

MOST = 4 * 1024 * 1024
SENTENCE_MAX = 1000
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
DOMAIN = domain_xml.parse(seeds.DOMAIN)
REQUEST = protocol.Request("guest-x", 7, "")


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _bytes(value: object) -> bytes:
    return str(value or "").encode("utf-8", "surrogatepass")


def of_reply(data: bytes) -> None:
    try:
        json.dumps(protocol.parse(REQUEST, data.split(b"\n")[0].decode("utf-8", "replace")).value)
    except GuestAgentError as error:
        _is_a_sentence(error)


def of_record(data: bytes) -> None:
    try:
        case = _mapping(json.loads(data))
    except (ValueError, RecursionError):
        return
    _deadline.time = FakeClock()  # type: ignore[assignment]
    wanted = [name for name in case.get("ask") or () if isinstance(name, str)] if isinstance(case.get("ask"), list) else []
    probes = {"mine": Probe(("true",), 5)} if "probes" in wanted else {}
    out, err, file = (_bytes(case.get(key)) for key in ("out", "err", "file"))
    liar = Liar(_mapping(case.get("return")), _mapping(case.get("error")), out=out, err=err, file=file)
    part, parts = ask.ask(liar.agent(), [name for name in wanted if name in SUBSETS] or ["os"], probes, NOW)
    record = _record.build(samples.libvirt_part(), DOMAIN, part, parts, 0)
    _is_plain(record)
    for found in addresses.usable(record["addresses"], addresses.AddressPolicy()):
        if found["mac"] not in {nic.mac for nic in DOMAIN.nics}:
            raise AssertionError(f"an address on an interface that the domain does not have: {found}")


def of_domain_xml(data: bytes) -> None:
    xml = data.decode("utf-8", "surrogateescape")
    for read in (
        domain_xml.parse,
        domain_xml.channels,
        domain_xml.power_management,
        disk_images.disks,
        images.parse_snapshot,
        documents.parse_checkpoint,
        documents.files_of,
    ):
        try:
            found = read(xml)
        except GuestAgentError as error:
            _is_a_sentence(error)
            continue
        if len(json.dumps(found, allow_nan=False, default=sorted)) > MOST:
            raise AssertionError("a domain without measure")


class Target(NamedTuple):
    one_input: Callable[[bytes], None]
    mutate: Callable[[bytes, int, int, mutation.Scribble], bytes]


TARGETS = {
    "reply": Target(of_reply, mutation.of_json),
    "record": Target(of_record, mutation.of_json),
    "domain_xml": Target(of_domain_xml, mutation.of_xml),
}


def _is_a_sentence(error: GuestAgentError) -> None:
    if len(str(error)) > SENTENCE_MAX or not harmless(str(error)):
        raise AssertionError(f"no sentence: {error!r}") from error


def _is_plain(value: Any) -> None:
    if len(json.dumps(value, allow_nan=False)) > MOST:
        raise AssertionError("data without measure")
    for text in texts(value):
        if not harmless(text):
            raise AssertionError(f"cannot be printed: {text!r}")


def main() -> None:
    target = TARGETS[sys.argv[1]]
    arguments = [f"{sys.argv[0]} {sys.argv[1]}", *sys.argv[2:]]
    atheris.Setup(
        arguments, target.one_input, custom_mutator=lambda data, most, seed: target.mutate(data, most, seed, atheris.Mutate)
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
