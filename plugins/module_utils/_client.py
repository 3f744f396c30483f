# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One guest's agent: commands with deadlines, what it can do, and how it is."""

from __future__ import annotations

import contextlib
import threading
import typing as t

from . import _protocol, _untrusted
from ._deadline import SYSTEM_CLOCK, Clock, Deadline
from ._errors import (
    AgentDisappeared,
    AgentDisconnected,
    AgentUnavailable,
    CommandBlocked,
    CommandRefused,
    CommandUnknown,
    ConnectionLost,
    GuestAgentError,
    GuestFrozen,
    HypervisorUnreachable,
    ProtocolError,
    UnknownOutcome,
)

if t.TYPE_CHECKING:
    from ._transport import Transport

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
_COMMANDS_MAX: t.Final = 512
#: After these it may be back soon; and the seconds between two questions whether it is.
_ENDED: t.Final = (AgentDisappeared, AgentDisconnected, ConnectionLost)
_RETURN_PAUSE: t.Final = 0.5


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
        self._lock = threading.Lock()
        self._capabilities: Capabilities | None = None
        self._silent: GuestAgentError | None = None
        self._asked = ""
        self._given_up = False

    @property
    def name(self) -> str:
        return self._transport.name

    def call(self, command: str, arguments: t.Mapping[str, t.Any] | None = None, timeout: int | None = None) -> t.Any:
        """The value that the agent returned for ``command``, unchecked: pass it through ``_untrusted``.

        Where ``capabilities`` has been asked before, a command that the agent would refuse is not sent.

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
            request = _protocol.build(command, arguments)
            with self._lock:
                self.round_trips += 1
                reply = self._transport.exchange(request, timeout or self.timeout)
            return _protocol.parse(request, reply)
        except CommandBlocked as error:
            raise self._frozen_or(error, command) from error
        except GuestAgentError as error:
            _about(error, self, command)
            if isinstance(error, (UnknownOutcome, AgentUnavailable)):
                self._silent = error
            raise

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
        """Forget that the agent was silent, and what it could do then."""
        self._silent = None
        self._capabilities = None

    def await_return(self, error: BaseException, clock: Clock = SYSTEM_CLOCK) -> None:
        """After ``error``: an agent that has ended, or libvirt, may be back within ``timeout``, and then can clean up.

        One that hangs is not waited for, and one that did not come back is not waited for again, however much there is to clean up.
        """
        if self._given_up or not isinstance(error, _ENDED):
            return
        deadline = Deadline(self.timeout, clock)
        while not deadline.expired():
            try:
                self._transport.renew(max(1.0, deadline.remaining()))
                self.retry()
                self.call("guest-ping")
                return
            except (*_ENDED, HypervisorUnreachable):
                deadline.sleep(_RETURN_PAUSE)
            except GuestAgentError:
                break
        self._given_up = True

    def capabilities(self) -> Capabilities:
        """What the agent can do, asked once (guest-info)."""
        if self._capabilities is None:
            info = _untrusted.mapping(self.call("guest-info"))
            listed = _untrusted.items(info.get("supported_commands"), "supported_commands", _COMMANDS_MAX)
            commands = {_untrusted.text(entry.get("name"), "a command's name", 64): bool(entry.get("enabled")) for entry in listed}
            version = _untrusted.text(info.get("version"), "the agent's version", 64)
            self._capabilities = Capabilities(version, commands)
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
        raise _about(CommandBlocked("the agent's configuration blocks this command"), self, command)

    def _frozen_or(self, blocked: CommandBlocked, command: str) -> CommandRefused:
        """A frozen agent says of a command what a blocking one says; only its freeze status tells them apart."""
        if command not in FREEZE_ALLOWED and self.frozen():
            return _about(GuestFrozen("the guest's filesystems are frozen"), self, command)
        return _about(blocked, self, command)


_E = t.TypeVar("_E", bound=GuestAgentError)


def _about(error: _E, agent: GuestAgent, command: str) -> _E:
    error.domain, error.command = agent.name, command
    return error
