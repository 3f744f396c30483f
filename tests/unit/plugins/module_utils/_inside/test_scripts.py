# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own scripts where the guest refuses them. With a real agent they are run by all tests of commands and files."""

from __future__ import annotations

import io
import secrets
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._deadline import Deadline
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import exec as exec_, login_shell, report, scripts, shell
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.lanes import AgentLane, ignore
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest

TRUE = shell.Command(("/bin/true",))


def test_a_guest_that_starts_nothing_is_asked_once() -> None:
    """It is not for lack of setsid."""
    guest = FakeGuest()
    guest.raises["guest-exec"] = _errors.CommandFailed("Failed to fork (Resource temporarily unavailable)")
    with pytest.raises(_errors.CommandFailed, match="Failed to fork"):
        scripts.start(guest.agent(), "echo")
    assert guest.sent == ["guest-exec"]


def test_where_the_agent_itself_has_no_room_no_other_place_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, nonce, written = FakeGuest().agent(), secrets.token_hex(16), []
    place = f"/var/tmp/.virtops-{nonce}.i\n".encode()
    monkeypatch.setattr(scripts, "run", lambda _agent, _script: exec_.ExecResult(0, None, place, b""))

    class Lane:
        def write(self, path: str, *_more: object) -> None:
            written.append(path)
            raise _errors.NoSpace("no space", command="guest-file-open" if len(written) == 1 else "guest-file-write")

    with pytest.raises(_errors.NoSpace):
        scripts.stored(agent, t.cast("t.Any", Lane()), nonce, io.BytesIO(b"x"), 1, ignore)
    assert len(written) == 1


def test_an_agent_that_is_silent_already_costs_nothing_more() -> None:
    guest, clock = FakeGuest(), FakeClock()
    guest.silent = {"guest-get-time"}
    agent = guest.agent()
    with pytest.raises(_errors.UnknownOutcome) as silent:
        agent.call("guest-get-time")
    sent = len(guest.sent)
    with pytest.raises(_errors.UnknownOutcome) as caught:
        shell.execute(agent, TRUE, clock=clock)
    assert caught.value is silent.value
    assert (len(guest.sent), clock.slept) == (sent, [])


def test_input_that_had_no_room_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    run = shell._Run(FakeGuest().agent(), TRUE, None, 60.0, FakeClock())
    run._feeder = 7
    said = f"{run.nonce} refused space /var/tmp:full\n".encode()
    monkeypatch.setattr(exec_, "status", lambda _agent, _pid, _mark: exec_.ExecResult(0, None, said, b""))
    monkeypatch.setattr(shell._Run, "_look", lambda _run, _deadline: exec_.ExecResult(0, None, b"", b""))
    with pytest.raises(_errors.NoSpace, match="/var/tmp"):
        run.wait(Deadline(5.0, run.clock), 0.0, 0.02)


def test_a_file_cannot_have_become_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = FakeGuest(programs=lambda _argv: None).agent()
    run = shell._Run(agent, TRUE, None, 60.0, FakeClock())
    monkeypatch.setattr(shell, "_sizes", lambda _agent, _run: (10, 0))
    files = report.Files(f"/var/tmp/.virtops-{run.nonce}", True, True)
    result = shell.Result(0, None, b"x" * login_shell.INLINE_OUTPUT, b"")
    with pytest.raises(_errors.ProtocolError, match="the output of a command"):
        shell._delivered(agent, AgentLane(agent), run, files, result, None)
