# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What waits to be taken, in order and bounded: of one subject so many events wait, and the newest takes the place of the last."""

from __future__ import annotations

import collections
import threading
import typing as t

T = t.TypeVar("T")
#: Of one subject. What a slow taker misses is what came between the first of these and the newest.
WAITING_MAX: t.Final = 8


class Outbox(t.Generic[T]):
    """``wake`` is called after each event that is put, in the thread that puts it."""

    def __init__(self, wake: t.Callable[[], object]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._numbers = 0
        #: number -> subject, event, and how many others it stands for; in order
        self._waiting: dict[int, tuple[str, T, int]] = {}
        #: subject -> the numbers of its events
        self._of: dict[str, collections.deque[int]] = {}
        self._error: BaseException | None = None

    def put(self, subject: str, event: T) -> None:
        with self._lock:
            numbers = self._of.setdefault(subject, collections.deque())
            replaced = 0
            if len(numbers) >= WAITING_MAX:
                replaced = self._waiting.pop(numbers.pop())[2] + 1
            self._numbers += 1
            numbers.append(self._numbers)
            self._waiting[self._numbers] = (subject, event, replaced)
        self._wake()

    def fail(self, error: BaseException) -> None:
        """``take`` raises it from now on."""
        self._error = error
        self._wake()

    def take(self) -> tuple[T, int] | None:
        """The oldest event, and how many it has taken the place of; None where nothing waits."""
        if self._error is not None:
            raise self._error
        with self._lock:
            if not self._waiting:
                return None
            number = next(iter(self._waiting))
            subject, event, replaced = self._waiting.pop(number)
            numbers = self._of[subject]
            numbers.popleft()
            if not numbers:
                del self._of[subject]
        return event, replaced

    def __len__(self) -> int:
        return len(self._waiting)
