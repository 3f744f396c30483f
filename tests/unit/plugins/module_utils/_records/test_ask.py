# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every status that an agent can have, and that asking one never raises."""

from __future__ import annotations

import datetime
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import FREEZE_ALLOWED
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.exec import Probe
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import domain_xml
from ansible_collections.virtops.guest_agent.plugins.module_utils._reach import preflight
from ansible_collections.virtops.guest_agent.plugins.module_utils._records import ask
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.subsets import DEFAULTS, SUBSETS
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import VERSIONS, FakeGuest, Program

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
ALL = DEFAULTS


@pytest.mark.parametrize(
    ("state", "channel", "kind", "error"),
    [
        ("running", "connected", "kvm", None),
        ("blocked", "connected", "qemu", None),
        ("running", "", "kvm", None),  # older libvirt does not say
        ("running", "disconnected", "kvm", _errors.AgentDisconnected),
        ("running", None, "kvm", _errors.AgentNotConfigured),
        ("running", "connected", "lxc", _errors.AgentNotConfigured),
        ("shutoff", None, "kvm", _errors.AgentNotConfigured),
        ("shutoff", "", "kvm", _errors.DomainNotRunning),
        ("paused", "connected", "kvm", _errors.DomainNotRunning),
        ("pmsuspended", "connected", "kvm", _errors.DomainNotRunning),
        ("crashed", "disconnected", "kvm", _errors.DomainNotRunning),
        ("nostate", "connected", "kvm", _errors.DomainNotRunning),
    ],
)
def test_preflight(state: str, channel: str | None, kind: str, error: type | None) -> None:
    found = preflight.preflight(state, domain_xml.parse(samples.domain_xml(channel=channel, kind=kind)))
    assert found.__class__ is (error or type(None))
    assert found is None or found.hint


@pytest.mark.parametrize(
    ("state", "xml", "words", "hint"),
    [
        ("running", {"kind": "lxc"}, "a domain of type lxc has no guest agent", "kvm, qemu, hvf, xen, hyperv, bhyve"),
        ("pmsuspended", {}, "the domain is pmsuspended", "wake the domain (virtops.guest_agent.suspend with state=awake"),
        ("paused", {}, "the domain is paused", "resume the domain"),
        ("shutoff", {}, "the domain is shutoff", "start the domain"),
        ("nostate", {}, "the domain is nostate", "start, resume or wake"),
    ],
)
def test_preflight_says_what_to_do(state: str, xml: dict, words: str, hint: str) -> None:
    found = preflight.preflight(state, domain_xml.parse(samples.domain_xml(**xml)))
    assert found
    assert (found.detail, hint in found.hint) == (words, True)


@pytest.mark.parametrize("kind", ["hyperv", "bhyve"])
def test_other_types_of_domains_that_have_agents(kind: str) -> None:
    assert preflight.preflight("running", domain_xml.parse(samples.domain_xml(kind=kind))) is None


def test_a_channel_that_libvirt_does_not_talk_over() -> None:
    xml = samples.domain_xml().replace("<channel type='unix'>", "<channel type='pty'><source path='/dev/pts/3'/>")
    found = preflight.preflight("running", domain_xml.parse(xml))
    assert isinstance(found, _errors.AgentNotConfigured)
    assert found.detail.startswith("the guest agent channel is of type pty, and libvirt can use")
    assert "agent_channel replace it" in found.hint


def _ask(guest: FakeGuest, subsets: t.Iterable[str] = ALL, **probes: Probe) -> tuple[t.Any, t.Any]:
    return ask.ask(guest.agent(), subsets, probes, NOW)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_agent_that_answers(version: str) -> None:
    guest = FakeGuest(version)
    part, answers = _ask(guest)
    assert set(answers) == set(ALL)
    assert guest.sent == ["guest-info", *(SUBSETS[name].command for name in ALL)]
    assert part == {
        "connected": True,
        "status": "connected",
        "reason": "",
        "hint": "",
        "version": {"7.2": "7.2.22", "10.0": "10.0.13"}[version],
        "last_probe_time": "2026-01-02T03:04:05Z",
        "status_since": None,
        "stale": False,
        "blocked_commands": ["guest-get-devices"] if version == "7.2" else [],
        "can_exec": True,
    }


@pytest.mark.parametrize("subsets", [(), ("hostname",), ("users", "os")])
def test_only_what_is_wanted_is_asked(subsets: tuple[str, ...]) -> None:
    guest = FakeGuest()
    answers = _ask(guest, subsets)[1]
    assert set(answers) == set(subsets)
    assert len(guest.sent) == 1 + len(subsets)


def _blocked(*commands: str) -> t.Callable[[FakeGuest], None]:
    return lambda guest: guest.blocked.update(commands)


def _raising(command: str, error: _errors.GuestAgentError) -> t.Callable[[FakeGuest], None]:
    return lambda guest: guest.raises.update({command: error})


