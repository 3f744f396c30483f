# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules from their arguments to their result, over libvirt and guests in memory."""

from __future__ import annotations

import threading
import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._freeze import guarded, watchdog as _watchdog
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import shutdown as _shutdown
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.subsets import SUBSETS
from ansible_collections.virtops.guest_agent.plugins.modules import (
    agent_command,
    agent_info,
    fsfreeze,
    guest_facts,
    guest_info,
    push_file,
    restart,
    run_command,
    run_script,
    shutdown,
)
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import VERSIONS, FakeGuest, Program
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Error, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.fakes.watchdog import FakeWatchdog
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shutdown, "_LOOK_SECONDS", 0.05)


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


@pytest.mark.parametrize(("arguments", "kind"), [({"domain": "none"}, "domain_not_found"), ({"agent_timeout": 0}, "invalid_input")])
@pytest.mark.parametrize("module", [agent_info, guest_facts, fsfreeze, restart])
def test_wrong_arguments(host: Hypervisor, run: Run, module: t.Any, arguments: dict, kind: str) -> None:
    extra = {"state": "thawed"} if module is fsfreeze else {}
    assert run(module, **extra, **arguments)["failure"]["kind"] == kind


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


@pytest.fixture
def watchdog(guest: FakeGuest, monkeypatch: pytest.MonkeyPatch) -> FakeWatchdog:
    hatched = FakeWatchdog(guest)
    monkeypatch.setattr(_watchdog, "hatch", lambda: hatched)
    return hatched


ORDER = _watchdog.Order(samples.URI, samples.uuid(1), 60, 5)
FREEZES = [
    # frozen before, arguments, the result, what the watchdog hears
    (False, {}, {"changed": True, "status": "frozen", "filesystems": 2, "watchdog_pid": 77}, [ORDER, "freeze", "keep", "left"]),
    (
        False,
        {"max_seconds": 0},
        {"changed": True, "watchdog_pid": None},
        [ORDER._replace(max_seconds=0), "freeze", "keep", "left"],
    ),
    (False, {"mountpoints": ["/", "/"]}, {"changed": True, "filesystems": 1}, [ORDER, "freeze", "keep", "left"]),
    (
        False,
        {"check": True, "diff": True},
        {"changed": True, "diff": {"before": {"status": "thawed"}, "after": {"status": "frozen"}}},
        [],
    ),
    (True, {}, {"failed": True}, ["left"]),
    (True, {"check": True}, {"failed": True}, []),
    (True, {"force": True}, {"changed": False, "filesystems": None, "watchdog_pid": 77}, [ORDER, "take over", "keep", "left"]),
    (False, {"mountpoints": []}, {"failed": True}, []),
    (False, {"mountpoints": ["/none"]}, {"failed": True}, ["left"]),
    (False, {"max_seconds": -1}, {"failed": True}, []),
    (False, {"timeout": 0}, {"failed": True}, []),
]


@pytest.mark.parametrize(("frozen", "arguments", "expected", "told"), FREEZES)
def test_fsfreeze_frozen(
    guest: FakeGuest, watchdog: FakeWatchdog, run: Run, frozen: bool, arguments: dict, expected: dict, told: list
) -> None:
    guest.frozen = frozen
    result = run(fsfreeze, state="frozen", **arguments)
    assert {key: result.get(key) for key in expected} == expected
    assert watchdog.told == told
    assert guest.frozen is (frozen or (not arguments.get("check") and not result.get("failed")))


def test_nothing_is_frozen_unwatched(guest: FakeGuest, watchdog: FakeWatchdog, run: Run) -> None:
    watchdog.refuses = _errors.WatchdogFailed("the watchdog could not be armed", command="watchdog")
    failure = run(fsfreeze, state="frozen")["failure"]
    assert (failure["kind"], failure["domain"]) == ("watchdog_failed", "web")
    assert not any(command.startswith("guest-fsfreeze-freeze") for command in guest.sent)


