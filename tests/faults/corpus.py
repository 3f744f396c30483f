# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an agent that is hostile, broken or strange may answer, by name. Pure.

Each entry makes the bytes that go to the host out of the reply that an honest agent would give, which is the whole message without
its end of line. Every fault that was found becomes an entry.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

Message = dict[str, Any]
Lie = Callable[[Message], bytes]

#: Where it is taken for a template or a command, it leaves a file of this name in the working directory.
TRACE = "harm"
COMMAND = f"touch {TRACE}"
TEMPLATE = f"{{{{ lookup('ansible.builtin.pipe', '{COMMAND}') }}}}{{% set x = lookup('pipe', '{COMMAND}') %}}$({COMMAND})"
MIB = 1024 * 1024
LONG = "x" * 100_000


def lines(*messages: Any) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def returning(change: Callable[[Any], Any]) -> Lie:
    """The honest reply with another value; an error stays one."""
    return lambda honest: lines({**honest, "return": change(honest["return"])} if "return" in honest else honest)


def each_text(change: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Changes every text that is no key, however deep."""

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: changed(member) for key, member in value.items()}
        if isinstance(value, list):
            return [changed(member) for member in value]
        return change(value) if isinstance(value, str) else value

    return changed


def each_leaf(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def changed(value: Any) -> Any:
        if isinstance(value, dict) and value:
            return {key: changed(member) for key, member in value.items()}
        if isinstance(value, list) and value:
            return [changed(member) for member in value]
        return change(value)

    return changed


def of_another_type(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes"
    if isinstance(value, (int, float)):
        return {"number": value}
    return [value] if isinstance(value, str) else "nothing"


def many(value: Any) -> Any:
    """Each list that is not within another has a hundred thousand entries."""
    if isinstance(value, dict):
        return {key: many(member) for key, member in value.items()}
    return [value[0] if value else {"name": "x"}] * 100_000 if isinstance(value, list) else value


def deep(levels: int) -> bytes:
    return b'{"return": ' + b"[" * levels + b"]" * levels + b"}\n"


def with_id(value: Any) -> Lie:
    return lambda honest: lines({**honest, "id": value})


ENTRIES: Mapping[str, Lie] = {
    "no JSON": lambda _honest: b"no JSON at all\n",
    "binary": lambda _honest: bytes(range(1, 10)) + bytes(range(11, 256)) + b"\n",
    "half a message": lambda honest: lines(honest)[: len(lines(honest)) // 2] + b"\n",
    "an empty object": lambda _honest: lines({}),
    "a bare value": lambda _honest: lines("guest"),
    "both a return and an error": lambda honest: lines({"return": {}, "error": {"class": "GenericError", "desc": "x"}, **honest}),
    "an error without its parts": lambda _honest: lines({"error": 7}),
    "an error with harm in it": lambda _honest: lines(
        {
            "error": {
                "class": TEMPLATE,
                "desc": f"\x1b]0;owned\x07\u202e{TEMPLATE}\nTraceback (most recent call last){LONG}",
            }
        }
    ),
    "another id": with_id(999_999),
    "an id that is no number": with_id({"a": [TEMPLATE]}),
    "two replies to one request": lambda honest: lines(honest, honest),
    "a late reply to an earlier request": lambda honest: lines({"return": {"late": True}}, honest),
    "null": returning(lambda _value: None),
    "a text": returning(lambda _value: TEMPLATE),
    "a list": returning(lambda value: [value]),
    "an empty list": returning(lambda _value: []),
    "every value of another type": returning(each_leaf(of_another_type)),
    "numbers without measure": returning(each_leaf(lambda value: 10**400 if isinstance(value, (int, float)) else value)),
    "numbers below zero": returning(each_leaf(lambda value: -(2**70) if isinstance(value, (int, float)) else value)),
    "a hundred thousand entries": returning(many),
    "a line of ten MiB": lambda honest: lines({**honest, "return": "x" * (10 * MIB)}),
    "NULs": returning(each_text(lambda text: f"\0{text}\0")),
    "lone surrogates": returning(each_text(lambda text: f"\ud800{text}\udfff")),
    "escape sequences": returning(each_text(lambda text: f"\x1b[2J\x1b]0;owned\x07\r{text}\x9b31m")),
    "text that runs the other way": returning(each_text(lambda text: f"\u202e\u2066{text}\u200b")),
    "templates": returning(each_text(lambda _text: TEMPLATE)),
    "what ansible reads as safe": returning(each_text(lambda _text: {"__ansible_unsafe": TEMPLATE, "__ansible_vault": "x"})),
    "paths that lead out": returning(each_text(lambda _text: "../../../../etc/passwd")),
    "deep nesting": lambda _honest: deep(50_000),
}