def _lying(command: str, reply: t.Any) -> t.Callable[[FakeGuest], None]:
    return lambda guest: guest.replies.update({command: reply})


def _frozen(guest: FakeGuest) -> None:
    guest.frozen = True


def _silent(guest: FakeGuest) -> None:
    guest.silent.add("guest-network-get-interfaces")


def _deaf(guest: FakeGuest) -> None:
    guest.silent.update(("guest-info", "guest-ping"))


def _only_nonsense(guest: FakeGuest) -> None:
    guest.replies.update(dict.fromkeys(("guest-info", *(SUBSETS[name].command for name in ALL)), 5))


def _ignorant(guest: FakeGuest) -> None:
    guest.silent.update(("guest-info", "guest-get-users"))


EVERYTHING = set(FakeGuest().agent().capabilities().commands) - FREEZE_ALLOWED
BEFORE_INTERFACES = {"os", "hostname"}
BUT_OS = set(ALL) - {"os"}
STATUSES = [
    # what happens, status, connected, what is answered all the same, a part of reason, a part of hint
    (_frozen, "frozen", True, set(), "frozen", "thaw"),
    (_silent, "unresponsive", True, BEFORE_INTERFACES, "guest-network-get-interfaces: the agent did not", "hangs"),
    (_deaf, "unresponsive", True, set(), "guest-info: the agent did not", "hangs"),
    (_ignorant, "restricted", True, set(ALL) - {"users"}, "does not answer guest-info, guest-get-users", "silent on"),
    (_raising("guest-info", _errors.AgentDisconnected("nobody")), "disconnected", False, set(), "nobody", "install"),
    (_raising("guest-info", _errors.AgentDisappeared("gone")), "disconnected", True, set(), "gone", "stopped"),
    (_raising("guest-info", _errors.AgentBroken("given up")), "broken", False, set(), "given up", "restart"),
    (_raising("guest-info", _errors.AgentBusy("busy")), "unresponsive", False, set(), "busy", "still running"),
    (_raising("guest-info", _errors.AgentNotConfigured("no channel")), "not_configured", False, set(), "no channel", "channel"),
    (_raising("guest-info", _errors.DomainNotRunning("off")), "not_running", False, set(), "off", "start"),
    (_raising("guest-info", _errors.PermissionDenied("no")), "unknown", True, set(), "no", "read-write"),
    (_raising("guest-info", _errors.HypervisorUnreachable("gone")), "unknown", True, set(), "gone", "URI"),
    (_blocked("guest-get-osinfo"), "restricted", True, BUT_OS, "configuration blocks guest-get-osinfo", "allow"),
    (_blocked(*EVERYTHING), "restricted", True, set(), "blocks guest-get-osinfo, guest-get-host-name", "allow"),
    (_blocked("guest-info"), "restricted", True, set(ALL), "configuration blocks guest-info", "allow"),
    (_raising("guest-get-osinfo", _errors.CommandUnknown("what")), "restricted", True, BUT_OS, "guest-get-osinfo", "newer"),
    (
        _raising("guest-get-osinfo", _errors.CommandFailed("it failed")),
        "connected",
        True,
        BUT_OS,
        "guest-get-osinfo: it failed",
        "",
    ),
    (_lying("guest-get-osinfo", [1]), "connected", True, BUT_OS, "where the reply should be an object", "hostile"),
    (_lying("guest-info", 5), "connected", True, set(ALL), "where the reply should be an object", "hostile"),
    (_only_nonsense, "broken", True, set(), "where the reply should be an object", "hostile"),
    (_lying("guest-get-users", None), "connected", True, set(ALL), "guest-get-users: 1 of the users left out", ""),
]


@pytest.mark.parametrize(("happens", "status", "connected", "answered", "reason", "hint"), STATUSES)
def test_statuses(happens: t.Any, status: str, connected: bool, answered: set, reason: str, hint: str) -> None:
    guest = FakeGuest()
    happens(guest)
    part, answers = _ask(guest)
    assert (part["status"], part["connected"]) == (status, connected)
    assert set(answers) == answered
    assert reason in part["reason"]
    assert hint in part["hint"]


def test_a_frozen_guests_commands_are_not_called_blocked() -> None:
    guest = FakeGuest()
    guest.frozen = True
    assert _ask(guest)[0]["blocked_commands"] == []
    assert guest.sent == ["guest-info", "guest-fsfreeze-status"]


@pytest.mark.parametrize("subsets", [ALL, ("users",)])
def test_advice_fits_the_guest(subsets: tuple[str, ...]) -> None:
    """Also where nobody wanted to know what system it is."""
    guest = FakeGuest(block=["guest-get-users"])
    guest.replies["guest-get-osinfo"] = {"id": "rocky", "version-id": "9.6"}
    part = _ask(guest, subsets)[0]
    assert part["reason"] == "the agent's configuration blocks guest-get-users"
    assert "(Enterprise Linux 9) append ,guest-get-users to" in part["hint"]
    assert guest.sent.count("guest-get-osinfo") == 1


