# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One guest of one task, from the task's options, over libvirt and a guest in memory."""

from __future__ import annotations

import math
import os
import signal
import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import data_lane
from ansible_collections.virtops.guest_agent.plugins.module_utils._reach.advice import EXEC, FILES
from ansible_collections.virtops.guest_agent.plugins.module_utils._reach.guest import MOMENT, open_guest
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Hypervisor, install, let_go
from ansible_collections.virtops.guest_agent.tests.unit.fakes.windows import FakeWindows

PARAMS = {"domain": "web", "uri": samples.URI, "agent_timeout": 5}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Hypervisor]:
    hypervisor = Hypervisor(Domain(guest=FakeGuest()))
    install(monkeypatch, default=hypervisor)
    yield hypervisor
    assert all(handle.closed for handle in hypervisor.handles)
    let_go(hypervisor)


@pytest.fixture
def guest(host: Hypervisor) -> FakeGuest:
    assert host.domains[0].guest
    return host.domains[0].guest


def test_what_is_refused_is_found_out_before_anything_is_begun(guest: FakeGuest) -> None:
    guest.blocked |= {"guest-exec", "guest-file-open"}
    with pytest.raises(_errors.CommandBlocked) as caught, open_guest(PARAMS, (*EXEC, *FILES)):
        raise AssertionError("it was opened")
    assert caught.value.detail == "the agent's configuration blocks guest-exec, guest-file-open"
    assert "guest-exec" not in guest.sent


def test_commands_for_files_have_substitutes(guest: FakeGuest) -> None:
    guest.blocked.add("guest-file-open")
    with open_guest(PARAMS, (*EXEC, *FILES)) as opened:
        assert (opened.lane.name, opened.domain.name) == ("agent", "web")


@pytest.mark.parametrize(("guest_type", "attached"), [(FakeGuest, True), (FakeWindows, False)], ids=["Linux", "Windows"])
def test_a_windows_guest_gets_no_port(
    host: Hypervisor, guest_type: type[FakeGuest], attached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(data_lane, "attach", lambda domain: asked.append(domain.name))
    host.domains[0].guest = guest_type()
    with open_guest({**PARAMS, "data_lane": "attach"}, EXEC) as opened:
        assert opened.lane.name == ("data" if attached else "agent")
    assert asked == (["web"] if attached else [])


def test_an_agent_that_no_command_is_needed_of_is_not_asked(host: Hypervisor, guest: FakeGuest) -> None:
    host.domains[0].current = 5
    with open_guest(PARAMS) as opened:
        assert guest.sent == []
        with pytest.raises(_errors.DomainNotRunning, match="web"):
            opened.require_agent()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_task_that_is_told_to_end_cleans_up(guest: FakeGuest, number: signal.Signals) -> None:
    before, cleaned_up = signal.getsignal(number), []

    def task() -> None:
        with open_guest(PARAMS):
            try:
                os.kill(os.getpid(), number)
                signal.pause()
            finally:
                cleaned_up.append(True)

    with pytest.raises(SystemExit) as caught:
        task()
    assert (caught.value.code, cleaned_up, signal.getsignal(number)) == (128 + number, [True], before)


@pytest.mark.parametrize(
    ("heard", "asked"), [(math.inf, ["guest-info"]), (MOMENT + 1, ["guest-ping"]), (MOMENT, []), (0.0, [])], ids=str
)
def test_an_agent_that_was_heard_is_asked_less(guest: FakeGuest, heard: float, asked: list[str]) -> None:
    with open_guest(PARAMS, EXEC, heard=heard):
        assert guest.sent == asked


def test_that_the_domain_runs_is_asked_always(host: Hypervisor, guest: FakeGuest) -> None:
    host.domains[0].current = 5
    with pytest.raises(_errors.DomainNotRunning), open_guest(PARAMS, EXEC, heard=0.0):
        raise AssertionError("it was opened")
    assert guest.sent == []


def test_one_that_was_heard_and_refuses_now_says_all_there_is_to_say(guest: FakeGuest) -> None:
    guest.blocked |= {"guest-exec", "guest-file-open"}
    with pytest.raises(_errors.CommandBlocked) as caught, open_guest(PARAMS, (*EXEC, *FILES), heard=0.0) as opened:
        opened.agent.call("guest-exec", {"path": "/bin/true"})
    assert caught.value.detail == "the agent's configuration blocks guest-exec, guest-file-open"
