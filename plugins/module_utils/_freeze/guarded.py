# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One freeze in the hands of the process that outlives the task: sent, held and thawed there.

An agent knows that it is frozen, and not by which client. Our own freeze is told from another client's by what its sender hears:
a freeze that was refused froze nothing, and when our thaw has been acknowledged, or the guest was seen thawed, ours is over.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import math
import os
import syslog
import typing as t

from .._agent.client import GuestAgent
from .._commands import freeze as _commands
from .._deadline import SYSTEM_CLOCK, Deadline
from .._errors import (
    AgentBusy,
    AgentUnavailable,
    CommandBlocked,
    CommandFailed,
    CommandUnknown,
    ConnectionLost,
    DomainNotFound,
    DomainNotRunning,
    GuestAgentError,
    GuestFrozen,
    HypervisorUnreachable,
    PermissionDenied,
    StillInFlight,
    UnknownOutcome,
)
from . import registry

#: Seconds between two looks at the guest.
_PAUSE: t.Final = 0.5
#: An agent that did not answer so many times is asked less and less often: while it is asked, no other client can.
_PATIENCE: t.Final = 6
_LONGEST_PAUSE: t.Final = 60.0
#: How long it goes on trying when the time is over and the guest does not answer (seconds).
_PERSISTENCE: t.Final = 24 * 3600.0
#: A request may wait so long in libvirt for other commands to end (VIR_JOB_WAIT_TIME, and a margin).
LATE_SECONDS: t.Final = 35.0
#: After its time libvirt still has to tell that there was no reply.
_GRACE_SECONDS: t.Final = 1.0
#: States in which nothing can be frozen. A domain that is paused or suspended keeps what it has.
_OFF: t.Final = ("shutoff", "crashed")
#: The freeze was not sent, or the agent refused it: nothing was frozen, or not by us.
_NOTHING_FROZEN: t.Final = (
    AgentUnavailable,
    CommandBlocked,
    CommandUnknown,
    DomainNotFound,
    DomainNotRunning,
    GuestFrozen,
    PermissionDenied,
)
#: libvirt may have the request still.
_LOST: t.Final = (ConnectionLost, HypervisorUnreachable, StillInFlight)

T = t.TypeVar("T")


class Wish(t.NamedTuple):
    """``mountpoints`` None: all. ``wanted``: how many must be frozen. ``doubtful``: those that are likely to blame for less."""

    mountpoints: t.Sequence[str] | None
    wanted: int
    seconds: int
    doubtful: t.Sequence[str] = ()


class Sent(t.NamedTuple):
    """A request on its way. ``lost``: whether the connection that it was sent on is gone."""

    reply: concurrent.futures.Future[t.Any]
    lost: t.Callable[[], bool]


class Guest(t.Protocol):
    """The guest's agent. What broke is made anew before the next question."""

    @property
    def name(self) -> str:
        """The domain's name."""

    def ask(self, question: t.Callable[[GuestAgent], T]) -> T:
        """
        :raise GuestAgentError: whatever went wrong.
        """

    def send(self, question: t.Callable[[GuestAgent], t.Any]) -> Sent:
        """Ask, and be told in the reply, however late it comes."""


