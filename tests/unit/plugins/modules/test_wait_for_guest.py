# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wait_for_guest, and what guest_info and guest_facts gather on demand, over libvirt and guests in memory."""

from __future__ import annotations

import threading
import time
import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import wait_for_guest as _wait_for_guest
from ansible_collections.virtops.guest_agent.plugins.modules import guest_facts, guest_info, wait_for_guest
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest, Program
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import NOT_FOUND, Domain, Error, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run
from ansible_collections.virtops.guest_agent.tests.unit.power import Restart

BOOT_ID = "/proc/sys/kernel/random/boot_id"
OLD, NEW = "0b5bca5e-8a3c-4a77-8e0f-2b7a0f9e8f10", "11111111-8a3c-4a77-8e0f-2b7a0f9e8f10"
MAC = "52:54:00:00:00:01"
DONE = b'{"v1": {"datasource": "DataSourceNoCloud", "errors": []}}'


@pytest.fixture
def domains(monkeypatch: pytest.MonkeyPatch) -> list[Domain]:
    monkeypatch.setattr(_wait_for_guest, "_LOOK_SECONDS", 0.2)
    monkeypatch.setattr(_wait_for_guest, "_AFTER_EVENT", 0.01)
    files = {BOOT_ID: f"{NEW}\n".encode(), "/proc/meminfo": b"MemTotal:       1000 kB\n", "/run/cloud-init/result.json": DONE}
    guest = FakeGuest(files=files, programs=lambda argv: Program(0, b"yes\n", b"0\n") if "/bin/good" in argv else None)
    _says(guest, "10.0.0.5", "127.0.0.1", "169.254.1.1")
    return [Domain(guest=guest, macs=[MAC])]


@pytest.fixture
def run(run: Run) -> Run:
    def run_it(module: t.Any = wait_for_guest, **arguments: t.Any) -> dict[str, t.Any]:
        short = {"timeout": 1, "sleep": 0.1} if module is wait_for_guest else {}
        return run(module, **{**short, **arguments})

    return run_it


def _says(guest: FakeGuest, *addresses: str) -> None:
    guest.replies["guest-network-get-interfaces"] = [
        {
            "name": "eth0",
            "hardware-address": MAC,
            "ip-addresses": [{"ip-address": a, "ip-address-type": "ipv4", "prefix": 24} for a in addresses],
        }
    ]


EVERYTHING = {
    "address": True,
    "address_cidrs": ["10.0.0.0/8"],
    "cloud_init": True,
    "boot_id": OLD,
    "command": ["/bin/good", "x"],
}


def test_all_conditions_together(guest: FakeGuest, run: Run) -> None:
    result = run(**EVERYTHING)
    assert result["held"] == ["agent", "boot_id", "address", "cloud_init", "command"]
    assert (result["ready"], result["missing"], result["changed"]) == (True, {}, False)
    assert (result["address"], result["addresses"], result["boot_id"]) == ("10.0.0.5", ["10.0.0.5"], NEW)
    assert result["cloud_init"] == {"status": "done", "datasource": "DataSourceNoCloud", "errors": [], "stage": None}
    assert result["command"] == {"rc": 0, "output": "yes", "json": None, "error": None}
    assert 0 <= result["seconds"] < 1


def test_again_is_the_same(guest: FakeGuest, run: Run) -> None:
    first, second = run(**EVERYTHING), run(**EVERYTHING)
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_the_agent_alone_is_what_is_waited_for_by_default(guest: FakeGuest, run: Run) -> None:
    result = run()
    assert (result["held"], result["boot_id"], result["address"]) == (["agent"], NEW, None)
    assert not {"addresses", "cloud_init", "command"} & set(result)


def _no_result(guest: FakeGuest) -> None:
    del guest._files["/run/cloud-init/result.json"]
    guest._files["/run/cloud-init/status.json"] = b'{"v1": {"stage": "modules-final"}}'


def _neither_files_nor_programs(guest: FakeGuest) -> None:
    guest.blocked.update(["guest-file-open", "guest-exec"])


def _lies(guest: FakeGuest) -> None:
    guest.replies["guest-network-get-interfaces"] = 5


