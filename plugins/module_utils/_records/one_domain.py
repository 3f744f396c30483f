# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One domain -> its record: as libvirt lists it, as libvirt knows it, and with the agent's part."""

from __future__ import annotations

import datetime
import typing as t

from .._agent.client import GuestAgent
from .._errors import DomainNotFound, DomainNotRunning, GuestAgentError
from .._libvirt import domain_xml
from .._libvirt.hypervisor import UNTOLD, Domain, DomainSummary
from .._reach import preflight
from . import ask, leases, record as _record
from .addresses import is_usable
from .own_addresses import OwnAddresses
from .plan import Plan


class Place(t.NamedTuple):
    """The hypervisor, as far as records tell of it, and the addresses that are no guest's."""

    uri: str
    hostname: str
    own: OwnAddresses


def steps(summary: DomainSummary, place: Place, plan: Plan) -> t.Iterator[_record.Record]:
    """The record as libvirt knows it, then (where the plan wants the agent and there may be one) with the agent's part."""
    domain = domain_xml.parse(summary.domain.xml())
    if summary.state == UNTOLD:
        summary = summary._replace(state=summary.domain.state())
        if not plan.takes(summary.state):
            return
    libvirt = _libvirt_part(summary, domain, place)
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
    place.own.mark(record["addresses"])
    if libvirt["state"] == "running" and not any(is_usable(found, plan.policy) for found in record["addresses"]):
        record["addresses"] += leases.fallback(summary.domain, record["interfaces"], plan.policy)
        place.own.mark(record["addresses"])
    yield record


def _libvirt_part(summary: DomainSummary, domain: domain_xml.DomainXml | None, place: Place) -> _record.LibvirtPart:
    return {
        "uri": place.uri,
        "hypervisor": place.hostname,
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


def listed_only(summary: DomainSummary, error: GuestAgentError, place: Place) -> _record.Record:
    """The record of a domain that is there, and of which libvirt gives no XML now."""
    agent = _record.agent_part(error)
    agent.update({"status": "unknown", "reason": f"libvirt did not give the domain's XML ({error.detail})"})
    return {"libvirt": _libvirt_part(summary, None, place), "agent": agent, "interfaces": [], "addresses": []}


def _recheck(domain: Domain, libvirt: _record.LibvirtPart, agent: _record.AgentPart) -> None:
    """An agent that fell silent may have done so because its domain is gone: then that is what the record says."""
    try:
        state = domain.state()
    except DomainNotFound:
        state = "shutoff"
    except GuestAgentError:
        return
    if state != "running":
        stopped = DomainNotRunning(f"the domain stopped during the requests, and is {state} now")
        libvirt["state"] = state
        agent.update({"connected": False, "status": stopped.status, "reason": stopped.detail, "hint": stopped.hint})
