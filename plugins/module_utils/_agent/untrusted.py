# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guest data -> plain, typed, bounded data. Nothing that an agent says is used without passing through here."""

from __future__ import annotations

import math
import re
import typing as t
import unicodedata

from .._errors import ProtocolError

TEXT_MAX = 1024
#: Unicode categories that never belong in one line of text: control, format (bidi, zero width), surrogate, line and
#: paragraph separators, private use, unassigned.
_UNWANTED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

#: The first character of Jinja's delimiters, and of the line in which a template says that it has others.
_TEMPLATE: t.Final = re.compile(r"\{(?=[{%#])|^#(?=jinja2:)")


def clean(value: str, limit: int = TEXT_MAX) -> str:
    """One printable line of at most ``limit`` characters; what is not printable becomes U+FFFD, tabs and newlines a space."""
    if len(value) <= limit and value.isascii() and value.isprintable():
        return value
    line = value[: limit + 1].translate({9: " ", 10: " ", 13: " "})
    line = "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in _UNWANTED else c for c in line)
    return line if len(line) <= limit else line[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


def inert(value: str, limit: int = TEXT_MAX) -> str:
    """``clean``, for where a text cannot be marked as no template: what Jinja or Ansible would take for one becomes U+FFFD."""
    return _TEMPLATE.sub("\N{REPLACEMENT CHARACTER}", clean(value, limit))


def _wrong(what: str, expected: str, value: object) -> ProtocolError:
    return ProtocolError(f"the agent's reply has {type(value).__name__} where {what} should be {expected}")


def mapping(value: object, what: str = "the reply") -> dict[str, t.Any]:
    if not isinstance(value, dict):
        raise _wrong(what, "an object", value)
    return value


T = t.TypeVar("T")


def members(value: object, what: str, limit: int, read: t.Callable[[dict[str, t.Any]], T]) -> tuple[list[T], list[ProtocolError]]:
    """``read`` of the first ``limit`` members of a list of objects, and what is wrong with those that are left out: one that makes
    no sense costs itself. Null has no members.

    :raise ProtocolError: ``value`` is no list.
    """
    if value is None:
        return [], [_wrong(what, "a list", value)]
    if not isinstance(value, list):
        raise _wrong(what, "a list", value)
    found: list[T] = []
    left_out = []
    for member in value[:limit]:
        if not isinstance(member, dict):
            left_out.append(_wrong(f"a member of {what}", "an object", member))
            continue
        try:
            found.append(read(member))
        except ProtocolError as error:
            left_out.append(error)
    return found, left_out


def text(value: object, what: str = "a text", limit: int = TEXT_MAX) -> str:
    if not isinstance(value, str):
        raise _wrong(what, "a string", value)
    return clean(value, limit)


def optional_text(source: t.Mapping[str, t.Any], key: str, limit: int = TEXT_MAX) -> str | None:
    value = source.get(key)
    return None if value is None else text(value, key, limit)


def integer(value: object, what: str = "a number", low: int = -(2**63), high: int = 2**64 - 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(what, "an integer", value)
    if not low <= value <= high:
        raise ProtocolError(f"the agent's reply has {what} outside of {low} to {high}")
    return value


def optional_integer(source: t.Mapping[str, t.Any], key: str, low: int = 0) -> int | None:
    value = source.get(key)
    return None if value is None else integer(value, key, low)


def number(value: object, what: str = "a number") -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < 1e15:
        raise _wrong(what, "a finite number", value)
    return float(value)


def boolean(value: object, what: str = "a flag") -> bool:
    if not isinstance(value, bool):
        raise _wrong(what, "a boolean", value)
    return value


def plain(value: t.Any, depth: int, limit: int = TEXT_MAX) -> t.Any:
    """JSON of any shape with every text cleaned; what is nested deeper than ``depth`` is left out."""
    if isinstance(value, str):
        return clean(value, limit)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        # Keys of that prefix have a meaning of their own to ansible-core's JSON.
        found = {clean(k, 255): v for k, v in value.items() if not k.startswith("__ansible")}
        return {k: plain(v, depth - 1, limit) for k, v in found.items()} if depth else None
    if isinstance(value, list):
        return [plain(member, depth - 1, limit) for member in value] if depth else None
    return value
