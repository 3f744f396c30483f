# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""guest_info from its arguments to its result, over libvirt and guests in memory."""

from __future__ import annotations

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.modules import guest_info
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Error, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run


def test_guest_info(host: Hypervisor, run: Run) -> None:
    host.domains.append(Domain("db", 2, FakeGuest(), state=5))
    both = run(guest_info, domain=None, domains=["db", samples.uuid(1)])
    assert [guest["libvirt"]["name"] for guest in both["guests"]] == ["db", "web"]
    running = run(guest_info, domain=None, query="[].hostname")
    assert running["query_result"] == ["guest.example.com"]
    assert [guest["libvirt"]["name"] for guest in running["guests"]] == ["web"]


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"domain": "none"}, "domain_not_found", "Domain none: no domain"),
        ({"concurrency": 0}, "invalid_input", "concurrency"),
        ({"max_items": -1}, "invalid_input", "max_items"),
        ({"timeout": 0}, "invalid_input", "timeout"),
        ({"query": "a b"}, "invalid_input", "query"),
        ({"query": "abs('a')"}, "invalid_input", "cannot be applied"),
    ],
)
def test_guest_info_fails(host: Hypervisor, run: Run, arguments: dict, kind: str, words: str) -> None:
    result = run(guest_info, **arguments)
    assert result["failure"]["kind"] == kind
    assert words in result["msg"]


def test_guest_info_of_a_hypervisor_that_is_down(host: Hypervisor, run: Run) -> None:
    host.raises["open"] = Error(38, "Connection refused")
    assert run(guest_info)["failure"]["kind"] == "hypervisor_unreachable"


def test_guest_info_with_states_minds_no_missing_domain(host: Hypervisor, run: Run) -> None:
    assert run(guest_info, domain="none", states=["running"])["guests"] == []
