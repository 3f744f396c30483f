# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One guest's agent: commands with deadlines, what it can do, and how it is."""

from __future__ import annotations

import contextlib
import re
import threading
import typing as t

from .._deadline import SYSTEM_CLOCK, Clock, Deadline
from .._errors import (
    AgentDisappeared,
    AgentDisconnected,
    AgentTimeout,
    AgentUnavailable,
    CommandBlocked,
    CommandRefused,
    CommandUnanswered,
    CommandUnknown,
    ConnectionLost,
    GuestAgentError,
    GuestFrozen,
    HypervisorUnreachable,
    NumberRefused,
    ProtocolError,
    StillInFlight,
    SystemLacks,
    UnknownOutcome,
)
from . import protocol, untrusted

if t.TYPE_CHECKING:
    from .transport import Transport

#: What qemu-ga accepts while the guest is frozen (ga_freeze_allowlist, qga/main.c).
FREEZE_ALLOWED: t.Final = frozenset(
    {
        "guest-ping",
        "guest-info",
        "guest-sync",
        "guest-sync-delimited",
        "guest-fsfreeze-status",
        "guest-fsfreeze-thaw",
    }
)
#: Asked to find out how the agent is, whatever it said of itself before.
_HOW_IT_IS: t.Final = frozenset({"guest-ping", "guest-info", "guest-fsfreeze-status"})
#: Commands that only look: nothing is lost with their reply.
_LOOKS: t.Final = re.compile("guest-(info|get-.*|network-get-.*|ssh-get-.*)")
#: For the question whether an agent that did not answer is there at all.
_PING_SECONDS: t.Final = 1
_COMMANDS_MAX: t.Final = 512
#: After these it may be back soon; and the seconds between two questions whether it is.
_ENDED: t.Final = (AgentDisappeared, AgentDisconnected, ConnectionLost)
_RETURN_PAUSE: t.Final = 0.5


_T = t.TypeVar("_T")


class Capabilities(t.NamedTuple):
    """What guest-info (qemu-ga 0.15) says: the agent's version, and for each command whether it is enabled."""

    version: str
    commands: dict[str, bool]

    @property
    def blocked(self) -> list[str]:
        return sorted(name for name, enabled in self.commands.items() if not enabled)

    def looks_frozen(self) -> bool:
        """A frozen agent disables all but six commands; whether it is frozen only guest-fsfreeze-status tells."""
        return not any(enabled for name, enabled in self.commands.items() if name not in FREEZE_ALLOWED)


