# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes that leave JSON JSON and XML XML: of a message whose bytes are changed anywhere nearly nothing gets past the parser."""

from __future__ import annotations

import copy
import json
import random
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

#: A libFuzzer's own change of bytes: what, and how long it may get.
Scribble = Callable[[bytes, int], bytes]

VALUES = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), -(2**70), 10**22, 1e15, 1e300, 5e-324, -0.5),
    *(
        "",
        "\0",
        "\ud800",
        "\u202e\x1b[2J",
        "\u2028",
        "inf",
        "fe80::1%\x1b[2J",
        "..",
        "x" * 300,
        "9" * 5000,
        "127.0.0.1",
        "::ffff:10.0.0.5",
        "fe80::1",
    ),
    *("52:54:00:00:00:01", "0.0.0.0", "frozen", "aWk=", "yes", "__ansible_unsafe"),
    *([], {}, [[]], [None], [{}], {"": {}}, {"__ansible_vault": "x"}),
)
LINES = (
    *("MemTotal: 1 kB\n", "1.00 2.00 3.00", "dpkg\nii\ta\t1\tall\nend\t0\n", "end\t1\n", "Id=1\nName=x\n", "Remote=yes\n", "\n\n"),
    *(
        "eth0\t00000000\t0202000A\t0003\t0\t0\t4294967296\t00000000\n",
        "ssh-ed25519 AAAA",
        "9" * 5000,
        "\t",
        "\n",
        "=",
        "0",
        "\ud800",
    ),
    *("[" * 2000, '{"a": [NaN, 1e999]}'),
)
WORDS = (
    "",
    "virtio",
    "pci",
    "drive",
    "yes",
    "connected",
    "0x",
    "0x1f",
    "-1",
    "010",
    "1_0",
    "\u0663",
    "9" * 5000,
    "0x" + "f" * 500,
    "GiB",
)
TAGS = (
    *(
        "name",
        "uuid",
        "title",
        "description",
        "vcpu",
        "memory",
        "pm",
        "metadata",
        "devices",
        "channel",
        "interface",
        "disk",
        "target",
    ),
    *("source", "mac", "serial", "address", "mirror", "backingStore", "controller", "driver", "x", "{urn:x}y"),
)
KEYS = (
    *("type", "name", "state", "dev", "bus", "address", "unit", "network", "bridge", "path", "file", "enabled", "domain", "slot"),
    *("function", "controller", "target", "job", "ready", "snapshot", "text", "{urn:x}y"),
)


class Place(NamedTuple):
    """One value: ``of[at]``."""

    of: Any
    at: Any


def of_json(data: bytes, most: int, seed: int, scribble: Scribble) -> bytes:
    """A libFuzzer's custom mutator. One time in eight, and where ``data`` is no JSON, any bytes are changed."""
    choice = random.Random(seed)
    try:
        whole = [json.loads(data)] if choice.random() < 0.875 else None
    except (ValueError, RecursionError):
        whole = None
    if whole is None:
        return scribble(data, most)
    for _time in range(choice.choice((1, 1, 2, 4))):
        places = list(_places(whole))
        _change(choice, choice.choice(places), places, scribble)
    changed = json.dumps(whole[0]).encode()
    return changed if len(changed) <= most else scribble(data, most)


def of_xml(data: bytes, most: int, seed: int, scribble: Scribble) -> bytes:
    choice = random.Random(seed)
    try:
        root = ET.fromstring(data) if choice.random() < 0.875 else None
    except (ET.ParseError, ValueError):
        root = None
    if root is None:
        return scribble(data, most)
    for _time in range(choice.choice((1, 1, 2, 4))):
        _change_element(choice, root, scribble)
    changed = ET.tostring(root)
    return changed if len(changed) <= most else scribble(data, most)


def _places(value: Any) -> Iterator[Place]:
    for at in list(value) if isinstance(value, dict) else range(len(value)):
        yield Place(value, at)
        if isinstance(value[at], (dict, list)):
            yield from _places(value[at])


def _change(choice: random.Random, place: Place, places: list[Place], scribble: Scribble) -> None:
    of, at = place
    what = choice.randrange(6)
    if what == 0:
        of[at] = copy.deepcopy(choice.choice(VALUES))
    elif what == 1:
        other = choice.choice(places)
        of[at] = copy.deepcopy(other.of[other.at])
    elif what == 2 and len(places) > 1 and place is not places[0]:
        del of[at]
    elif what == 3 and isinstance(of, list) and place is not places[0]:
        of[at:at] = [copy.deepcopy(of[at]) for _time in range(choice.choice((1, 1, 9, 70)))]
    else:
        of[at] = _other(choice, of[at], scribble)


def _other(choice: random.Random, value: Any, scribble: Scribble) -> Any:
    """Nearly the same."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, (int, float)):
        near = (value + 1, value - 1, -value, value * 2, value / 2, str(value)) if abs(value) < 2**70 else (0, str(value))
        return choice.choice(near)
    if isinstance(value, str):
        return _text(choice, value, scribble)
    if isinstance(value, dict):
        return {**value, choice.choice((*value, "x", "__ansible_unsafe", "\x1b")): copy.deepcopy(choice.choice(VALUES))}
    return [*value, copy.deepcopy(choice.choice((*value, *VALUES)))]


def _text(choice: random.Random, text: str, scribble: Scribble) -> str:
    what, cut = choice.randrange(4), choice.randint(0, len(text))
    if what == 0:
        return text[:cut] + choice.choice(LINES) + text[cut:]
    if what == 1:
        return text[:cut] + text[choice.randint(0, len(text)) :]
    changed = scribble(text.encode("utf-8", "surrogatepass") or b"x", len(text) + 64)
    return changed.decode("utf-8", "replace" if what == 2 else "surrogateescape")


def _change_element(choice: random.Random, root: ET.Element, scribble: Scribble) -> None:
    element, other = (choice.choice(list(root.iter())) for _each in "12")
    what = choice.randrange(7)
    if what == 0:
        element.set(choice.choice((*element.keys(), *KEYS)), choice.choice(WORDS))
    elif what == 1:
        element.text = choice.choice(WORDS)
    elif what == 2:
        element.text = _printable(_text(choice, element.text or "", scribble))
    elif what == 3:
        ET.SubElement(element, choice.choice(TAGS), {choice.choice(KEYS): choice.choice(WORDS)}).text = choice.choice(WORDS)
    elif what == 4:
        element.append(copy.deepcopy(other))
    elif what == 5:
        element.tag = choice.choice(TAGS)
    elif len(element):
        element.remove(choice.choice(list(element)))


def _printable(text: str) -> str:
    """What XML has no way to write makes no XML."""
    return "".join(c for c in text if c.isprintable() and c not in "\ufffe\uffff")
