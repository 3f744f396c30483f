# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Calls that may hang, each in a thread of its own and each waited for no longer than its time.

libvirt's client calls have no timeout. A worker is a daemon thread that makes one call at a time; a caller that stops waiting
leaves its worker behind, which counts as occupied until the call returns. So the number of workers is the number of requests in
flight, whatever hangs.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import queue
import sys
import threading
import typing as t

from .._deadline import Deadline
from .._errors import GuestAgentError

R = t.TypeVar("R")
T = t.TypeVar("T")

#: A thread that waits for the interpreter asks whoever has it to let go, after this many seconds and each time they have passed.
_SWITCH_SECONDS: t.Final = 1.0
#: libvirtd reads no sixth request of one connection before one of five has been answered (max_client_requests).
CALLS_PER_CONNECTION: t.Final = 5


class CallTimeout(Exception):
    """The call took longer than the caller would wait. It is still running."""


class NoFreeWorker(CallTimeout):
    """All workers were occupied for longer than the caller would wait. The call was never made."""


class Workers:
    """At most ``size`` calls at once. Threads are started when first needed and end with ``close``."""

    def __init__(self, size: int = CALLS_PER_CONNECTION) -> None:
        self._size = size
        self._free: queue.LifoQueue[Worker] = queue.LifoQueue()
        self._lock = threading.Lock()
        self._stopped = 0
        self._last: t.Callable[[], object] | None = None
        for _number in range(size):
            self._free.put(Worker("virtops-call"))

    def call(self, function: t.Callable[[], T], seconds: float) -> T:
        """The value of ``function()``, or what it raises.

        :raise CallTimeout: it did not return within ``seconds``; it may still be running.
        :raise NoFreeWorker: all were occupied for as long, or Python is ending: then no daemon thread runs any more.
        """
        if sys.is_finalizing():
            raise NoFreeWorker
        deadline = Deadline(seconds)
        try:
            worker = self._free.get(timeout=deadline.remaining())
        except queue.Empty:
            raise NoFreeWorker from None
        future = worker.start(lambda: self._freeing(worker, function))
        try:
            return t.cast(T, future.result(timeout=deadline.remaining()))
        except concurrent.futures.TimeoutError:
            if future.done():  # at the last moment
                return t.cast(T, future.result())
            raise CallTimeout from None

    def close(self, last: t.Callable[[], object] = lambda: None, seconds: float = 0) -> bool:
        """End the threads, of occupied workers when they return; the last of them calls ``last``.

        False when some are occupied, or Python is ending. Otherwise ``last()`` is waited for, up to ``seconds``.
        """
        if sys.is_finalizing():  # a thread that is started now would be waited for without end
            return False
        self._last = last
        if (ending := self._stop_free()) is None:
            return False
        with contextlib.suppress(concurrent.futures.TimeoutError):
            ending.result(timeout=seconds)
        return True

    def _stop_free(self) -> concurrent.futures.Future[object] | None:
        """Stop the workers that are free; where no other is left, one calls ``last`` before."""
        ending = None
        with self._lock:
            while not self._free.empty():
                worker = self._free.get_nowait()
                self._stopped += 1
                if self._stopped == self._size:
                    ending = worker.start(self._last or (lambda: None))
                worker.stop()
        return ending

    def _freeing(self, worker: Worker, function: t.Callable[[], T]) -> T:
        try:
            return function()
        finally:
            self._free.put(worker)
            if self._last is not None:
                self._stop_free()


class Worker:
    """Calls one after the other, in a daemon thread that is started for the first of them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[tuple[concurrent.futures.Future[t.Any], t.Callable[[], t.Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self, function: t.Callable[[], t.Any]) -> concurrent.futures.Future[t.Any]:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        future: concurrent.futures.Future[t.Any] = concurrent.futures.Future()
        self._jobs.put((future, function))
        return future

    def stop(self) -> None:
        """The thread ends after the calls that were started."""
        self._jobs.put(None)

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            future, function = job
            try:
                future.set_result(function())
            except BaseException as error:  # handed to the caller, who decides
                future.set_exception(error)
            del job, future, function


@contextlib.contextmanager
def unhurried() -> t.Iterator[None]:
    """For hundreds of threads that give the interpreter back soon, because each request does.

    Those that wait for it would wake every 5 ms, only to ask for it: most of the processor time of a large fleet.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(max(before, _SWITCH_SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def each(action: t.Callable[[T], R], subjects: t.Sequence[T], at_once: int = CALLS_PER_CONNECTION) -> list[R | GuestAgentError]:
    """What ``action`` gives for each of ``subjects``, or the error where it fails; as many at once as a connection takes."""

    def attempt(subject: T) -> R | GuestAgentError:
        try:
            return action(subject)
        except GuestAgentError as error:
            return error

    if not subjects:
        return []
    with concurrent.futures.ThreadPoolExecutor(max_workers=at_once) as pool:
        return list(pool.map(attempt, subjects))
