# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A watchdog can be dismissed by its own user, and by nobody else's word from before."""

from __future__ import annotations

import os
import threading

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._freeze import registry, watchdog
from ansible_collections.virtops.guest_agent.tests.unit import samples


def _later(*arguments: object) -> None:
    thread = threading.Thread(target=registry.dismiss, args=arguments)
    thread.start()
    thread.join()


def test_dismissal_reaches_the_watchdog_of_that_domain_only() -> None:
    with registry.registered(samples.uuid(1)) as one:
        _later(samples.uuid(2), 1.0)
        assert one.wait(0.01) is None
        _later(samples.uuid(1), 1234.5678901)
        word = one.wait(30)
        assert word is not None
        assert word[:2] == (False, 1234.5678901)
        word.close()
        assert one.wait(0.01) is None


def test_but_one_is_spared() -> None:
    with registry.registered(samples.uuid(3)) as mine:
        _later(samples.uuid(3), 1.0, os.getpid())
        assert mine.wait(0.01) is None


def test_who_watches_is_asked_to_thaw() -> None:
    answers: list[dict[str, object]] = []
    with registry.registered(samples.uuid(7)) as ear:
        thread = threading.Thread(target=lambda: answers.append(registry.ask_to_thaw(samples.uuid(7), 5.0, 5.0)))
        thread.start()
        word = ear.wait(30)
        assert word is not None
        assert word[:2] == (True, 5.0)
        word.answer(filesystems=2, warning="")
        word.close()
        thread.join()
    assert answers == [{"filesystems": 2, "warning": ""}]


def test_who_watches_over_another_freeze_says_nothing() -> None:
    answers: list[dict[str, object]] = []
    with registry.registered(samples.uuid(8)) as ear:
        thread = threading.Thread(target=lambda: answers.append(registry.ask_to_thaw(samples.uuid(8), 5.0, 5.0)))
        thread.start()
        word = ear.wait(30)
        assert word is not None
        word.close()
        thread.join()
    assert answers == [{}]
    assert registry.ask_to_thaw(samples.uuid(9), 5.0, 5.0) == {}


def test_nobody_there_is_no_error() -> None:
    registry.dismiss(samples.uuid(5), 1.0)


def test_whatever_happens_in_a_question_is_an_expected_failure_and_a_signal_is_not() -> None:
    link = watchdog._GuestLink(watchdog.Order("test:///x", samples.uuid(6), 5, 1))

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
    assert isinstance(ask_with(watchdog._Terminated()), watchdog._Terminated)
