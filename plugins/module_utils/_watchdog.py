# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The dead man's thaw: a process of its own that thaws a guest when its time is over, whatever became of who froze it.

``hatch`` forks it while this process has neither threads nor connections. It becomes a session of its own with nothing of the
task left but one socket, so that it survives the module, the playbook and the SSH connection being killed. It opens its own
connection to libvirt and says that it is armed only after the agent has answered on it. From then on it hears

* ``freezing``: a freeze is about to be sent; its clock starts.
* ``frozen``: the freeze succeeded. It says that it holds, and looks every second whether somebody has thawed the guest.
* ``failed``: a freeze may still be under way; it thaws until the guest is thawed and no late freeze can come any more.
* ``release``: nothing was frozen, or all is thawed; it ends.
* nothing any more: the task ended or was killed; it goes on by itself.

Who thaws the guest, or freezes it anew, on this host dismisses the watchdogs that are still there for it (``dismiss``), so that
none thaws what it does not guard.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import syslog
import typing as t

from . import _watchdog_registry as registry
from ._client import GuestAgent
from ._commands import freeze
from ._deadline import Deadline
from ._errors import (
    AgentUnavailable,
    CommandRefused,
    ConnectionLost,
    DomainNotFound,
    DomainNotRunning,
    GuestAgentError,
    LibvirtFailure,
    ProtocolError,
    UnknownOutcome,
)
from ._hypervisor import Connection, connect
from ._transport import LibvirtTransport

#: How often it looks whether somebody else has thawed the guest, and tries again after a failure (seconds).
_PAUSE: t.Final = 1.0
#: How long it goes on trying when its time is over and the guest does not answer (seconds).
_PERSISTENCE: t.Final = 24 * 3600.0
#: A freeze whose sender was killed may wait this long in libvirt for another command to end (VIR_JOB_WAIT_TIME, and a margin).
_LATE_FREEZE: t.Final = 35.0
_CONNECT_SECONDS: t.Final = 20.0
#: States in which nothing can be frozen. A domain that is paused or suspended keeps what it has.
_OFF: t.Final = ("shutoff", "crashed")

T = t.TypeVar("T")


class Order(t.NamedTuple):
    """Whom to watch, and how. ``max_seconds`` 0: only until the freeze has succeeded, which may take ``freeze_seconds``."""

    uri: str | None
    uuid: str
    max_seconds: float
    freeze_seconds: float
    agent_timeout: int


class Watchdog:
    """The task's end of the socket."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def arm(self, order: Order) -> int:
        """Its process id, once it has proved that it can reach the agent.

        :raise LibvirtFailure: it could not be armed; nothing was frozen.
        """
        self._send(json.dumps(order._asdict()))
        answer = self._answer(_CONNECT_SECONDS + 2 * order.agent_timeout)
        if "pid" not in answer:
            reason = answer.get("error", "it did not answer")
            raise LibvirtFailure(f"the watchdog could not be armed ({reason}), so nothing was frozen", command="watchdog")
        return int(answer["pid"])

    def hold(self) -> None:
        """The guest is frozen: from now on it is the watchdog's.

        :raise LibvirtFailure: its time was over already, or it is not there any more.
        """
        self._send("frozen")
        if not self._answer(5.0).get("holding"):
            raise LibvirtFailure("the freeze took so long that the watchdog ended it", command="watchdog")

    def tell(self, order: str) -> None:
        """One of ``freezing``, ``failed``, ``release``.

        :raise LibvirtFailure: it is not there any more.
        """
        self._send(order)

    def leave(self) -> None:
        """Go, and let it do what it was last told."""
        self._link.close()

    def _answer(self, seconds: float) -> dict[str, t.Any]:
        self._link.settimeout(seconds)
        try:
            answer = json.loads(self._link.makefile("r").readline() or "{}")
        except (OSError, ValueError):
            return {}
        return answer if isinstance(answer, dict) else {}

    def _send(self, line: str) -> None:
        try:
            self._link.sendall(line.encode() + b"\n")
        except OSError as error:
            raise LibvirtFailure("the watchdog is gone", command="watchdog") from error


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
    except BaseException as error:  # nobody above would see it
        syslog.syslog(syslog.LOG_ERR, f"virtops.guest_agent: the watchdog failed: {error!r}")
    finally:
        os._exit(0)


def _alone_with(link: socket.socket) -> socket.socket:
    """Let go of the task's files and terminal: whoever waits for those to close must not wait for us."""
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
    orders = _Orders(link)
    first = orders.next(None)
    if not first:
        return  # the task ended before it needed us
    order = Order(**json.loads(first))
    guest = _GuestLink(order)
    try:
        guest.ask(GuestAgent.frozen)
    except GuestAgentError as error:
        orders.answer(error=str(error))
        return
    with registry.registered(order.uuid) as dismissed:
        orders.answer(pid=os.getpid())
        if orders.next(None) != "freezing":
            return
        deadline = Deadline(order.max_seconds or order.freeze_seconds + _LATE_FREEZE)
        vigil = _Vigil(guest, dismissed)
        try:
            signal.signal(signal.SIGTERM, _terminated)
            _watch(orders, vigil, deadline, forever=not order.max_seconds)
        except _Terminated:
            vigil.end(Deadline(_LATE_FREEZE))