def test_nothing_is_frozen_that_cannot_be_thawed(guest: FakeGuest, watchdog: FakeWatchdog, run: Run) -> None:
    guest.blocked.add("guest-fsfreeze-thaw")
    assert run(fsfreeze, state="frozen")["failure"]["command"] == "guest-fsfreeze-thaw"
    assert not any(command.startswith("guest-fsfreeze-freeze") for command in guest.sent)


@pytest.mark.parametrize(("seconds", "timeout", "asked"), [(60, 30, 30), (10, 30, 10), (0, 40, 40)])
def test_a_freeze_is_not_waited_for_longer_than_its_watchdog(
    guest: FakeGuest, watchdog: FakeWatchdog, run: Run, seconds: int, timeout: int, asked: int
) -> None:
    run(fsfreeze, state="frozen", max_seconds=seconds, timeout=timeout)
    assert guest.timeouts[guest.sent.index("guest-fsfreeze-freeze")] == asked


def test_a_watchdog_that_is_gone_when_the_freeze_is_to_be_kept(guest: FakeGuest, watchdog: FakeWatchdog, run: Run) -> None:
    watchdog.dies_at = "keep"
    result = run(fsfreeze, state="frozen")
    assert result["failure"]["kind"] == "watchdog_failed"
    assert "the guest is thawed" in result["msg"]
    assert not guest.frozen


def test_a_thaw_hook_that_fails_is_a_warning(guest: FakeGuest, run: Run) -> None:
    guest.frozen = True
    guest.thaw_hook = "fsfreeze hook has failed with status 1"
    result = run(fsfreeze, state="thawed", timeout=30)
    assert (result["changed"], result["status"], result["filesystems"]) == (True, "thawed", None)
    assert "fsfreeze hook has failed" in result["warned"]
    assert guest.sent.count("guest-fsfreeze-thaw") == 1


def test_selinux_that_denies_a_freeze(guest: FakeGuest, watchdog: FakeWatchdog, run: Run) -> None:
    guest.replies["guest-get-osinfo"] = {"id": "rhel", "version-id": "9.6"}
    guest.replies["guest-get-fsinfo"] = []
    guest.add_file("/sys/fs/selinux/enforce", b"1")
    guest.raises["guest-fsfreeze-freeze"] = _errors.CommandFailed("the agent says: failed to open /mnt: Permission denied")
    result = run(fsfreeze, state="frozen")
    assert "SELinux is the reason" in result["failure"]["hint"]
    assert "semanage permissive -a virt_qemu_ga_t" in result["failure"]["hint"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (_errors.CommandFailed("the agent says: failed to open /mnt: Permission denied"), "semanage permissive"),
        (_errors.CommandBlocked("the agent refuses this command"), "FILTER_RPC_ARGS"),
    ],
)
def test_agent_command_names_the_remedy(guest: FakeGuest, run: Run, error: _errors.GuestAgentError, words: str) -> None:
    guest.replies["guest-get-osinfo"] = {"id": "rhel", "version-id": "9.6"}
    guest.add_file("/sys/fs/selinux/enforce", b"1")
    guest.raises["guest-fsfreeze-freeze"] = error
    result = run(agent_command, command="guest-fsfreeze-freeze")
    assert result["failure"]["kind"] == error.kind
    assert words in result["failure"]["hint"]


@pytest.mark.parametrize(
    ("filesystems", "table", "unfrozen", "words"),
    [
        ([("vda1", "/", "ext4"), ("vda15", "/boot/efi", "vfat")], "", ["/boot/efi (vfat)"], ""),
        ([("vda1", "/boot", "ext4")], "30 1 0:30 / / rw - zfs rpool/ROOT rw\n", None, "does not freeze / (zfs)"),
    ],
)
def test_what_a_freeze_does_not_reach(
    guest: FakeGuest, watchdog: FakeWatchdog, run: Run, filesystems: list, table: str, unfrozen: t.Any, words: str
) -> None:
    guest.mountpoints = [place for _device, place, kind in filesystems if kind == "ext4"]
    guest.replies["guest-get-fsinfo"] = [{"name": n, "mountpoint": m, "type": k, "disk": []} for n, m, k in filesystems]
    guest.add_file("/proc/self/mountinfo", table.encode())
    result = run(fsfreeze, state="frozen")
    assert result.get("unfrozen") == unfrozen
    assert words in result.get("msg", "")
    assert guest.frozen is (unfrozen is not None)


