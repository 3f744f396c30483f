# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options whose values YAML and templates do not always leave as they were written."""

from __future__ import annotations

import json
import re
import typing as t

from .._errors import InvalidInput

#: A year: what is longer is a mistake, and more than the clocks of some systems can count.
SECONDS_MAX: t.Final = 366 * 24 * 3600

#: What a name that becomes a part of files' names may have.
NAME_MAX: t.Final = 100

_Number = t.TypeVar("_Number", int, float)


def in_range(value: _Number, option: str, least: float, most: float = SECONDS_MAX, unit: str = " seconds") -> _Number:
    if not least <= value <= most:
        raise InvalidInput(f"{option} must be from {least} to {most}{unit}, and is {value:g}")
    return value


def text(value: object, option: str) -> str:
    """A text from YAML, or from a template that older cores have taken for a structure: that is JSON again, as copy does it."""
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    if isinstance(value, (str, int, float)):
        return str(value)
    raise InvalidInput(f"{option} must be a text")


def encoded(value: object, option: str) -> bytes:
    try:
        return text(value, option).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidInput(f"{option} is a text that cannot be encoded as UTF-8") from None


def name_of_images(name: str, what: str) -> str:
    """
    :raise InvalidInput: it cannot be a part of a file's name.
    """
    if not name or len(name) > NAME_MAX or name[0] in ".-" or not name.isprintable() or "/" in name:
        raise InvalidInput(
            f"the {what}'s name becomes a part of its images' names: up to {NAME_MAX} printable characters, no slash, "
            "and neither a dot nor a hyphen in front"
        )
    return name


def octal(value: object, option: str) -> str:
    """Four octal digits. Numbers are refused: to YAML 0644 and 644 are different ones, and it is not known which was meant."""
    if not isinstance(value, str) or not re.fullmatch("[0-7]{3,5}", value) or int(value, 8) > 0o7777:
        raise InvalidInput(f"{option} must be three or four octal digits in quotes, such as '0644'")
    return f"{int(value, 8):04o}"
