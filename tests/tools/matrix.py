# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was tried where, as a page: takes in what test runs have left, and writes the page anew. python tests/tools/matrix.py

The rows are kept in docs/docsite/tested.json. A run takes the place of an earlier one of the same command.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LEFT = ROOT / "tests/output/tested"
KEPT = ROOT / "docs/docsite/tested.json"
PAGE = ROOT / "docs/docsite/rst/matrix.rst"
#: What makes a row another one.
KEY = ("hypervisor", "uri", "guest", "core", "command")
GUESTS = {
    "debian12": "Debian 12",
    "debian13": "Debian 13",
    "tiny": "busybox",
    "scripted": "scripted answers",
    "windows-7.2": "Windows build (Wine)",
    "windows-10.0": "Windows build (Wine)",
}
HEAD = """.. Copyright (c) 2026, virtops contributors
.. GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
.. SPDX-License-Identifier: GPL-3.0-or-later

.. _ansible_collections.virtops.guest_agent.docsite.matrix:

What was tried where
====================

The tests write this page: each run of a command notes its rows, and ``make matrix`` puts them here. A row counts the tests that had
a hand on one kind of guest. Unit tests are not counted. A test that failed while others ran beside it counts as failed, also where
it passed alone afterwards.
"""
TABLE = """
.. list-table::
   :header-rows: 1
   :widths: 25 8 12 43 12

   * - guest
     - core
     - passed
     - command
     - when
"""


def merged(kept: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where both have the row, the new one."""
    rows = {tuple(row[name] for name in KEY): row for row in [*kept, *new]}
    return [rows[key] for key in sorted(rows)]


def page(rows: list[dict[str, Any]]) -> str:
    """A section for each hypervisor and way to it, the older libvirt first."""
    sections: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(folded(rows), key=_version):
        sections.setdefault(_place(row), []).append(row)
    tables = (f"\n{title}\n{'-' * len(title)}\n{TABLE}{''.join(map(_line, found))}" for title, found in sections.items())
    return HEAD + "".join(tables)


def _version(row: dict[str, Any]) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]+", row["hypervisor"])]


def _place(row: dict[str, Any]) -> str:
    return f"{row['hypervisor']}: {row['uri']}" if row["uri"] else "Agents alone, without a hypervisor"


def folded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts of one command as one row, with the date of the oldest."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        whole = {**row, "command": re.sub(r" PART=\S+", "", row["command"])}
        same = found.setdefault(tuple(whole[name] for name in KEY), {**whole, "passed": 0, "failed": 0})
        same["passed"], same["failed"] = same["passed"] + row["passed"], same["failed"] + row["failed"]
        same["when"] = min(same["when"], row["when"])
    return list(found.values())


def _line(row: dict[str, Any]) -> str:
    cells = (
        f"{GUESTS.get(row['guest'], row['guest'])}{row['agent'] and ', qemu-ga ' + row['agent']}",
        row["core"],
        f"{row['passed']}, {row['failed']} failed" if row["failed"] else str(row["passed"]),
        f"``{row['command']}``",
        row["when"],
    )
    return "   * - " + "\n     - ".join(cells) + "\n"


def main() -> int:
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else []
    left = sorted(LEFT.glob("*.json"), key=lambda path: path.name)
    for path in left:
        kept = merged(kept, json.loads(path.read_text(encoding="utf-8")))
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(kept), encoding="utf-8")
    print(f"{len(left)} runs taken in, {len(folded(kept))} rows: {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
