# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fstrim from its arguments to its result, over libvirt and a guest in memory."""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.modules import fstrim
from ansible_collections.virtops.guest_agent.tests.unit.fakes.hardware import Hardware
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain
from ansible_collections.virtops.guest_agent.tests.unit.harmless import harmless, texts
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run


@pytest.fixture
def domains() -> list[Domain]:
    return [Domain(guest=Hardware.skewed())]


def test_a_path_that_fails_loses_no_other(guest: Hardware, run: Run) -> None:
    guest.paths = [
        {"path": "/", "trimmed": 8192, "minimum": 4096},
        {"path": "/boot/efi", "error": "trim not supported"},
        {"path": "/x", "error": "failed to open: \x1bdenied"},
    ]
    result = run(fstrim)
    assert "failed" not in result
    assert (result["changed"], result["trimmed"], result["failed_paths"]) == (True, 8192, ["/boot/efi", "/x"])
    assert result["paths"][0] == {"path": "/", "trimmed": 8192, "minimum": 4096, "error": None}
    assert result["paths"][1] == {"path": "/boot/efi", "trimmed": None, "minimum": None, "error": "trim not supported"}
    assert all(harmless(text) for text in texts(result["paths"]))


def test_it_fails_when_no_path_could_be_trimmed(guest: Hardware, run: Run) -> None:
    guest.paths = [{"path": "/", "error": "trim not supported"}]
    result = run(fstrim)
    assert (result["failure"]["kind"], result["changed"], result["failed_paths"]) == ("command_failed", False, ["/"])
    assert "discard='unmap'" in result["failure"]["hint"]


@pytest.mark.parametrize(("paths", "changed"), [([], True), ([{"path": "C:\\"}], True), ([{"path": "/", "trimmed": 0}], False)])
def test_an_agent_that_does_not_count(guest: Hardware, run: Run, paths: list, changed: bool) -> None:
    guest.replies["guest-fstrim"] = {"paths": paths} if paths else {}
    assert run(fstrim)["changed"] is changed


@pytest.mark.parametrize(("given", "sent"), [(None, 0), (65536, 65536), ("1M", 1048576)])
def test_the_minimum_and_the_time_of_a_trim(guest: Hardware, run: Run, given: t.Any, sent: int) -> None:
    run(fstrim, minimum=given, timeout=77)
    assert (guest.minimum, guest.timeouts[guest.sent.index("guest-fstrim")]) == (sent, 77)


@pytest.mark.parametrize("minimum", [-1, 2**63, "much"])
def test_a_minimum_that_cannot_be(guest: Hardware, run: Run, minimum: t.Any) -> None:
    assert run(fstrim, minimum=minimum)["failed"] is True
    assert guest.sent == []
