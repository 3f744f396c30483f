# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""agent_info from its arguments to its result, over libvirt and guests in memory."""

from __future__ import annotations

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.modules import agent_info
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run


def test_agent_info(host: Hypervisor, run: Run) -> None:
    result = run(agent_info)
    assert result["agent"]["status"] == "connected"
    assert result["commands"]["guest-ping"] is True
    assert result["latency_ms"] >= 0
    assert result["libvirt"] == {"name": "web", "uuid": samples.uuid(1), "state": "running"}
    assert result["changed"] is False


@pytest.mark.parametrize(
    ("xml", "state", "status"),
    [
        ({"channel": None}, 1, "not_configured"),
        ({"channel": "disconnected"}, 1, "disconnected"),
        ({}, 5, "not_running"),
        ({}, 3, "not_running"),
    ],
)
def test_agent_info_without_an_agent(host: Hypervisor, run: Run, xml: dict, state: int, status: str) -> None:
    host.domains = [Domain(guest=FakeGuest(), state=state, **xml)]
    result = run(agent_info)
    assert (result["agent"]["status"], result["commands"], result["latency_ms"]) == (status, {}, None)
    assert result["agent"]["hint"]


def test_agent_info_of_a_silent_agent(guest: FakeGuest, run: Run) -> None:
    guest.silent.update(("guest-info", "guest-ping"))
    result = run(agent_info)
    assert (result["agent"]["status"], result["latency_ms"]) == ("unresponsive", None)
    assert guest.sent == ["guest-info", "guest-ping"]
