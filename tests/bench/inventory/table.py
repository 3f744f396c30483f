# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Medians, ratios, requests and aims, as text."""

from __future__ import annotations

import statistics
from typing import Any

from .contestants import CACHED, COMMUNITY, EMPTY, EVERYBODY, FLOOR, OURS

_AGENT_TIMEOUT = 5


def as_text(rows: list[dict[str, Any]]) -> str:
    lines = ["Seconds: median (min-max)", "".join(f"{word:>20}" for word in ("", *EVERYBODY))]
    for row in rows:
        cells = [_cell(row, key) for key in EVERYBODY]
        lines.append(f"{_title(row):20}" + "".join(f"{cell:>20}" for cell in cells))
    lines += ["", "Ratios of the medians"]
    for row in rows:
        lines.append(f"{_title(row):20}" + "  ".join(f"{what} {value:.2f}" for what, value in _ratios(row).items()))
    lines += ["", "Where the time goes: seconds of the main thread in one more run, watched"]
    for row in rows:
        for key, layers in row["profile"].items():
            lines.append(f"{_title(row):20}{key:8}" + "  ".join(f"{name} {value:.2f}" for name, value in layers.items()))
    lines += ["", "Requests to libvirt for each guest (the last run through the proxy)"]
    for row in rows:
        counts = {key: sum(calls.values()) / row["guests"] for key, calls in row["requests"].items() if calls}
        if counts:
            lines.append(f"{_title(row):20}" + "".join(f"{key} {number:.1f}  " for key, number in counts.items()))
    lines += ["", "Aims", *(aim for row in rows for aim in _aims(row))]
    lines += [f"FAULT {_title(row)}: {fault}" for row in rows for fault in row["faults"]]
    return "\n".join(lines)


def _title(row: dict[str, Any]) -> str:
    return f"{row['guests']}+{row['hung']} {row['link']}" if row["hung"] else f"{row['guests']} {row['link']}"


def _cell(row: dict[str, Any], key: str) -> str:
    found = row["seconds"][key]
    if not found:
        return "killed" if key in row["killed"] else "-"
    return f"{statistics.median(found):.2f} ({min(found):.2f}-{max(found):.2f})"


def _medians(row: dict[str, Any]) -> dict[str, float]:
    return {key: statistics.median(found) for key, found in row["seconds"].items() if found}


def _ratios(row: dict[str, Any]) -> dict[str, float]:
    """The floor is a script of libvirt-python and what ansible-inventory needs for nothing."""
    median = _medians(row)
    floor = median.get(FLOOR, 0.0) + median.get(EMPTY, 0.0)
    found = {f"{key} to floor": median[key] / floor for key in (OURS, COMMUNITY) if floor and key in median}
    if {OURS, COMMUNITY} <= median.keys():
        found["community to ours"] = median[COMMUNITY] / median[OURS]
    return found


def _aims(row: dict[str, Any]) -> list[str]:
    median = _medians(row)
    if not {EMPTY, FLOOR, OURS, CACHED} <= median.keys():
        return []
    found = []
    if row["hung"]:
        found.append(_aim(row, "ours", median[OURS], "at most", _AGENT_TIMEOUT + 2, "s"))
    else:
        found.append(_aim(row, "cached without empty", median[CACHED] - median[EMPTY], "at most", 0.3, "s"))
        if row["link"] == "local":
            found.append(_aim(row, "ours to floor", _ratios(row)["ours to floor"], "at most", 1.2, "x"))
        if COMMUNITY in median:
            wanted = 1.5 if row["link"] == "local" else 5.0
            found.append(_aim(row, "community to ours", median[COMMUNITY] / median[OURS], "at least", wanted, "x"))
    return found


def _aim(row: dict[str, Any], what: str, value: float, how: str, wanted: float, unit: str) -> str:
    met = value <= wanted if how == "at most" else value >= wanted
    return f"  {'met    ' if met else 'NOT met'} {_title(row):14} {what} {value:.2f} {unit}, {how} {wanted:g} {unit}"