MISSING = [
    # what is asked, what happens, what is missing, a part of the reason, a part of the hint
    ({}, lambda g: g.silent.add("guest-ping"), ["agent"], "did not answer", "hangs"),
    ({"boot_id": NEW}, None, ["boot_id"], "its boot id is the same", ""),
    (
        {"boot_id": OLD},
        lambda g: g.blocked.update(["guest-file-open", "guest-exec"]),
        ["boot_id"],
        "blocks guest-file-open",
        "allow",
    ),
    ({"address": True, "address_cidrs": ["192.168.0.0/16"]}, None, ["address"], "it has 10.0.0.5", ""),
    ({"address": True, "address_families": ["ipv6"]}, None, ["address"], "no address of the guest", ""),
    ({"address": True, "address_exclude_cidrs": ["10.0.0.0/24"]}, None, ["address"], "no address of the guest", ""),
    ({"address": True, "address_networks": ["other"]}, None, ["address"], "no address of the guest", ""),
    ({"address": True}, _says, ["address"], "none at all", ""),
    ({"address": True}, lambda g: g.blocked.add("guest-network-get-interfaces"), ["address"], "blocks guest-network", "allow"),
    (
        {"address": True},
        lambda g: g.replies.update({"guest-network-get-interfaces": 5}),
        ["address"],
        "should be a list",
        "hostile",
    ),
    ({"cloud_init": True}, _no_result, ["cloud_init"], "at work on modules-final", ""),
    ({"cloud_init": True}, lambda g: g._files.pop("/run/cloud-init/result.json"), ["cloud_init"], "has not started yet", ""),
    ({"command": ["/bin/bad"]}, None, ["command"], "Failed to execute", ""),
    ({"command": ["/bin/good"]}, lambda g: g.blocked.add("guest-exec"), ["command"], "blocks guest-exec", "allow"),
    ({"boot_id": NEW, "command": ["/bin/good"]}, None, ["boot_id", "command"], "run when all other conditions hold", ""),
    ({"cloud_init": True, "address": True}, lambda g: setattr(g, "frozen", True), ["address", "cloud_init"], "frozen", "thaw"),
]


@pytest.mark.parametrize(("asked", "happens", "missing", "reason", "hint"), MISSING)
def test_what_is_missing_is_told(
    asked: dict, happens: t.Any, missing: list, reason: str, hint: str, guest: FakeGuest, run: Run
) -> None:
    if happens:
        happens(guest)
    result = run(**asked)
    assert (result["failed"], result["failure"]["kind"], result["ready"]) == (True, "not_ready", False)
    assert list(result["missing"]) == missing
    assert reason in result["msg"]
    assert hint in result["failure"]["hint"]
    if "blocks" in reason and "address" not in missing:  # which does not change by waiting
        assert result["msg"].startswith("Domain web: still missing after 0")
        assert result["seconds"] < 1
        return
    assert result["msg"].startswith("Domain web: still missing after 1 s: ")
    assert 1 <= result["seconds"] < 3


def test_what_holds_is_kept_on_a_timeout(guest: FakeGuest, run: Run) -> None:
    result = run(address=True, cloud_init=True, boot_id=NEW)
    assert (result["held"], result["address"], result["boot_id"]) == (["agent", "address", "cloud_init"], "10.0.0.5", NEW)


def test_a_reason_is_told_once(host: Hypervisor, run: Run) -> None:
    host.domains[0].current = 5
    result = run(address=True, cloud_init=True)
    assert result["msg"] == (
        "Domain web: still missing after 1 s: agent, address, cloud_init (the domain is shutoff);"
        " start the domain (virtops.guest_agent.start)."
    )
    assert (result["state"], result["boot_id"]) == ("shutoff", None)
    assert host.agent_commands == 0


def test_what_cloud_init_did_wrong_is_told_and_is_the_end_of_it(guest: FakeGuest, run: Run) -> None:
    guest._files["/run/cloud-init/result.json"] = DONE.replace(b"[]", b'["it \\u001b[31m failed"]')
    result = run(cloud_init=True)
    assert (result["ready"], result["cloud_init"]["status"]) == (True, "error")
    assert result["cloud_init"]["errors"] == ["it \ufffd[31m failed"]


@pytest.mark.parametrize("source", [0, 2])
def test_the_hypervisor_may_know_the_address(source: int, host: Hypervisor, guest: FakeGuest, run: Run) -> None:
    guest.silent.add("guest-ping")
    host.domains[0].known = {source: {MAC: ["10.0.0.9"]}}
    assert run(agent=False, address=True)["address"] == "10.0.0.5"
    guest.blocked.add("guest-network-get-interfaces")
    assert run(agent=False, address=True)["address"] == "10.0.0.9"
    host.domains[0].current = 5  # a lease outlives its guest
    assert run(agent=False, address=True)["missing"] == {"address": "the domain is shutoff"}


def test_an_interface_that_the_domain_does_not_have_gives_no_address(host: Hypervisor, guest: FakeGuest, run: Run) -> None:
    guest.replies["guest-network-get-interfaces"][0]["hardware-address"] = "52:54:00:00:00:99"
    assert run(address=True)["failure"]["kind"] == "not_ready"
    assert run(address=True, address_sources=["agent", "agent_unverified"])["address"] == "10.0.0.5"


