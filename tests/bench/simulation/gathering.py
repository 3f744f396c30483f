# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One scenario in a process of its own: a gathering over the simulated binding, measured; prints JSON.

python -m ...simulation.gathering PLAN, where PLAN is JSON (``agent_timeout``, ``timeout``, ``concurrency``, ``profile``).
"""

from __future__ import annotations

import collections
import cProfile
import json
import pstats
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

import libvirt  # the simulated one

from ansible_collections.virtops.guest_agent.plugins.module_utils._records.gather import gather
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.plan import Plan

#: A file's name -> the layer that its time belongs to; the first that matches.
_LAYERS = (
    ("simulation", "the simulation"),
    ("_libvirt/threads.py", "waiting with a deadline"),
    ("_deadline.py", "waiting with a deadline"),
    ("threading.py", "waiting with a deadline"),
    ("queue.py", "waiting with a deadline"),
    ("concurrent", "waiting with a deadline"),
    ("_libvirt/hypervisor.py", "libvirt requests"),
    ("_libvirt/domain_xml.py", "domain XML"),
    ("ElementTree", "domain XML"),
    ("_agent/", "agent: request, reply, checks"),
    ("_commands", "agent: request, reply, checks"),
    ("json", "agent: request, reply, checks"),
    ("ipaddress.py", "addresses"),
    ("_records/addresses.py", "addresses"),
    ("module_utils", "record and gathering"),
)


def main() -> None:
    options: dict[str, Any] = json.loads(sys.argv[1])
    profiles: list[cProfile.Profile] | None = [] if options.pop("profile", False) else None
    if profiles is not None:
        _profile_threads(profiles)
    most, ended = [0], threading.Event()
    threading.Thread(target=_watch, args=(most, ended), daemon=True).start()
    began, cpu_began = time.monotonic(), time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = gather(list(libvirt.fleet.daemons), Plan(**options))
    wall, cpu = time.monotonic() - began, time.process_time() - cpu_began
    ended.set()
    statuses = collections.Counter(record["agent"]["status"] for record in found.records)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                **libvirt.fleet.meters(),
                "wall": wall,
                "cpu": cpu,
                "peak_mib": after / 1024,
                "before_mib": before / 1024,
                "threads": most[0],
                "records": len(found.records),
                "complete": sum("os" in r and "hostname" in r and bool(r["addresses"]) for r in found.records),
                "failures": len(found.failures),
                "statuses": dict(statuses),
                "layers": _layers(profiles) if profiles is not None else {},
            }
        )
    )


def _watch(most: list[int], ended: threading.Event) -> None:
    """The most threads at once; this one and the main thread among them."""
    while not ended.wait(0.01):
        most[0] = max(most[0], threading.active_count())


def _profile_threads(profiles: list[cProfile.Profile]) -> None:
    """Each thread under a profiler of its own, by processor time: what waits costs nothing."""
    run = threading.Thread.run

    def profiled(self: threading.Thread) -> None:
        profile = cProfile.Profile(time.thread_time)
        profiles.append(profile)
        profile.runcall(run, self)

    threading.Thread.run = profiled  # type: ignore[method-assign]


def _layers(profiles: list[cProfile.Profile]) -> dict[str, float]:
    """Layer -> its share of the processor time."""
    seconds: dict[str, float] = collections.defaultdict(float)
    for profile in profiles:
        try:
            stats: Any = pstats.Stats(profile)
        except TypeError:  # a thread that has done nothing
            continue
        for (file, _line, function), (_calls, _all_calls, own, _total, callers) in stats.stats.items():
            if file != "~":
                seconds[_layer(file)] += own
                continue
            # What is written in C belongs to whoever calls it, but for what cannot be but one thing.
            for (caller, _caller_line, _name), (_n, _m, caller_own, _t) in callers.items():
                seconds[_layer(caller if caller != "~" else function)] += caller_own
    total = sum(seconds.values()) or 1.0
    return {layer: own / total for layer, own in sorted(seconds.items(), key=lambda item: -item[1])}


def _layer(file: str) -> str:
    short = "/".join(Path(file).parts[-3:])
    return next((layer for part, layer in _LAYERS if part in short), "other")


if __name__ == "__main__":
    main()
