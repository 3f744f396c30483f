# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has to be done to a user's authorized_keys. Pure."""

from __future__ import annotations

import typing as t

from .._commands import public_keys
from .._errors import InvalidInput


class Plan(t.NamedTuple):
    add: list[str]
    remove: list[str]
    #: all lines, when it is done
    after: list[str]

    @property
    def changes(self) -> bool:
        return bool(self.add or self.remove)


def wanted(keys: t.Iterable[str]) -> list[public_keys.Line]:
    """The lines in ``keys``, each of which may hold several, as files of public keys do; empty ones and comments are left out.

    :raise InvalidInput: one is none that sshd would take.
    """
    lines = []
    for number, key in enumerate(keys, 1):
        for text in key.replace("\r\n", "\n").split("\n"):
            if not text.strip() or text.lstrip().startswith("#"):
                continue
            if "PRIVATE KEY" in text:
                raise InvalidInput(f"keys: entry {number} is a private key", hint="use the public key, from the file .pub")
            try:
                public_keys.check_text(text)
                lines.append(public_keys.parse_line(text))
            except ValueError as error:
                raise InvalidInput(f"keys: entry {number} is not a line for authorized_keys: {error}") from None
    return lines


class Wish(t.NamedTuple):
    """What the user's keys are to be. With ``exclusive`` these, and no others."""

    lines: t.Sequence[public_keys.Line]
    present: bool
    exclusive: bool

    def plan(self, existing: t.Sequence[str]) -> Plan:
        """A key is the same whatever its comment says. With other options it lets in otherwise, and is another one."""
        keys = {line.key for line in self.lines}
        allowed = {_access(line) for line in self.lines} if self.present else set()

        def stays(line: public_keys.Line | None) -> bool:
            if line is None or line.key not in keys:
                return not self.exclusive
            return _access(line) in allowed

        parsed = [(text, _parsed(text)) for text in existing]
        there = {_access(line) for _text, line in parsed if line is not None}
        kept = [text for text, line in parsed if stays(line)]
        added = {_access(line): line.text for line in reversed(self.lines) if _access(line) in allowed - there}
        add = list(reversed(added.values()))
        return Plan(add, [text for text, line in parsed if not stays(line)], kept + add)


def _access(line: public_keys.Line) -> tuple[str, public_keys.PublicKey]:
    return line.options, line.key


def _parsed(text: str) -> public_keys.Line | None:
    """None for a line that sshd would not accept either; it stays, because it has an owner."""
    try:
        return public_keys.parse_line(text)
    except ValueError:
        return None
