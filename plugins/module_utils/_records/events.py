# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Events of many hypervisors, in order, for whoever takes them: what libvirt reports, and what a slow poll of the agents finds.

The shape of an event is documented in docs/docsite/rst/events.rst.
"""

from __future__ import annotations

import datetime
import threading
import time
import typing as t

from .._agent import untrusted
from .._libvirt.ledger import Change
from .._libvirt.watch import HypervisorWatch, Place
from . import fill, record as _record
from .gather import gather
from .outbox import Outbox
from .plan import Gathered, Plan

#: What a hypervisor's own words of a failure may take.
_REASON_MAX: t.Final = 300
_NAME_MAX: t.Final = 255


class Event(t.TypedDict, total=False):
    """Text of guests cannot be a template: rules hand it to playbooks."""

    type: str
    #: when it was seen here (ISO 8601, UTC)
    time: str
    uri: str
    hypervisor: str
    domain: str
    uuid: str
    state: str
    agent_connected: bool
    reason: str
    #: it was found by comparison, after the hypervisor had been away
    missed: bool
    #: so many older events of the same subject were dropped, since they were not taken in time
    replaced: int
    mount_point: str
    used_percent: int
    threshold: int
    used_bytes: int
    total_bytes: int


class Options(t.NamedTuple):
    """What to watch. ``filesystem_interval`` 0 asks no agent."""

    uris: tuple[str, ...] = ("",)
    #: seconds
    timeout: float = 30.0
    filesystem_interval: float = 0.0
    #: percent
    filesystem_thresholds: tuple[int, ...] = (90,)
    agent_timeout: int = 5


class EventStream:
    """Threads that watch, from ``start`` to ``close``. ``wake`` is called from them after each event that can be taken."""

    def __init__(self, options: Options, wake: t.Callable[[], object]) -> None:
        self._options = options
        self._wake = wake
        self._closing = threading.Event()
        self._outbox: Outbox[Event] = Outbox(self._awake)
        self._watches = [self._watch(uri) for uri in dict.fromkeys(options.uris)]
        self._fill = fill.FillLedger(options.filesystem_thresholds)

    def start(self) -> None:
        for watch in self._watches:
            watch.start()
        if self._options.filesystem_interval:
            threading.Thread(target=self._poll, name="virtops-poll", daemon=True).start()

    def take(self) -> Event | None:
        """The next event, or None where none waits. Raises what ended a thread."""
        found = self._outbox.take()
        if found is None:
            return None
        event, replaced = found
        event["replaced"] = replaced
        return event

    def close(self, seconds: float) -> None:
        """End all threads, and wait so long for connections to be given back."""
        self._closing.set()
        deadline = time.monotonic() + seconds
        for watch in self._watches:
            watch.close(max(0.0, deadline - time.monotonic()))

    def _awake(self) -> None:
        if not self._closing.is_set():
            self._wake()

    def _watch(self, uri: str) -> HypervisorWatch:
        return HypervisorWatch(uri, self._options.timeout, self._told, self._outbox.fail)

    def _told(self, change: Change, place: Place) -> None:
        event = _event(change.type, place.uri, place.hostname)
        event.update({"reason": untrusted.inert(change.reason, _REASON_MAX), "missed": change.missed})
        if change.uuid:
            event.update({"domain": untrusted.inert(change.name, _NAME_MAX), "uuid": change.uuid})
            event.update({"state": change.state, "agent_connected": change.agent})
        self._outbox.put(f"{change.type.partition('_')[0]} {place.uri} {change.uuid}", event)

    def _poll(self) -> None:
        options = self._options
        plan = Plan(
            subsets=("filesystems",), states=(), agent_timeout=options.agent_timeout, timeout=options.filesystem_interval,
            max_items=fill.FILESYSTEMS_MAX,
        )  # fmt: skip
        try:
            while not self._closing.is_set():
                self._look(gather(options.uris, plan))
                self._closing.wait(options.filesystem_interval)
        except BaseException as error:  # raised again where the events are taken
            self._outbox.fail(error)

    def _look(self, found: Gathered) -> None:
        for record in found.records:
            if "filesystems" not in record:
                continue  # of a guest that is off, silent or frozen nothing is known, and all is as it was
            places = [filesystem["mount_point"] for filesystem in record["filesystems"]]
            for passed in self._fill.compare(_record.key(record), record["filesystems"]):
                self._passed(record["libvirt"], passed, places.index(passed.mount_point))
        answered = {record["libvirt"]["uri"] for record in found.records} - found.failures.keys()
        self._fill.forget_all_but({_record.key(record) for record in found.records}, answered if found.failures else None)

    def _passed(self, libvirt: _record.LibvirtPart, passed: fill.Passed, place: int) -> None:
        """``place``: the filesystem's in its guest's list. A guest can tell of others at each look, but not of more at once."""
        event = _event("filesystem_above" if passed.is_above else "filesystem_below", libvirt["uri"], libvirt["hypervisor"])
        event.update({"domain": untrusted.inert(libvirt["name"], _NAME_MAX), "uuid": libvirt["uuid"]})
        event.update({"mount_point": untrusted.inert(passed.mount_point), "threshold": passed.threshold})
        event.update({"used_bytes": passed.used_bytes, "total_bytes": passed.total_bytes, "used_percent": passed.used_percent})
        self._outbox.put(f"filesystem {libvirt['uri']} {libvirt['uuid']} {place}", event)


def _event(kind: str, uri: str, hostname: str) -> Event:
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "type": kind,
        "time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "uri": uri,
        "hypervisor": untrusted.inert(hostname, _NAME_MAX),
    }
