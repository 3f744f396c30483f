# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Time: one clock that tests can replace, and deadlines measured on it."""

from __future__ import annotations

import time
import typing as t


class Clock(t.Protocol):
    def monotonic(self) -> float:
        """Seconds since some moment."""

    def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""


class SystemClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


SYSTEM_CLOCK: t.Final = SystemClock()


class Deadline:
    """A point in time, ``seconds`` from now on ``clock``."""

    def __init__(self, seconds: float, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._started = clock.monotonic()
        self.seconds = seconds

    def elapsed(self) -> float:
        return self._clock.monotonic() - self._started

    def remaining(self) -> float:
        return max(0.0, self.seconds - self.elapsed())

    def expired(self) -> bool:
        return self.remaining() <= 0.0

    def sleep(self, seconds: float) -> None:
        """Sleep, but never past the deadline."""
        self._clock.sleep(min(seconds, self.remaining()))

    def pauses(self, first: float, longest: float) -> t.Iterator[None]:
        """A turn at once, and further ones after pauses that double from ``first`` to ``longest``. The last is at the deadline."""
        pause = first
        while True:
            yield
            if self.expired():
                return
            self.sleep(pause)
            pause = min(2 * pause, longest)
