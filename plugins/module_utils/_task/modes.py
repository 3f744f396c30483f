# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modes of files as options: octal, or symbolic as ansible.builtin.file takes them. Pure.

AnsibleModule's own reading of symbolic modes goes by the umask of its process, which here is not the guest's.
"""

from __future__ import annotations

import re
import typing as t

from .._errors import InvalidInput
from . import values

_CLAUSE: t.Final = re.compile("([ugoa]*)((?:[-+=][rwxXstugo]*)+)")
_OPERATION: t.Final = re.compile("([-+=])([rwxXstugo]*)")
#: Of each class of users: how far its permissions are shifted, and the letter and the bit that only it has.
_CLASSES: t.Final = {"u": (6, "s", 0o4000), "g": (3, "s", 0o2000), "o": (0, "t", 0o1000)}
_PERMISSIONS: t.Final = {"r": 4, "w": 2, "x": 1, "X": 1}


def mode(value: object, option: str) -> str:
    """Four octal digits, or a symbolic mode for ``applied``."""
    if isinstance(value, str) and all(_CLAUSE.fullmatch(clause) for clause in value.split(",")):
        return value
    try:
        return values.octal(value, option)
    except InvalidInput:
        detail = f"{option} must be three or four octal digits in quotes, such as '0644', or symbolic, such as 'u=rw,g=r,o='"
        raise InvalidInput(detail) from None


def applied(wanted: str, present: str) -> str:
    """The octal mode that comes of ``wanted``, one of ``mode`` or "" for no other, for a regular file that has ``present``."""
    if wanted.isdigit():
        return wanted
    bits = int(present, 8)
    for clause in filter(None, wanted.split(",")):
        users, operations = t.cast("re.Match[str]", _CLAUSE.fullmatch(clause)).groups()
        for operator, letters in _OPERATION.findall(operations):
            for user in "ugo" if not users or "a" in users else users:
                # Who names no users leaves it to the umask, for which 022 is taken.
                masked = letters if users or user == "u" else letters.replace("w", "")
                bits = _changed(bits, operator, user, masked)
    return f"{bits:04o}"


def _changed(bits: int, operator: str, user: str, letters: str) -> int:
    shift, special, bit = _CLASSES[user]
    meant = _permissions(letters, bits) << shift | (bit if special in letters else 0)
    if operator == "+":
        return bits | meant
    return bits & ~(meant if operator == "-" else 7 << shift | bit) | (meant if operator == "=" else 0)


def _permissions(letters: str, bits: int) -> int:
    """The letters behind an operator as one octal digit, in a file with these ``bits``. X is x where any class has it."""
    found = 0
    for letter in letters:
        if letter in _CLASSES:
            found |= bits >> _CLASSES[letter][0] & 7
        elif letter != "X" or bits & 0o111:
            found |= _PERMISSIONS.get(letter, 0)
    return found
