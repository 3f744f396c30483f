# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A clock that goes only when somebody sleeps on it."""

from __future__ import annotations

import typing as t


class FakeClock:
    """``then`` is called with the time after each sleep: what happens while somebody waits."""

    def __init__(self, then: t.Callable[[float], None] = lambda now: None) -> None:
        self._now = 1000.0
        self._then = then
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._now += seconds
        self._then(self._now)
