# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One hypervisor, watched for as long as it takes: connected, and connected again; what was missed is found by comparison."""

from __future__ import annotations

import contextlib
import functools
import itertools
import queue
import threading
import typing as t

from .._errors import GuestAgentError, HypervisorUnreachable, InvalidInput
from . import domain_xml
from .hypervisor import DEFAULT_HYPERVISOR, STATES, Connection, Domain, connect
from .ledger import Change, Ledger
from .reports import Report, Sight, callbacks, in_words
from .threads import each

#: Reports that wait for our thread. It is behind by many only while it compares; where there are more, it compares once more.
_WAITING_MAX: t.Final = 10_000
#: A report of what was so when the domains were listed may come after the list.
_SETTLING_SECONDS: t.Final = 0.1
#: So often domains are looked at again of which there were reports meanwhile. One that changes all the time reports that.
_ROUNDS: t.Final = 5
#: A link that is silent for so many of these is lost (virConnectSetKeepAlive, 0.9.8).
_KEEPALIVE_SECONDS: t.Final = 5
_KEEPALIVE_COUNT: t.Final = 3
#: Without a report, the connection is looked at.
_LOOK_SECONDS: t.Final = 10.0
#: A daemon that restarts is back in a moment, a hypervisor in minutes.
_SOON: t.Final = (0.25, 0.5, *[1.0] * 60)
_LATER: t.Final = 30.0
#: For what is polite to say before a connection is given back.
_GOODBYE_SECONDS: t.Final = 1.0
#: virDomainStatsTypes: state needs neither the agent nor QEMU's monitor
_STATS_STATE: t.Final = 1


class Place(t.NamedTuple):
    """The hypervisor: its URI, and the name that it has for itself, where it was ever connected."""

    uri: str
    hostname: str


#: Is called in a thread of the watch, and must not wait.
Tell = t.Callable[[Change, Place], None]


class _Inbox:
    """Reports of one connection, from libvirt's thread to ours. None: the connection is lost."""

    def __init__(self) -> None:
        self._reports: queue.Queue[Report | None] = queue.Queue(_WAITING_MAX)
        #: whether a report was thrown away
        self.is_behind = False

    def put(self, report: Report | None) -> None:
        try:
            self._reports.put_nowait(report)
        except queue.Full:
            self.is_behind = True

    def next(self, seconds: float) -> Report | None:
        """
        :raise queue.Empty: there is none.
        """
        return self._reports.get(timeout=seconds)

    def waiting(self) -> list[Report | None]:
        """All that are there now."""
        return [self._reports.get_nowait() for _number in range(self._reports.qsize())]


