# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A watchdog can be dismissed by its own user, and by nobody else's word from before."""

from __future__ import annotations

import os
import threading

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors, _watchdog, _watchdog_registry as registry
from ansible_collections.virtops.guest_agent.tests.unit import samples


def _later(*arguments: object) -> None:
    thread = threading.Thread(target=registry.dismiss, args=arguments)
    thread.start()
    thread.join()


def test_dismissal_reaches_the_watchdog_of_that_domain_only() -> None:
    with registry.registered(samples.uuid(1)) as one:
        _later(samples.uuid(2))
        assert not one.wait(0.01)
        _later(samples.uuid(1))
        assert one.wait(2)
        assert not one.wait(0.01)


def test_but_one_is_spared() -> None:
    with registry.registered(samples.uuid(3)) as mine:
        _later(samples.uuid(3), os.getpid())
        assert not mine.wait(0.01)


def test_what_came_before_is_forgotten() -> None:
    with registry.registered(samples.uuid(4)) as early:
        _later(samples.uuid(4))
        early.forget()
        assert not early.wait(0.01)
        _later(samples.uuid(4))
        assert early.wait(2)


def test_nobody_there_is_no_error() -> None:
    registry.dismiss(samples.uuid(5))


def test_whatever_happens_in_a_question_is_an_expected_failure_and_a_signal_is_not() -> None:
    link = _watchdog._GuestLink(_watchdog.Order("test:///x", samples.uuid(6), 5, 5, 1))

    def ask_with(error: BaseException) -> BaseException:
        def connected() -> object:
            raise error

        link._connected = connected  # type: ignore[method-assign,assignment]
        try:
            link.ask(lambda agent: None)
        except BaseException as raised:  # all of them are what the test is about
            return raised
        raise AssertionError("nothing was raised")

    assert isinstance(ask_with(RuntimeError("can't start new thread")), _errors.LibvirtFailure)
    assert isinstance(ask_with(_watchdog._Terminated()), _watchdog._Terminated)
