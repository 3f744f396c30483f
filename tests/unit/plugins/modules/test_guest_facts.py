# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""guest_facts from its arguments to its result, over libvirt and guests in memory."""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.subsets import SUBSETS
from ansible_collections.virtops.guest_agent.plugins.modules import (
    guest_facts,
    guest_info,
)
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import VERSIONS, FakeGuest, Program
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run

ROUTE = b"Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\t010200C0\t3\t0\t0\t5\t00000000\n"


STAT = ("stat", "-f", "-c", "%S %b %n", "--", "/")


@pytest.mark.parametrize("version", VERSIONS)
def test_facts(version: str, host: Hypervisor, run: Run) -> None:
    files = {"/etc/debian_version": b"12.5\n", "/proc/net/route": ROUTE}
    guest = FakeGuest(version, files=files, programs={STAT: Program(0, b"4096 1000 /\n")})
    host.domains[0].guest = guest
    result = run(guest_facts)
    found = result["ansible_facts"]
    assert (found["ansible_distribution"], found["ansible_distribution_version"]) == ("Debian", "12.5")
    assert (found["ansible_hostname"], found["ansible_domain"]) == ("guest", "example.com")
    assert found["ansible_mounts"][0]["mount"] == "/"
    assert found["guest_agent"]["status"] == "connected"
    assert found["guest_timezone"]["name"] == "UTC"
    assert guest.open_handles == 0
    if version == "7.2":  # no command for routes, no total with root's part
        assert found["ansible_mounts"][0]["size_total"] == 4096000
    else:
        assert found["ansible_default_ipv4"]["gateway"] == "10.0.2.2"


def _keys(value: t.Any) -> t.Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for member in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _keys(member)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("module", [guest_info, guest_facts])
def test_every_key_of_a_record_is_reached_by_a_dot(version: str, host: Hypervisor, run: Run, module: t.Any) -> None:
    """Jinja takes ``record.items`` for the method of that name."""
    host.domains[0].guest = FakeGuest(version, files={"/proc/net/route": ROUTE})
    keys = set(_keys(run(module, gather_subset=list(SUBSETS), **({"max_items": 0} if module is guest_info else {}))))
    assert {"mount_point" if module is guest_info else "mount", "agent" if module is guest_info else "guest_agent"} <= keys
    assert [key for key in sorted(keys) if hasattr(dict, key)] == []


def test_facts_of_a_guest_that_refuses_the_extras(host: Hypervisor, run: Run) -> None:
    guest = FakeGuest("7.2", block=["guest-exec", "guest-file-open"])
    host.domains[0].guest = guest
    found = run(guest_facts)["ansible_facts"]
    assert found["ansible_distribution_version"] == "12"
    assert found["ansible_mounts"][0]["size_total"]
    assert "gateway" not in found["ansible_default_ipv4"]


@pytest.mark.parametrize("error", [_errors.DomainNotRunning, _errors.HypervisorUnreachable, _errors.ProtocolError])
def test_facts_of_a_guest_that_goes_away_meanwhile(guest: FakeGuest, run: Run, error: type[_errors.GuestAgentError]) -> None:
    guest.raises["guest-network-get-route"] = error("it is gone")
    found = run(guest_facts, gather_subset=["interfaces", "hostname"])
    assert not found.get("failed")
    assert found["ansible_facts"]["ansible_hostname"]


def test_facts_of_some_subsets(guest: FakeGuest, run: Run) -> None:
    found = run(guest_facts, gather_subset=["hostname"])["ansible_facts"]
    assert set(found) == {"ansible_hostname", "ansible_nodename", "ansible_fqdn", "ansible_domain", "guest_agent"}
    assert guest.sent == ["guest-info", "guest-get-host-name"]


def test_facts_without_an_agent(host: Hypervisor, run: Run) -> None:
    host.domains = [Domain(channel="disconnected")]
    result = run(guest_facts)
    assert set(result["ansible_facts"]) == {"guest_agent"}
    assert "no agent in the guest listens" in result["warned"]
