# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time that is over is over, and a call that hangs costs its time and its lane."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._deadline import SYSTEM_CLOCK, Deadline
from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import InvalidInput
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import threads as _threads
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt.threads import (
    CALLS_PER_CONNECTION,
    CallTimeout,
    Workers,
    each,
    unhurried,
)
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock


def test_a_deadline_on_a_clock_of_ours() -> None:
    clock = FakeClock()
    deadline = Deadline(10, clock)
    assert (deadline.elapsed(), deadline.remaining(), deadline.expired()) == (0, 10, False)
    deadline.sleep(4)
    assert (deadline.elapsed(), deadline.remaining(), deadline.expired()) == (4, 6, False)
    deadline.sleep(60)  # never past the deadline
    assert (deadline.elapsed(), deadline.remaining(), deadline.expired()) == (10, 0, True)
    clock.sleep(5)
    assert (deadline.elapsed(), deadline.remaining(), deadline.expired()) == (15, 0, True)
    deadline.sleep(60)
    assert clock.slept == [4, 6, 5, 0]


def test_a_deadline_of_nothing_is_over() -> None:
    assert Deadline(0, FakeClock()).expired()


def test_the_systems_clock() -> None:
    deadline = Deadline(0.01)
    SYSTEM_CLOCK.sleep(0.02)
    assert deadline.expired()


def test_pauses_double_and_the_last_turn_is_at_the_deadline() -> None:
    clock = FakeClock()
    assert sum(1 for _turn in Deadline(10, clock).pauses(1, 4)) == 5
    assert clock.slept == [1, 2, 4, 3]
    assert sum(1 for _turn in Deadline(0, clock).pauses(1, 4)) == 1


@pytest.fixture
def gate() -> t.Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_values_and_errors_pass() -> None:
    workers = Workers(1)

    def broken() -> t.NoReturn:
        raise TimeoutError("the call's own")

    for _time in range(3):
        assert workers.call(lambda: 5, 30) == 5
        with pytest.raises(TimeoutError, match="own"):
            workers.call(broken, 30)
        with pytest.raises(ZeroDivisionError):
            workers.call(lambda: 1 / 0, 30)
    assert workers.close()


def test_a_hung_call_costs_its_time_and_holds_its_worker(gate: threading.Event) -> None:
    workers = Workers(2)
    started = time.monotonic()
    with pytest.raises(CallTimeout):
        workers.call(gate.wait, 0.05)
    assert time.monotonic() - started < 10
    assert workers.call(lambda: "the other worker", 30) == "the other worker"
    with pytest.raises(CallTimeout):
        workers.call(gate.wait, 0.05)
    ran = []
    with pytest.raises(CallTimeout):  # no worker is free: nothing is sent at all
        workers.call(lambda: ran.append(1), 0.05)
    assert not workers.close()
    gate.set()
    assert ran == []


def test_a_worker_comes_back(gate: threading.Event) -> None:
    workers = Workers(1)
    with pytest.raises(CallTimeout):
        workers.call(gate.wait, 0.01)
    gate.set()
    assert workers.call(lambda: "again", 30) == "again"
    assert workers.close()


def test_five_at_once_and_no_more(gate: threading.Event) -> None:
    workers = Workers()
    lock, running, most = threading.Lock(), [0], [0]
    five = threading.Event()

    def call() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
            if running[0] == CALLS_PER_CONNECTION:
                five.set()
        gate.wait(60)
        with lock:
            running[0] -= 1

    threads = [threading.Thread(target=workers.call, args=(call, 60)) for _number in range(12)]
    for thread in threads:
        thread.start()
    assert five.wait(60)
    time.sleep(0.05)
    gate.set()
    for thread in threads:
        thread.join()
    assert most == [CALLS_PER_CONNECTION] == [5]
    assert workers.close()


class _AtTheLastMoment(concurrent.futures.Future):  # type: ignore[type-arg]
    """Is done just when nobody waits any longer."""

    def __init__(self, outcome: t.Callable[[], int]) -> None:
        super().__init__()
        self._outcome = outcome

    def result(self, timeout: float | None = None) -> t.Any:
        if self.done():
            return super().result(timeout)
        try:
            self.set_result(self._outcome())
        except ValueError as error:
            self.set_exception(error)
        raise concurrent.futures.TimeoutError


def test_a_call_that_ends_at_the_last_moment_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads.Worker, "start", lambda worker, function: _AtTheLastMoment(function))
    assert Workers(1).call(lambda: 5, 1) == 5
    with pytest.raises(ValueError, match="ten"):
        Workers(1).call(lambda: int("ten"), 1)


def test_closed_workers_leave_no_thread() -> None:
    before = set(threading.enumerate())
    workers = Workers()
    workers.call(lambda: None, 30)
    assert workers.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
    assert set(threading.enumerate()) <= before


#: What a generator holds that nothing has closed is given back when Python ends, and no thread runs any more then.
AT_THE_END = f"""
from {Workers.__module__} import NoFreeWorker, Workers

def held(workers):
    try:
        yield workers.call(lambda: "called", 30)
    finally:
        print("closing")
        try:
            workers.call(lambda: print("not to be called"), 30)
        except NoFreeWorker:
            print("not called")
        print(workers.close(lambda: None, 30))

opened = held(Workers())
print(next(opened))
raise SystemExit(7)
"""


def test_nothing_is_waited_for_when_python_ends() -> None:
    path = {"PYTHONPATH": str(Path(_threads.__file__).parents[6])}
    words = [sys.executable, "-c", AT_THE_END]
    done = subprocess.run(words, env={**os.environ, **path}, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.splitlines()) == (7, ["called", "closing", "not called", "False"]), done.stderr


def test_each_gives_what_there_is_and_what_went_wrong() -> None:
    def action(number: int) -> int:
        if number % 2:
            raise InvalidInput(f"{number} is odd")
        return number * 10

    assert [str(found) for found in each(action, range(4))] == ["0", "1 is odd.", "20", "3 is odd."]
    assert each(action, []) == []
    with pytest.raises(ZeroDivisionError):
        each(lambda number: 1 // number, [1, 0])


def test_threads_wait_unhurried_only_as_long_as_they_are_many() -> None:
    before, during = sys.getswitchinterval(), []

    @unhurried()
    def fail() -> None:
        during.append(sys.getswitchinterval())
        raise InvalidInput("")

    with pytest.raises(InvalidInput):
        fail()
    assert (during, sys.getswitchinterval()) == ([1.0], before)


def test_where_python_ends_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """No daemon thread runs any more, which the caller would wait for."""
    workers, done = Workers(1), []
    monkeypatch.setattr(_threads.sys, "is_finalizing", lambda: True)
    with pytest.raises(_threads.NoFreeWorker):
        workers.call(lambda: done.append(1), 5)
    assert done == []