def _watch(orders: _Orders, vigil: _Vigil, deadline: Deadline, forever: bool) -> None:
    """Until the freeze's outcome is known, then until its end."""
    late = Deadline(_LATE_FREEZE)
    said = orders.next(deadline.remaining())
    if said == "release":
        return
    certain = said == "frozen"
    if certain:
        vigil.begin()
        orders.answer(holding=True)
        if forever:
            return
        late = Deadline(0)
    thawed = said != "failed" and vigil.wait_for_thaw(deadline, certain)
    if not thawed:
        vigil.end(late)


class _Vigil:
    """The watch over one guest. ``dismissed`` waits for a time and says whether somebody else has taken the guest over."""

    def __init__(self, guest: _GuestLink, dismissed: registry.Dismissal) -> None:
        self._guest = guest
        self._dismissed = dismissed

    def begin(self) -> None:
        """Dismissals from before now were meant for other freezes."""
        self._dismissed.forget()

    def wait_for_thaw(self, deadline: Deadline, certain: bool) -> bool:
        """Until the guest was seen frozen and then thawed by somebody else (True), or the time is over."""
        seen_frozen = certain
        while not deadline.expired():
            if self._dismissed.wait(min(_PAUSE, deadline.remaining())):
                return True
            try:
                frozen = self._guest.ask(GuestAgent.frozen)
            except GuestAgentError as error:
                if _gone(error):
                    return True
                continue
            if seen_frozen and not frozen:
                return certain
            seen_frozen = frozen
        return False

    def end(self, late: Deadline) -> None:
        """Thaw until the agent says thawed, and (``late``) no freeze can be under way any more."""
        deadline = Deadline(_PERSISTENCE)
        while not deadline.expired():
            try:
                if self._guest.ask(GuestAgent.frozen):
                    self._guest.ask(lambda agent: freeze.thaw(agent, agent.timeout))
                    syslog.syslog(syslog.LOG_WARNING, f"virtops.guest_agent: the watchdog thawed domain {self._guest.name}")
                elif late.expired():
                    return
            except GuestAgentError as error:
                if _gone(error):
                    return
            if self._dismissed.wait(_PAUSE):
                return
        syslog.syslog(syslog.LOG_ERR, f"virtops.guest_agent: the watchdog gave up; domain {self._guest.name} may be frozen")


def _gone(error: GuestAgentError) -> bool:
    """Nothing is frozen in a domain that is off. (libvirt's own "not running" may be a paused one: the next look tells.)"""
    return isinstance(error, DomainNotFound) or (
        isinstance(error, DomainNotRunning) and any(state in error.detail for state in _OFF)
    )


class _GuestLink:
    """The guest's agent. What broke is made anew before the next question: libvirtd may restart, the domain be paused."""

    def __init__(self, order: Order) -> None:
        self.name = order.uuid
        self._order = order
        self._connection: Connection | None = None
        self._agent: GuestAgent | None = None

    def ask(self, question: t.Callable[[GuestAgent], T]) -> T:
        """
        :raise GuestAgentError: whatever went wrong, also what nobody thought of: the guest still has to be thawed.
        """
        try:
            return question(self._connected())
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

    def _connected(self) -> GuestAgent:
        if self._connection is None:
            self._connection = connect(self._order.uri, _CONNECT_SECONDS)
        if self._agent is None:
            domain = self._connection.domain(self._order.uuid)
            state = domain.state()
            if state not in ("running", "blocked"):
                raise DomainNotRunning(f"the domain is {state}", domain=domain.name)
            self.name = domain.name
            self._agent = GuestAgent(LibvirtTransport(domain), self._order.agent_timeout)
        return self._agent

    def _drop(self) -> None:
        connection, self._connection, self._agent = self._connection, None, None
        if connection is not None:
            connection.close()


class _Orders:
    """Lines from the task, and answers to it."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._buffer = b""

    def answer(self, **what: t.Any) -> None:
        with contextlib.suppress(OSError):  # it may be gone, which changes nothing
            self._link.sendall(json.dumps(what).encode() + b"\n")

    def next(self, seconds: float | None) -> str:
        """The next line; empty when the task is gone, or silent for ``seconds`` (None: for ever)."""
        deadline = None if seconds is None else Deadline(seconds)
        while b"\n" not in self._buffer:
            self._link.settimeout(None if deadline is None else max(deadline.remaining(), 0.001))
            try:
                data = self._link.recv(4096)
            except OSError:
                return ""
            if not data:
                return ""
            self._buffer += data
        line, _newline, self._buffer = self._buffer.partition(b"\n")
        return line.decode()


class _Terminated(BaseException):
    """Raised wherever the signal comes; nothing but ``_live`` catches it."""


def _terminated(_signal: int, _frame: object) -> t.NoReturn:
    """Told to end (the host goes down, say): not without thawing."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Terminated
