# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The dead man's thaw: a process of its own that freezes a guest, and thaws it when its time is over, whatever became of the task.

``hatch`` forks it while this process has neither threads nor connections. It becomes a session of its own with nothing of the
task left but one socket, so that it survives the module, the playbook and the SSH connection being killed. It opens its own
connection to libvirt and says that it is armed only after the agent has answered on it. It sends the freeze itself, so that it
hears the answer whatever is killed. Then it is told

* ``freeze``, with what to freeze, or ``take over``, for a guest that is frozen: its clock starts.
* ``keep``: the freeze is to outlive the task.
* ``thaw``: it is over.
* nothing any more: the task was killed, and the guest is thawed at once, unless the freeze is to be kept.

Who thaws the guest, or freezes it anew, on this host dismisses the watchdogs of earlier freezes (``dismiss``).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import syslog
import threading
import typing as t

from .. import _errors
from .._agent.client import GuestAgent
from .._deadline import Deadline
from .._errors import (
    AgentTimeout,
    AgentUnavailable,
    CommandRefused,
    ConnectionLost,
    DomainNotRunning,
    GuestAgentError,
    LibvirtFailure,
    ProtocolError,
    StillInFlight,
    UnknownOutcome,
    WatchdogFailed,
)
from .._libvirt.hypervisor import Connection, Domain, connect
from . import registry
from .guarded import LATE_SECONDS, GuardedFreeze, Sent, Wish

#: How often the watchdog looks whether another client has thawed the guest while the task is at work (seconds).
_LOOK_SECONDS: t.Final = 1.0
_CONNECT_SECONDS: t.Final = 20.0
#: A connection on which libvirt does not even tell a domain's state is lost.
_ALIVE_SECONDS: t.Final = 3.0
_FOR_EVER: t.Final = 10 * 366 * 24 * 3600.0

T = t.TypeVar("T")


class Order(t.NamedTuple):
    """Whom to watch, and for how long; ``max_seconds`` 0: only until the freeze is kept."""

    uri: str | None
    uuid: str
    max_seconds: float
    agent_timeout: int


class Release(t.NamedTuple):
    """How a freeze ended. held: it lasted until now. warning: what the agent said of a thaw that was done all the same."""

    held: bool
    warning: str


class Watchdog:
    """The task's end of the socket. It raises what went wrong at the other end, and WatchdogFailed when that is gone."""

    def __init__(self, link: socket.socket) -> None:
        self._lines = _Lines(link)
        self._order: Order | None = None

    def arm(self, order: Order) -> int:
        """Its process id, once it has proved that it can reach the agent.

        :raise GuestAgentError: it could not be armed; nothing was frozen.
        """
        self._order = order
        try:
            return int(self._ask({**order._asdict()}, _CONNECT_SECONDS + 2 * order.agent_timeout)["pid"])
        except GuestAgentError as error:
            error.detail = f"the watchdog could not be armed ({error.detail}), so nothing was frozen"
            raise

    def freeze(self, wish: Wish) -> int:
        """How many filesystems are frozen now, by it.

        :raise GuestAgentError: as ``GuardedFreeze.freeze``.
        """
        return int(self._ask({"do": "freeze", **wish._asdict()}, 2.0 * wish.seconds)["count"])

    def take_over(self) -> None:
        """A freeze that another client made is its own from now on."""
        self._ask({"do": "take over"}, 0.0)

    def keep(self) -> None:
        """The task ends, and the freeze does not.

        :raise WatchdogFailed: its time was over already, or it is not there any more.
        """
        if not self._ask({"do": "keep"}, 0.0).get("holding"):
            raise WatchdogFailed("the guest did not stay frozen until the task ended", command="watchdog")

    def thaw(self, seconds: float) -> Release:
        """
        :raise GuestAgentError: the guest is frozen still, or it is not known; the watchdog goes on trying.
        """
        answer = self._ask({"do": "thaw", "seconds": seconds}, seconds)
        return Release(bool(answer.get("held")), str(answer.get("warning", "")))

    def leave(self) -> None:
        """Go, and let it do what it was last told."""
        self._lines.close()

    def _ask(self, words: dict[str, t.Any], seconds: float) -> dict[str, t.Any]:
        self._lines.say(words)
        spare = 5.0 + 3.0 * (self._order.agent_timeout if self._order else 0)
        line = self._lines.next(seconds + spare)
        if line is None:
            raise AgentTimeout("the watchdog has no answer from the agent yet, and keeps trying", command="watchdog")
        answer = _decoded(line)
        if "error" in answer:
            raise _error_of(answer["error"])
        if not answer:
            raise WatchdogFailed("the watchdog has ended", command="watchdog")
        return answer


