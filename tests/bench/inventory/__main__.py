# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line: python -m tests.bench.inventory [--quick] [--guests 10,40,80] [--json FILE]."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab import Guest, Lab
from tests.lab.guest import QUIET
from tests.lab.second import second_hypervisor
from tests.lab.wire import Wire

from ..endings import machine, told, versions
from .contestants import CACHED, COMMUNITY, EVERYBODY, OURS, Contestants
from .procedures import name_of
from .table import as_text

_DELAY = 0.01
#: Seconds that guests are busy with themselves after their agents answer.
_SETTLES = 15


@told
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.inventory", description=sys.modules[__package__].__doc__)
    parser.add_argument("--guests", default="10,40,80", help="how many, in steps")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=60, help="seconds after which a contestant is killed")
    parser.add_argument("--quick", action="store_true", help="10 guests, one round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything that was measured as JSON")
    options = parser.parse_args(arguments)
    about = versions()
    sizes = [10] if options.quick else sorted(int(size) for size in options.guests.split(","))
    with (
        second_hypervisor() as hypervisor,
        hypervisor.lab() as lab,
        tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as work,
        Wire(Path(work) / "delayed", hypervisor.socket, _DELAY) as wire,
    ):
        about["machine"] = machine(lab.connection)
        rows = _all(lab, f"qemu+unix:///session?socket={work}/delayed", wire, Path(work), sizes, options)
    print("; ".join(f"{name.replace('_', '-')} {value}" for name, value in about.items()))
    print(as_text(rows))
    if options.json:
        options.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return 1 if any(row["faults"] for row in rows) else 0


def _all(lab: Lab, delayed: str, wire: Wire, work: Path, sizes: list[int], options: argparse.Namespace) -> list[dict[str, Any]]:
    rounds, limit = (1, 20.0) if options.quick else (options.rounds, options.limit)
    names: list[str] = []
    rows = []
    for size in sizes:
        # The other inventory takes all that a hypervisor has: the fleet grows between the measurements.
        names += lab.start_all([Guest(name=f"bench-inv-{number}", kernel=QUIET) for number in range(len(names), size)])
        time.sleep(_SETTLES)
        for title, uri in (("local", lab.uri), ("20 ms", delayed)):
            wire.calls.clear()
            rows.append(_row(title, Contestants(work, uri, names, [], limit), size, 0, rounds, wire))
        if size == 40 or len(sizes) == 1:
            hung = lab.start_all([Guest(name=f"bench-inv-hung-{number}", agent="stopped", kernel=QUIET) for number in range(3)])
            rows.append(_row("local", Contestants(work, lab.uri, names, hung, limit), size, 3, rounds, wire))
            # What the killed contestant asked waits in the daemon until these domains are gone.
            for name in hung:
                lab.destroy(name)
    return rows


def _row(title: str, who: Contestants, guests: int, hung: int, rounds: int, wire: Wire) -> dict[str, Any]:
    print(f"bench: {guests} guests, {title}, {hung} hung", file=sys.stderr, flush=True)
    seconds: dict[str, list[float]] = {key: [] for key in EVERYBODY}
    row: dict[str, Any] = {
        "guests": guests,
        "hung": hung,
        "link": title,
        "seconds": seconds,
        "requests": {},
        "killed": [],
        "faults": [],
    }
    who.run(CACHED)  # fills the cache
    row["profile"] = {key: who.profile(key) for key in (OURS, CACHED)}
    # With hung guests the other one never ends, and holds their agents: it comes once, and last.
    turns = [key for _round in range(rounds) for key in EVERYBODY if not (hung and key == COMMUNITY)]
    for key in [*turns, *([COMMUNITY] if hung else [])]:
        wire.calls.clear()
        run = who.run(key)
        if run.seconds is None:
            row["killed"].append(key)
        elif run.fault:
            row["faults"].append(f"{key}: {run.fault}")
        else:
            seconds[key].append(run.seconds)
            row["requests"][key] = {name_of(*procedure): n for procedure, n in sorted(wire.calls.items())}
    print(as_text([row]), file=sys.stderr, flush=True)  # what was measured is not lost with the rest
    return row


if __name__ == "__main__":
    sys.exit(main())
