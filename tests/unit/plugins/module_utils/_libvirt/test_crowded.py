# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An SSH server that turns logins away at random: libvirt's own client, and a program in ssh's place that says what ssh said."""

from __future__ import annotations

import time
import typing as t
from pathlib import Path

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._deadline import Deadline
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import crowded, hypervisor as _hypervisor, ssh_link
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Error, Hypervisor, install

RESET = "kex_exchange_identification: read: Connection reset by peer"
URI = "qemu+ssh://root@kvm1/system"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowded, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(crowded, "_LONGEST_PAUSE", 0.02)


def _asked(tmp_path: Path, says: str) -> int:
    """How often a server is asked that says so twice, and then does not know the user."""
    (tmp_path / "says").write_text(says.replace("\n", "\r\n") + "\r\n", newline="")
    program = tmp_path / "ssh"
    program.write_text(
        f"#!/bin/sh\ncd {tmp_path}\necho x >>asked\nif [ $(wc -l <asked) -gt 2 ]\nthen echo 'Permission denied (publickey).' >&2\n"
        "else cat says >&2\nfi\nsleep 0.05\nexit 255\n"
    )
    program.chmod(0o755)
    with pytest.raises(_errors.HypervisorUnreachable, match="cannot be reached"):
        _hypervisor.connect(f"qemu+ssh://root@kvm1/system?command={program}", 60)
    return len((tmp_path / "asked").read_text().split())


CROWDED = [
    RESET,
    f"{RESET}\nConnection reset by 192.0.2.10 port 22",
    "kex_exchange_identification: Connection closed by remote host\nConnection closed by 192.0.2.10 port 22",
    "ssh_exchange_identification: Connection closed by remote host",
    "banner exchange: Connection to 192.0.2.10 port 22: Broken pipe",
    "Not allowed at this time",
    f"a word of the client's own\n{RESET}",
]


@pytest.mark.parametrize("says", CROWDED)
def test_who_was_turned_away_asks_again(says: str, tmp_path: Path) -> None:
    assert _asked(tmp_path, says) == 3


@pytest.mark.parametrize(
    "says",
    [
        "root@kvm1: Permission denied (publickey).",
        "Host key verification failed.",
        "ssh: connect to host kvm1 port 22: Connection refused",
        "ssh: Could not resolve hostname kvm1: Name or service not known",
        "Connection timed out during banner",
    ],
)
def test_what_is_not_better_for_asking_again(says: str, tmp_path: Path) -> None:
    assert _asked(tmp_path, says) == 1


def _crowd(monkeypatch: pytest.MonkeyPatch, refusals: int, error: Exception) -> Hypervisor:
    hypervisor = Hypervisor()
    install(monkeypatch, system=hypervisor, default=hypervisor)
    hypervisor.raises = {f"open {number}": error for number in range(1, refusals + 1)}
    return hypervisor


@pytest.mark.parametrize("uri", [URI, "qemu+libssh2://kvm1/system", "qemu+libssh://kvm1/system", ""])
def test_in_the_end_it_is_let_in(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hypervisor = _crowd(monkeypatch, 3, Error(38, f"Cannot recv data: {RESET}: Connection reset by peer"))
    assert _hypervisor.connect(uri, 20).hostname() == "kvm1"
    assert hypervisor.opens == 4


@pytest.mark.parametrize("uri", ["qemu+tls://kvm1/system", "qemu:///system", "qemu+tcp://kvm1/system"])
def test_other_transports_know_no_crowd(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hypervisor = _crowd(monkeypatch, 1, Error(38, "Cannot write data: Broken pipe"))
    with pytest.raises(_errors.HypervisorUnreachable, match="Broken pipe"):
        _hypervisor.connect(uri, 20)
    assert hypervisor.opens == 1


def test_it_is_not_asked_after_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowded, "_LONGEST_PAUSE", 60.0)
    monkeypatch.setattr(crowded, "_FIRST_PAUSE", 0.3)
    hypervisor = _crowd(monkeypatch, 99, Error(38, f"Cannot recv data: {RESET}"))
    started = time.monotonic()
    with pytest.raises(_errors.HypervisorUnreachable, match="Connection reset"):
        _hypervisor.connect(URI, 60, deadline=Deadline(2))
    assert time.monotonic() - started < 30
    assert 1 < hypervisor.opens < 7


def test_pauses_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who were turned away at the same moment do not all come back at the same moment."""
    waited: list[list[float]] = []

    class Clock(FakeClock):
        def sleep(self, seconds: float) -> None:
            waited[-1].append(seconds)
            super().sleep(seconds)

    def turned_away(_seconds: float) -> t.NoReturn:
        error = _errors.HypervisorUnreachable("x")
        error.__cause__ = Error(38, RESET)
        raise error

    for _number in range(2):
        waited.append([])
        monkeypatch.setattr(crowded, "_PATIENCE", 0.5)
        with pytest.raises(_errors.HypervisorUnreachable):
            crowded.patiently(turned_away, URI, Deadline(20, Clock()))
    first, second = waited
    assert first != second
    assert all(0.005 <= pause <= 0.02 for pause in first + second)
    assert all(0.47 <= sum(pauses) <= 0.5 for pauses in waited)


@pytest.mark.parametrize(
    ("given", "default", "shared"),
    [
        (URI, "", URI),
        ("", URI, URI),
        ("qemu:///system", URI, ""),
        ("", "qemu:///system", ""),
        ("qemu+libssh2://kvm1/system", "", ""),
    ],
)
def test_who_shares_an_ssh_connection(given: str, default: str, shared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection that is made of one is like it."""
    hypervisor = Hypervisor()
    install(monkeypatch, system=hypervisor, default=hypervisor, kvm1=hypervisor)
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", default)
    asked: list[tuple[int, str]] = []

    def through(open_at: t.Callable[[str, float], t.Any], persist: int, uri: str, seconds: float) -> t.Any:
        asked.append((persist, uri))
        return open_at(uri, seconds)

    monkeypatch.setattr(ssh_link, "through", through)
    connection = _hypervisor.connect(given, 20, ssh_persist=7)
    connection.again().close()
    hypervisor.alive = False
    connection.renew(20)
    connection.close()
    assert asked == ([(7, shared)] * 3 if shared else [])
    assert connection.uri == (shared or given or samples.URI)
