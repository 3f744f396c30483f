# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Older versions of qemu-ga, and those of other systems, by tests/lab/agents.py: what is known of each, and what is said."""

from __future__ import annotations

import contextlib
import datetime
import typing as t

import pytest

pytest.importorskip(
    "libvirt",
    reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here, which the lab is made with",
)

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import system
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import shell
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt.domain_xml import parse
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import guest_facts as _facts
from ansible_collections.virtops.guest_agent.plugins.module_utils._reach import advice, diagnosis
from ansible_collections.virtops.guest_agent.plugins.module_utils._records import ask, record as _record
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.subsets import DEFAULTS, SUBSETS
from ansible_collections.virtops.guest_agent.plugins.plugin_utils._inventory import variables
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import ScriptedGuest
from tests.lab.agents import AGENTS
from tests.lab.hostile import Script

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


def scripted(name: str) -> ScriptedGuest:
    agent = AGENTS[name]
    return ScriptedGuest(Script(agent.table(), agent.numbers))


def asked(name: str, *subsets: str) -> tuple[t.Any, t.Any]:
    return ask.ask(scripted(name).agent(), subsets or DEFAULTS, {}, NOW)


#: Agent -> its status, the reason, and the subsets that are missing of the usual ones.
NOT_2_10 = "guest-get-osinfo, guest-get-host-name, guest-get-timezone, guest-get-users"
STATUSES = {
    "qemu-ga 2.5": ("restricted", f"qemu-ga 2.5.0 has no {NOT_2_10}", {"os", "hostname", "timezone", "users"}),
    "qemu-ga 2.11": ("connected", "", set()),
    "qemu-ga 2.12": ("connected", "", set()),
    "qemu-ga 3.1": ("connected", "", set()),
    "Windows, 7.2": ("connected", "", set()),
    "Windows, 10.0": ("connected", "", set()),
    "FreeBSD": ("connected", "qemu-ga 7.2.22 cannot do guest-get-fsinfo on FreeBSD", {"filesystems"}),
    "Talos": ("connected", "", set()),
    "NixOS": ("connected", "", set()),
}


def test_each_is_in_the_tables() -> None:
    assert set(STATUSES) == set(FACTS) == set(AGENTS)


@pytest.mark.parametrize("name", STATUSES)
def test_a_record_of_each(name: str) -> None:
    status, reason, missing = STATUSES[name]
    part, parts = asked(name)
    assert (part["status"], part["reason"], part["version"]) == (status, reason, AGENTS[name].version)
    assert set(DEFAULTS) - set(parts) == missing
    _record.build(samples.libvirt_part(), parse(samples.domain_xml()), part, parts)


@pytest.mark.parametrize("name", AGENTS)
def test_each_is_asked_whatever_there_is(name: str) -> None:
    """Nothing that these agents cannot do spoils what they can, or makes them look hostile."""
    part, parts = asked(name, *(subset for subset in SUBSETS if SUBSETS[subset].command != "guest-exec"))
    assert part["status"] == STATUSES[name][0]
    assert {"interfaces"} < set(parts)
    assert "hostile" not in part["hint"]
    if AGENTS[name].disabled:
        assert "configuration blocks" not in part["reason"]
        assert "cannot do" in part["reason"]


#: Agent -> distribution, its family, version, major version, the system, and the group of the inventory.
FACTS: dict[str, tuple[t.Any, ...] | None] = {
    "qemu-ga 2.5": None,
    "qemu-ga 2.11": ("Ubuntu", "Debian", "18.04", "18", "Linux", "os_ubuntu"),
    "qemu-ga 2.12": ("CentOS", "RedHat", "7", "7", "Linux", "os_centos"),
    "qemu-ga 3.1": ("Debian", "Debian", "10", "10", "Linux", "os_debian"),
    "Windows, 7.2": ("Microsoft Windows Server 2022 Standard", "Windows", "10.0.20348.0", "10", "Win32NT", "os_mswindows"),
    "Windows, 10.0": ("Microsoft Windows Server 2022 Standard", "Windows", "10.0.20348.0", "10", "Win32NT", "os_mswindows"),
    "FreeBSD": ("FreeBSD", "FreeBSD", "13.1", "13", "FreeBSD", "os_freebsd"),
    "Talos": ("Talos", "Talos", "NA", "NA", "Linux", "os_talos"),
    "NixOS": ("NixOS", "NixOS", "25.05", "25", "Linux", "os_nixos"),
}


@pytest.mark.parametrize("name", [name for name in FACTS if FACTS[name]])
def test_facts_of_each(name: str) -> None:
    part, parts = asked(name)
    facts = _facts.os_facts(parts["os"], {})
    found = [facts[key] for key in ("distribution", "os_family", "distribution_version", "distribution_major_version", "system")]
    record = samples.record(os=parts["os"], agent=part)
    assert (*found, *variables.group_names(record, ["os"])) == FACTS[name]


