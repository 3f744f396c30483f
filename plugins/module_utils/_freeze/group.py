# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Freeze one guest or several at a time, each with a watchdog of its own, and thaw them all again.

Watchdogs are armed before the first guest is frozen, so that the guests that are frozen first do not wait for what the others
need before. Each freezes and thaws its guest over its own connection, so that guests do not wait for each other's requests.
Windows' shadow copies hold writes for ten seconds and no longer: Windows guests are frozen last and thawed first.
"""

from __future__ import annotations

import contextlib
import math
import typing as t

from .._agent.client import GuestAgent
from .._commands import filesystems, freeze, system
from .._deadline import SYSTEM_CLOCK, Deadline
from .._errors import (
    AgentTimeout,
    CommandFailed,
    CommandRefused,
    GuestAgentError,
    GuestFrozen,
    InvalidInput,
    NotQuiesced,
    WatchdogFailed,
)
from .._inside import small_files
from .._libvirt.threads import each
from .._reach.diagnosis import explain
from .guarded import Wish
from .watchdog import Order, Release, Watchdog

#: How long Windows holds writes back.
WINDOWS_SECONDS: t.Final = 10.0
#: Agent commands at a time on one hypervisor, whose libvirtd has twenty workers for all its clients.
_AT_ONCE: t.Final = 10
_MOUNT_TABLE: t.Final = "/proc/self/mountinfo"


def check_freezable(agent: GuestAgent, mountpoints: t.Sequence[str] | None) -> freeze.Extent:
    """Everything that can be known before the first filesystem is frozen, above all that the thaw will be accepted.

    :raise CommandRefused: the agent would refuse the freeze or the thaw.
    :raise InvalidInput: one of ``mountpoints`` is not a filesystem of the guest; the agent would ignore it silently.
    :raise CommandFailed: one that keeps data is none that an agent freezes.
    """
    freezer = "guest-fsfreeze-freeze" if mountpoints is None else "guest-fsfreeze-freeze-list"
    for command in (freezer, "guest-fsfreeze-thaw"):
        agent.require(command)
    if mountpoints is None and not agent.can("guest-get-fsinfo"):
        return freeze.Extent()
    found = filesystems.filesystems(agent)
    mounted = {each["mount_point"] for each in found}
    unknown = [path for path in mountpoints or () if path not in mounted]
    if unknown:
        raise InvalidInput(
            f"no filesystem that can be frozen is mounted at {', '.join(unknown)}",
            domain=agent.name,
            command=freezer,
            hint=f"the guest has {', '.join(sorted(mounted)[:20]) or 'none'}",
        )
    extent = freeze.extent(found, _mount_table(agent) if mountpoints is None else None, mountpoints)
    if extent.beyond_reach:
        raise CommandFailed(
            f"the agent does not freeze {', '.join(extent.beyond_reach[:20])}",
            domain=agent.name,
            command=freezer,
            hint="list the filesystems to freeze in mountpoints, or take the snapshot with quiesce=preferred",
        )
    return extent


def _mount_table(agent: GuestAgent) -> str | None:
    try:
        return small_files.read_if_there(agent, _MOUNT_TABLE)
    except CommandRefused:
        return None


class Member:
    """One guest of the group, and what went wrong with it: at most one of ``not_frozen``, ``not_thawed`` and ``not_held``."""

    def __init__(self, agent: GuestAgent, uuid: str, mountpoints: t.Sequence[str] | None = None) -> None:
        self.agent = agent
        self.uuid = uuid
        self.mountpoints = mountpoints
        #: it has no watchdog, or could not be frozen
        self.not_frozen: GuestAgentError | None = None
        #: it may be frozen still; its watchdog goes on trying
        self.not_thawed: GuestAgentError | None = None
        #: it is thawed, and was before the moment was over
        self.not_held: NotQuiesced | None = None
        self.windows = False
        self.seconds: float | None = None
        self.extent = freeze.Extent()
        #: how many filesystems are frozen, and what the agent said of a thaw that was done all the same
        self.count: int | None = None
        self.warning = ""
        self.pid: int | None = None
        self._watchdog: Watchdog | None = None
        self._since: float | None = None

    @property
    def trouble(self) -> GuestAgentError | None:
        """Why the moment is not this guest's: it was not frozen for all of it, or nothing tells that it was."""
        return self.not_frozen or self.not_thawed or self.not_held

    @property
    def frozen(self) -> bool:
        """Whether it was frozen by us, and is to be thawed."""
        return self._since is not None and self.seconds is None

    def check(self) -> None:
        """Everything that can be known before: above all that the thaw will be accepted.

        :raise GuestAgentError: it cannot be frozen, or another client has frozen it.
        """
        with self._explained():
            if self.agent.frozen():
                raise GuestFrozen(
                    "the guest is frozen already, and not by this task",
                    domain=self.agent.name,
                    command="guest-fsfreeze-freeze",
                    hint="wait until its client thaws it; virtops.guest_agent.fsfreeze thaws it with state=thawed, or takes it"
                    " over with force=true",
                )
            self.extent = check_freezable(self.agent, self.mountpoints)
        with contextlib.suppress(CommandRefused), self.agent.named():
            self.windows = system.os_info(self.agent)["id"] == "mswindows"

    def arm(self, watchdog: Watchdog, order: Order) -> None:
        self._watchdog = watchdog
        with self._explained():
            self.pid = watchdog.arm(order)

    def freeze(self, deadline: Deadline) -> None:
        if self._watchdog is None or deadline.expired():
            detail = "the other guests took all the time for the freeze"
            raise AgentTimeout(detail, domain=self.agent.name, command="guest-fsfreeze-freeze", hint="set a longer timeout")
        wish = Wish(self.mountpoints, self.extent.wanted, math.ceil(deadline.remaining()), self.extent.doubtful)
        since = SYSTEM_CLOCK.monotonic()
        with self._explained():
            try:
                self.count = self._watchdog.freeze(wish)
            except WatchdogFailed as error:
                self._thaw_alone(error, wish.seconds)
                raise
        self._since = since

    def keep(self) -> None:
        """It stays frozen when the task ends, until its time is over.

        :raise GuestAgentError: it does not.
        """
        if self._watchdog is not None:
            try:
                self._watchdog.keep()
            except WatchdogFailed as error:
                self._thaw_alone(error, self.agent.timeout)
                raise

    def thaw(self, seconds: float) -> None:
        """
        :raise NotQuiesced: it is thawed, and was not frozen all the time until now.
        :raise GuestAgentError: it is not thawed, or it is not known; the watchdog goes on trying.
        """
        if self._watchdog is None:
            return
        try:
            with self._explained():
                ended = self._watchdog.thaw(seconds)
        except WatchdogFailed as error:
            ended = self._thaw_alone(error, seconds)
        finally:
            self.seconds = round(SYSTEM_CLOCK.monotonic() - (self._since or 0.0), 3)
        self.warning = ended.warning
        # Windows says so when it could not hold writes back until then.
        if not ended.held or (self.windows and (ended.warning or self.seconds > WINDOWS_SECONDS)):
            detail = f"the guest did not stay frozen for the {self.seconds:g} s of the snapshot"
            raise NotQuiesced(detail, domain=self.agent.name, command="guest-fsfreeze-thaw")

    def _thaw_alone(self, error: WatchdogFailed, seconds: float) -> Release:
        """The watchdog is gone, and with it the knowledge of whose freeze it is: no guest is left frozen for that.

        :raise WatchdogFailed: the guest may be frozen still.
        """
        error.domain = self.agent.name
        try:
            self.agent.retry()
            held = self.agent.frozen()
            thawed = freeze.thaw_until_thawed(self.agent, seconds)
        except GuestAgentError as trouble:
            error.detail = f"{error.detail}; the guest may be frozen ({trouble.detail})"
            error.hint = "thaw it when its agent answers (virtops.guest_agent.fsfreeze with state=thawed)"
            raise error from trouble
        error.detail = f"{error.detail}; the guest is thawed"
        return Release(held, thawed.warning)

    @contextlib.contextmanager
    def _explained(self) -> t.Iterator[None]:
        """What a watchdog or an agent says gets its domain, and the remedy where SELinux or a block list is the reason."""
        try:
            with self.agent.named():
                yield
        except GuestAgentError as error:
            error.domain = error.domain or self.agent.name
            raise explain(self.agent, error, ("guest-fsfreeze-thaw",)) from error.__cause__


