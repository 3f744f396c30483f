# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ten thousand domains on fifty hypervisors over the real code: what it costs, and how that grows.

python -m tests.bench.simulation [--full] [--only SWEEP] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .scenarios import FULL, INVENTORIES, PROFILED, SHORT, WHOLE_INVENTORIES, gathered, inventories

#: Heading, and how to get the cell.
_COLUMNS = (
    ("wall s", lambda row: f"{row['wall']:.1f}"),
    ("CPU s", lambda row: f"{row['cpu']:.1f}"),
    ("its own", lambda row: f"{row.get('own_cpu', 0):.1f}"),
    ("ms/dom", lambda row: f"{1000 * (row['cpu'] - row.get('own_cpu', 0)) / max(1, row['records']):.2f}"),
    ("MiB", lambda row: f"{row['peak_mib']:.0f}"),
    ("threads", lambda row: f"{row.get('threads', '-')}"),
    ("conn", lambda row: f"{row.get('in_flight_connection', '-')}"),
    ("hyperv", lambda row: f"{row.get('in_flight', '-')}"),
    ("workers", lambda row: f"{row.get('workers', '-')}"),
    ("cmd/dom", lambda row: f"{row.get('commands', 0) / max(1, row['records']):.2f}"),
    ("complete", lambda row: f"{row['complete']}/{row['records']}"),
)
_CONCURRENCY = 10


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.simulation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--full", action="store_true", help="more sizes, hung agents in the whole fleet: about a quarter of an hour"
    )
    parser.add_argument("--only", metavar="SWEEP", help="only the sweep whose name begins so")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything that was measured as JSON")
    options = parser.parse_args(arguments)
    wanted = options.only or ""
    rows: list[dict[str, Any]] = []
    for scenario in FULL if options.full else SHORT:
        if scenario.sweep.startswith(wanted):
            rows.append(_shown(gathered(scenario), rows))
    if PROFILED.sweep.startswith(wanted):
        rows.append(_shown(gathered(PROFILED), rows))
    for scenario, ways in {**INVENTORIES, **(WHOLE_INVENTORIES if options.full else {})}.items():
        if scenario.sweep.startswith(wanted):
            for row in inventories(scenario, ways):
                rows.append(_shown(row, rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 1 if any(map(_faults, rows)) else 0


def _shown(row: dict[str, Any], before: list[dict[str, Any]]) -> dict[str, Any]:
    if not before or before[-1]["sweep"] != row["sweep"]:
        print(f"\n{row['sweep']:70}" + "".join(f"{heading:>12}" for heading, _cell in _COLUMNS))
    print(f"{row['title']:70}" + "".join(f"{cell(row):>12}" for _heading, cell in _COLUMNS), flush=True)
    if row.get("statuses") and set(row["statuses"]) != {"connected"}:
        print("    " + ", ".join(f"{count} {status}" for status, count in sorted(row["statuses"].items())))
    for layer, share in row.get("layers", {}).items():
        print(f"    {share:6.1%}  {layer}")
    for name, total, own in row.get("top", []):
        print(f"    {total:8.2f} s {own:8.2f} s of its own  {name}")
    for fault in _faults(row):
        print(f"    FAULT: {fault}")
    return row


def _faults(row: dict[str, Any]) -> list[str]:
    """What the house promises and this scenario did not keep."""
    found = []
    if row.get("over"):
        found.append(f"{row['over']} requests were sent while five of their connection were in flight")
    if row.get("in_flight", 0) > _CONCURRENCY:
        found.append(f"{row['in_flight']} requests in flight on one hypervisor, and concurrency is {_CONCURRENCY}")
    if row.get("failures"):
        found.append(f"{row['failures']} hypervisors were not reached")
    return found


if __name__ == "__main__":
    sys.exit(main())