class HypervisorWatch:
    """Tells what is new of one hypervisor's domains, until it is closed. ``fail`` is given what is no trouble of a hypervisor."""

    def __init__(self, uri: str, timeout: float, tell: Tell, fail: t.Callable[[BaseException], None]) -> None:
        self._uri = uri
        self._timeout = timeout
        self._tell = tell
        self._fail = fail
        self._ledger = Ledger()
        self._place = Place(uri or DEFAULT_HYPERVISOR, "")
        self._is_lost = False
        self._closing = threading.Event()
        self._inbox = _Inbox()
        self._thread = threading.Thread(target=self._run, name="virtops-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Nothing is told from now on. That the connection is given back is waited for so long."""
        self._closing.set()
        self._inbox.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            pauses = _pauses()
            while not self._closing.is_set():
                if self._attend():
                    pauses = _pauses()
                self._closing.wait(next(pauses))
        except BaseException as error:  # raised again by who takes what is told
            self._fail(error)

    def _attend(self) -> bool:
        """As long as one connection lasts; whether there was one."""
        inbox = self._inbox = _Inbox()
        is_connected = False
        reason = "the connection was lost"
        try:
            with contextlib.closing(connect(self._uri, self._timeout, events=True)) as connection, _listening(connection, inbox):
                self._place = Place(connection.uri, connection.hostname())
                self._settle(connection, inbox)
                is_connected = True
                self._serve(connection, inbox)
        except InvalidInput:
            raise
        except GuestAgentError as error:
            reason = error.detail
        self._say_connected(False, reason)
        return is_connected

    def _say_connected(self, is_connected: bool, reason: str = "") -> None:
        """Once each time; that it is connected goes without saying where nothing else was said."""
        if is_connected == self._is_lost:
            self._is_lost = not is_connected
            self._tell_all([Change("hypervisor_connected" if is_connected else "hypervisor_lost", reason)])

    def _settle(self, connection: Connection, inbox: _Inbox) -> None:
        """Tell what is new by how the domains are, and by what is reported of them meanwhile."""
        wanted: set[str] | None = None
        for _round in range(_ROUNDS):
            inbox.is_behind = False
            sights = _look(connection, wanted)
            self._closing.wait(_SETTLING_SECONDS)
            reports = _all_of(inbox.waiting())
            reported = {report.uuid for report in reports}
            self._say_connected(True)
            self._tell_all(self._ledger.compare(sights, reported, is_all=wanted is None))
            for report in reports:
                self._tell_all(self._ledger.hear(report))
            if not inbox.is_behind and not reported:
                return
            wanted = None if inbox.is_behind else reported

    def _serve(self, connection: Connection, inbox: _Inbox) -> None:
        """Until the connection is lost."""
        while not self._closing.is_set():
            try:
                report = inbox.next(_LOOK_SECONDS)
            except queue.Empty:
                if connection.call(connection.handle.isAlive):
                    continue
                return
            if report is None:
                return
            self._tell_all(self._ledger.hear(report))
            if inbox.is_behind:
                self._settle(connection, inbox)

    def _tell_all(self, changes: t.Iterable[Change]) -> None:
        for change in changes:
            if not self._closing.is_set():
                self._tell(change, self._place)


@contextlib.contextmanager
def _listening(connection: Connection, inbox: _Inbox) -> t.Iterator[None]:
    handle, numbers = connection.handle, []
    try:
        for event, receive in callbacks(inbox.put).items():
            numbers.append(connection.call(functools.partial(handle.domainEventRegisterAny, None, event, receive, None)))
        connection.call(lambda: handle.registerCloseCallback(lambda *_details: inbox.put(None), None))
        with contextlib.suppress(GuestAgentError):  # an old or a foreign daemon has none
            connection.call(lambda: handle.setKeepAlive(_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT))
        yield
    finally:
        # A connection that callbacks are left on is never freed.
        for farewell in (*(functools.partial(handle.domainEventDeregisterAny, n) for n in numbers), handle.unregisterCloseCallback):
            with contextlib.suppress(GuestAgentError):
                connection.call(farewell, _GOODBYE_SECONDS)


def _look(connection: Connection, wanted: t.Container[str] | None) -> list[Sight]:
    """All domains, or those, in one request, and one more for each that is on."""
    handle = connection.handle
    listed = [
        (Domain(connection, found), found.ID(), *in_words(STATES.get(stats.get("state.state"), ""), stats.get("state.reason", 0)))
        for found, stats in connection.call(lambda: handle.getAllDomainStats(_STATS_STATE, 0))
    ]
    listed = [row for row in listed if wanted is None or row[0].uuid in wanted]
    on = [domain for domain, _run, state, _reason in listed if state != "shutoff"]
    agents = {domain.uuid: answer for domain, answer in zip(on, each(_has_agent, on)) if isinstance(answer, bool)}
    return [Sight(domain.uuid, domain.name, run, state, reason, agents.get(domain.uuid)) for domain, run, state, reason in listed]


def _has_agent(domain: Domain) -> bool:
    return domain_xml.channels(domain.xml()).get(domain_xml.AGENT_CHANNEL) == "connected"


def _all_of(reports: t.Sequence[Report | None]) -> list[Report]:
    found = [report for report in reports if report is not None]
    if len(found) < len(reports):
        raise HypervisorUnreachable("the connection was lost")
    return found


def _pauses() -> t.Iterator[float]:
    return itertools.chain(_SOON, itertools.repeat(_LATER))
