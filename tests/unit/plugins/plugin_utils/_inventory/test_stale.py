# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Old answers of guests that are silent."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._records import record as _record
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.record import key
from ansible_collections.virtops.guest_agent.plugins.plugin_utils._inventory import stale
from ansible_collections.virtops.guest_agent.tests.unit import samples

ADDRESS = "10.0.0.5"


KNOWN = samples.record("web", 1, ADDRESS, hostname="old", agent={"last_probe_time": "then", "can_exec": True})


@pytest.mark.parametrize(
    ("status", "filled"),
    [
        ("unresponsive", True),
        ("unknown", True),
        ("frozen", True),
        ("broken", True),
        ("disconnected", True),
        ("connected", False),
        ("restricted", False),
        ("not_running", False),
        ("not_configured", False),
    ],
)
def test_old_answers_of_silent_guests(status: str, filled: bool) -> None:
    record = samples.record("web", 1, agent={"status": status, "version": None, "can_exec": False}, libvirt={"state": "new"})
    stale.fill([record], {key(KNOWN): KNOWN})
    assert record["agent"]["stale"] is filled
    assert all(candidate.get("stale") for candidate in record["addresses"])
    assert record["agent"]["status"] == status
    assert record.get("hostname") == ("old" if filled else None)
    assert bool(record["addresses"]) is filled
    assert record["agent"]["can_exec"] is filled
    assert record["agent"]["last_probe_time"] == ("then" if filled else None)
    assert record["libvirt"]["state"] == "new"


def test_what_another_version_has_kept_is_not_read() -> None:
    """A key that comes with an upgrade is in no record of before."""
    kept = stale.keep([KNOWN])
    assert stale.kept(kept) == {key(KNOWN): KNOWN}
    assert stale.kept(json.loads(json.dumps(kept))) == {key(KNOWN): KNOWN}
    without = {key(KNOWN): KNOWN}
    for other in ({**kept, "version": "0"}, {"records": without}, without, [KNOWN], None, "x", {**kept, "records": [KNOWN]}):
        assert stale.kept(other) is None


@pytest.mark.parametrize("kind", [_record.Record, _record.LibvirtPart, _record.AgentPart, _record.Interface, _record.BlockDevice])
def test_a_key_that_comes_makes_another_version(kind: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _record._keys()
    monkeypatch.setitem(kind.__annotations__, "new", "str")
    assert _record._keys() != before


def test_another_domains_answers_are_not_used() -> None:
    for other in (
        samples.record("web", 2, agent={"status": "unknown"}),
        samples.record("web", 1, libvirt={"uri": "x"}, agent={"status": "unknown"}),
    ):
        stale.fill([other], {key(KNOWN): KNOWN})
        assert "hostname" not in other


def test_since_when_it_is_as_it_is() -> None:
    def run(now: str, status: str, known: t.Any) -> tuple[str | None, t.Any]:
        record = samples.record("web", 1, agent={"status": status})
        seen = stale.since([record], known, now)
        return record["agent"]["status_since"], json.loads(json.dumps(seen))

    first, known = run("1", "connected", {})
    again, known = run("2", "connected", known)
    not_asked, known = run("3", "unknown", known)
    after, known = run("4", "connected", known)
    silent, known = run("5", "unresponsive", known)
    assert (first, again, not_asked, after, silent) == ("1", "1", None, "1", "5")
    assert run("6", "unknown", {}) == (None, {})
    # What is not there any more is not known to have stayed as it was.
    assert stale.since([], known, "7") == {}


def test_statuses_of_a_cache() -> None:
    seen = {"a": {"status": "connected", "since": "1"}}
    kept = {**stale.keep([KNOWN]), "statuses": seen}
    assert stale.statuses(kept) == seen
    for other in (stale.keep([KNOWN]), {**kept, "version": "0"}, {**kept, "statuses": None}, None):
        assert stale.statuses(other) == {}


def test_only_answers_are_remembered() -> None:
    silent = samples.record("web", 1, agent={"status": "unresponsive"})
    limited = samples.record("db", 2, agent={"status": "restricted"})
    last = stale.remember([silent, limited], {key(KNOWN): KNOWN})
    assert last == {key(KNOWN): KNOWN, key(limited): limited}