class GuestAgent:
    """The agent of one guest. Commands run one at a time; each waits ``timeout`` seconds (a positive integer) for its reply."""

    def __init__(self, transport: Transport, timeout: int = 5) -> None:
        self._transport = transport
        self.timeout = timeout
        self.round_trips = 0
        #: whether it has answered anything
        self.answered = False
        #: what runs commands in the guest without guest-exec, where there is such a thing (``_reach.warm``)
        self.resident: t.Any = None
        #: programs that the guest was found not to have
        self.missing: set[str] = set()
        #: how programs and files of a Windows guest are used (``_windows``); None for every other system, as long as none is known
        self.windows: t.Any = None
        self._lock = threading.Lock()
        self._capabilities: Capabilities | None = None
        self._silent: GuestAgentError | None = None
        self._asked = ""
        self._given_up = False
        #: whether requests have a number, and whether a reply has had one
        self._numbers = True
        self._gives_back = False
        #: (command, list in its answer) -> what is wrong with the members that were left out
        self._left_out: dict[tuple[str, str], list[ProtocolError]] = {}
        #: read-only commands that got no answer from an agent that answers
        self._unanswered: set[str] = set()

    @property
    def name(self) -> str:
        return self._transport.name

    @property
    def silence(self) -> GuestAgentError | None:
        """Why nothing is sent until ``retry`` is called."""
        return self._silent

    def call(self, command: str, arguments: t.Mapping[str, t.Any] | None = None, timeout: int | None = None) -> t.Any:
        """The value that the agent returned for ``command``, unchecked: pass it through ``_untrusted``.

        Where ``capabilities`` has been asked before, a command that the agent would refuse is not sent. One that only looks, and
        gets no answer from an agent that answers guest-ping then, is taken for one that the agent does not know.

        :raise AgentUnavailable: there is no agent to ask; nothing was sent.
        :raise UnknownOutcome: no reply in time, the command may have run. Later calls fail at once with the same error
            until ``retry`` is called: a hung agent costs its timeout once.
        :raise CommandRefused: the agent answered with an error.
        :raise ProtocolError: the answer is not one.
        """
        if self._silent is not None:
            raise self._silent
        self._check_enabled(command)
        self._asked = command
        try:
            return self._ask(command, arguments, timeout or self.timeout)
        except CommandBlocked as error:
            raise self._frozen_or(error, command) from error
        except GuestAgentError as error:
            _about(error, self, command)
            if self._ignores(error, command):
                raise self._not_answered(command) from error
            if isinstance(error, (UnknownOutcome, AgentUnavailable)):
                self._silent = error
            raise

    def each(self, value: object, what: str, read: t.Callable[[dict[str, t.Any]], _T], limit: int = 4096) -> list[_T]:
        """``read`` of each member of the list that the last command answered with. Those that make no sense are left out, and told
        by ``left_out``.

        :raise ProtocolError: ``value`` is no list, or nothing in it makes sense.
        """
        found = self.each_part(value, what, read, limit)
        if value and not found:
            raise self._left_out.pop((self._asked, what))[0]
        return found

    def each_part(self, value: object, what: str, read: t.Callable[[dict[str, t.Any]], _T], limit: int = 4096) -> list[_T]:
        """The same for a list within a member, which is something without it too."""
        found, left_out = untrusted.members(value, what, limit, read)
        if left_out:
            self._left_out.setdefault((self._asked, what), []).extend(left_out)
        return found

    def left_out(self) -> list[str]:
        """A sentence for each list in this agent's answers of which a part made no sense."""
        return [
            f"{command}: {len(errors)} of {what} left out, because {errors[0].detail}"
            for (command, what), errors in self._left_out.items()
        ]

    def _ask(self, command: str, arguments: t.Mapping[str, t.Any] | None, seconds: int) -> t.Any:
        """Without a number where the agent takes none; it has done nothing when it says so."""
        try:
            return self._exchange(protocol.build(command, arguments, self._numbers), seconds)
        except NumberRefused:
            if self._gives_back or not self._numbers:
                raise
        self._numbers = False
        return self._exchange(protocol.build(command, arguments, self._numbers), seconds)

    def _exchange(self, request: protocol.Request, seconds: int) -> t.Any:
        with self._lock:
            self.round_trips += 1
            reply = self._transport.exchange(request, seconds)
            self.answered = True
        found = protocol.parse(request, reply, self._gives_back)
        self._gives_back = self._gives_back or found.numbered
        return found.value

    def _ignores(self, error: GuestAgentError, command: str) -> bool:
        """Whether the agent is there and has nothing to say to this ``command``, which only looks. One that has said what it can
        do is slow instead.
        """
        if not isinstance(error, AgentTimeout) or isinstance(error, StillInFlight) or not _LOOKS.fullmatch(command):
            return False
        if command != "guest-info" and "guest-info" not in self._unanswered:
            return False
        with contextlib.suppress(GuestAgentError):
            self._ask("guest-ping", None, _PING_SECONDS)
            return True
        return False

    def _not_answered(self, command: str) -> CommandUnanswered:
        self._unanswered.add(command)
        return _about(CommandUnanswered("the agent does not answer this command, and answers guest-ping"), self, command)

    @contextlib.contextmanager
    def named(self) -> t.Iterator[None]:
        """Those who read an answer know neither guest nor command: what they raise within gets both here."""
        try:
            yield
        except ProtocolError as error:
            error.domain = error.domain or self.name
            error.command = error.command or self._asked
            raise

    def retry(self) -> None:
        """Forget that the agent was silent, what it could do then, and what of its answers made no sense."""
        self._silent = None
        self._capabilities = None
        self._gives_back = False
        self._unanswered.clear()
        self._left_out.clear()

    def renew(self, seconds: float) -> None:
        """Ask the agent again, over another connection to the hypervisor where the one that was is lost.

        :raise HypervisorUnreachable: there is none yet.
        :raise DomainNotFound: the domain is gone.
        :raise DomainOff: the domain is off.
        """
        self._transport.renew(seconds)
        self.retry()

    def await_return(self, error: BaseException, clock: Clock = SYSTEM_CLOCK) -> None:
        """After ``error``: an agent that has ended, or libvirt, may be back within ``timeout``, and then can clean up.

        One that hangs is not waited for, and one that did not come back is not waited for again, however much there is to clean up.
        """
        if self._given_up or not isinstance(error, _ENDED):
            return
        deadline = Deadline(self.timeout, clock)
        for _turn in deadline.pauses(_RETURN_PAUSE, _RETURN_PAUSE):
            try:
                self.renew(max(1.0, deadline.remaining()))
                self.call("guest-ping")
                return
            except (*_ENDED, HypervisorUnreachable):
                continue
            except GuestAgentError:
                break
        self._given_up = True

    def capabilities(self) -> Capabilities:
        """What the agent can do, asked once (guest-info)."""
        if self._capabilities is None:
            # An agent that hangs costs its timeout, with the look that tells it from one that ignores this command.
            info = untrusted.mapping(self.call("guest-info", timeout=max(1, self.timeout - _PING_SECONDS)))
            listed = self.each(info.get("supported_commands"), "the commands", _command, _COMMANDS_MAX)
            version = untrusted.text(info.get("version"), "the agent's version", 64)
            self._capabilities = Capabilities(version, dict(listed))
        return self._capabilities

    def known_commands(self) -> dict[str, bool]:
        """What ``capabilities`` has learned so far, without asking: command -> enabled."""
        return {} if self._capabilities is None else self._capabilities.commands

    def can(self, command: str) -> bool:
        """Whether the agent has the command and accepts it now.

        An agent that does not even say what it can do is assumed to have everything: the command's own answer will tell.
        """
        try:
            return self.capabilities().commands.get(command, False)
        except CommandRefused:
            return True

    def require(self, command: str) -> None:
        """
        :raise CommandRefused: the agent would not accept the command (CommandUnknown, CommandBlocked, GuestFrozen).
        """
        if not self.can(command):
            self._check_enabled(command)

    def require_posix(self, what: str) -> None:
        """
        :raise SystemLacks: the guest is known to be Windows, which has no ``what``.
        """
        if self.windows is not None:
            raise SystemLacks(f"Windows has no {what}", domain=self.name)

    def frozen(self) -> bool:
        """Whether the agent itself holds the guest's filesystems frozen (guest-fsfreeze-status, qemu-ga 0.15).

        :raise CommandRefused: this agent cannot tell.
        :raise ProtocolError: it says neither.
        """
        status = self.call("guest-fsfreeze-status")
        if status not in ("frozen", "thawed"):
            raise ProtocolError("the freeze status is neither frozen nor thawed", domain=self.name, command="guest-fsfreeze-status")
        return bool(status == "frozen")

    def _check_enabled(self, command: str) -> None:
        if command in self._unanswered:
            raise self._not_answered(command)
        if self._capabilities is None or command in _HOW_IT_IS:
            return
        enabled = self._capabilities.commands.get(command)
        if enabled is None:
            version = self._capabilities.version
            raise CommandUnknown(f"qemu-ga {version} has no such command", domain=self.name, command=command)
        if enabled:
            return
        if self._capabilities.looks_frozen():
            if self.frozen():
                raise _about(GuestFrozen("the guest's filesystems are frozen"), self, command)
            self._capabilities = None  # what it could do when it was frozen
            if self.capabilities().commands.get(command):
                return
        raise _about(CommandBlocked("the agent has this command and does not accept it"), self, command)

    def _frozen_or(self, blocked: CommandBlocked, command: str) -> CommandRefused:
        """A frozen agent says of a command what a blocking one says; only its freeze status tells them apart."""
        if command not in FREEZE_ALLOWED and self.frozen():
            return _about(GuestFrozen("the guest's filesystems are frozen"), self, command)
        return _about(blocked, self, command)


def _command(entry: dict[str, t.Any]) -> tuple[str, bool]:
    return untrusted.text(entry.get("name"), "a command's name", 64), bool(entry.get("enabled"))


_E = t.TypeVar("_E", bound=GuestAgentError)


def _about(error: _E, agent: GuestAgent, command: str) -> _E:
    error.domain, error.command = agent.name, command
    return error
