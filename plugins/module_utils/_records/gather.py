# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many domains on many hypervisors -> records, within one deadline.

Each hypervisor has a thread of its own that lists its domains, and up to ``concurrency`` more that ask them, five on a
connection. The caller waits for all of them, and never longer than ``timeout``: a domain that was not reached by then keeps
what is known without it, which is at least what its hypervisor lists.
"""

from __future__ import annotations

import datetime
import queue
import threading
import typing as t

from .._agent.client import GuestAgent
from .._deadline import Deadline
from .._errors import DomainNotFound, DomainNotRunning, GuestAgentError, HypervisorUnreachable, InvalidInput
from .._libvirt import domain_xml
from .._libvirt.hypervisor import DEFAULT_HYPERVISOR, Connection, Domain, DomainSummary, connect
from .._libvirt.threads import CALLS_PER_CONNECTION, each
from .._reach import preflight
from . import ask, leases, record as _record
from .addresses import AddressPolicy, contested, is_usable, usable
from .own_addresses import OwnAddresses
from .plan import Gathered, Plan

#: Of domains in one sentence.
_NAMED_MAX: t.Final = 5


def gather(uris: t.Iterable[str], plan: Plan) -> Gathered:
    """The records of all hypervisors' domains, sorted by hypervisor and name. Raises nothing for what a guest can do."""
    deadline = Deadline(plan.timeout)
    sweeps = [_Sweep(uri, plan, deadline) for uri in dict.fromkeys(uris)]
    for sweep in sweeps:
        sweep.start()
    for sweep in sweeps:
        sweep.wait()
    try:
        # One hypervisor may have been named twice, by its URI and as libvirt's default.
        records = list({_record.key(record): record for sweep in sweeps for record in sweep.records()}.values())
        _confirm_contested(sweeps, records, plan.policy)
    finally:
        for sweep in sweeps:
            sweep.close()
    records.sort(key=lambda record: (record["libvirt"]["uri"], record["libvirt"]["name"]))
    failures = {sweep.uri: sweep.failure for sweep in sweeps if sweep.failure is not None}
    return Gathered(records, failures, [trouble for sweep in sweeps for trouble in sweep.troubles()])


