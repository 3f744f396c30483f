# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many domains on many hypervisors -> records, within one deadline.

Each hypervisor has a thread of its own that lists its domains, and up to ``concurrency`` more that ask them, five on a
connection. The caller waits for all of them, and never longer than ``timeout``: a domain that was not reached by then keeps
what is known without it, which is at least what its hypervisor lists.
"""

from __future__ import annotations

import queue
import threading
import typing as t

from .._deadline import Deadline
from .._errors import DomainNotFound, GuestAgentError, HypervisorUnreachable, InvalidInput
from .._libvirt.hypervisor import DEFAULT_HYPERVISOR, UNTOLD, Connection, Domain, DomainSummary, connect
from .._libvirt.threads import CALLS_PER_CONNECTION, each, unhurried
from . import leases, one_domain, record as _record
from .addresses import AddressPolicy, contested, usable
from .own_addresses import OwnAddresses
from .plan import Gathered, Plan

#: Of domains in one sentence.
_NAMED_MAX: t.Final = 5


@unhurried()
def gather(uris: t.Iterable[str], plan: Plan) -> Gathered:
    """The records of all hypervisors' domains, sorted by hypervisor and name. Raises nothing for what a guest can do."""
    deadline = Deadline(plan.timeout)
    sweeps = [_Sweep(uri, plan, deadline) for uri in dict.fromkeys(uris)]
    for sweep in sweeps:
        sweep.start()
    for sweep in sweeps:
        sweep.wait()
    try:
        known = [sweep.known() for sweep in sweeps]
        # One hypervisor may have been named twice, by its URI and as libvirt's default.
        records = list({_record.key(record): record for found in known for record in found.records}.values())
        whose = {_record.key(record): sweep for sweep, found in zip(sweeps, known) for record in found.records}
        _confirm_contested(whose, records, plan.policy)
    finally:
        for sweep in sweeps:
            sweep.close()
    records.sort(key=lambda record: (record["libvirt"]["uri"], record["libvirt"]["name"]))
    failures = {sweep.uri: found.failure for sweep, found in zip(sweeps, known) if found.failure is not None}
    return Gathered(records, failures, [trouble for found in known for trouble in found.troubles])


class _Known(t.NamedTuple):
    """What is known of one hypervisor's domains; ``troubles``: why of some no more than that they are listed."""

    records: list[_record.Record]
    troubles: list[GuestAgentError]
    failure: GuestAgentError | None


class _Entry:
    """One domain while it is asked: its last record, or why there is none."""

    def __init__(self, summary: DomainSummary) -> None:
        self.summary = summary
        self.record: _record.Record | None = None
        self.trouble: GuestAgentError | None = None
        self.ended = False


