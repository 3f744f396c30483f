# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A task that is told to end undoes first what it has begun."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import typing as t

_ENDING: t.Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Raised once, wherever the signal comes; further ones are ignored."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def interruptible() -> t.Iterator[None]:
    """In here signals that end a process raise ``Interrupted``; when that comes out of here they do what they always do."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python's signals are the main thread's
        return
    before = {number: signal.getsignal(number) for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN}

    def hear(number: int, _frame: object) -> t.NoReturn:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    for number in before:
        signal.signal(number, hear)
    try:
        yield
    except Interrupted as error:
        signal.signal(error.number, signal.SIG_DFL)
        os.kill(os.getpid(), error.number)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
