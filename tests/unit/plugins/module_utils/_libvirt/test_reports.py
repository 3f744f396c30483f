# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libvirt's numbers mean: virDomainEventType and so on, as virsh event prints them."""

from __future__ import annotations

import time
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import reports
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain

LIFECYCLE, REBOOT, AGENT = 0, 1, 18


@pytest.mark.parametrize(
    ("event", "what", "kind", "reason"),
    [
        (LIFECYCLE, (2, 0), "domain_started", "booted"),
        (LIFECYCLE, (2, 1), "domain_started", "migrated"),
        (LIFECYCLE, (2, 4), "domain_resumed", "wakeup"),
        (LIFECYCLE, (3, 0), "domain_paused", "user"),
        (LIFECYCLE, (3, 2), "domain_paused", "io_error"),
        (LIFECYCLE, (4, 0), "domain_resumed", "unpaused"),
        (LIFECYCLE, (5, 0), "domain_stopped", "shutdown"),
        (LIFECYCLE, (5, 1), "domain_stopped", "destroyed"),
        (LIFECYCLE, (5, 2), "domain_crashed", "crashed"),
        (LIFECYCLE, (5, 5), "domain_crashed", "failed"),
        (LIFECYCLE, (5, 99), "domain_stopped", "unknown"),
        (LIFECYCLE, (5, -1), "domain_stopped", "unknown"),
        (LIFECYCLE, (7, 0), "domain_suspended", "memory"),
        (LIFECYCLE, (8, 0), "guest_panicked", "panicked"),
        (REBOOT, (), "guest_rebooted", "unknown"),
        (AGENT, (1, 2), "agent_connected", "channel"),
        (AGENT, (2, 1), "agent_disconnected", "domain_started"),
    ],
)
def test_a_report(event: int, what: tuple[int, ...], kind: str, reason: str) -> None:
    heard: list[reports.Report] = []
    domain = Domain("web", 7)
    reports.callbacks(heard.append)[event](None, domain, *what, None)
    (found,) = heard
    assert found[:-1] == (domain.UUIDString(), "web", 7, kind, reason)
    assert 0 <= time.monotonic() - found.at < 60


@pytest.mark.parametrize(
    ("event", "what"), [(LIFECYCLE, (0, 0)), (LIFECYCLE, (1, 0)), (LIFECYCLE, (6, 0)), (LIFECYCLE, (77, 0)), (AGENT, (3, 0))]
)
def test_what_is_no_event(event: int, what: tuple[int, ...]) -> None:
    heard: list[t.Any] = []
    reports.callbacks(heard.append)[event](None, Domain(), *what, None)
    assert heard == []


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        ("running", 1, ("running", "booted")),
        ("blocked", 0, ("running", "unknown")),
        ("shutdown", 0, ("running", "unknown")),
        ("paused", 5, ("paused", "io_error")),
        ("shutoff", 3, ("shutoff", "crashed")),
        ("pmsuspended", 1, ("pmsuspended", "unknown")),
        ("running", 99, ("running", "unknown")),
    ],
)
def test_a_state(state: str, reason: int, words: tuple[str, str]) -> None:
    assert reports.in_words(state, reason) == words
