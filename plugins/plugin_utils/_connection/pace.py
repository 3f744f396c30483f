# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long the last commands in a guest took, so that the next one is not asked too early or too late whether it has ended."""

from __future__ import annotations

import typing as t

from . import remembered

_REMEMBERED: t.Final = 3
#: Where nothing is known yet: before that hardly any ends, on the fastest of machines.
_FIRST: t.Final = {"module": 0.15, "command": 0.02}


class Pace:
    """``kind`` tells commands apart that take about as long as each other in one guest."""

    def __init__(self, guest: str, kind: str, directory: str | None = None) -> None:
        #: seconds after which the first command of its kind is asked for
        self.first = _FIRST[kind]
        self._path = remembered.path("pace", f"{guest}\0{kind}", directory)

    def expected(self) -> float:
        """Seconds; 0 where nothing is known."""
        return min(remembered.numbers(self._path), default=0.0)

    def learn(self, seconds: float) -> None:
        remembered.keep(self._path, [*remembered.numbers(self._path), seconds][-_REMEMBERED:])