def _decoded(line: str) -> dict[str, t.Any]:
    try:
        answer = json.loads(line or "{}")
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _data_of(error: GuestAgentError) -> dict[str, t.Any]:
    return {**error.failure(), "kind": type(error).__name__}


def _error_of(data: dict[str, t.Any]) -> GuestAgentError:
    kind = getattr(_errors, data.pop("kind"))
    error: GuestAgentError = kind(data.pop("detail"), **data)
    return error


def hatch() -> Watchdog:
    """Fork the watchdog. Call it before anything has started a thread or a connection; it costs nothing until it is armed."""
    ours, its = socket.socketpair()
    child = os.fork()
    if child:
        its.close()
        os.waitpid(child, 0)
        return Watchdog(ours)
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        its = _alone_with(its)
        _live(its)
    except BaseException as error:  # no caller above would see it
        syslog.syslog(syslog.LOG_ERR, f"virtops.guest_agent: the watchdog failed: {error!r}")
    finally:
        os._exit(0)


def _alone_with(link: socket.socket) -> socket.socket:
    """Closes the task's files and terminal, because a caller that waits for their end must not wait for this process."""
    syslog.closelog()
    number = os.dup2(link.fileno(), 3, inheritable=False)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.closerange(4, 65536)
    os.chdir("/")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    link.detach()
    return socket.socket(fileno=number)


def _live(link: socket.socket) -> None:
    lines = _Lines(link)
    first = lines.next(None)
    if not first:
        return  # the task ended before it needed us
    order = Order(**json.loads(first))
    guest = _GuestLink(order)
    try:
        guest.ask(GuestAgent.frozen)
    except GuestAgentError as error:
        lines.answer(error=_data_of(error))
        return
    with registry.registered(order.uuid) as dismissed:
        lines.answer(pid=os.getpid())
        wanted = _decoded(lines.next(None) or "")
        if not wanted:
            return
        frozen = GuardedFreeze(guest, order.uuid, dismissed)
        try:
            signal.signal(signal.SIGTERM, _terminated)
            deadline = Deadline(order.max_seconds or _FOR_EVER)
            if _begin(lines, frozen, wanted):
                _hold(lines, frozen, deadline, forever=not order.max_seconds)
            frozen.settle()
        except _Terminated:
            frozen.end_soon()


def _begin(lines: _Lines, frozen: GuardedFreeze, wanted: dict[str, t.Any]) -> bool:
    """Freeze, or take over. Whether it holds."""
    if wanted.pop("do") == "take over":
        frozen.take_over()
        lines.answer(holding=True)
        frozen.dismiss_others()
        return True
    try:
        count = frozen.freeze(Wish(**wanted))
    except GuestAgentError as error:
        lines.answer(error=_data_of(error))
        return False
    lines.answer(count=count)  # first: the task's moment has begun
    frozen.dismiss_others()
    return True


def _hold(lines: _Lines, frozen: GuardedFreeze, deadline: Deadline, forever: bool) -> None:
    """Until the task, or the end of its time, ends it."""
    said: str | None = None
    while said is None and not deadline.expired():
        said = lines.next(min(_LOOK_SECONDS, deadline.remaining()))
        if said is None and frozen.lost():
            break
    if said is None:
        frozen.settle()
        said = lines.next(None)
    wanted = _decoded(said or "")
    if wanted.get("do") == "keep":
        lines.answer(holding=forever or not frozen.over)
        if forever:
            frozen.let_go()
        elif not frozen.over:
            frozen.guard(deadline)
    elif wanted.get("do") == "thaw":
        _thaw(lines, frozen, wanted["seconds"])


def _thaw(lines: _Lines, frozen: GuardedFreeze, seconds: float) -> None:
    try:
        thawed = frozen.thaw(seconds)
    except GuestAgentError as error:
        lines.answer(error=_data_of(error))
    else:
        lines.answer(held=thawed is not None, warning=thawed.warning if thawed else "")