class Terms(t.NamedTuple):
    """``timeout``: what the freezes may take, together. ``max_seconds``: when a watchdog thaws its guest (seconds, 0: never)."""

    uri: str | None
    timeout: int
    max_seconds: int
    agent_timeout: int


def freeze_all(members: t.Sequence[Member], watchdogs: t.Sequence[Watchdog], terms: Terms) -> None:
    """Freeze all that can be, and note of the others why they are ``not_frozen``."""
    arm_all(members, watchdogs, terms)
    deadline = Deadline(min(terms.timeout, terms.max_seconds or terms.timeout))
    for windows in (False, True):
        _freeze_each([member for member in members if member.windows == windows], lambda member: member.freeze(deadline))


def arm_all(members: t.Sequence[Member], watchdogs: t.Sequence[Watchdog], terms: Terms) -> None:
    armed = dict(zip((id(member) for member in members), watchdogs))

    def arm(member: Member) -> None:
        member.arm(armed[id(member)], Order(terms.uri, member.uuid, terms.max_seconds, terms.agent_timeout))

    _freeze_each(members, arm)


def thaw_all(members: t.Sequence[Member], seconds: float) -> None:
    """Thaw those that are frozen, and note which were ``not_held`` until now and which are ``not_thawed``."""
    for windows in (True, False):
        frozen = [member for member in members if member.frozen and member.windows == windows]
        for member, error in zip(frozen, each(lambda member: member.thaw(seconds), frozen, _AT_ONCE)):
            if isinstance(error, NotQuiesced):
                member.not_held = error
            else:
                member.not_thawed = error


def _freeze_each(members: t.Iterable[Member], step: t.Callable[[Member], None]) -> None:
    """One step on the way to the freeze, for those that may still get there."""
    able = [member for member in members if member.not_frozen is None]
    for member, error in zip(able, each(step, able, _AT_ONCE)):
        member.not_frozen = error
