# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing is told twice, and nothing is left out."""

from __future__ import annotations

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt.ledger import Change, Ledger
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt.reports import Report, Sight


def report(kind: str, run: int = 1, reason: str = "unknown", uuid: str = "u1") -> Report:
    return Report(uuid, "web", run, kind, reason)


def sight(state: str = "running", run: int = 1, agent: bool | None = True, reason: str = "unknown", uuid: str = "u1") -> Sight:
    return Sight(uuid, "web", run, state, reason, agent)


def known(*sights: Sight) -> Ledger:
    ledger = Ledger()
    assert ledger.compare(sights) == []
    return ledger


def types(changes: list[Change]) -> list[str]:
    return [f"{change.type}{' (missed)' * change.missed}" for change in changes]


def told(ledger: Ledger, *reports: Report) -> list[str]:
    return [word for found in reports for word in types(ledger.hear(found))]


def test_a_life() -> None:
    ledger = known()
    assert ledger.hear(report("agent_disconnected", reason="domain_started")) == []  # it comes before the start
    assert ledger.hear(report("domain_resumed")) == []
    assert ledger.hear(report("domain_started", reason="booted")) == [
        Change("domain_started", "booted", "u1", "web", "running", False, False)
    ]
    assert ledger.hear(report("agent_connected")) == [Change("agent_connected", "unknown", "u1", "web", "running", True, False)]
    lives = ["guest_rebooted", "agent_disconnected", "agent_connected", "domain_paused", "domain_resumed"]
    assert told(ledger, *map(report, lives)) == lives
    assert ledger.hear(report("domain_stopped", -1, "destroyed")) == [
        Change("domain_stopped", "destroyed", "u1", "web", "shutoff", False, False)
    ]
    assert told(ledger, report("domain_stopped", -1), report("agent_disconnected", -1), report("guest_rebooted", -1)) == []


@pytest.mark.parametrize(
    ("before", "kind"),
    [
        (sight(), "domain_started"),
        (sight(), "domain_resumed"),
        (sight(), "agent_connected"),
        (sight(agent=False), "agent_disconnected"),
        (sight("paused"), "domain_paused"),
        (sight("paused"), "domain_started"),
        (sight("pmsuspended"), "domain_suspended"),
        (sight("crashed"), "guest_panicked"),
        (sight("shutoff", -1), "domain_stopped"),
        (sight("shutoff", -1), "domain_crashed"),
        (sight("shutoff", -1), "agent_connected"),
    ],
)
def test_no_news(before: Sight, kind: str) -> None:
    assert known(before).hear(report(kind)) == []


def test_an_agent_is_gone_with_its_guest() -> None:
    ledger = known(sight())
    assert told(ledger, report("domain_stopped", -1), report("domain_started", 2)) == ["domain_stopped", "domain_started"]
    assert told(ledger, report("agent_connected", 2)) == ["agent_connected"]


def test_a_reboot_that_is_reported_again_and_again() -> None:
    """SeaBIOS resets the machine once more, 20 ms after the guest did."""
    ledger = known(sight())
    times = [100.0, 100.02, 101.9, 102.1, 102.2]
    told = [len(ledger.hear(Report("u1", "web", 1, "guest_rebooted", at=at))) for at in times]
    assert told == [1, 0, 0, 1, 0]
    ledger.hear(Report("u1", "web", -1, "domain_stopped"))
    ledger.hear(Report("u1", "web", 2, "domain_started"))
    assert len(ledger.hear(Report("u1", "web", 2, "guest_rebooted", at=102.3))) == 1


def test_a_panic_and_its_end() -> None:
    assert told(known(sight()), report("guest_panicked"), report("domain_crashed", -1)) == ["guest_panicked", "domain_crashed"]
    assert told(known(sight()), report("guest_panicked"), report("domain_resumed")) == ["guest_panicked", "domain_resumed"]


def test_a_start_after_a_stop_that_was_not_reported() -> None:
    assert told(known(sight()), report("domain_started", 2)) == ["domain_stopped (missed)", "domain_started"]


@pytest.mark.parametrize(
    ("before", "now", "news"),
    [
        (sight(), sight(), []),
        (sight(), sight(agent=None), []),
        (sight(), sight(agent=False), ["agent_disconnected"]),
        (sight(agent=False), sight(), ["agent_connected"]),
        (sight(), sight("shutoff", -1), ["domain_stopped"]),
        (sight(), sight("shutoff", -1, reason="crashed"), ["domain_crashed"]),
        (sight("shutoff", -1, agent=None), sight(), ["domain_started", "agent_connected"]),
        (sight("shutoff", -1, agent=None), sight(agent=False), ["domain_started"]),
        (sight("shutoff", -1, agent=None), sight("paused", agent=None), ["domain_started", "domain_paused"]),
        (sight("shutoff", -1), sight("shutoff", -1), []),
        (sight(), sight(run=2), ["domain_stopped", "domain_started", "agent_connected"]),
        (sight(), sight(run=2, agent=False), ["domain_stopped", "domain_started"]),
        (sight(), sight("paused", reason="io_error"), ["domain_paused"]),
        (sight("paused"), sight(), ["domain_resumed"]),
        (sight(), sight("pmsuspended"), ["domain_suspended"]),
        (sight(), sight("crashed"), ["guest_panicked"]),
    ],
)
def test_what_was_missed_is_told_once(before: Sight, now: Sight, news: list[str]) -> None:
    ledger = known(before)
    assert types(ledger.compare([now])) == [f"{word} (missed)" for word in news]
    assert ledger.compare([now]) == []


def test_the_reason_of_what_was_missed() -> None:
    (change,) = known(sight()).compare([sight("paused", reason="io_error")])
    assert (change.reason, change.state, change.agent) == ("io_error", "paused", True)


def test_a_domain_that_is_no_longer_listed() -> None:
    ledger = known(sight(), sight(uuid="u2"))
    assert ledger.compare([sight(uuid="u2")], is_all=False) == []
    (change,) = ledger.compare([sight(uuid="u2")])
    assert (change.type, change.uuid, change.name, change.missed) == ("domain_stopped", "u1", "web", True)


def test_what_is_reported_is_not_compared() -> None:
    """The list may be older than the report."""
    ledger = known(sight(), sight(uuid="u2"))
    assert ledger.compare([sight("shutoff", -1)], reported={"u1", "u2"}) == []
    assert told(ledger, report("domain_stopped", -1), report("domain_started", 2)) == ["domain_stopped", "domain_started"]


def test_domains_that_are_off_take_no_room() -> None:
    ledger = known()
    for number in range(100):
        ledger.hear(report("domain_started", uuid=f"t{number}"))
        ledger.hear(report("agent_connected", uuid=f"t{number}"))
        ledger.hear(report("domain_stopped", -1, uuid=f"t{number}"))
        ledger.hear(report("agent_disconnected", -1, uuid=f"t{number}"))
    assert ledger._known == {}