class GuardedFreeze:
    """``ear``: what other tasks of this host say about the guest."""

    def __init__(self, guest: Guest, uuid: str, ear: registry.Ear) -> None:
        self._guest = guest
        self._uuid = uuid
        self._thaw_seconds = 30.0
        self._ear = ear
        self._begun = self._since = float("inf")
        self._sent: Sent | None = None
        #: ours may hold, or come, until then; None: it is over
        self._doubt: Deadline | None = None

    def freeze(self, wish: Wish) -> int:
        """How many filesystems are frozen.

        :raise GuestAgentError: the freeze failed, or froze less than was asked for. The guest is thawed, or ``settle`` sees to it.
        """
        begun = SYSTEM_CLOCK.monotonic()
        self._sent = self._guest.send(lambda agent: _freeze(agent, wish))
        self._doubt = Deadline(LATE_SECONDS)
        try:
            count = self._sent.reply.result(wish.seconds + _GRACE_SECONDS)
        except concurrent.futures.TimeoutError:
            detail = "the agent did not answer in time; the watchdog thaws the guest if it was frozen"
            raise StillInFlight(detail, domain=self._guest.name, command="guest-fsfreeze-freeze") from None
        except _NOTHING_FROZEN:
            self._doubt = self._sent = None
            raise
        except GuestAgentError as error:
            self._undo(error, wish.seconds)
            raise
        self._sent = None
        if count < wish.wanted:
            short = CommandFailed(_shortage(count, wish), domain=self._guest.name, command="guest-fsfreeze-freeze")
            self._undo(short, wish.seconds)
            raise short
        self._holds(begun)
        return t.cast(int, count)

    @property
    def over(self) -> bool:
        """Whether nothing of ours is frozen, or can be yet."""
        return self._doubt is None

    def let_go(self) -> None:
        """It is to last until a task or another client thaws it."""
        self._doubt = None

    def take_over(self) -> None:
        """From now on the freeze that holds is ours."""
        self._holds(SYSTEM_CLOCK.monotonic())

    def dismiss_others(self) -> None:
        """Ours holds: whatever froze the guest before has been thawed, and its watchdog has nothing to watch over any more."""
        registry.dismiss(self._uuid, self._begun, but=os.getpid())

    def lost(self) -> bool:
        """Whether it has been thawed by another client, or taken over; one look."""
        if self._doubt is not None and not self._ended_by_another(0.0):
            try:
                thawed = not self._guest.ask(GuestAgent.frozen)
            except GuestAgentError as error:
                thawed = _gone(error)
            if thawed:
                self._doubt = None
        return self._doubt is None

    def guard(self, deadline: Deadline) -> None:
        """Until it has been thawed by another client or taken over, or its time is over and we have thawed it."""
        pauses = _Pauses()
        while not deadline.expired():
            if self._ended_by_another(min(pauses.length, deadline.remaining())):
                return
            try:
                if not self._guest.ask(GuestAgent.frozen):
                    return
                pauses.reset()
            except GuestAgentError as error:
                if _gone(error):
                    return
                pauses.after(error)
        self.settle()

    def thaw(self, seconds: float) -> _commands.Thawed | None:
        """Thaw our freeze; None where it has been thawed already.

        :raise GuestAgentError: it is frozen still, or it is not known; ``settle`` goes on.
        """
        if self._doubt is None:
            return None
        try:
            return self._thaw(Deadline(seconds), Deadline(0))
        except GuestAgentError as error:
            error.detail = f"{error.detail}; the watchdog keeps trying to thaw the guest"
            raise

    def settle(self) -> None:
        """Thaw, however long it takes, until our freeze is over. Nothing where it is."""
        if self._sent is not None:
            self._await(self._sent)
        if self._doubt is None:
            return
        deadline = Deadline(_PERSISTENCE)
        try:
            if self._thaw(deadline, self._doubt) is not None:
                syslog.syslog(syslog.LOG_WARNING, f"virtops.guest_agent: the watchdog thawed domain {self._guest.name}")
        except GuestAgentError as error:
            text = f"virtops.guest_agent: the watchdog gave up; domain {self._guest.name} may be frozen: {error}"
            syslog.syslog(syslog.LOG_ERR, text)

    def end_soon(self) -> None:
        """``settle`` for as long as the end of this host leaves time for."""
        if self._doubt is not None:
            with contextlib.suppress(GuestAgentError):
                self._thaw(Deadline(LATE_SECONDS), self._doubt)

    def _holds(self, begun: float) -> None:
        self._begun = begun
        self._since = SYSTEM_CLOCK.monotonic()
        self._doubt = Deadline(0)

    def _undo(self, error: GuestAgentError, seconds: int) -> None:
        """Thaw whatever the failed freeze froze, and say in its error how that went."""
        lost = isinstance(error, _LOST)
        self._sent = None
        self._doubt = Deadline(LATE_SECONDS if lost else 0)
        try:
            # Also what says that nothing was frozen has run its freeze hooks, which only a thaw undoes.
            self._thaw(Deadline(seconds), Deadline(0), unseen=True)
            outcome = "the guest is thawed"
            if lost:
                self._doubt = Deadline(LATE_SECONDS)
        except GuestAgentError:
            outcome = "the watchdog keeps trying to thaw the guest"
        error.detail = f"{error.detail}; {outcome}"

    def _thaw(self, deadline: Deadline, late: Deadline, unseen: bool = False) -> _commands.Thawed | None:
        """Thaw until our freeze is over: after the first thaw that is acknowledged, but not before ``late``.

        ``unseen``: the first thaw is sent without a look.
        """
        thawed: _commands.Thawed | None = None
        pauses = _Pauses()
        while True:
            try:
                if unseen or self._guest.ask(GuestAgent.frozen):
                    unseen = False
                    thawed = thawed or _commands.Thawed(None)
                    thawed = self._guest.ask(lambda agent: _commands.thaw(agent, agent.timeout))
                trouble: GuestAgentError = StillInFlight("a freeze may still be under way", domain=self._guest.name)
                if late.expired():
                    self._doubt = None
                    return thawed
                pauses.reset()
            except GuestAgentError as error:
                if _gone(error):
                    self._doubt = None
                    return thawed
                trouble = error
                pauses.after(error)
            if deadline.expired():
                raise trouble
            if self._ended_by_another(min(pauses.length, deadline.remaining())):
                return thawed

    def _await(self, sent: Sent) -> None:
        """Until libvirt says what became of the freeze. As long as its connection is good nothing is frozen by us."""
        patience = Deadline(2 * LATE_SECONDS)
        while not sent.lost() and not patience.expired():
            try:
                sent.reply.result(_PAUSE)
            except concurrent.futures.TimeoutError:
                self._try_connection()
                continue
            except _NOTHING_FROZEN:
                self._doubt = None
            except GuestAgentError as error:
                self._doubt = Deadline(LATE_SECONDS if isinstance(error, _LOST) else 0)
            else:
                self._doubt = Deadline(0)
            return
        self._doubt = Deadline(LATE_SECONDS)

    def _try_connection(self) -> None:
        """A connection that is lost is noticed by who uses it."""
        try:
            self._guest.ask(GuestAgent.frozen)
        except GuestAgentError:
            return

    def _ended_by_another(self, seconds: float) -> bool:
        """Wait, and hear whether another task has ended our freeze, or end it because it asks for that."""
        word = self._ear.wait(seconds)
        if word is None:
            return False
        try:
            if word.since <= self._since:
                return False  # it is about the freeze before ours
            if word.thaw:
                thawed = self._thaw(Deadline(self._thaw_seconds), Deadline(0)) or _commands.Thawed(None)
                word.answer(**thawed._asdict())
            self._doubt = None
            return True
        except GuestAgentError:
            return False
        finally:
            word.close()


