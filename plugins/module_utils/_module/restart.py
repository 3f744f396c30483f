# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Seeing a guest down and up again, with a proof that it is another boot."""

from __future__ import annotations

import contextlib
import typing as t

from .._agent.client import GuestAgent
from .._deadline import Deadline
from .._errors import DomainNotFound, GuestAgentError, NotBack, NotRestarted
from .._inside import passing, small_files
from .._libvirt import domain_xml
from .._libvirt.events import LifecycleWatch
from .._reach.guest import Guest

#: Between two looks at the guest, should an event be lost (seconds).
_LOOK_SECONDS: t.Final = 5.0
_OFF: t.Final = ("shutoff", "crashed", "pmsuspended")


class Before(t.NamedTuple):
    """What is known of the guest before it is asked."""

    #: None where the agent may not tell
    boot_id: str | None
    #: whether there is an agent to wait for afterwards
    listened: bool


class Restarted(t.NamedTuple):
    boot_id: str | None
    #: boot_id (it changed) or events (libvirt saw the guest reset, and what agent there is has answered since)
    proof: str
    forced: bool


def look(guest: Guest) -> Before:
    """A look that fails does not prevent the restart."""
    with contextlib.suppress(GuestAgentError):
        return Before(_boot_id(guest.require_agent()), listened=True)
    return Before(None, domain_xml.parse(guest.domain.xml()).channel == "connected")


def _boot_id(agent: GuestAgent) -> str | None:
    """None where the guest or its agent does not tell."""
    try:
        return small_files.boot_id(agent)
    except small_files.UNTOLD:
        return None


class Restart:
    """The time from the request to the proof. ``watch`` must be older than the request."""

    def __init__(self, guest: Guest, watch: LifecycleWatch, before: Before, deadline: Deadline) -> None:
        self._guest = guest
        self._watch = watch
        self._before = before
        self._deadline = deadline
        self._reset_after: float | None = None
        self._missing = "its agent was not asked yet"

    def wait(self, force_after: float | None) -> Restarted:
        """
        :param force_after: seconds after which a guest that has not gone down is reset
        :raise NotRestarted: it did not go down, or its domain went off instead.
        :raise NotBack: it went down, and there is no sign of its agent since.
        """
        forced = False
        while True:
            self._check_on()
            found = self._look()
            if found is not None:
                return found._replace(forced=forced)
            if self._deadline.expired():
                raise self._failure()
            limit = min(self._deadline.remaining(), _LOOK_SECONDS)
            if force_after is not None and self._reset_after is None:
                if self._deadline.elapsed() >= force_after:
                    self._guest.domain.reset()
                    forced, force_after = True, None
                else:
                    limit = min(limit, force_after - self._deadline.elapsed())
            self._hear(limit)

    def _hear(self, limit: float) -> None:
        """Wait for something to happen; all that has happened by then is one reason to look."""
        event = self._watch.next(limit)
        while event is not None:
            if event == "reset" and self._reset_after is None:
                self._reset_after = self._deadline.elapsed()
            event = self._watch.next(0.0)

    def _check_on(self) -> None:
        domain = self._guest.domain
        try:
            state = passing.state(domain, self._deadline)
        except DomainNotFound:
            state = "gone"
        if state in (*_OFF, "gone"):
            hint = "start it; its definition (on_reboot) or the guest itself may have caused this"
            raise NotRestarted(f"the domain is {state} instead of restarted", domain=domain.name, hint=hint)

    def _look(self) -> Restarted | None:
        if not self._before.listened:
            return None if self._reset_after is None else Restarted(None, "events", forced=False)
        agent = self._guest.agent
        agent.retry()
        try:
            agent.call("guest-ping")
            boot_id = _boot_id(agent)
        except GuestAgentError as error:
            self._missing = error.detail
            return None
        if boot_id and self._before.boot_id:
            self._missing = "its boot id has not changed"
            return Restarted(boot_id, "boot_id", forced=False) if boot_id != self._before.boot_id else None
        self._missing = "libvirt has not seen its reset"
        return None if self._reset_after is None else Restarted(boot_id, "events", forced=False)

    def _failure(self) -> GuestAgentError:
        name, seconds = self._guest.domain.name, self._deadline.seconds
        if self._reset_after is None:
            return NotRestarted(f"the guest did not go down within {seconds:g} s after it was asked to restart", domain=name)
        detail = f"the guest went down after {self._reset_after:.0f} s, and is not back after {seconds:g} s: {self._missing}"
        return NotBack(detail, domain=name)