class _GuestLink:
    """The guest's agent. What broke is made anew before the next question: libvirtd may restart, the domain be paused."""

    def __init__(self, order: Order) -> None:
        self.name = order.uuid
        self._order = order
        self._connection: Connection | None = None
        self._domain: Domain | None = None
        self._agent: GuestAgent | None = None

    def ask(self, question: t.Callable[[GuestAgent], T]) -> T:
        """
        :raise GuestAgentError: whatever went wrong, unexpected errors included: the guest still has to be thawed.
        """
        try:
            return question(self._connected())
        except StillInFlight:
            self._drop_if_dead()
            raise
        except ConnectionLost:
            self._drop()
            raise
        except (UnknownOutcome, CommandRefused, ProtocolError, AgentUnavailable, DomainNotRunning):
            self._agent = None  # the connection is good, and may be hard to get again
            raise
        except GuestAgentError:
            self._drop()
            raise
        except Exception as error:
            self._drop()
            raise LibvirtFailure(repr(error)) from error

    def send(self, question: t.Callable[[GuestAgent], t.Any]) -> Sent:
        reply: concurrent.futures.Future[t.Any] = concurrent.futures.Future()
        try:
            self._connected()
        except GuestAgentError as error:
            reply.set_exception(error)
            return Sent(reply, lambda: False)
        connection, domain = self._connection, t.cast(Domain, self._domain)
        # An agent of its own: others are asked meanwhile, and one at a time waits for its reply.
        agent = GuestAgent(domain.patient(LATE_SECONDS), self._order.agent_timeout)

        def wait() -> None:
            try:
                reply.set_result(question(agent))
            except GuestAgentError as error:
                reply.set_exception(error)
            except Exception as error:
                reply.set_exception(LibvirtFailure(repr(error)))

        threading.Thread(target=wait, name="virtops-freeze", daemon=True).start()
        return Sent(reply, lambda: self._connection is not connection)

    def _connected(self) -> GuestAgent:
        if self._connection is None:
            # Over SSH one of its own, which does not end with those of tasks.
            self._connection = connect(self._order.uri, _CONNECT_SECONDS)
        if self._agent is None:
            domain = self._connection.domain(self._order.uuid)
            state = domain.state()
            if state not in ("running", "blocked"):
                raise DomainNotRunning(f"the domain is {state}", domain=domain.name)
            self.name, self._domain = domain.name, domain
            self._agent = GuestAgent(domain, self._order.agent_timeout)
        return self._agent

    def _drop_if_dead(self) -> None:
        """No reply: the agent is held by another client, or the connection is half open."""
        self._agent = None
        try:
            if self._domain is not None:
                self._domain.state(_ALIVE_SECONDS)
        except GuestAgentError:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection, self._agent, self._domain = self._connection, None, None, None
        if connection is not None:
            connection.close()


class _Lines:
    """One end of the link: words there, as JSON, and words back."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._buffer = b""

    def say(self, words: dict[str, t.Any]) -> None:
        """
        :raise WatchdogFailed: the other end is gone.
        """
        try:
            self._link.sendall(json.dumps(words).encode() + b"\n")
        except OSError as error:
            raise WatchdogFailed("the watchdog has ended", command="watchdog") from error

    def answer(self, **words: t.Any) -> None:
        with contextlib.suppress(WatchdogFailed):  # the task may be gone: the next line tells
            self.say(words)

    def next(self, seconds: float | None) -> str | None:
        """The next line; "" when the other end is gone, None when it is silent for ``seconds`` (None: for ever)."""
        deadline = None if seconds is None else Deadline(seconds)
        while b"\n" not in self._buffer:
            self._link.settimeout(None if deadline is None else max(deadline.remaining(), 0.001))
            try:
                data = self._link.recv(4096)
            except socket.timeout:
                return None
            except OSError:
                return ""
            if not data:
                return ""
            self._buffer += data
        line, _newline, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def close(self) -> None:
        self._link.close()


class _Terminated(BaseException):
    """Raised wherever the signal comes; nothing but ``_live`` catches it."""


def _terminated(_signal: int, _frame: object) -> t.NoReturn:
    """Told to end (the host goes down, say): not without thawing."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Terminated