THAWS = [
    (True, {}, {"changed": True, "status": "thawed", "filesystems": 2}),
    (False, {}, {"changed": False, "status": "thawed", "filesystems": None}),
    (False, {"force": True}, {"changed": False, "filesystems": 0}),
    (True, {"check": True}, {"changed": True, "filesystems": None}),
    (False, {"check": True}, {"changed": False}),
]


@pytest.mark.parametrize(("frozen", "arguments", "expected"), THAWS)
def test_fsfreeze_thawed(guest: FakeGuest, run: Run, frozen: bool, arguments: dict, expected: dict) -> None:
    guest.frozen = frozen
    result = run(fsfreeze, state="thawed", **arguments)
    assert {key: result[key] for key in expected} == expected
    assert guest.frozen is (frozen and bool(arguments.get("check")))


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (None, _errors.CommandFailed("couldn't hold writes"), "couldn't hold writes"),
        (0, None, "the guest is still frozen"),
    ],
)
def test_a_thaw_that_does_not_thaw(guest: FakeGuest, run: Run, reply: t.Any, error: t.Any, words: str) -> None:
    guest.frozen = True
    if error:
        guest.raises["guest-fsfreeze-thaw"] = error
    else:
        guest.replies["guest-fsfreeze-thaw"] = reply
    result = run(fsfreeze, state="thawed", timeout=1)
    assert result["failed"]
    assert words in result["msg"]


SHUTDOWNS = [
    # arguments, blocked commands, the domain's state, method, outcome, what was asked for it
    ({}, (), 1, "agent", "off", ["guest-shutdown"]),
    ({"mode": "acpi"}, (), 1, "acpi", "off", ["shutdownFlags 1"]),
    ({"mode": "agent"}, (), 1, "agent", "off", ["guest-shutdown"]),
    ({}, ("guest-shutdown",), 1, "acpi", "off", ["shutdownFlags 1"]),
    ({"mode": "agent"}, ("guest-shutdown",), 1, None, None, []),
    ({"wait": False}, (), 1, "agent", "requested", ["guest-shutdown"]),
    ({"check": True}, (), 1, "agent", "requested", []),
    ({}, (), 5, "none", "off", []),
    ({}, (), 3, None, None, []),
    ({"force_after": -1}, (), 1, None, None, []),
    ({"force_after": 1, "wait": False}, (), 1, None, None, []),
    ({"force_after": 5, "timeout": 5}, (), 1, None, None, []),
]


@pytest.mark.parametrize(("arguments", "block", "state", "method", "outcome", "told"), SHUTDOWNS)
def test_shutdown(
    host: Hypervisor,
    guest: FakeGuest,
    run: Run,
    arguments: dict,
    block: tuple,
    state: int,
    method: t.Any,
    outcome: t.Any,
    told: list,
) -> None:
    guest.blocked |= set(block)
    host.domains[0].current = state
    domain = host.domains[0]
    result = run(shutdown, **arguments)
    assert (result.get("method"), result.get("outcome")) == (method, outcome)
    assert result.get("failed", False) is (method is None)
    asked = [what for what in [*guest.sent, *domain.did] if what.startswith(("guest-shutdown", "shutdown", "destroy"))]
    assert asked == told
    if method:
        assert result["changed"] is (state != 5)


def test_a_transient_domain_is_gone(host: Hypervisor, run: Run) -> None:
    host.domains[0].flags = 0
    result = run(shutdown)
    assert (result["outcome"], result["changed"]) == ("gone", True)


def test_a_frozen_guest_is_not_shut_down_behind_its_back(guest: FakeGuest, run: Run) -> None:
    guest.frozen = True
    assert run(shutdown)["failure"]["kind"] == "guest_frozen"


def test_a_paused_guest_cannot_shut_down(host: Hypervisor, run: Run) -> None:
    host.domains[0].current = 3
    result = run(shutdown)
    assert "the domain is paused and cannot shut down" in result["msg"]
    assert "resume" in result["failure"]["hint"]