class _Pauses:
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.length = _PAUSE
        self._patience = _PATIENCE

    def after(self, error: GuestAgentError) -> None:
        if isinstance(error, ConnectionLost) or not isinstance(error, (UnknownOutcome, AgentBusy)):
            self.reset()
        elif self._patience:
            self._patience -= 1
        else:
            self.length = min(2 * self.length, _LONGEST_PAUSE)


def _freeze(agent: GuestAgent, wish: Wish) -> int:
    """Another client may be in the way for a while: nothing was frozen then, and it is asked for again."""
    deadline, refused = Deadline(wish.seconds), False
    while True:
        try:
            return _commands.freeze(agent, wish.mountpoints, max(1, math.ceil(deadline.remaining())))
        except AgentBusy:
            if deadline.expired():
                raise
        except CommandBlocked:
            # A freeze that has ended since was refused in the same words.
            if refused or deadline.expired():
                raise
            refused = True
        agent.retry()
        deadline.sleep(_PAUSE)


def _shortage(count: int, wish: Wish) -> str:
    if not count:
        return "no filesystem could be frozen"
    suspects = f", perhaps not {', '.join(wish.doubtful)}" if wish.doubtful else ""
    return f"only {count} of {wish.wanted} filesystems could be frozen{suspects}"


def _gone(error: GuestAgentError) -> bool:
    """Nothing is frozen in a domain that is off. (libvirt's own "not running" may be a paused one: the next look tells.)"""
    return isinstance(error, DomainNotFound) or (
        isinstance(error, DomainNotRunning) and any(state in error.detail for state in _OFF)
    )