class _Sweep:
    """One hypervisor's part. All that several threads touch is guarded by ``_lock``; ``_done`` says that all is in."""

    def __init__(self, uri: str, plan: Plan, deadline: Deadline) -> None:
        self.uri = uri
        self.failure: GuestAgentError | None = None
        self._crash: BaseException | None = None
        self._plan = plan
        self._deadline = deadline
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._jobs: queue.SimpleQueue[DomainSummary] = queue.SimpleQueue()
        self._records: dict[str, _record.Record] = {}
        self._domains: dict[str, Domain] = {}
        #: those of which nothing is known yet but that they are listed, and those of which nothing more can be
        self._pending: dict[str, DomainSummary] = {}
        self._untold: dict[str, tuple[DomainSummary, GuestAgentError]] = {}
        self._own = OwnAddresses("")
        self._open = 0
        self._listed = False
        self._hostname = ""
        self._connections: list[Connection] = []

    def start(self) -> None:
        threading.Thread(target=self._list, name="virtops-sweep", daemon=True).start()

    def wait(self) -> None:
        """Until all domains have answered or the deadline has come."""
        if not self._done.wait(self._deadline.remaining()) and not self._listed:
            self.failure = HypervisorUnreachable(f"{self.uri or DEFAULT_HYPERVISOR} did not answer in time")

    def records(self) -> list[_record.Record]:
        """What is known by now.

        :raise InvalidInput: the plan's selection cannot be applied to a record.
        """
        if self._crash is not None:
            raise self._crash
        with self._lock:
            if self._pending:
                late = HypervisorUnreachable("libvirt did not give the XML in time", hint="raise timeout, or look at libvirt")
                self._untold.update({uuid: (summary, late) for uuid, summary in self._pending.items()})
                self._pending = {}
            listed = [_listed_only(*untold, self.uri, self._hostname) for untold in self._untold.values()]
            told = list(self._records.values())
        return told + [record for record in listed if self._plan.select({"libvirt": record["libvirt"]})]

    def troubles(self) -> list[GuestAgentError]:
        """Why of some domains no more is known than that they are there: one error for each reason."""
        names: dict[str, list[str]] = {}
        errors: dict[str, GuestAgentError] = {}
        for summary, error in self._untold.values():
            names.setdefault(str(error.detail), []).append(summary.domain.name)
            errors.setdefault(str(error.detail), error)
        return [_together(errors[detail], sorted(found), self.uri) for detail, found in names.items()]

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def confirm(self, record: _record.Record) -> None:
        """Add what the hypervisor itself knows of the domain's addresses."""
        domain = self._domains[record["libvirt"]["uuid"]]
        for source in ("lease", "arp"):
            if self._deadline.expired():
                return
            try:
                record["addresses"] += leases.known(domain, record["interfaces"], source)
            except GuestAgentError:
                continue
        self._own.mark(record["addresses"])

    def _list(self) -> None:
        try:
            first = connect(self.uri, self._deadline.remaining(), deadline=self._deadline)
            self._connections.append(first)
            self.uri = first.uri
            self._own = OwnAddresses(self.uri)
            self._hostname = first.hostname()
            wanted = [summary for summary in first.list_domains() if self._wanted(summary)]
        except InvalidInput as error:
            self._crash = error
            self._done.set()
            return
        except GuestAgentError as error:
            self.failure = error
            self._done.set()
            return
        except BaseException as error:  # raised again in records(), for the caller
            self._crash = error
            self._done.set()
            return
        self._domains = {summary.domain.uuid: summary.domain for summary in wanted}
        self._pending = {summary.domain.uuid: summary for summary in wanted}
        self._open = len(wanted)
        self._listed = True
        for summary in wanted:
            self._jobs.put(summary)
        if not wanted:
            self._done.set()
        workers = min(self._plan.concurrency, len(wanted))
        for number in range(0, workers, CALLS_PER_CONNECTION):
            share = min(CALLS_PER_CONNECTION, workers - number)
            self._start_workers(first if number == 0 else None, share)

    def _wanted(self, summary: DomainSummary) -> bool:
        plan, domain = self._plan, summary.domain
        named = not plan.domains or domain.name in plan.domains or domain.uuid in plan.domains
        return named and (not plan.states or summary.state in plan.states)

    def _start_workers(self, connection: Connection | None, count: int) -> None:
        """``count`` workers on ``connection``, or on a further one, which may fail: the first still does all the work."""
        handles: dict[str, Domain] | None = None
        if connection is None:
            try:
                connection = connect(self.uri, self._deadline.remaining(), deadline=self._deadline)
                self._connections.append(connection)
                handles = connection.domains()
            except GuestAgentError:
                return
        followups: _Followups = queue.SimpleQueue()
        for _number in range(count):
            threading.Thread(target=self._work, args=(handles, followups), name="virtops-worker", daemon=True).start()

    def _work(self, handles: dict[str, Domain] | None, followups: _Followups) -> None:
        """Every domain's first step comes before any domain's second, so that the deadline finds something of everybody.

        The second step stays on the connection of the first: its five calls at a time are for its five workers.
        """
        while not self._deadline.expired():
            try:
                self._begin(self._jobs.get_nowait(), handles, followups)
                continue
            except queue.Empty:
                pass
            try:
                self._advance(*followups.get_nowait(), followups)
            except queue.Empty:
                return

    def _begin(self, summary: DomainSummary, handles: dict[str, Domain] | None, followups: _Followups) -> None:
        if handles is not None:
            summary = summary._replace(domain=handles.get(summary.domain.uuid, summary.domain))
        steps = _steps(summary, self.uri, self._hostname, self._plan, self._own)
        self._advance(summary.domain.uuid, steps, followups)

    def _advance(self, uuid: str, steps: t.Iterator[_record.Record], followups: _Followups) -> None:
        """Publish the domain's next record, if there is one."""
        record, trouble = None, None
        try:
            record = next(steps, None)
        except InvalidInput as error:
            self._crash = error
        except DomainNotFound:
            pass  # it vanished before anything was known of it: it costs only itself
        except GuestAgentError as error:
            trouble = error
        except BaseException as error:  # raised again in records(), for the caller
            self._crash = error
        with self._lock:
            summary = self._pending.pop(uuid, None)
            if summary is not None and trouble is not None:
                self._untold[uuid] = summary, trouble
            if record is not None:
                self._untold.pop(uuid, None)
                self._records[uuid] = record
                followups.put((uuid, steps))
                return
            self._open -= 1
            if self._open == 0:
                self._done.set()


