# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever stands in the place of what an agent returns: there is a record, and it is bounded, printable JSON."""

from __future__ import annotations

import datetime
import functools
import ipaddress
import json
import typing as t

import pytest
from hypothesis import given, settings, strategies as st

from ansible_collections.virtops.guest_agent.plugins.module_utils import _deadline
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.exec import Probe
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt.domain_xml import Nic, parse
from ansible_collections.virtops.guest_agent.plugins.module_utils._records import addresses as _addresses, ask, interfaces, record
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.subsets import SUBSETS
from ansible_collections.virtops.guest_agent.tests.faults import corpus
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import VERSIONS
from ansible_collections.virtops.guest_agent.tests.unit.fakes.liar import REPORT, TEXTS, Liar, honest
from ansible_collections.virtops.guest_agent.tests.unit.harmless import harmless, texts

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
MOST = 4 * corpus.MIB
HONEST = honest()
STATUSES = ("connected", "disconnected", "unresponsive", "frozen", "restricted", "broken", "unknown")
#: What subsets and probes ask, and what they ask on the way there.
COMMANDS = sorted(
    {subset.command for subset in SUBSETS.values()}
    | {"guest-info", "guest-exec-status", "guest-file-read", "guest-get-memory-blocks", "guest-fsfreeze-status"}
)
HOSTILE = st.sampled_from(
    [
        None,
        True,
        -1,
        2**64,
        -(2**63),
        10**23,
        1e300,
        5e-324,
        [],
        {},
        [[]],
        [None],
        {"": ""},
        "",
        "inf",
        "\0",
        "\ud800",
        "\u202e\x1b[2J",
    ]
)
#: What is of the right type, and is no harm only where its content is looked at.
PLACED = ("inf", "fe80::1%\x1b[2J", "\u202e\0\ud800", -(2**63))
#: Beside the subsets that begin with the command.
_ASKED_FOR = {
    "guest-exec-status": ("packages", "sessions"),
    "guest-file-read": ("memory", "ssh_host_keys"),
    "guest-get-memory-blocks": ("memory_blocks",),
}
ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=12)
VALUES: t.Final = st.recursive(
    HOSTILE | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)


def _places(value: t.Any) -> t.Iterator[tuple[t.Any, ...]]:
    """The way to everything that may be changed in a reply."""
    yield ()
    members = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, member in members:
        for place in _places(member):
            yield (key, *place)


def _with(value: t.Any, place: tuple[t.Any, ...], lie: t.Any) -> t.Any:
    if not place:
        return lie
    changed = _with(value[place[0]], place[1:], lie)
    if isinstance(value, dict):
        return {**value, place[0]: changed}
    return [*value[: place[0]], changed, *value[place[0] + 1 :]]


@st.composite
def replies(draw: st.DrawFn, command: str) -> t.Any:
    """The honest reply with a lie in a place or two of it."""
    reply = HONEST[command]
    for _time in range(draw(st.integers(1, 2))):
        reply = _with(reply, draw(st.sampled_from(list(_places(reply)))), draw(VALUES))
    return reply


def _check(guest: Liar, wanted: t.Iterable[str] = tuple(SUBSETS)) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_deadline, "time", FakeClock())
        part, parts = ask.ask(guest.agent(), wanted, {"mine": Probe(("true",), 5)}, NOW)
    assert part["status"] in STATUSES
    whole = record.build(samples.libvirt_part(), parse(samples.domain_xml()), part, parts, 0)
    assert len(json.dumps(whole, allow_nan=False)) < MOST
    assert [text for text in texts(whole) if not harmless(text)] == []
    shown: dict[str, t.Any] = {**record.build(samples.libvirt_part(), parse(samples.domain_xml()), part, parts)}
    totals = [name for name in shown if name.endswith("_total")]
    assert all(len(shown[name[: -len("_total")]]) <= record.DEFAULT_MAX_ITEMS for name in totals)


def _wanted(command: str) -> list[str]:
    """The subsets that the command is asked for."""
    own = [name for name, subset in SUBSETS.items() if subset.command == command]
    return own or [*_ASKED_FOR.get(command, ("os",))]


@pytest.mark.parametrize("command", COMMANDS)
def test_one_lie_in_each_place_of_a_reply(command: str) -> None:
    reply = HONEST[command]
    for place in _places(reply):
        honest_value = functools.reduce(lambda value, key: value[key], place, reply)
        for lie in (*PLACED, *([honest_value * 30] if isinstance(honest_value, list) else [])):
            _check(Liar({command: _with(reply, place, lie)}), _wanted(command))


@pytest.mark.parametrize("command", COMMANDS)
@settings(max_examples=15)
@given(data=st.data())
def test_any_reply_to_a_command(command: str, data: st.DataObject) -> None:
    _check(Liar({command: data.draw(replies(command))}))


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(COMMANDS), VALUES, min_size=1, max_size=8), st.sampled_from(VERSIONS))
def test_any_replies_to_many(lies: dict[str, t.Any], version: str) -> None:
    _check(Liar(lies, version=version))