@pytest.mark.parametrize("name", AGENTS)
def test_the_connection_that_each_host_gets(name: str) -> None:
    part, parts = asked(name)
    record = samples.record(agent=part, **({"os": parts["os"]} if "os" in parts else {}))
    by_agent = AGENTS[name].runs != "windows"
    assert ("ansible_connection" in variables.connection_vars(record, [], "auto")) is by_agent
    assert "ansible_connection" in variables.connection_vars(record, [], "agent")


@pytest.mark.parametrize("name", [name for name in AGENTS if AGENTS[name].runs == "posix"])
def test_a_command_in_each(name: str) -> None:
    result = shell.execute(scripted(name).agent(), shell.Command(("sh", "-c", "echo hello; exit 3")), 20)
    assert (result.rc, result.stdout) == (3, b"hello\n")


@pytest.mark.parametrize("name", [name for name in AGENTS if AGENTS[name].runs != "posix"])
def test_no_command_where_there_is_no_shell(name: str) -> None:
    guest = scripted(name)
    with pytest.raises(_errors.CommandFailed, match=r"No such file or directory|no "):
        shell.execute(guest.agent(), shell.Command(("echo", "hello")), 20)
    assert guest.sent[0] == "guest-exec"


@pytest.mark.parametrize(
    ("name", "command", "kind", "words"),
    [
        ("Windows, 7.2", "guest-set-vcpus", "command_unknown", "qemu-ga 7.2.22 cannot do guest-set-vcpus on Windows"),
        ("Windows, 10.0", "guest-set-vcpus", "command_unknown", "qemu-ga 10.0.13 cannot do guest-set-vcpus on Windows"),
        ("Windows, 10.0", "guest-get-load", "command_unknown", "qemu-ga 10.0.13 has no guest-get-load"),
        ("FreeBSD", "guest-fstrim", "command_unknown", "qemu-ga 7.2.22 cannot do guest-fstrim on FreeBSD"),
        ("qemu-ga 2.5", "guest-get-osinfo", "command_unknown", "qemu-ga 2.5.0 has no guest-get-osinfo"),
        ("Talos", "guest-get-devices", "command_unknown", "qemu-ga 9.2.0 cannot do guest-get-devices on Linux"),
    ],
)
@pytest.mark.parametrize("knows", [False, True], ids=["unasked", "after guest-info"])
def test_what_is_said_of_a_command_that_it_does_not_accept(name: str, command: str, kind: str, words: str, knows: bool) -> None:
    agent = scripted(name).agent()
    if knows:
        agent.capabilities()
    with pytest.raises(_errors.CommandRefused) as refused:
        agent.call(command)
    error = diagnosis.explain(agent, refused.value, ())
    assert (error.kind, error.detail) == (kind, words)
    assert error.hint
    assert "block-rpcs" not in error.hint


@pytest.mark.parametrize(
    ("system_word", "version", "is_impossible"),
    [
        ("FreeBSD", "6.2.0", True),
        ("FreeBSD", "7.2.22", False),
        ("FreeBSD", "10.0.13", False),
        ("OpenBSD", "10.0.13", True),
        ("", "", False),
    ],
)
def test_freezing_a_bsd(system_word: str, version: str, is_impossible: bool) -> None:
    assert advice.impossible(system_word, "guest-fsfreeze-freeze", version) is is_impossible


@pytest.mark.parametrize(
    ("os_info", "expected"),
    [
        ({"kernel-version": "OpenBSD 7.7 GENERIC", "kernel-release": "7.7"}, ("openbsd", "OpenBSD", "7.7", "OpenBSD")),
        ({"kernel-version": "FreeBSD", "kernel-release": "?"}, ("freebsd", "FreeBSD", None, "FreeBSD")),
        ({"kernel-version": "#1 SMP", "kernel-release": "6.1.0"}, (None, None, None, "Linux")),
        ({"kernel-version": "#1 SMP", "kernel-release": "6.12.1-talos"}, ("talos", "Talos", None, "Linux")),
        ({"id": "openwrt", "name": "OpenWrt", "version-id": "24.10"}, ("openwrt", "OpenWrt", "24.10", "Linux")),
        ({"id": "debian", "kernel-version": "FreeBSD 13"}, ("debian", None, None, "FreeBSD")),
        ({"id": "ghostbsd", "kernel-version": "FreeBSD 14.1"}, ("ghostbsd", None, None, "FreeBSD")),
        ({}, (None, None, None, "")),
    ],
)
def test_systems_that_have_no_os_release(os_info: dict[str, str], expected: tuple[t.Any, ...]) -> None:
    agent = ScriptedGuest(Script({"guest-get-osinfo": os_info})).agent()
    found = system.os_info(agent)
    assert (found["id"], found["name"], found["version_id"], system.system(found)) == expected


def test_nothing_of_these_programs_is_left_running() -> None:
    guest = scripted("NixOS")
    agent = guest.agent()
    pid = agent.call("guest-exec", {"path": "true", "capture-output": True})["pid"]
    with contextlib.suppress(_errors.CommandFailed):
        while not agent.call("guest-exec-status", {"pid": pid})["exited"]:
            pass
    with pytest.raises(_errors.CommandFailed, match="Invalid parameter 'pid'"):
        agent.call("guest-exec-status", {"pid": pid})