class _Board:
    """The domains of one hypervisor, as far as they are known. Several threads write here, and one waits until all is in."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._lock = threading.Lock()
        self._all_in = threading.Event()
        self._entries: dict[str, _Entry] | None = None
        self._open = 0

    def expect(self, listed: t.Sequence[DomainSummary]) -> None:
        with self._lock:
            self._entries = {summary.domain.uuid: _Entry(summary) for summary in listed}
            self._open = len(self._entries)
        if not listed:
            self._all_in.set()

    def fail(self, error: BaseException) -> None:
        """For what is no trouble of one domain alone: nothing more is waited for."""
        self.error = error
        self._all_in.set()

    def publish(self, uuid: str, record: _record.Record) -> None:
        with self._lock:
            self._entry(uuid).record = record

    def end(self, uuid: str, trouble: GuestAgentError | None = None) -> None:
        """Nothing more comes of this domain. One without a record or a trouble has vanished, or is not wanted."""
        with self._lock:
            entry = self._entry(uuid)
            entry.trouble, entry.ended = trouble, True
            self._open -= 1
            if self._open == 0:
                self._all_in.set()

    def wait(self, seconds: float) -> bool:
        """Until all is in. Whether there is something by then: the domains are listed, or there is an error."""
        return self._all_in.wait(seconds) or self._entries is not None

    def domain(self, uuid: str) -> Domain:
        return self._entry(uuid).summary.domain

    def now(self) -> tuple[list[_record.Record], list[tuple[DomainSummary, GuestAgentError]]]:
        """The records, and the domains that have none, with the reason."""
        late = HypervisorUnreachable("libvirt did not give the XML in time", hint="raise timeout, or check libvirt")
        records, untold = [], []
        with self._lock:
            for entry in (self._entries or {}).values():
                trouble = entry.trouble if entry.ended else late
                if entry.record is not None:
                    records.append(entry.record)
                elif trouble is not None:
                    untold.append((entry.summary, trouble))
        return records, untold

    def _entry(self, uuid: str) -> _Entry:
        return (self._entries or {})[uuid]


#: The steps of a domain that are still to be taken.
_Steps = t.Iterator[_record.Record]
_Queue = queue.SimpleQueue[tuple[str, _Steps]]


class _Sweep:
    """One hypervisor's part: the threads that list its domains and ask them."""

    def __init__(self, uri: str, plan: Plan, deadline: Deadline) -> None:
        self._plan = plan
        self._deadline = deadline
        self._board = _Board()
        self._place = one_domain.Place(uri, "", OwnAddresses(""))
        self._connections: list[Connection] = []

    @property
    def uri(self) -> str:
        """As libvirt has it, once it is connected."""
        return self._place.uri

    def start(self) -> None:
        threading.Thread(target=self._run, name="virtops-sweep", daemon=True).start()

    def wait(self) -> None:
        """Until all domains have answered or the deadline has come."""
        if not self._board.wait(self._deadline.remaining()):
            self._board.fail(HypervisorUnreachable(f"{self.uri or DEFAULT_HYPERVISOR} did not answer in time"))

    def known(self) -> _Known:
        """What is known by now.

        :raise InvalidInput: the plan's selection cannot be applied to a record.
        """
        error = self._board.error
        if error is not None and (isinstance(error, InvalidInput) or not isinstance(error, GuestAgentError)):
            raise error
        records, untold = self._board.now()
        listed = [one_domain.listed_only(summary, trouble, self._place) for summary, trouble in untold]
        records += [record for record in listed if self._plan.select({"libvirt": record["libvirt"]})]
        return _Known(records, _together(untold, self.uri), error)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def confirm(self, record: _record.Record) -> None:
        """Add what the hypervisor itself knows of the domain's addresses."""
        domain = self._board.domain(record["libvirt"]["uuid"])
        for source in ("lease", "arp"):
            if self._deadline.expired():
                return
            try:
                record["addresses"] += leases.known(domain, record["interfaces"], source)
            except GuestAgentError:
                continue
        self._place.own.mark(record["addresses"])

    def _run(self) -> None:
        try:
            first = self._connected()
            self._place = one_domain.Place(first.uri, "", OwnAddresses(first.uri))
            self._place = self._place._replace(hostname=first.hostname())
            wanted = [summary for summary in first.list_domains() if self._wanted(summary)]
        except BaseException as error:  # raised again, or reported, for the caller
            self._board.fail(error)
            return
        self._board.expect(wanted)
        jobs: queue.SimpleQueue[DomainSummary] = queue.SimpleQueue()
        for summary in wanted:
            jobs.put(summary)
        workers = min(self._plan.concurrency, len(wanted))
        for number in range(0, workers, CALLS_PER_CONNECTION):
            share = min(CALLS_PER_CONNECTION, workers - number)
            self._start_workers(jobs, share, is_first=number == 0)

    def _connected(self) -> Connection:
        connection = connect(self.uri, self._deadline.remaining(), deadline=self._deadline, ssh_persist=self._plan.ssh_persist)
        self._connections.append(connection)
        return connection

    def _wanted(self, summary: DomainSummary) -> bool:
        plan, domain = self._plan, summary.domain
        named = not plan.domains or domain.name in plan.domains or domain.uuid in plan.domains
        return named and (plan.takes(summary.state) or summary.state == UNTOLD)

    def _start_workers(self, jobs: queue.SimpleQueue[DomainSummary], count: int, is_first: bool) -> None:
        """``count`` workers on the first connection, or on a further one, which may fail: the first still does all the work."""
        handles: dict[str, Domain] = {}
        if not is_first:
            try:
                handles = self._connected().domains()
            except GuestAgentError:
                return
        followups: _Queue = queue.SimpleQueue()
        for _number in range(count):
            threading.Thread(target=self._work, args=(jobs, handles, followups), name="virtops-worker", daemon=True).start()

    def _work(self, jobs: queue.SimpleQueue[DomainSummary], handles: dict[str, Domain], followups: _Queue) -> None:
        """Every domain's first step comes before any domain's second, so that the deadline finds something of everybody.

        The second step stays on the connection of the first: its five calls at a time are for its five workers.
        """
        while not self._deadline.expired():
            try:
                summary = jobs.get_nowait()
            except queue.Empty:
                try:
                    uuid, steps = followups.get_nowait()
                except queue.Empty:
                    return
            else:
                uuid = summary.domain.uuid
                steps = one_domain.steps(summary._replace(domain=handles.get(uuid, summary.domain)), self._place, self._plan)
            if self._advance(uuid, steps):
                followups.put((uuid, steps))

    def _advance(self, uuid: str, steps: _Steps) -> bool:
        """Publish the domain's next record; whether there was one."""
        record, trouble = None, None
        try:
            record = next(steps, None)
        except DomainNotFound:
            pass  # it vanished before anything was known of it: it costs only itself
        except InvalidInput as error:
            self._board.fail(error)
        except GuestAgentError as error:
            trouble = error
        except BaseException as error:  # raised again in known(), for the caller
            self._board.fail(error)
        if record is None:
            self._board.end(uuid, trouble)
            return False
        self._board.publish(uuid, record)
        return True


def _together(untold: t.Sequence[tuple[DomainSummary, GuestAgentError]], uri: str) -> list[GuestAgentError]:
    """One error for each reason, in which the first few domains have their names."""
    names: dict[str, list[str]] = {}
    errors: dict[str, GuestAgentError] = {}
    for summary, error in untold:
        names.setdefault(error.detail, []).append(summary.domain.name)
        errors.setdefault(error.detail, error)
    return [_of_several(errors[detail], sorted(found), uri) for detail, found in names.items()]


def _of_several(error: GuestAgentError, names: t.Sequence[str], uri: str) -> GuestAgentError:
    """The error of several domains, in which the first few have their names."""
    more = len(names) - _NAMED_MAX
    domains = ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
    detail = f"{error.detail}; only the state and the name of these domains on {uri} are known"
    return error.__class__(detail, domain=domains, command=error.command, hint=error.hint)


def _confirm_contested(whose: t.Mapping[str, _Sweep], records: t.Sequence[_record.Record], policy: AddressPolicy) -> None:
    """Where two domains claim one address, ask their hypervisors what these know. ``whose``: which sweep has a record's domain."""
    claims = {_record.key(record): usable(record["addresses"], policy) for record in records}
    disputants = {key for key, _address in contested(claims)}
    each(
        lambda record: whose[_record.key(record)].confirm(record),
        [record for record in records if _record.key(record) in disputants],
    )