def test_selinux_is_named_where_it_is_the_reason() -> None:
    guest = FakeGuest(files={"/sys/fs/selinux/enforce": b"1"})
    guest.replies["guest-get-osinfo"] = {"id": "rhel", "version-id": "9.6"}
    guest.raises["guest-get-fsinfo"] = _errors.CommandFailed("failed to open /dev/vda: Permission denied")
    part = _ask(guest)[0]
    assert (part["status"], part["reason"]) == ("connected", "guest-get-fsinfo: failed to open /dev/vda: Permission denied")
    assert part["hint"].startswith("SELinux is the reason")


@pytest.mark.parametrize(
    ("block", "can"), [((), True), (("guest-exec",), False), (("guest-exec-status",), False), (("guest-ping",), True)]
)
def test_whether_it_may_exec(block: tuple, can: bool) -> None:
    assert _ask(FakeGuest(block=block), ())[0]["can_exec"] is can


def test_probes() -> None:
    guest = FakeGuest(programs=lambda argv: Program(0, b"1", b"0") if "/bin/good" in argv else None)
    part, answers = _ask(guest, (), good=Probe(("/bin/good",)), bad=Probe(("/bin/bad",)))
    assert part["status"] == "connected"
    assert answers["probes"]["good"]["json"] == 1
    assert answers["probes"]["bad"]["rc"] is None
    assert answers["probes"]["bad"]["error"]


def test_a_probe_that_cannot_be_sent_spoils_no_other() -> None:
    guest = FakeGuest(programs=lambda argv: Program(0, b"1", b"0") if "/bin/good" in argv else None)
    _part, answers = _ask(guest, (), large=Probe(("/bin/good", "x" * 200_000)), good=Probe(("/bin/good",)))
    assert answers["probes"]["good"]["json"] == 1
    assert "safe" in answers["probes"]["large"]["error"]


def test_what_probes_found_before_the_agent_fell_silent() -> None:
    def find(argv: tuple[str, ...]) -> Program:
        if "/bin/last" in argv:
            guest.silent.add("guest-exec-status")
        return Program(0, b"1", b"0")

    guest = FakeGuest(programs=find)
    part, answers = _ask(guest, (), first=Probe(("/bin/first",)), last=Probe(("/bin/last",)), never=Probe(("/bin/never",)))
    assert part["status"] == "unresponsive"
    assert set(answers["probes"]) == {"first"}


def test_probes_that_are_blocked() -> None:
    block = ["guest-exec", "guest-exec-status", "guest-file-open"]
    part, answers = _ask(FakeGuest(block=block), ("os",), good=Probe(("/bin/good",)))
    assert set(answers) == {"os"}
    assert part["status"] == "connected"  # as it is where nobody wants to know what programs tell
    assert part["reason"] == "the agent's configuration blocks guest-exec, guest-exec-status"


@pytest.mark.parametrize("subsets", [(), ("hostname",), ALL, tuple(SUBSETS)], ids=len)
@pytest.mark.parametrize(
    ("block", "status"),
    [
        ((), "connected"),
        (("guest-exec", "guest-file-open"), "connected"),
        (("guest-get-users",), "restricted"),
        (("guest-info",), "restricted"),
    ],
    ids=str,
)
def test_the_status_is_the_guests_and_not_the_questions(block: tuple, status: str, subsets: tuple) -> None:
    part = _ask(FakeGuest("7.2", block), subsets)[0]
    assert part["status"] == status
    assert (status == "connected") or "configuration blocks" in part["reason"]


@pytest.mark.parametrize(
    ("os_info", "blocked", "status", "reason", "hint"),
    [
        ({"id": "mswindows"}, "guest-get-cpustats", "connected", "qemu-ga 7.2.22 cannot do guest-get-cpustats on Windows", ""),
        ({"id": "freebsd"}, "guest-get-fsinfo", "connected", "qemu-ga 7.2.22 cannot do guest-get-fsinfo on FreeBSD", ""),
        (
            {"kernel-version": "FreeBSD 14.2-RELEASE", "kernel-release": "14.2-RELEASE"},
            "guest-get-fsinfo",
            "connected",
            "qemu-ga 7.2.22 cannot do guest-get-fsinfo on FreeBSD",
            "",
        ),
        ({"id": "debian"}, "guest-get-fsinfo", "restricted", "the agent's configuration blocks guest-get-fsinfo", "block-rpcs"),
    ],
)
def test_what_a_system_cannot_do_is_no_configuration(os_info: dict, blocked: str, status: str, reason: str, hint: str) -> None:
    guest = FakeGuest("7.2", block=[blocked])
    guest.replies["guest-get-osinfo"] = os_info
    part = _ask(guest, ("cpu_stats", "filesystems"))[0]
    assert (part["status"], part["reason"]) == (status, reason)
    assert hint in part["hint"]
