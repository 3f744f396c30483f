# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Calls that may hang, each in a thread of its own and each waited for no longer than its time.

libvirt's client calls have no timeout. A lane is a daemon thread that makes one call at a time; a caller that stops waiting
leaves its lane behind, and the lane counts as occupied until the call returns. So the number of lanes is the number of
requests in flight, whatever hangs.
"""

from __future__ import annotations

import concurrent.futures
import queue
import threading
import typing as t

from .._deadline import Deadline

T = t.TypeVar("T")


#: libvirtd reads no sixth request of one connection before one of five has been answered (max_client_requests).
LANES_PER_CONNECTION: t.Final = 5


class LaneTimeout(Exception):
    """The call took longer than the caller would wait. It is still running."""


class NoFreeLane(LaneTimeout):
    """All lanes were occupied for longer than the caller would wait. The call was never made."""


class Lanes:
    """At most ``size`` calls at once. Threads are started when first needed and end with ``close``."""

    def __init__(self, size: int = LANES_PER_CONNECTION) -> None:
        self._size = size
        self._free: queue.LifoQueue[_Lane] = queue.LifoQueue()
        self._closed = threading.Event()
        for _number in range(size):
            self._free.put(_Lane(self._free, self._closed))

    def call(self, function: t.Callable[[], T], seconds: float) -> T:
        """The value of ``function()``, or what it raises.

        :raise LaneTimeout: it did not return within ``seconds``; it may still be running.
        """
        deadline = Deadline(seconds)
        try:
            lane = self._free.get(timeout=deadline.remaining())
        except queue.Empty:
            raise NoFreeLane from None
        future = lane.start(function)
        try:
            return t.cast(T, future.result(timeout=deadline.remaining()))
        except concurrent.futures.TimeoutError:
            if future.done():  # at the last moment
                return t.cast(T, future.result())
            raise LaneTimeout from None

    def idle(self) -> bool:
        """Whether no call is running, also none that nobody waits for any more."""
        return self._free.qsize() == self._size

    def close(self) -> bool:
        """End the threads of the lanes, of occupied ones when they return. False when there are such."""
        self._closed.set()
        freed = 0
        while True:
            try:
                self._free.get_nowait().stop()
                freed += 1
            except queue.Empty:
                return freed == self._size


class _Lane:
    def __init__(self, free: queue.LifoQueue[_Lane], closed: threading.Event) -> None:
        self._free = free
        self._closed = closed
        self._jobs: queue.SimpleQueue[tuple[concurrent.futures.Future[t.Any], t.Callable[[], t.Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self, function: t.Callable[[], t.Any]) -> concurrent.futures.Future[t.Any]:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="virtops-lane", daemon=True)
            self._thread.start()
        future: concurrent.futures.Future[t.Any] = concurrent.futures.Future()
        self._jobs.put((future, function))
        return future

    def stop(self) -> None:
        self._jobs.put(None)

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            future, function = job
            try:
                value = function()
            except BaseException as error:  # handed to the caller, who decides
                self._free.put(self)
                future.set_exception(error)
            else:
                self._free.put(self)
                future.set_result(value)
            del job, future, function
            if self._closed.is_set():
                return