@pytest.mark.parametrize(("state", "block"), [(3, ()), (6, ()), (1, ("guest-shutdown",))])
def test_a_guest_that_cannot_be_asked_is_destroyed_where_that_was_said(
    host: Hypervisor, guest: FakeGuest, run: Run, state: int, block: tuple[str, ...]
) -> None:
    host.domains[0].current = state
    guest.blocked |= set(block)
    told = {"mode": "agent", "force_after": 1, "timeout": 30}
    assert run(shutdown, check=True, **told)["method"] == "forced"
    result = run(shutdown, **told)
    assert (result["method"], result["outcome"], result["changed"]) == ("forced", "off", True)
    assert result["seconds"] >= 1


def test_a_paused_guest_is_asked_when_it_is_resumed(host: Hypervisor, run: Run) -> None:
    domain = host.domains[0]
    domain.current = 3
    resumed = threading.Timer(0.3, lambda: setattr(domain, "current", 1))
    resumed.start()
    result = run(shutdown, force_after=20, timeout=30)
    resumed.join()
    assert (result["method"], result["outcome"]) == ("agent", "off")
    assert "destroy" not in domain.did


def test_a_frozen_guest_is_asked_when_it_is_thawed(host: Hypervisor, guest: FakeGuest, run: Run) -> None:
    guest.frozen = True
    thawed = threading.Timer(0.3, lambda: setattr(guest, "frozen", False))
    thawed.start()
    result = run(shutdown, force_after=20, timeout=30)
    thawed.join()
    assert (result["method"], result["outcome"]) == ("agent", "off")


@pytest.mark.parametrize(("mode", "method"), [("auto", "agent"), ("acpi", "acpi")])
def test_a_guest_that_sleeps_is_woken_to_shut_down(host: Hypervisor, run: Run, mode: str, method: str) -> None:
    domain = host.domains[0]
    domain.current = 7
    assert run(shutdown, mode=mode, check=True)["method"] == method
    assert domain.current == 7
    result = run(shutdown, mode=mode)
    assert (result["method"], result["outcome"]) == (method, "off")


def test_a_domain_that_is_gone_already_is_gone(host: Hypervisor, run: Run) -> None:
    host.domains.clear()
    result = run(shutdown)
    assert (result["outcome"], result["method"], result["changed"]) == ("gone", "none", False)
    assert "There is nothing to shut down" in result["warned"]


def test_a_guest_that_stays_on(host: Hypervisor, run: Run) -> None:
    host.domains[0].obeys = False
    assert run(shutdown, timeout=1)["failure"]["kind"] == "still_on"
    assert "destroy" not in host.domains[0].did
    result = run(shutdown, timeout=30, force_after=0)
    assert (result["method"], result["outcome"]) == ("forced", "off")


@pytest.mark.parametrize(
    ("error", "mode", "method"),
    [
        (_errors.AgentTimeout("no reply"), "auto", "agent"),
        (_errors.AgentDisappeared("gone"), "agent", "agent"),
        (_errors.CommandFailed("no /sbin/shutdown"), "auto", "acpi"),
        (_errors.CommandFailed("no /sbin/shutdown"), "agent", None),
        (_errors.AgentDisconnected("nobody listens"), "auto", "acpi"),
        (_errors.AgentDisconnected("nobody listens"), "agent", None),
    ],
)
def test_what_the_request_may_end_in(
    host: Hypervisor, guest: FakeGuest, run: Run, error: _errors.GuestAgentError, mode: str, method: str | None
) -> None:
    ended = guest.on_shutdown

    def asked() -> None:
        if isinstance(error, _errors.UnknownOutcome):
            ended()
        raise error

    guest.on_shutdown = asked
    result = run(shutdown, mode=mode)
    assert result.get("method") == method
    assert result.get("failed", False) is (method is None)


