# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Freeze several guests for one moment, each with a watchdog of its own, and thaw them all again.

Watchdogs are armed before the first guest is frozen, so that the guests that are frozen first do not wait for what the others
need before. Windows' shadow copies hold writes for ten seconds and no longer: Windows guests are frozen last and thawed first.
"""

from __future__ import annotations

import contextlib
import typing as t

from . import _parallel
from ._client import GuestAgent
from ._commands import freeze, system
from ._deadline import SYSTEM_CLOCK, Deadline
from ._errors import AgentTimeout, CommandFailed, CommandRefused, GuestAgentError, GuestFrozen, LibvirtFailure, NotQuiesced
from ._guarded_freeze import check_freezable, guarded_freeze
from ._watchdog import Order, Watchdog
from ._watchdog_registry import dismiss

#: How long Windows holds writes back.
WINDOWS_SECONDS: t.Final = 10.0


class Member:
    """One guest of the group. ``trouble`` is why it was, or could be, frozen for the moment not or not long enough."""

    def __init__(self, agent: GuestAgent, uuid: str) -> None:
        self.agent = agent
        self.uuid = uuid
        self.trouble: GuestAgentError | None = None
        self.windows = False
        self.seconds: float | None = None
        self._watchdog: Watchdog | None = None
        self._since: float | None = None

    @property
    def frozen(self) -> bool:
        """Whether it was frozen by us, and is to be thawed."""
        return self._since is not None and self.seconds is None

    def check(self) -> None:
        """Everything that can be known before: above all that the thaw will be accepted.

        :raise GuestAgentError: it cannot be frozen, or somebody else has frozen it.
        """
        if self.agent.frozen():
            raise GuestFrozen(
                "the guest is frozen already, and not by this task", domain=self.agent.name, command="guest-fsfreeze-freeze"
            )
        check_freezable(self.agent, None)
        with contextlib.suppress(CommandRefused), self.agent.named():
            self.windows = system.os_info(self.agent)["id"] == "mswindows"

    def arm(self, watchdog: Watchdog, order: Order) -> None:
        self._watchdog = watchdog
        dismiss(self.uuid, but=watchdog.arm(order))

    def freeze(self, deadline: Deadline) -> None:
        seconds = int(deadline.remaining())
        if self._watchdog is None or seconds < 1:
            detail = "the others took all the time that there was to freeze the guests"
            raise AgentTimeout(detail, domain=self.agent.name, command="guest-fsfreeze-freeze", hint="give it a longer timeout")
        since = SYSTEM_CLOCK.monotonic()
        with self.agent.named():
            guarded_freeze(self.agent, None, seconds, self._watchdog)
        self._since = since

    def thaw(self, seconds: float) -> None:
        """
        :raise NotQuiesced: it is thawed, and was not frozen all the time until now.
        :raise GuestAgentError: it is not thawed, or nobody knows; the watchdog goes on trying.
        """
        held = self._still_frozen()
        trouble: GuestAgentError | None = None
        try:
            freeze.thaw(self.agent, self.agent.timeout)
            if self.agent.frozen():
                raise CommandFailed("the guest is still frozen", domain=self.agent.name, command="guest-fsfreeze-thaw")
        except GuestAgentError as error:
            held = held and not self.windows  # Windows says so when it could not hold writes back until then
            trouble = error if freeze.thaw_until_thawed(self.agent, seconds) else None
        self.seconds = round(SYSTEM_CLOCK.monotonic() - (self._since or 0.0), 3)
        if trouble is not None:
            trouble.detail = f"{trouble.detail}; the watchdog goes on trying to thaw the guest"
            raise trouble
        self.release()
        if not held or (self.windows and self.seconds > WINDOWS_SECONDS):
            detail = f"the guest did not stay frozen for the {self.seconds:g} s that it took"
            raise NotQuiesced(detail, domain=self.agent.name, command="guest-fsfreeze-thaw")

    def release(self) -> None:
        """Nothing is frozen, or not any more: the watchdog ends."""
        if self._watchdog is not None:
            with contextlib.suppress(LibvirtFailure):  # it has ended already
                self._watchdog.tell("release")

    def _still_frozen(self) -> bool:
        try:
            return self.agent.frozen()
        except GuestAgentError:
            self.agent.retry()
            return False


class Terms(t.NamedTuple):
    """``timeout``: what the freezes may take, together. ``max_seconds``: when a watchdog thaws its guest (seconds)."""

    uri: str | None
    timeout: int
    max_seconds: int
    agent_timeout: int


def freeze_all(members: t.Sequence[Member], watchdogs: t.Sequence[Watchdog], terms: Terms) -> None:
    """Freeze those without ``trouble``, and note the trouble of those that could not be."""
    deadline = Deadline(min(terms.timeout, terms.max_seconds))
    armed = dict(zip((id(member) for member in members), watchdogs))

    def arm(member: Member) -> None:
        order = Order(terms.uri, member.uuid, terms.max_seconds, terms.timeout, terms.agent_timeout)
        member.arm(armed[id(member)], order)

    _each(_well(members), arm)
    for windows in (False, True):
        _each([member for member in _well(members) if member.windows == windows], lambda member: member.freeze(deadline))


def thaw_all(members: t.Sequence[Member], seconds: float) -> None:
    """Thaw those that are frozen, and note the trouble of those that were not frozen until now, or may still be."""
    for windows in (True, False):
        _each([member for member in members if member.frozen and member.windows == windows], lambda member: member.thaw(seconds))


def _well(members: t.Iterable[Member]) -> list[Member]:
    return [member for member in members if member.trouble is None]


def _each(members: t.Sequence[Member], action: t.Callable[[Member], None]) -> None:
    for member, trouble in zip(members, _parallel.each(action, members)):
        member.trouble = trouble or member.trouble
