# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names for the rows of a table of cases, made of what is in them: a test that fails says which case it is."""

from __future__ import annotations

import typing as t

_MOST = 48


def word(value: t.Any) -> str | None:
    """For a value of a row, of which its name is made; None where pytest finds one. Objects give their ``label`` or their type."""
    said = _said(value)
    return said and "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in said)[:_MOST]


def _said(value: t.Any) -> str | None:
    if isinstance(value, t.Mapping):
        return ",".join(f"{key}={_said(found)}" for key, found in value.items()) or "{}"
    if isinstance(value, (set, frozenset)):
        return _said(sorted(value, key=str))  # the same in each worker
    if isinstance(value, (list, tuple)):
        return "+".join(str(_said(found)) for found in value) or "[]"
    if isinstance(value, bytes):
        return value[:_MOST].decode("ascii", "replace")
    if isinstance(value, str):
        return value[:_MOST]
    if callable(value):
        return None
    if value is None or isinstance(value, (int, float)):
        return str(value)
    return str(getattr(value, "label", type(value).__name__))
