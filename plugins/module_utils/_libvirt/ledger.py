# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has been told of the domains of one hypervisor, so that nothing is told twice and nothing is left out. Pure."""

from __future__ import annotations

import math
import typing as t

from .reports import Report, Sight, end_of

#: type of event -> the domain's state after it; the others do not change it
_STATES: t.Final = {
    "domain_started": "running",
    "domain_resumed": "running",
    "domain_paused": "paused",
    "domain_suspended": "pmsuspended",
    "domain_stopped": "shutoff",
    "domain_crashed": "shutoff",
    "guest_panicked": "crashed",
}
#: type of event -> the states in which it says nothing new
_OLD: t.Final = {
    "domain_started": ("running", "paused", "pmsuspended"),
    "domain_resumed": ("running", "shutoff"),
    "domain_paused": ("paused", "shutoff"),
    "domain_suspended": ("pmsuspended", "shutoff"),
    "domain_stopped": ("shutoff",),
    "domain_crashed": ("shutoff",),
    "guest_panicked": ("crashed", "shutoff"),
    "guest_rebooted": ("shutoff",),
    "agent_connected": ("shutoff",),
    "agent_disconnected": ("shutoff",),
}
_AGENT: t.Final = {"agent_connected": True, "agent_disconnected": False}
#: state -> the type of event that leads to it, of a domain that was on
_INTO: t.Final = {
    "running": "domain_resumed",
    "paused": "domain_paused",
    "pmsuspended": "domain_suspended",
    "crashed": "guest_panicked",
}
#: One restart may be reported several times: the firmware resets the machine again.
_SAME_REBOOT_SECONDS: t.Final = 2.0


class Change(t.NamedTuple):
    """Something new of a domain; of the hypervisor itself, it has neither UUID nor name."""

    type: str
    reason: str
    uuid: str = ""
    name: str = ""
    #: after it
    state: str = ""
    agent: bool = False
    #: it happened while the hypervisor was not connected, and was found by comparison
    missed: bool = False


class _Known(t.NamedTuple):
    name: str
    run: int
    state: str
    agent: bool
    #: when a reboot was told last
    rebooted: float = -math.inf


_OFF: t.Final = _Known("", -1, "shutoff", False)


class Ledger:
    """The domains that are on. Every method returns what is new by what it is given, in order."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._has_compared = False

    def hear(self, report: Report, missed: bool = False) -> list[Change]:
        """One report."""
        known = self._known.get(report.uuid, _OFF)
        changes = []
        if report.kind == "domain_started" and _is_another_run(known, report.run):
            changes = self.hear(Report(report.uuid, report.name, -1, "domain_stopped"), missed=True)
            known = _OFF
        if known.state in _OLD[report.kind] or _AGENT.get(report.kind) == known.agent or _is_same_reboot(known, report):
            return changes
        state = _STATES.get(report.kind, known.state)
        agent = _AGENT.get(report.kind, known.agent and report.kind != "domain_started")
        if state == "shutoff":
            agent = False
            del self._known[report.uuid]
        else:
            run = report.run if report.run > 0 else known.run
            rebooted = report.at if report.kind == "guest_rebooted" else known.rebooted
            self._known[report.uuid] = _Known(report.name, run, state, agent, rebooted)
        return [*changes, Change(report.kind, report.reason, report.uuid, report.name, state, agent, missed)]

    def compare(self, sights: t.Sequence[Sight], reported: t.Container[str] = (), is_all: bool = True) -> list[Change]:
        """How the domains are now. The first time that is no news.

        :param reported: domains of which ``hear`` will be given reports that are as new: how they are is left to these
        :param is_all: what is not among ``sights`` is gone
        """
        if not self._has_compared:
            self._has_compared = True
            self._known = {s.uuid: _Known(s.name, s.run, s.state, bool(s.agent)) for s in sights if s.state != "shutoff"}
            return []
        gone = self._known.keys() - {sight.uuid for sight in sights} if is_all else set()
        implied = [report for sight in sights for report in _between(self._known.get(sight.uuid, _OFF), sight)]
        implied += [Report(uuid, self._known[uuid].name, -1, "domain_stopped") for uuid in sorted(gone)]
        return [change for report in implied if report.uuid not in reported for change in self.hear(report, missed=True)]


def _between(known: _Known, sight: Sight) -> t.Iterator[Report]:
    """What must have happened meanwhile, apart from what ``Ledger.hear`` adds."""

    def report(kind: str, reason: str = "unknown") -> Report:
        return Report(sight.uuid, sight.name, sight.run, kind, reason)

    if sight.state == "shutoff":
        yield report(end_of(sight.reason), sight.reason)
        return
    was_off = known.state == "shutoff" or _is_another_run(known, sight.run)
    if was_off:
        yield report("domain_started", sight.reason if sight.state == "running" else "unknown")
    if not was_off or sight.state != "running":
        yield report(_INTO[sight.state], sight.reason)
    if sight.agent is not None:
        yield report("agent_connected" if sight.agent else "agent_disconnected")


def _is_same_reboot(known: _Known, report: Report) -> bool:
    return report.kind == "guest_rebooted" and report.at - known.rebooted < _SAME_REBOOT_SECONDS


def _is_another_run(known: _Known, run: int) -> bool:
    return known.state != "shutoff" and known.run > 0 and run > 0 and run != known.run