@pytest.mark.parametrize("mode", ["auto", "agent"])
def test_an_agent_that_answers_a_shutdown_has_been_asked(host: Hypervisor, guest: FakeGuest, run: Run, mode: str) -> None:
    guest.replies["guest-shutdown"] = {}
    result = run(shutdown, mode=mode, wait=False)
    assert (result.get("method"), result.get("outcome")) == ("agent", "requested")
    assert "shutdownFlags 1" not in host.domains[0].did


@pytest.mark.parametrize("mode", ["auto", "agent"])
@pytest.mark.parametrize("obeys", [True, False])
def test_after_an_unreadable_reply_the_outcome_is_unknown_and_no_button_is_pressed(
    host: Hypervisor, guest: FakeGuest, run: Run, mode: str, obeys: bool
) -> None:
    host.domains[0].obeys = obeys
    ended = guest.on_shutdown

    def asked() -> None:
        ended()
        raise _errors.ProtocolError("half a reply")

    guest.on_shutdown = asked
    result = run(shutdown, mode=mode, timeout=1)
    assert "shutdownFlags 1" not in host.domains[0].did
    if obeys:
        assert (result["method"], result["outcome"]) == ("agent", "off")
    else:
        assert result["failure"]["kind"] == "still_on"


@pytest.mark.parametrize(
    ("xml", "state", "kind"),
    [
        ({"channel": None}, 1, "agent_not_configured"),
        ({"channel": "disconnected"}, 1, "agent_disconnected"),
        ({}, 3, "domain_not_running"),
    ],
)
@pytest.mark.parametrize("state_wanted", ["frozen", "thawed"])
def test_what_needs_an_agent_says_why_there_is_none(
    host: Hypervisor, watchdog: FakeWatchdog, run: Run, xml: dict, state: int, kind: str, state_wanted: str
) -> None:
    host.domains = [Domain(guest=FakeGuest(), state=state, **xml)]
    failure = run(fsfreeze, state=state_wanted)["failure"]
    assert (failure["kind"], failure["domain"]) == (kind, "web")
    assert failure["hint"]


def test_the_watchdogs_own_link(host: Hypervisor, guest: FakeGuest) -> None:
    """It keeps its connection, and makes a new one after a failure."""
    link = _watchdog._GuestLink(ORDER)
    assert [link.ask(GuestAgent.frozen) for _time in range(3)] == [False] * 3
    assert (len(host.handles), link.name) == (1, "web")
    guest.silent.add("guest-fsfreeze-status")
    with pytest.raises(_errors.AgentTimeout):
        link.ask(GuestAgent.frozen)
    guest.silent.clear()
    guest.frozen = True
    assert link.ask(GuestAgent.frozen) is True
    assert len(host.handles) == 1
    link._drop()
    link.ask(GuestAgent.frozen)
    assert len(host.handles) == 2
    link._drop()
    for state, words in ((3, "the domain is paused"), (5, "the domain is shutoff")):
        host.domains[0].current = state
        with pytest.raises(_errors.DomainNotRunning, match=words) as caught:
            link.ask(GuestAgent.frozen)
        assert guarded._gone(caught.value) is (state == 5)
    host.domains.clear()
    with pytest.raises(_errors.DomainNotFound):
        link.ask(GuestAgent.frozen)
    host.raises["open"] = Error(38, "Connection refused")
    with pytest.raises(_errors.HypervisorUnreachable):
        link.ask(GuestAgent.frozen)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (run_command, {"argv": ["reboot"]}),
        (run_script, {"content": "#!/bin/sh\nreboot\n"}),
        (push_file, {"content": "x", "dest": "/etc/x"}),
    ],
)
def test_a_silent_agent_is_sent_nothing_that_it_could_do_later(guest: FakeGuest, run: Run, module: t.Any, arguments: dict) -> None:
    guest.silent = {"guest-ping", "guest-info", "guest-exec", "guest-file-open"}
    assert run(module, **arguments)["failure"]["kind"] == "agent_timeout"
    assert set(guest.sent) <= {"guest-ping", "guest-info"}


def test_an_agent_that_may_not_answer_a_ping_is_awake(guest: FakeGuest, run: Run) -> None:
    guest.blocked = {"guest-ping", "guest-exec"}
    assert run(run_command, argv=["true"])["failure"]["command"] == "guest-exec"
