# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What PowerShell writes to its standard error where that is no console: errors, progress and more as XML (CLIXML). Pure.

ansible-core decodes it for some tasks and in some versions only. No XML parser is used, because the guest could make one work for
hours.
"""

from __future__ import annotations

import re
import typing as t
from xml.sax.saxutils import unescape

_HEADER: t.Final = b"#< CLIXML"
_END: t.Final = "</Objs>"
_ERROR: t.Final = re.compile('<S S="Error">([^<]*)</S>')
_ENTITIES: t.Final = {"&quot;": '"', "&apos;": "'"}
_UNIT: t.Final = re.compile("_x([0-9A-Fa-f]{4})_")
_COLOUR: t.Final = re.compile("\x1b\\[[0-9;]*m")


def errors(stderr: bytes) -> bytes:
    """``stderr`` with the text of its errors in the place of the XML. What is not exactly that stays as it is."""
    if _HEADER not in stderr:
        return stderr
    parts: list[bytes] = []
    headers: list[bytes] = []
    for line in stderr.splitlines(keepends=True):
        if line.rstrip(b"\r\n") == _HEADER:
            headers.append(line)
            continue
        decoded = _decoded(line) if headers else None
        parts += [*headers, line] if decoded is None else [decoded]
        headers = []
    return b"".join([*parts, *headers])


def _decoded(line: bytes) -> bytes | None:
    """The errors in one line of XML, and what a program wrote after it; None where it is none."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        # The console's code page, which is not told; that of most has these letters at least.
        text = line.decode("cp437")
    xml, end, after = text.rpartition(_END)
    if not end or not xml.startswith("<Objs "):
        return None
    said = ("".join(map(_text, _ERROR.findall(objects))) for objects in xml.split(_END))
    return ("\r\n".join(filter(None, said)) + after).encode("utf-8", "replace")


def _text(value: str) -> str:
    """Characters are those of UTF-16, two for some."""
    units = _UNIT.sub(lambda found: chr(int(found[1], 16)), unescape(value, _ENTITIES))
    return _COLOUR.sub("", units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
