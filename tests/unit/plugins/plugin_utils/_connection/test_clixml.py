# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PowerShell's errors out of their XML, held against what ansible-core makes of the same."""

from __future__ import annotations

import time
import typing as t

import pytest
from hypothesis import given, strategies as st

from ansible_collections.virtops.guest_agent.plugins.plugin_utils._connection import clixml

HEADER = b"#< CLIXML\r\n"
OPEN = '<Objs Version="1.1.0.1" xmlns="http://schemas.microsoft.com/powershell/2004/04">'
PROGRESS = '<Obj S="progress" RefId="0"><MS><I64 N="SourceId">1</I64><PR N="Record"><AV>Preparing</AV></PR></MS></Obj>'


def objects(*errors: str, more: str = "") -> bytes:
    texts = "".join(f'<S S="Error">{error}</S>' for error in errors)
    return f"{OPEN}{more}{texts}</Objs>".encode()


ROWS: dict[str, tuple[bytes, bytes]] = {
    "none": (b"plain\r\n", b"plain\r\n"),
    "empty": (b"", b""),
    "progress": (HEADER + objects(more=PROGRESS), b""),
    "lines": (HEADER + objects("one_x000D__x000A_", "two_x000D__x000A_", more=PROGRESS), b"one\r\ntwo\r\n"),
    "entities": (HEADER + objects("a &lt;b&gt; &amp;lt; &quot;c&quot;"), b'a <b> &lt; "c"'),
    "units": (HEADER + objects("z_x00FC_rich _xD83D__xDE42_ _x005F_x000D_"), "zürich 🙂 _x000D_".encode()),
    "around": (b"before\r\n" + HEADER + objects("x") + b"\r\nafter", b"before\r\nx\r\nafter"),
    "twice": (HEADER + HEADER + objects("x"), b"x"),
    "other streams": (HEADER + objects("x", more='<S S="verbose">v</S><S S="warning">w</S>'), b"x"),
}


@pytest.mark.parametrize(("stderr", "expected"), ROWS.values(), ids=ROWS)
def test_errors(stderr: bytes, expected: bytes) -> None:
    assert clixml.errors(stderr) == expected


def test_a_guest_that_prints_nothing_but_headers_costs_no_hours() -> None:
    began = time.process_time()
    many = HEADER * 100_000
    assert clixml.errors(many) == many
    assert clixml.errors(many + b"x") == many + b"x"
    assert time.process_time() - began < 2


def by_core(stderr: bytes) -> bytes:
    decode: t.Any
    try:
        from ansible._internal._powershell._clixml import replace_stderr_clixml as decode
    except ImportError:
        from ansible.plugins.shell import powershell

        decode = getattr(powershell, "_replace_stderr_clixml", None) or powershell._parse_clixml
    return t.cast(bytes, decode(stderr))


@pytest.mark.parametrize("name", ["lines", "entities", "units", "other streams", "progress"])
def test_core_makes_the_same_of_it(name: str) -> None:
    stderr, expected = ROWS[name]
    assert by_core(stderr) == expected


def test_lone_halves_of_characters_and_the_code_page_of_the_console() -> None:
    assert clixml.errors(HEADER + objects("a_xD83D_b")) == "a\ufffdb".encode()
    assert clixml.errors(HEADER + objects("z?rich").replace(b"?", b"\x81")) == "zürich".encode()


def test_colours_are_left_out() -> None:
    assert clixml.errors(HEADER + objects("_x001B_[31;1mred_x001B_[0m")) == b"red"


@pytest.mark.parametrize("rest", [b"", b"<Objs", b"<Objs >", b"</Objs>", b"x</Objs>", b"#< CLIXML", b"<Objs \r\n</Objs>"])
def test_what_is_no_such_xml_stays(rest: bytes) -> None:
    assert clixml.errors(HEADER + rest) == HEADER + rest


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    assert clixml.errors(data) == data or b"#< CLIXML" in data
    clixml.errors(HEADER + OPEN.encode() + data + b"</Objs>")


def test_a_guest_cannot_make_it_work_for_long() -> None:
    """Each of these took an hour, were it looked for by one expression, or by a parser that expands entities."""
    for hostile in (HEADER * 200_000, HEADER + b"<Objs " * 200_000, HEADER + OPEN.encode() + b'<S S="Error">' * 200_000):
        assert clixml.errors(hostile) == hostile
    bomb = b'<!DOCTYPE x [<!ENTITY a "' + b"x" * 1000 + b'">]>' + objects("&a;" * 1000)
    assert clixml.errors(HEADER + bomb) == HEADER + bomb
