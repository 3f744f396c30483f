# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A watchdog in this process: the real freeze of a fake guest, and a list of what it was told."""

from __future__ import annotations

import concurrent.futures
import typing as t

from ansible_collections.virtops.guest_agent.plugins.module_utils import _deadline, _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._freeze import guarded, watchdog
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest


class Link:
    """What the watchdog asks; ``happens`` is called with the number of each question before it is asked."""

    name = "web"

    def __init__(self, guest: FakeGuest, happens: t.Callable[[int], None] = lambda number: None) -> None:
        self._guest = guest
        self._happens = happens
        self.questions = 0
        self.lost = False

    def ask(self, question: t.Callable[[GuestAgent], t.Any]) -> t.Any:
        self.questions += 1
        self._happens(self.questions)
        return question(self._guest.agent())

    def send(self, question: t.Callable[[GuestAgent], t.Any]) -> guarded.Sent:
        reply: concurrent.futures.Future[t.Any] = concurrent.futures.Future()
        try:
            reply.set_result(question(self._guest.agent()))
        except _errors.GuestAgentError as error:
            reply.set_exception(error)
        return guarded.Sent(reply, lambda: self.lost)


class Deaf:
    """Nobody speaks to it."""

    def wait(self, seconds: float) -> None:
        _deadline.SYSTEM_CLOCK.sleep(seconds)


class FakeWatchdog:
    """``dies_at``: the word at which it is gone. ``refuses``: why it cannot be armed."""

    def __init__(self, guest: FakeGuest, dies_at: str = "", refuses: _errors.GuestAgentError | None = None) -> None:
        self.told: list[t.Any] = []
        self.watch(guest)
        self.dies_at = dies_at
        self.refuses = refuses

    def watch(self, guest: FakeGuest) -> None:
        self.frozen = guarded.GuardedFreeze(Link(guest), samples.uuid(1), t.cast(t.Any, Deaf()))

    def arm(self, order: watchdog.Order) -> int:
        self.told.append(order)
        if self.refuses is not None:
            raise self.refuses
        return 77

    def freeze(self, wish: guarded.Wish) -> int:
        self._hear("freeze")
        count = self.frozen.freeze(wish)
        self.frozen.dismiss_others()
        return count

    def take_over(self) -> None:
        self._hear("take over")
        self.frozen.take_over()

    def keep(self) -> None:
        self._hear("keep")

    def thaw(self, seconds: float) -> watchdog.Release:
        self._hear("thaw")
        thawed = self.frozen.thaw(seconds)
        return watchdog.Release(thawed is not None, thawed.warning if thawed else "")

    def leave(self) -> None:
        self.told.append("left")

    def _hear(self, word: str) -> None:
        self.told.append(word)
        if word == self.dies_at:
            raise _errors.WatchdogFailed("the watchdog has ended", command="watchdog")