#: What may stand between, before, after or in the place of what the readers of texts look for.
WORDS = (
    *(b"\n", b"\t", b" ", b"\0", b"\xff", b"\x1b[2J", b"=", b"0", b"9" * 5000, b"x", b"80200001", b"\n\n", b"\nLockedHint=maybe\n"),
    *(b"\x1f\x8b\x08\0", b"\nii\ta\n", b"\nend\t1\n", b"end", b"@NONCE@ ended 0 x 1.00 2.00 1\n", b"@NONCE@ collected x y\n"),
)
WHOLE = st.sampled_from([b"[" * 3000, b'{"a": [NaN, 1e999], "__ansible_unsafe": 1}', b"9" * 5000, b"\x1f\x8bxx"]) | st.binary(
    max_size=20
)


@st.composite
def _scribbled(draw: st.DrawFn, text: bytes) -> bytes:
    for _time in range(draw(st.integers(0, 3))):
        cut, more = draw(st.integers(0, len(text))), draw(st.integers(0, 12))
        text = text[:cut] + draw(st.sampled_from(WORDS)) + text[cut + more :]
    return text


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_what_the_lies_are_made_from_is_believed(name: str) -> None:
    text = TEXTS[name].encode()
    for version in VERSIONS:
        agent = Liar({}, version=version, out=text, file=text).agent()
        probes = {"mine": Probe(("true",), 5)} if name == "probes" else {}
        part, parts = ask.ask(agent, (name,), probes, NOW)
        assert (part["status"], part["reason"]) == ("connected", "")
        assert parts.get(name)


@pytest.mark.parametrize("name", sorted(TEXTS))
@settings(max_examples=30)
@given(data=st.data())
def test_any_text_in_files_and_from_programs(name: str, data: st.DataObject) -> None:
    text = data.draw(_scribbled(TEXTS[name].encode()) | WHOLE)
    err = data.draw(st.just(REPORT) | _scribbled(REPORT))
    ended = data.draw(st.sampled_from(({}, {}, {}, {"exitcode": 90}, {"signal": 9}, {"out-data": "a"}, {"out-data": "\u00fc"})))
    lies = {"guest-exec-status": {"exited": True, "exitcode": 0, **ended}}
    _check(Liar(lies, version=data.draw(st.sampled_from(VERSIONS)), out=text, err=err, file=text), (name,))


#: What no host is reached at from elsewhere, whichever way it is written.
NOWHERE = [
    ipaddress.ip_network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10", "fec0::/10", "ff00::/8")
]
ADDRESSES = (
    st.ip_addresses()
    | st.sampled_from(NOWHERE).flatmap(lambda network: st.ip_addresses(network=network))
    | st.ip_addresses(v=4).map(lambda address: ipaddress.IPv6Address(f"::ffff:{address}"))
    | st.ip_addresses(network="127.0.0.0/8").map(lambda address: ipaddress.IPv6Address(f"::ffff:{address}"))
)
SOURCES = (*_addresses.SOURCES, "x")
MACS = ("52:54:00:00:00:0a", "52:54:00:00:00:0b", None)
NICS = (Nic("52:54:00:00:00:0a", "default", "vnet0"),)


def _leads_nowhere(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in network for network in NOWHERE if network.version == mapped.version)


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(ADDRESSES.map(str), st.sampled_from(["", "%eth0"]), st.sampled_from([*_addresses.SOURCES, "x"])), max_size=8
    ),
    st.lists(st.tuples(ANY_TEXT, st.sampled_from(MACS), st.lists(ADDRESSES, max_size=4)), max_size=4),
)
def test_no_address_is_chosen_that_leads_nowhere_or_that_the_domain_does_not_have(
    known: list[tuple[str, str, str]], guest: list[tuple[str, str | None, list[t.Any]]]
) -> None:
    told = [samples.candidate(text + (scope if ":" in text else ""), source) for text, scope, source in known]
    said: t.Any = [
        {"interface_name": name, "mac": mac, "ip_addresses": [f"{address}/24" for address in addresses], "statistics": None}
        for name, mac, addresses in guest
    ]
    claims = [*told, *interfaces.candidates(interfaces.merge(NICS, said))]
    chosen = _addresses.usable(claims, _addresses.AddressPolicy())
    assert [found["address"] for found in chosen if _leads_nowhere(found["address"])] == []
    assert {found["source"] for found in chosen} <= {"agent", "lease", "arp"}
    # An agent that tells no MACs at all may have one interface that is the domain's only NIC.
    macs = {mac for _name, mac, _addresses_of_it in guest}
    its = None if macs == {None} else NICS[0].mac
    own = {str(address) for _name, mac, addresses in guest if mac == its for address in addresses}
    assert {found["address"] for found in chosen} <= own | {found["address"] for found in told}
    assert len({found["address"] for found in chosen}) == len(chosen)