def _later(host: Hypervisor, event: int, what: t.Callable[[], None]) -> threading.Thread:
    """In a moment do ``what``, and let libvirt tell of ``event`` (0: lifecycle, 18: agent)."""

    def do() -> None:
        deadline = time.monotonic() + 60
        while not host.domains[0].listeners and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        what()
        host.domains[0].tell(event, 1, 1)

    thread = threading.Thread(target=do)
    thread.start()
    return thread


EVENTS = [
    (0, "current", 5, 1),
    (0, "current", 3, 1),
    (18, "text", samples.domain_xml(channel="disconnected"), samples.domain_xml()),
]


@pytest.mark.parametrize(("number", "attribute", "before", "after"), EVENTS)
def test_an_event_ends_the_wait(
    number: int, attribute: str, before: t.Any, after: t.Any, host: Hypervisor, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before the next look would."""
    monkeypatch.setattr(_wait_for_guest, "_LOOK_SECONDS", 20)
    setattr(host.domains[0], attribute, before)
    thread = _later(host, number, lambda: setattr(host.domains[0], attribute, after))
    result = run(timeout=15)
    thread.join()
    assert result["ready"]
    assert result["seconds"] < 5


@pytest.mark.parametrize("content", [b"", b"not a boot id\n", b"\x1b[31m" * 20])
def test_what_is_returned_as_a_boot_id_is_taken_as_one(guest: FakeGuest, run: Run, content: bytes) -> None:
    guest.add_file(BOOT_ID, content)
    assert run()["boot_id"] is None
    result = run(boot_id=OLD)
    assert "does not contain a boot id" in result["missing"]["boot_id"]
    assert result["failure"]["kind"] == "not_ready"


@pytest.mark.parametrize("what", ["file", "command", "boot"])
def test_without_an_event_it_looks_again(what: str, guest: FakeGuest, run: Run) -> None:
    files = dict(guest._files)
    if what == "file":
        _no_result(guest)
    if what == "boot":
        guest._files[BOOT_ID] = f"{OLD}\n".encode()
    programs = guest._programs
    guest._programs = lambda argv: programs(argv) if guest._files == files else Program(0, b"no\n", b"3\n")
    if what == "command":
        guest._files["/x"] = b""
    timer = threading.Timer(0.4, lambda: setattr(guest, "_files", files))
    timer.start()
    result = run(cloud_init=True, boot_id=OLD, command=["/bin/good"], timeout=10)
    timer.join()
    assert (result["ready"], len(result["held"])) == (True, 4)
    assert 0.3 < result["seconds"] < 5


def test_an_agent_that_was_silent_is_asked_again(guest: FakeGuest, run: Run) -> None:
    guest.silent.add("guest-ping")
    timer = threading.Timer(0.3, guest.silent.clear)
    timer.start()
    assert run(timeout=10)["ready"]
    timer.join()
    assert max(guest.timeouts) <= 5


@pytest.mark.parametrize("timeout", [1, 3])
def test_a_command_waits_no_longer_than_all_may_take(timeout: int, guest: FakeGuest, run: Run) -> None:
    guest.silent.add("guest-ping")
    run(timeout=timeout, agent_timeout=60)
    assert max(guest.timeouts) <= timeout


@pytest.mark.parametrize("what", ["shutoff", "not ready", "ready"])
def test_check_mode_looks_once(what: str, host: Hypervisor, guest: FakeGuest, run: Run) -> None:
    host.domains[0].current = 5 if what == "shutoff" else 1
    result = run(check=True, diff=True, timeout=60, boot_id=NEW if what == "not ready" else OLD, command=["/bin/good"])
    assert not result.get("failed")
    assert (result["changed"], "diff" in result, result["seconds"] < 2) == (False, False, True)
    assert result["ready"] is False
    assert "guest-exec" not in guest.sent
    assert "check mode" in result["missing"]["command"]
    assert ("boot_id" in result["held"]) is (what == "ready")


def test_check_mode_says_ready_where_nothing_has_to_be_run(guest: FakeGuest, run: Run) -> None:
    assert run(check=True, address=True, cloud_init=True)["ready"] is True


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"agent": False}, "nothing to wait for"),
        ({"address_cidrs": ["10.0.0.0/8"]}, "address_cidrs says which address"),
        ({"address_sources": ["lease"]}, "address_sources says which address"),
        ({"address": True, "address_cidrs": ["10.0.0.0/99"]}, "not a network"),
        ({"boot_id": ""}, "not a boot id"),
        ({"boot_id": "the last one"}, "not a boot id"),
        ({"command": []}, "there is no command"),
        ({"command": [""]}, "there is no command"),
        ({"sleep": 0}, "sleep must be"),
        ({"sleep": 61}, "sleep must be"),
        ({"command_timeout": 0}, "command_timeout must be"),
        ({"timeout": 0}, "timeout must be"),
    ],
)
def test_options_that_cannot_be(arguments: dict, words: str, host: Hypervisor, run: Run) -> None:
    result = run(**arguments)
    assert result["failure"]["kind"] == "invalid_input"
    assert words in result["msg"]
    assert host.opens == 0


def test_a_domain_that_vanishes_is_not_waited_for(host: Hypervisor, run: Run) -> None:
    assert run(domain="none")["failure"]["kind"] == "domain_not_found"
    host.domains[0].raises["state"] = NOT_FOUND
    assert run(timeout=60)["failure"]["kind"] == "domain_not_found"


def test_a_hypervisor_that_stays_down_is_waited_for_until_the_timeout(host: Hypervisor, run: Run) -> None:
    host.domains[0].raises["agent"] = Error(38, "broken pipe")
    host.alive = False
    assert run(timeout=2)["failure"]["kind"] == "connection_lost"


def test_a_restart_of_libvirtd_is_waited_out(host: Hypervisor, run: Run) -> None:
    restarted = Restart(host, host.domains[0], "guest-ping")
    assert run(address=True, timeout=60)["ready"]
    assert restarted.over


HOSTILE: list[t.Any] = [5, [], {}, {"buf-b64": 5}, {"buf-b64": "%"}, {"count": -1, "buf-b64": "////"}]


@pytest.mark.parametrize("reply", HOSTILE)
def test_files_of_a_hostile_agent(reply: t.Any, guest: FakeGuest, run: Run) -> None:
    guest.replies["guest-file-read"] = reply
    result = run(cloud_init=True, boot_id=OLD)
    assert set(result["missing"]) <= {"cloud_init", "boot_id"}
    assert isinstance(result["boot_id"], (str, type(None)))
    assert "cloud_init" in result["missing"]


def test_guest_info_gathers_on_demand(host: Hypervisor, guest: FakeGuest, run: Run) -> None:
    probes = {"x": ["/bin/good"]}
    record = run(guest_info, gather_subset=["memory", "vcpus", "disks", "load"], probes=probes)["guests"][0]
    assert record["load"] == {"1m": 3.42, "5m": 1.13, "15m": 0.4}
    assert (record["memory"]["total_bytes"], record["memory"]["balloon_bytes"]) == (1024000, 524288 * 1024)
    assert (record["vcpus_total"], record["disks_total"]) == (1, 1)
    assert record["probes"]["x"]["output"] == "yes"
    assert not {"hostname", "os", "routes"} & set(record)
    assert run(guest_info, gather_subset=[], probes={"x": 5})["failure"]["kind"] == "invalid_input"


def test_the_balloon_is_not_worth_a_failure(host: Hypervisor, guest: FakeGuest, run: Run) -> None:
    host.domains[0].raises["memoryStats"] = Error(68, "cannot acquire state change lock")
    record = run(guest_info, gather_subset=["memory"])["guests"][0]
    assert (record["memory"]["total_bytes"], record["memory"]["balloon_bytes"]) == (1024000, None)
    assert record["agent"]["status"] == "connected"


def test_libvirt_is_not_asked_for_memory_that_nobody_wants(host: Hypervisor, run: Run) -> None:
    run(guest_info)
    run(guest_facts)
    assert "memoryStats" not in host.domains[0].did


def test_facts_gathers_on_demand(host: Hypervisor, guest: FakeGuest, run: Run) -> None:
    found = run(guest_facts, gather_subset=["memory", "load", "vcpus", "disks"], probes={"x": ["/bin/good"]})["ansible_facts"]
    assert (found["ansible_memtotal_mb"], found["guest_memory"]["balloon_bytes"]) == (0, 524288 * 1024)
    assert found["ansible_loadavg"] == found["guest_load"] == {"1m": 3.42, "5m": 1.13, "15m": 0.4}
    assert (found["ansible_processor_vcpus"], len(found["guest_vcpus"])) == (1, 1)
    assert (found["guest_disks"][0]["device"], found["guest_disks"][0]["target"]) == ("/dev/vda", None)
    assert found["guest_probes"]["x"]["rc"] == 0


def test_facts_by_default_are_what_they_were(guest: FakeGuest, run: Run) -> None:
    found = run(guest_facts)["ansible_facts"]
    assert {name for name in found if name.startswith("guest_")} == {"guest_agent", "guest_timezone", "guest_users"}


def test_errors_know_their_kind() -> None:
    assert _errors.GuestNotReady.kind == "not_ready"
    assert issubclass(_errors.GuestNotReady, _errors.WaitTimeout)
