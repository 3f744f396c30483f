# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The simulated daemon, with the limits of the real one, and what libvirt-python gives of it.

Only what the core asks for when it gathers is here: anything else is an AttributeError, which no test takes for an answer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import threading
import time
import typing as t

from . import domain as _domain
from .latency import LISTED, REQUEST, Latencies

WORKERS, PRIO_WORKERS = 20, 5
#: max_client_requests: the daemon reads no more of a connection while so many of its requests are unanswered
IN_FLIGHT = 5
AGENT_JOB_SECONDS = 30.0
_SYNC_SECONDS = 5.0
_ID = re.compile(r'"id":(\d+)')
_COMMAND = re.compile(r'"execute":"([a-z0-9-]+)"')


class libvirtError(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code

    def get_error_code(self) -> int:
        return self.code

    def get_error_message(self) -> str:
        return str(self)


@dataclasses.dataclass
class Shape:
    """One hypervisor: how many domains, how many of them with a hung agent, and how far away. ``sync_first``: libvirt < 10.2."""

    domains: int
    hung: int = 0
    round_trip: str = "lan"
    seed: int = 1
    first: int = 1
    sync_first: bool = True


@dataclasses.dataclass
class Meters:
    """What the daemon saw. ``over``: requests that came while five of their connection were unanswered."""

    requests: int = 0
    commands: int = 0
    connections: int = 0
    over: int = 0
    in_flight_connection: int = 0
    in_flight: int = 0
    workers: int = 0
    prio_workers: int = 0
    busy_agents: int = 0
    #: seconds of processor that the simulation itself took
    own_cpu: float = 0.0


class Daemon:
    """One hypervisor's."""

    def __init__(self, name: str, shape: Shape) -> None:
        self.name = name
        self.meters = Meters()
        self.latencies = Latencies(shape.round_trip, shape.seed)
        self._shape = shape
        self._changed = threading.Condition()
        self._flying = self._busy = self._prio_busy = 0
        self.guests = [_Guest(self, shape.first + place, _is_hung(place, shape)) for place in range(shape.domains)]

    def connect(self) -> Connection:
        self.meters.connections += 1
        return Connection(self)

    @contextlib.contextmanager
    def request(self, connection: Connection, prio: bool) -> t.Iterator[None]:
        """A request from the client's call to its answer: the way there and back, a place in the connection, and a worker."""
        with self._changed:
            self._arrive(connection)
        time.sleep(self.latencies.round_trip)
        began = time.thread_time()
        with self._changed:
            self._changed.wait_for(lambda: connection.read < IN_FLIGHT)
            connection.read += 1
            spare = self._take_worker(prio)
            self.meters.own_cpu += time.thread_time() - began
        try:
            yield
        finally:
            with self._changed:
                if spare:
                    self._prio_busy -= 1
                else:
                    self._busy -= 1
                connection.read -= 1
                connection.flying -= 1
                self._flying -= 1
                self._changed.notify_all()

    def _arrive(self, connection: Connection) -> None:
        connection.flying += 1
        self._flying += 1
        meters = self.meters
        meters.requests += 1
        meters.over += connection.flying > IN_FLIGHT
        meters.in_flight_connection = max(meters.in_flight_connection, connection.flying)
        meters.in_flight = max(meters.in_flight, self._flying)

    def _take_worker(self, prio: bool) -> bool:
        """Whether it is one of those that only high-priority requests may take."""
        self._changed.wait_for(lambda: self._busy < WORKERS or (prio and self._prio_busy < PRIO_WORKERS))
        if self._busy < WORKERS:
            self._busy += 1
            self.meters.workers = max(self.meters.workers, self._busy)
            return False
        self._prio_busy += 1
        self.meters.prio_workers = max(self.meters.prio_workers, self._prio_busy)
        return True

    def agent_command(self, guest: _Guest, text: str, seconds: int) -> str:
        """qemuAgentCommand within its request: one at a time in a domain, and a hung agent answers never."""
        if not guest.job.acquire(timeout=AGENT_JOB_SECONDS):
            self.meters.busy_agents += 1
            raise libvirtError(68, "Timed out during operation: cannot acquire state change lock (held by agent=remoteDispatch)")
        try:
            if guest.hung:
                # Before 10.2 the synchronisation lasts five seconds, whatever the caller gave; the command is never sent.
                time.sleep(_SYNC_SECONDS if self._shape.sync_first else min(_SYNC_SECONDS, seconds))
                raise libvirtError(86, "Guest agent is not responding: Guest agent not available for now")
            command = t.cast("re.Match[str]", _COMMAND.search(text)).group(1)
            guest.commands += 1
            time.sleep(self.latencies.command(command, guest.number, guest.commands))
            return self._reply(guest, command, text)
        finally:
            guest.job.release()

    def _reply(self, guest: _Guest, command: str, text: str) -> str:
        began = time.thread_time()
        number = t.cast("re.Match[str]", _ID.search(text)).group(1)
        reply = _domain.reply(command, guest.number, guest.name, number)
        with self._changed:
            self.meters.commands += 1
            self.meters.own_cpu += time.thread_time() - began
        return reply


def _is_hung(place: int, shape: Shape) -> bool:
    """Spread evenly over the list."""
    return (place + 1) * shape.hung // shape.domains > place * shape.hung // shape.domains


class _Guest:
    """One domain in the daemon."""

    __slots__ = ("commands", "hung", "job", "name", "number")

    def __init__(self, daemon: Daemon, number: int, hung: bool) -> None:
        self.number = number
        self.name = f"{daemon.name}-guest{number:05}"
        self.hung = hung
        self.commands = 0
        self.job = threading.Lock()


class Domain:
    """virDomain."""

    __slots__ = ("_guest", "connection")

    def __init__(self, connection: Connection, guest: _Guest) -> None:
        self.connection = connection
        self._guest = guest

    def name(self) -> str:
        return self._guest.name

    def UUIDString(self) -> str:
        return _domain.uuid(self._guest.number)

    def XMLDesc(self, _flags: int) -> str:
        daemon = self.connection.daemon
        with daemon.request(self.connection, prio=False):
            time.sleep(REQUEST)
            began = time.thread_time()
            text = _domain.domain_xml(self._guest.name, self._guest.number)
            daemon.meters.own_cpu += time.thread_time() - began
            return text

    def state(self, _flags: int) -> list[int]:
        with self.connection.daemon.request(self.connection, prio=True):
            return [1, 1]

    def interfaceAddresses(self, _source: int, _flags: int) -> dict[str, t.Any]:
        with self.connection.daemon.request(self.connection, prio=False):
            time.sleep(REQUEST)
            return {}

    def agent_command(self, text: str, seconds: int) -> str:
        daemon = self.connection.daemon
        with daemon.request(self.connection, prio=False):
            return daemon.agent_command(self._guest, text, seconds)


class Connection:
    """virConnect. ``flying``: requests that the client has sent, ``read``: those of them that the daemon has read."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.flying = self.read = 0

    def getHostname(self) -> str:
        with self.daemon.request(self, prio=True):
            return self.daemon.name

    def listAllDomains(self, flags: int) -> list[Domain]:
        with self.daemon.request(self, prio=True):
            time.sleep(LISTED * len(self.daemon.guests))
            return [Domain(self, guest) for guest in self.daemon.guests] if flags != 1024 else []

    def getAllDomainStats(self, _stats: int, _flags: int) -> list[tuple[Domain, dict[str, int]]]:
        with self.daemon.request(self, prio=False):
            time.sleep(LISTED * len(self.daemon.guests))
            return [(Domain(self, guest), {"state.state": 1, "state.reason": 1}) for guest in self.daemon.guests]

    def lookupByName(self, name: str) -> Domain:
        return self._lookup(lambda guest: guest.name == name)

    def lookupByUUIDString(self, uuid: str) -> Domain:
        return self._lookup(lambda guest: _domain.uuid(guest.number) == uuid)

    def _lookup(self, matches: t.Callable[[_Guest], bool]) -> Domain:
        with self.daemon.request(self, prio=True):
            for guest in self.daemon.guests:
                if matches(guest):
                    return Domain(self, guest)
            raise libvirtError(42, "Domain not found: no domain with matching name")

    def isAlive(self) -> int:
        return 1

    def close(self) -> int:
        return 0


class Fleet:
    """All hypervisors, by URI."""

    def __init__(self, daemons: t.Mapping[str, Daemon]) -> None:
        self.daemons = dict(daemons)

    @classmethod
    def of(cls, hypervisors: int, domains: int, **shape: t.Any) -> Fleet:
        """``domains`` in all; what else the shape says is for each hypervisor."""
        share = [domains // hypervisors + (place < domains % hypervisors) for place in range(hypervisors)]
        return cls(
            {
                uri: Daemon(f"kvm{place:02}", Shape(share[place], first=1 + sum(share[:place]), **{"seed": place, **shape}))
                for place, uri in enumerate(uris(hypervisors))
            }
        )

    @classmethod
    def read(cls, text: str) -> Fleet:
        return cls.of(**json.loads(text))

    def open(self, uri: str | None) -> Connection:
        if uri not in self.daemons:
            raise libvirtError(38, f"no such hypervisor: {uri}")
        daemon = self.daemons[uri]
        time.sleep(daemon.latencies.round_trip * 4)  # the connection, authentication, open, features
        return daemon.connect()

    def meters(self) -> dict[str, float]:
        """Sums over all hypervisors, and of what is a maximum the largest."""
        added = ("requests", "commands", "connections", "over", "busy_agents", "own_cpu")
        each = [dataclasses.asdict(daemon.meters) for daemon in self.daemons.values()]
        return {name: (sum if name in added else max)(meters[name] for meters in each) for name in each[0]}


def uris(hypervisors: int) -> list[str]:
    return [f"qemu+ssh://kvm{place:02}/system" for place in range(hypervisors)]
