# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records in a cache: the last good answer of each guest for the times when it is silent, and since when it is as it is."""

from __future__ import annotations

import typing as t

from ...module_utils._records.record import GUEST_KEYS, VERSION, Record, key

_SILENT: t.Final = ("unresponsive", "unknown", "frozen", "broken", "disconnected")


def kept(value: object) -> dict[str, Record] | None:
    """What a cache has of ``keep``; None where another version of this collection, or something else, has put it there."""
    records = value.get("records") if isinstance(value, dict) and value.get("version") == VERSION else None
    return records if isinstance(records, dict) else None


def keep(records: t.Iterable[Record]) -> dict[str, t.Any]:
    return {"version": VERSION, "records": {key(record): record for record in records}}


def statuses(value: object) -> dict[str, dict[str, str]]:
    """What ``since`` has returned, of a cache that has it beside the records."""
    known = value.get("statuses") if isinstance(value, dict) and kept(value) is not None else None
    return known if isinstance(known, dict) else {}


def since(records: t.Iterable[Record], known: t.Mapping[str, t.Mapping[str, str]], now: str) -> dict[str, dict[str, str]]:
    """Tell in each record since when its agent has its status, as far as the runs before have seen it without a gap.

    Returns what the next run is to know. A guest that was not asked is not taken to have changed.
    """
    seen: dict[str, dict[str, str]] = {}
    for record in records:
        agent, before = record["agent"], known.get(key(record), {})
        if agent["status"] == "unknown":
            if before:
                seen[key(record)] = dict(before)
            continue
        from_when = before["since"] if before.get("status") == agent["status"] else now
        agent["status_since"] = from_when
        seen[key(record)] = {"status": agent["status"], "since": from_when}
    return seen


def fill(records: t.Iterable[Record], last: t.Mapping[str, Record]) -> None:
    """Give each silent guest's record its last good answers, marked as stale; its status stays what it is."""
    for record in records:
        known = last.get(key(record))
        if known is None or record["agent"]["status"] not in _SILENT:
            continue
        fresh = any(candidate["source"] in ("lease", "arp") for candidate in record["addresses"])
        kept = {part: value for part, value in known.items() if part in GUEST_KEYS}
        if not fresh:
            # What the guest had then may be another's now.
            kept["addresses"] = [{**candidate, "stale": True} for candidate in known["addresses"]]
        t.cast("dict[str, t.Any]", record).update(kept)
        record["agent"].update(
            {
                "stale": True,
                "version": known["agent"]["version"],
                "last_probe_time": known["agent"]["last_probe_time"],
                "can_exec": known["agent"]["can_exec"],
            }
        )


def remember(records: t.Iterable[Record], last: t.Mapping[str, Record]) -> dict[str, Record]:
    """``last`` with the answers of all guests that did answer."""
    answered = {key(record): record for record in records if record["agent"]["status"] in ("connected", "restricted")}
    return {**last, **answered}
