# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task that is told to end: it undoes what it has begun, and ends as it was told."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._backup.interrupts import Interrupted, interruptible


def _ended_by(number: int) -> int:
    """The status of a process that gets the signal twice in the middle; what it writes to the pipe is what it undid."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.signal(number, signal.SIG_DFL)  # what runs in the background may have got it ignored
            with interruptible():
                try:
                    os.kill(os.getpid(), number)
                except Interrupted:
                    os.kill(os.getpid(), number)  # ignored now
                    os.write(writing, b"undone")
                    raise
        finally:
            os._exit(0)
    os.close(writing)
    status = os.waitpid(child, 0)[1]
    assert os.read(reading, 100) == b"undone"
    os.close(reading)
    return status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_undoes_and_ends(number: int) -> None:
    assert os.WTERMSIG(_ended_by(number)) == number


def test_what_is_not_interrupted_leaves_the_signals_as_they_were() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interruptible():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_nothing_is_heard() -> None:
    done = []

    def run() -> None:
        with interruptible():
            done.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert done == [True]