_Followups = queue.SimpleQueue[tuple[str, t.Iterator[_record.Record]]]


def _steps(summary: DomainSummary, uri: str, hostname: str, plan: Plan, own: OwnAddresses) -> t.Iterator[_record.Record]:
    """The record as libvirt knows it, then (where the plan wants the agent and there may be one) with the agent's part."""
    domain = domain_xml.parse(summary.domain.xml())
    libvirt = _libvirt_part(summary, domain, uri, hostname)
    if not plan.select({"libvirt": libvirt}):
        return
    problem = preflight.preflight(summary.state, domain)
    agent = _record.agent_part(problem)
    if problem is None and not plan.asks_agent():
        agent.update({"connected": True, "status": "connected", "reason": "the channel is open; the agent was not asked"})
    yield _record.build(libvirt, domain, agent, {}, plan.max_items)
    parts: _record.GuestParts = {}
    if problem is None and plan.asks_agent():
        client = GuestAgent(summary.domain, plan.agent_timeout)
        now = datetime.datetime.now(datetime.timezone.utc)
        agent, parts = ask.ask(client, plan.subsets, plan.probes, now)
        ask.complete(parts, summary.domain)
        if agent["status"] in ("unresponsive", "disconnected"):
            _recheck(summary.domain, libvirt, agent)
    record = _record.build(libvirt, domain, agent, parts, plan.max_items)
    own.mark(record["addresses"])
    if libvirt["state"] == "running" and not any(is_usable(found, plan.policy) for found in record["addresses"]):
        record["addresses"] += leases.fallback(summary.domain, record["interfaces"], plan.policy)
        own.mark(record["addresses"])
    yield record


def _libvirt_part(summary: DomainSummary, domain: domain_xml.DomainXml | None, uri: str, hostname: str) -> _record.LibvirtPart:
    return {
        "uri": uri,
        "hypervisor": hostname,
        "name": summary.domain.name,
        "uuid": summary.domain.uuid,
        "state": summary.state,
        "title": domain and domain.title,
        "description": domain and domain.description,
        "metadata": domain.metadata if domain else {},
        "vcpus": domain and domain.vcpus,
        "memory_mib": domain and domain.memory_mib,
        "persistent": summary.persistent,
        "autostart": summary.autostart,
        "channels": dict(domain.channels) if domain else {},
    }


def _listed_only(summary: DomainSummary, error: GuestAgentError, uri: str, hostname: str) -> _record.Record:
    """The record of a domain that is there, and of which libvirt gives no XML now."""
    agent = _record.agent_part(error)
    agent.update({"status": "unknown", "reason": f"libvirt did not give the domain's XML ({error.detail})"})
    return {"libvirt": _libvirt_part(summary, None, uri, hostname), "agent": agent, "interfaces": [], "addresses": []}


def _together(error: GuestAgentError, names: t.Sequence[str], uri: str) -> GuestAgentError:
    """The error of several domains, in which the first few have their names."""
    more = len(names) - _NAMED_MAX
    domains = ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
    detail = f"{error.detail}; nothing but state and name is known of what {uri} lists so"
    return error.__class__(detail, domain=domains, command=error.command, hint=error.hint)


def _recheck(domain: Domain, libvirt: _record.LibvirtPart, agent: _record.AgentPart) -> None:
    """An agent that fell silent may have done so because its domain is gone: then that is what the record says."""
    try:
        state = domain.state()
    except DomainNotFound:
        state = "shutoff"
    except GuestAgentError:
        return
    if state != "running":
        stopped = DomainNotRunning(f"the domain stopped while it was asked and is {state} now")
        libvirt["state"] = state
        agent.update({"connected": False, "status": stopped.status, "reason": stopped.detail, "hint": stopped.hint})


def _confirm_contested(sweeps: t.Sequence[_Sweep], records: t.Sequence[_record.Record], policy: AddressPolicy) -> None:
    """Where two domains claim one address, ask their hypervisors what these know."""
    by_uri = {sweep.uri: sweep for sweep in sweeps}
    claims = {_record.key(record): usable(record["addresses"], policy) for record in records}
    disputants = {key for key, _address in contested(claims)}
    each(
        lambda record: by_uri[record["libvirt"]["uri"]].confirm(record),
        [record for record in records if _record.key(record) in disputants],
    )
