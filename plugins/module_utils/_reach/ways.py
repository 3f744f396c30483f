# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what the user says of a guest to its agent, and to the fastest way for files: the ways that a guest can be reached."""

from __future__ import annotations

import contextlib
import signal
import threading
import typing as t

from .._agent.client import GuestAgent
from .._agent.transport import UnixSocketTransport
from .._errors import CommandRefused, GuestAgentError, InvalidInput
from .._inside.lanes import AgentLane, Lane, Preferred
from .._libvirt import domain_xml
from .._libvirt.hypervisor import Domain, connect
from .._libvirt.transport import ChannelTransport
from . import preflight
from .guest import LIBVIRT_SECONDS


class Target(t.NamedTuple):
    """Options by the same names."""

    domain: str
    uri: str | None = None
    agent_timeout: int = 5
    transport: str = "libvirt"
    channel: str = "org.qemu.guest_agent.1"
    socket: str | None = None
    data_lane: str = "auto"


class Reached(t.NamedTuple):
    agent: GuestAgent
    lane: Lane
    #: None where there is no libvirt in between
    domain: Domain | None


@contextlib.contextmanager
def reach(target: Target) -> t.Iterator[Reached]:
    """A process that is told to end meanwhile (SIGTERM, SIGHUP) still cleans up in the guest.

    :raise HypervisorUnreachable: libvirt does not answer at ``uri``.
    :raise DomainNotFound: it has no such domain.
    :raise DomainNotRunning: the domain is off, paused or suspended.
    :raise AgentUnavailable: the domain has no channel, or nobody listens on it.
    :raise UnknownOutcome: its agent does not answer; nothing was sent to it that would change anything later.
    """
    with _ending_in_order(), (_by_socket if target.transport == "unix" else _by_libvirt)(target) as reached:
        yield reached


@contextlib.contextmanager
def _by_libvirt(target: Target) -> t.Iterator[Reached]:
    connection = connect(target.uri, LIBVIRT_SECONDS)
    try:
        domain = connection.domain(target.domain)
        xml = domain.xml()
        transport: Domain | ChannelTransport
        if target.transport == "channel":
            transport = ChannelTransport(domain, target.channel)
        else:
            _check(domain, xml)
            transport = domain
        agent = GuestAgent(transport, target.agent_timeout)
        try:
            if isinstance(transport, Domain):
                _check_awake(agent)
            with agent.named():
                yield Reached(agent, _lane(target, domain, xml, agent), domain)
        finally:
            if isinstance(transport, ChannelTransport):
                transport.close()
    finally:
        connection.close()


@contextlib.contextmanager
def _by_socket(target: Target) -> t.Iterator[Reached]:
    if not target.socket:
        raise InvalidInput("the transport unix needs the path of a socket", hint="set the option socket")
    transport = UnixSocketTransport(target.socket, target.domain)
    try:
        agent = GuestAgent(transport, target.agent_timeout)
        with agent.named():
            yield Reached(agent, AgentLane(agent), None)
    finally:
        transport.close()


@contextlib.contextmanager
def _ending_in_order() -> t.Iterator[None]:
    """Without this these signals end Python at once, and nothing that is meant to happen at the end does."""
    numbers = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, _end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: object) -> t.NoReturn:
    raise SystemExit(128 + number)


def _check(domain: Domain, xml: str) -> None:
    problem = preflight.preflight(domain.state(), domain_xml.parse(xml))
    if problem is not None:
        problem.domain = domain.name
        raise problem


def _check_awake(agent: GuestAgent) -> None:
    """Ask what does no harm when it is answered too late. What a silent agent is sent it still does when it goes on, and who would
    clean up after a command then? The other transports synchronise before the first command.
    """
    with contextlib.suppress(CommandRefused):
        agent.call("guest-ping")


def _lane(target: Target, domain: Domain, xml: str, agent: GuestAgent) -> Lane:
    """The data lane where the domain has its port, or may get it, with the agent's own commands to fall back on."""
    plain = AgentLane(agent)
    if target.data_lane == "never":
        return plain
    is_there = domain_xml.DATA_CHANNEL in domain_xml.channels(xml)
    if not is_there and target.data_lane != "attach":
        return plain
    from .._inside import data_lane as _data_lane  # each task compiles what it imports, and few have the port

    if not is_there:
        with contextlib.suppress(GuestAgentError):
            _data_lane.attach(domain)
    return Preferred(_data_lane.DataLane(domain, agent), plain)
