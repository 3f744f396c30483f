# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What passes through here is typed, bounded and printable."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given, strategies as st

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent import untrusted
from ansible_collections.virtops.guest_agent.tests.unit.harmless import harmless

BAD = "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("value", "limit", "cleaned"),
    [
        ("plain ä 漢 😀", 99, "plain ä 漢 😀"),
        ("a\tb\nc\rd", 99, "a b c d"),
        ("a\x00b", 99, f"a{BAD}b"),
        ("\x1b[31mred", 99, f"{BAD}[31mred"),
        ("\x7f\x9b", 99, BAD * 2),
        ("\u202egnp.exe", 99, f"{BAD}gnp.exe"),
        ("\u2066\u200b\ufeff\u00ad", 99, BAD * 4),
        ("\u2028\u2029", 99, BAD * 2),
        ("\udc00\ud800", 99, BAD * 2),
        ("\ue000\U000e0001\uffff\u0378", 99, BAD * 4),
        ("x" * 10, 10, "x" * 10),
        ("x" * 11, 10, "x" * 9 + "…"),
        ("x" * 5000, untrusted.TEXT_MAX, "x" * 1023 + "…"),
        ("", 10, ""),
    ],
)
def test_clean(value: str, limit: int, cleaned: str) -> None:
    assert untrusted.clean(value, limit) == cleaned


@given(
    st.text(alphabet=st.characters(), max_size=300) | st.text(alphabet="\x00\x1b\n\u202e\ud800ab", max_size=40), st.integers(1, 200)
)
def test_clean_is_bounded_printable_and_done_once(value: str, limit: int) -> None:
    cleaned = untrusted.clean(value, limit)
    assert len(cleaned) <= limit
    assert harmless(cleaned)
    cleaned.encode()
    assert untrusted.clean(cleaned, limit) == cleaned


@pytest.mark.parametrize(
    ("value", "inert"),
    [
        ("/srv/a{b}c", "/srv/a{b}c"),
        ("{{ 7 * 7 }}", f"{BAD}{{ 7 * 7 }}}}"),
        ("{{{ x", f"{BAD}{BAD}{{ x"),
        ("{% set x %}{# y #}", f"{BAD}% set x %}}{BAD}# y #}}"),
        ("#jinja2: variable_start_string:'[['", f"{BAD}jinja2: variable_start_string:'[['"),
        ("#1 of #jinja2:", "#1 of #jinja2:"),
        ("{\x00{", f"{{{BAD}{{"),
        ("{\t{", "{ {"),
    ],
)
def test_inert(value: str, inert: str) -> None:
    assert untrusted.inert(value) == inert


@given(st.text(alphabet="{%#}a \n", max_size=40))
def test_inert_text_begins_no_template(value: str) -> None:
    inert = untrusted.inert(value)
    assert not any(delimiter in inert for delimiter in ("{{", "{%", "{#"))
    assert untrusted.inert(inert) == inert


NOT_TEXT: list[t.Any] = [None, 1, 1.5, True, [], {}]
NOT_INTEGERS: list[t.Any] = [None, 1.0, True, "1", [], {}]


def _members(value: object) -> list[dict[str, t.Any]]:
    return untrusted.members(value, "a list", 9, dict)[0]


READERS: list[tuple[t.Callable[..., t.Any], list[t.Any], list[tuple[t.Any, t.Any]]]] = [
    (untrusted.text, NOT_TEXT, [("a\x00", f"a{BAD}")]),
    (untrusted.mapping, [None, 1, "a", []], [({"a": 1}, {"a": 1})]),
    (_members, [{}, "a", 5], [([], []), ([{}], [{}]), ([{}, None, [], {"a": 1}], [{}, {"a": 1}]), (None, [])]),
    (untrusted.integer, [*NOT_INTEGERS, 2**64, -(2**63) - 1], [(0, 0), (2**64 - 1, 2**64 - 1), (-(2**63), -(2**63))]),
    (untrusted.number, [None, True, "1", float("nan"), float("inf"), 1e15, 10**30, []], [(1, 1.0), (-2.5, -2.5)]),
    (untrusted.boolean, [None, 0, 1, "true", []], [(True, True), (False, False)]),
]


@pytest.mark.parametrize(("read", "value"), [(read, value) for read, wrong, _right in READERS for value in wrong])
def test_wrong_types(read: t.Callable[..., t.Any], value: t.Any) -> None:
    with pytest.raises(_errors.ProtocolError) as caught:
        read(value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("read", "value", "found"), [(read, *pair) for read, _wrong, right in READERS for pair in right])
def test_right_types(read: t.Callable[..., t.Any], value: t.Any, found: t.Any) -> None:
    assert read(value) == found


def test_bounds() -> None:
    assert untrusted.members([{}] * 10, "x", 3, dict) == ([{}] * 3, [])
    assert untrusted.members([{}, "beyond the limit"], "x", 1, dict) == ([{}], [])
    with pytest.raises(_errors.ProtocolError, match="a pid outside of 0 to 5"):
        untrusted.integer(6, "a pid", 0, 5)


@pytest.mark.parametrize("source", [{}, {"a": None}])
def test_what_may_be_missing(source: dict[str, t.Any]) -> None:
    assert untrusted.optional_text(source, "a") is None
    assert untrusted.optional_integer(source, "a") is None


def test_what_is_not_missing_is_checked() -> None:
    assert untrusted.optional_text({"a": "b"}, "a") == "b"
    assert untrusted.optional_integer({"a": 3}, "a") == 3
    with pytest.raises(_errors.ProtocolError):
        untrusted.optional_text({"a": 1}, "a")
    with pytest.raises(_errors.ProtocolError):
        untrusted.optional_integer({"a": -1}, "a")
