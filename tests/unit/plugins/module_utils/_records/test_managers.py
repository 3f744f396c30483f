# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Package and service managers from the few files that are looked for."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._records import managers
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest, Program

INIT = "/proc/1/comm"


def told(guest: FakeGuest, family: str = "Debian", system: str = "Linux", **facts: t.Any) -> dict[str, str]:
    return managers.facts(guest.agent(), {"os_family": family, "system": system, **facts})


@pytest.mark.parametrize(
    ("files", "family", "facts", "expected"),
    [
        pytest.param([], "Debian", {}, "apt", id="always-there"),
        pytest.param(["/usr/bin/dnf"], "RedHat", {"distribution": "Rocky", "distribution_major_version": "9"}, "dnf", id="el"),
        pytest.param(["/usr/bin/dnf"], "RedHat", {"distribution": "Fedora", "distribution_major_version": "40"}, "dnf", id="f40"),
        pytest.param(["/usr/bin/dnf"], "RedHat", {"distribution": "Fedora", "distribution_major_version": "41"}, "dnf5", id="f41"),
        pytest.param(["/usr/bin/dnf"], "RedHat", {"distribution": "Fedora", "distribution_major_version": "NA"}, "dnf", id="odd"),
        pytest.param(["/run/ostree-booted", "/usr/bin/dnf"], "RedHat", {}, "atomic_container", id="ostree"),
        pytest.param([], "RedHat", {}, "unknown", id="none-of-them"),
        pytest.param(["/sbin/apk"], "Alpine", {}, "apk", id="alpine"),
        pytest.param(["/usr/sbin/pkg"], "FreeBSD", {}, "pkgng", id="the-second"),
        pytest.param([], "Plan9", {}, None, id="unknown-family"),
    ],
)
def test_packages(files: list[str], family: str, facts: dict[str, str], expected: str | None) -> None:
    guest = FakeGuest(files={INIT: b"systemd\n", **dict.fromkeys(files, b"")})
    assert told(guest, family, **facts).get("pkg_mgr") == expected
    assert guest.open_handles == 0


@pytest.mark.parametrize(
    ("init", "files", "expected"),
    [
        ("systemd", [], "systemd"),
        ("runit-init", [], "runit"),
        ("s6-svscan", [], "s6-svscan"),
        ("init", ["/run/systemd/system", "/sbin/openrc"], "systemd"),
        ("init", ["/sbin/openrc", "/etc/init.d"], "openrc"),
        ("init", ["/etc/init.d"], "sysvinit"),
        ("bash", ["/etc/dinit.d"], "dinit"),
        ("init", [], "service"),
    ],
)
def test_services(init: str, files: list[str], expected: str) -> None:
    guest = FakeGuest(files={INIT: f"{init}\n".encode(), **dict.fromkeys(files, b"")})
    assert told(guest)["service_mgr"] == expected


def test_what_is_no_linux_is_not_looked_at() -> None:
    guest = FakeGuest()
    assert told(guest, "Unix", "OpenBSD") == {"service_mgr": "bsdinit"}
    assert told(guest, "Windows", "Win32NT") == {}
    assert not [command for command in guest.sent if command.startswith("guest-file")]


def test_an_agent_that_neither_opens_nor_executes_tells_nothing() -> None:
    guest = FakeGuest(block=["guest-exec", "guest-file-open"])
    assert told(guest, "RedHat") == {}


def test_where_opening_is_refused_programs_are_run() -> None:
    there = {("cat", "--", INIT): b"init\n", ("test", "-e", "/sbin/openrc"): b"", ("test", "-e", "/sbin/apk"): b""}

    def programs(argv: tuple[str, ...]) -> Program:
        printed = there.get(argv[5:])  # behind what bounds it
        return Program(0, printed or b"", err=b"1" if printed is None else b"0")

    guest = FakeGuest(block=["guest-file-open"], programs=programs)
    assert told(guest, "Alpine") == {"pkg_mgr": "apk", "service_mgr": "openrc"}


def test_an_agent_that_goes_away_tells_no_more() -> None:
    guest = FakeGuest()
    guest.raises["guest-file-open"] = _errors.AgentTimeout("it is silent")
    assert told(guest, "Alpine") == {}
    assert guest.sent.count("guest-file-open") == 1
