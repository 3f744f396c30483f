# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated hypervisors still fit the real code, and would tell if it asked too much of them."""

from __future__ import annotations

import collections
import ipaddress
import json
import sys
import threading
import time
import types

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import network
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import domain_xml, hypervisor
from ansible_collections.virtops.guest_agent.plugins.module_utils._records import addresses
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.gather import gather
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.plan import Plan
from ansible_collections.virtops.guest_agent.tests.bench.simulation.binding import libvirt_qemu
from ansible_collections.virtops.guest_agent.tests.bench.simulation.hypervisor import Fleet, libvirtError, uris


def _fleet(monkeypatch: pytest.MonkeyPatch, hypervisors: int, domains: int, hung: int = 0) -> Fleet:
    fleet = Fleet.of(hypervisors, domains, hung=hung, round_trip="local")
    binding = types.SimpleNamespace(open=fleet.open, libvirtError=libvirtError, registerErrorHandler=lambda *_: None)
    monkeypatch.setattr(hypervisor, "LIBVIRT_IMPORT_ERROR", None)
    monkeypatch.setattr(hypervisor, "libvirt", binding, raising=False)
    monkeypatch.setattr(hypervisor, "libvirt_qemu", libvirt_qemu, raising=False)
    return fleet


def test_every_record_is_complete_and_no_limit_is_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = _fleet(monkeypatch, 2, 20)
    found = gather(uris(2), Plan(timeout=120, concurrency=8))
    assert found.failures == {}
    assert [record["agent"]["status"] for record in found.records] == ["connected"] * 20
    assert all(record["hostname"] == f"{record['libvirt']['name']}.example.com" for record in found.records)
    assert {record["os"]["id"] for record in found.records} == {"debian"}
    known = [{found["address"] for found in record["addresses"] if found["source"] == "agent"} for record in found.records]
    assert len({address for addresses in known for address in addresses if address.startswith("10.")}) == 20
    meters = fleet.meters()
    # guest-info and the three of the default subsets
    assert meters["commands"] == 20 * 4
    assert meters["over"] == 0
    assert 1 < meters["in_flight_connection"] <= 5
    assert 1 < meters["in_flight"] <= 8
    assert 1 < meters["workers"] <= 8


def test_threads_that_wait_for_the_interpreter_do_not_poll_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _fleet(monkeypatch, 1, 2)
    before, during = sys.getswitchinterval(), set()
    answer = libvirt_qemu.qemuAgentCommand

    def noted(*arguments: object) -> str:
        during.add(sys.getswitchinterval())
        return answer(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", noted)
    gather(uris(1), Plan(timeout=30))
    assert during == {1.0}
    assert sys.getswitchinterval() == before


def test_nothing_of_a_domain_is_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    _fleet(monkeypatch, 1, 20)
    network._canonical.cache_clear()
    addresses._address.cache_clear()
    read: collections.Counter[str] = collections.Counter()

    def count(owner: object, name: str) -> None:
        function = getattr(owner, name)

        def counted(*arguments: object, **options: object) -> object:
            read[name if owner is not ipaddress else f"{name} {arguments[0]}"] += 1
            return function(*arguments, **options)

        monkeypatch.setattr(owner, name, counted)

    for owner, names in (
        (domain_xml.ET, ("fromstring",)),
        (domain_xml, ("_pci", "_channels")),
        (json, ("JSONDecoder", "JSONEncoder")),
        (ipaddress, ("ip_interface", "ip_address")),
    ):
        for name in names:
            count(owner, name)
    records = gather(uris(1), Plan(timeout=60)).records
    addresses.assign({record["libvirt"]["uuid"]: record["addresses"] for record in records}, addresses.AddressPolicy())
    assert (read["fromstring"], read["_channels"], read["JSONDecoder"], read["JSONEncoder"]) == (20, 20, 0, 0)
    assert read["_pci"] == 20 * 2, "only the disks' own: none of them is on a controller that has an address for it"
    found = {candidate["address"] for record in records for candidate in record["addresses"]}
    own = [address for address in found if address.startswith("10.")]
    assert [read[f"ip_interface {address}/24"] for address in own] == [1] * 20
    assert [read[f"ip_address {address}"] for address in own] == [1] * 20


def test_a_sixth_request_in_flight_is_flagged_and_waits_for_one_of_five() -> None:
    fleet = Fleet.of(1, 6, round_trip="local")
    connection = fleet.open(uris(1)[0])
    domains = connection.listAllDomains(0)
    ready = threading.Barrier(6)

    def ask(number: int) -> None:
        ready.wait(60)
        libvirt_qemu.qemuAgentCommand(domains[number], '{"execute":"guest-get-host-name","id":1}', 5, 0)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for daemon in fleet.daemons.values():
        daemon.latencies.command = lambda *_: 0.1  # type: ignore[method-assign]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert time.monotonic() - began >= 0.2
    assert fleet.meters()["over"] == 1
    assert fleet.meters()["workers"] == 5


def test_a_hung_agent_costs_its_timeout_once_and_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = _fleet(monkeypatch, 1, 10, hung=1)
    monkeypatch.setattr(hypervisor, "_GRACE_SECONDS", 0.2)
    began = time.monotonic()
    found = gather(uris(1), Plan(timeout=120, agent_timeout=3))
    assert 2 <= time.monotonic() - began < 5
    statuses = sorted(record["agent"]["status"] for record in found.records)
    assert statuses == ["connected"] * 9 + ["unresponsive"]
    assert fleet.meters()["commands"] == 9 * 4
