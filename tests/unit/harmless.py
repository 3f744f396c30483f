# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a text from a guest must be wherever it is shown."""

from __future__ import annotations

import typing as t


def harmless(text: str) -> bool:
    """One line without control characters. U+00A0 and its like are spaces that Python calls unprintable; no terminal minds."""
    return len(text.splitlines()) <= 1 and all(c.isprintable() or (c.isspace() and ord(c) >= 0xA0) for c in text)


def texts(value: t.Any) -> t.Iterator[str]:
    """Every text in plain data, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, member in value.items():
            yield from texts(key)
            yield from texts(member)
    elif isinstance(value, (list, tuple)):
        for member in value:
            yield from texts(member)
