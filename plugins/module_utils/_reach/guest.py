# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One guest of one task: from the task's options to its domain, its agent, and the fastest way for files."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import typing as t

from .._agent.client import GuestAgent
from .._errors import CommandRefused, GuestAgentError, InvalidInput
from .._libvirt import domain_xml
from .._libvirt.hypervisor import Domain, connect
from .._windows.recognised import recognise
from . import advice, preflight

# Each task compiles what it imports: what few tasks need is imported where it is needed.
if t.TYPE_CHECKING:
    from .._inside.lanes import Lane
    from . import warm

Params = t.Mapping[str, t.Any]

#: What a connection to a hypervisor, and each request that needs no agent, may take.
LIBVIRT_SECONDS: t.Final = 20.0
#: An agent that answered so many seconds ago is taken to answer still.
MOMENT: t.Final = 3.0


class Guest:
    def __init__(self, agent: GuestAgent, domain: Domain | None = None, lane: Lane | None = None, data_lane: str = "never") -> None:
        """``domain``: None where the agent is reached by another way than libvirt's own. ``data_lane``: as the option."""
        self.agent = agent
        self._domain = domain
        self._lane = lane
        self._data_lane = data_lane
        self._xml = ""

    @property
    def domain(self) -> Domain:
        if self._domain is None:
            raise InvalidInput(
                "this requires libvirt's own agent connection", domain=self.agent.name, hint="use the transport libvirt"
            )
        return self._domain

    @property
    def lane(self) -> Lane:
        """The way for the content of files."""
        if self._lane is None:
            # The other end of a data lane is a program that Windows has not.
            option = "never" if self.agent.windows is not None else self._data_lane
            self._lane = _lane(option, self.agent, self._domain, self._xml)
        return self._lane

    def port(self) -> warm.Port | None:
        """The domain's virtio port of ours, where it has it and the data lane is not switched off."""
        from . import warm

        if self._domain is None or self._data_lane == "never":
            return None
        channels = domain_xml.channels(self._xml or self._domain.xml())
        if domain_xml.DATA_CHANNEL not in channels:
            return None
        return warm.Port(self._domain, channels[domain_xml.DATA_CHANNEL] == "connected")

    def require_agent(self, *commands: str, heard: float = math.inf) -> GuestAgent:
        """The agent, known to answer and to accept ``commands``, and, unless it was ``heard``, to say what it can do.

        What is asked does no harm when it is answered too late. What a silent agent is sent it still does when it goes on.

        :param heard: seconds since it answered another process, which had found that it accepts ``commands``
        :raise DomainNotRunning: the domain is off, paused or suspended.
        :raise AgentUnavailable: it has no channel, or no agent listens on it.
        :raise UnknownOutcome: the agent does not answer.
        :raise CommandRefused: it blocks or does not know one of the commands, or the guest is frozen.
        """
        self._require_domain()
        with self.agent.named():
            if heard == math.inf:
                self.agent.can("guest-ping")
                for command in commands:
                    self.agent.require(command)
                recognise(self.agent)
            elif heard > MOMENT:
                with contextlib.suppress(CommandRefused):
                    self.agent.call("guest-ping")
        return self.agent

    def _require_domain(self) -> None:
        if self._domain is None:
            return
        self._xml = self._domain.xml()
        problem = preflight.preflight(self._domain.state(), domain_xml.parse(self._xml))
        if problem is not None:
            problem.domain = self._domain.name
            raise problem


@contextlib.contextmanager
def open_guest(
    params: Params,
    needed: t.Sequence[str] = (),
    events: bool = False,
    heard: float = math.inf,
    tell: t.Callable[[str], object] = lambda _text: None,
) -> t.Iterator[Guest]:
    """``params`` has ``domain``, ``uri`` and ``agent_timeout``, and may have the other options of ``spec.REACH``.

    :param needed: the commands that the task takes; where there are none, the agent is not asked. Those for files have substitutes:
        they are not required in advance. An error says of all of them which the agent refuses.
    :param heard: as in ``require_agent``
    :param tell: gets a sentence where the guest's resident is started or used
    :raise HypervisorUnreachable: libvirt does not answer at ``uri``.
    :raise DomainNotFound: it has no such domain.
    :raise GuestAgentError: with ``needed``, what ``require_agent`` raises.
    """
    way = _by_socket(params) if params.get("transport") == "unix" else _by_libvirt(params, events)
    with _ending_in_order(), way as guest:
        try:
            with guest.agent.named():
                if needed:
                    guest.require_agent(*(command for command in needed if command not in advice.FILES), heard=heard)
                with _warm(guest, params, tell):
                    yield guest
        except GuestAgentError as error:
            from .diagnosis import explain

            # An error that there is nothing to add to is raised as it was.
            raise explain(guest.agent, error, needed) from error.__cause__


@contextlib.contextmanager
def _warm(guest: Guest, params: Params, tell: t.Callable[[str], object]) -> t.Iterator[None]:
    """What runs in the guest meanwhile is run by its resident."""
    if params.get("resident", "never") == "never" or guest.agent.windows is not None:
        yield
        return
    from . import warm

    with contextlib.closing(warm.of_task(guest.agent, guest.port(), params, tell)) as guest.agent.resident:
        yield


@contextlib.contextmanager
def _by_libvirt(params: Params, events: bool) -> t.Iterator[Guest]:
    connection = connect(params["uri"], LIBVIRT_SECONDS, events, ssh_persist=params.get("ssh_persist", 0))
    try:
        domain = connection.domain(params["domain"] or "")
        data_lane = params.get("data_lane", "never")
        if params.get("transport") == "channel":
            from .._libvirt.transport import ChannelTransport

            with contextlib.closing(ChannelTransport(domain, params["channel"])) as transport:
                agent = GuestAgent(transport, params["agent_timeout"])
                yield Guest(agent, lane=_lane(data_lane, agent, domain))
        else:
            yield Guest(GuestAgent(domain, params["agent_timeout"]), domain, data_lane=data_lane)
    finally:
        connection.close()


@contextlib.contextmanager
def _by_socket(params: Params) -> t.Iterator[Guest]:
    if not params["socket"]:
        raise InvalidInput("the transport unix requires the path of a socket", hint="set the option socket")
    from .._agent.transport import UnixSocketTransport

    with contextlib.closing(UnixSocketTransport(params["socket"], params["domain"] or "")) as transport:
        yield Guest(GuestAgent(transport, params["agent_timeout"]))


@contextlib.contextmanager
def _ending_in_order() -> t.Iterator[None]:
    """A process that is told to end still cleans up: without this SIGTERM and SIGHUP end Python at once."""
    numbers = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, _end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: object) -> t.NoReturn:
    raise SystemExit(128 + number)


def _lane(option: str, agent: GuestAgent, domain: Domain | None, xml: str = "") -> Lane:
    """The data lane where the domain has its port, or may get it, with the agent's own commands to fall back on."""
    from .._inside.lanes import AgentLane, Preferred

    plain = AgentLane(agent)
    if option == "never" or domain is None:
        return plain
    is_there = domain_xml.DATA_CHANNEL in domain_xml.channels(xml or domain.xml())
    if not is_there and option != "attach":
        return plain
    from .._inside import data_lane

    if not is_there:
        with contextlib.suppress(GuestAgentError):
            data_lane.attach(domain)
    return Preferred(data_lane.DataLane(domain, agent), plain)
