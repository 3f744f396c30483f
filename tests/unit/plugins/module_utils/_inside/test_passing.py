# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Troubles that pass: how long a question is asked again, and what becomes of a command while its agent cannot be asked."""

from __future__ import annotations

import concurrent.futures
import contextlib
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._deadline import Deadline
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import login_shell, passing, shell, spool
from ansible_collections.virtops.guest_agent.tests.unit import real_agent
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import Message, Watched

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

TOLD = [_errors.GuestFrozen("frozen"), _errors.DomainNotRunning("the domain is paused")]
SILENT = [
    _errors.AgentTimeout("silent"),
    _errors.StillInFlight("silent"),
    _errors.AgentBusy("held"),
    _errors.AgentDisconnected("nobody listens"),
    _errors.AgentDisappeared("gone"),
    _errors.AgentBroken("given up"),
    _errors.ConnectionLost("lost"),
    _errors.HypervisorUnreachable("down"),
    _errors.LibvirtFailure("libvirt says: a lock"),
    _errors.PermissionDenied("libvirt refuses this to this user"),
]
ODD = [_errors.CommandBlocked("blocked"), _errors.ProtocolError("another id")]


class Way(FakeGuest):
    """What each attempt to find another way meets; None where there is one."""

    def __init__(self, *meets: Exception | None) -> None:
        super().__init__()
        self.meets = list(meets)
        self.renewed = 0

    def renew(self, seconds: float) -> None:
        self.renewed += 1
        error = self.meets.pop(0) if self.meets else None
        if error is not None:
            raise error


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def ask(way: Way, clock: FakeClock, *meets: Exception, deadline: float = 86400, patience: float = 600) -> str:
    """How it ends where the question meets these troubles before it is answered."""
    left = iter(meets)

    def question() -> str:
        for error in left:
            raise error
        return "answered"

    return passing.through(GuestAgent(way), question, Deadline(deadline, clock), patience, clock)


@pytest.mark.parametrize("error", [*TOLD, *SILENT, *ODD], ids=lambda error: type(error).__name__)
def test_it_passes(clock: FakeClock, error: Exception) -> None:
    way = Way()
    assert ask(way, clock, error, error) == "answered"
    assert way.renewed == 2
    assert 1 <= sum(clock.slept) <= 2


@pytest.mark.parametrize("error", TOLD, ids=lambda error: type(error).__name__)
def test_what_is_known_to_end_is_waited_for_until_the_deadline(clock: FakeClock, error: Exception) -> None:
    assert ask(Way(), clock, *[error] * 5000) == "answered"
    with pytest.raises(type(error)):
        ask(Way(), clock, *[error] * 20_000)
    assert sum(clock.slept) >= 86400


@pytest.mark.parametrize("error", SILENT, ids=lambda error: type(error).__name__)
def test_silence_is_waited_for_with_patience(clock: FakeClock, error: Exception) -> None:
    with pytest.raises(type(error)):
        ask(Way(), clock, *[error] * 20_000)
    assert 600 <= sum(clock.slept) <= 606


def test_a_deadline_ends_patience(clock: FakeClock) -> None:
    with pytest.raises(_errors.AgentTimeout):
        ask(Way(), clock, *[SILENT[0]] * 100, deadline=15)
    assert 15 <= sum(clock.slept) < 15.01


def test_patience_begins_anew_after_what_is_known(clock: FakeClock) -> None:
    assert ask(Way(), clock, *[SILENT[0]] * 100, TOLD[0], *[SILENT[0]] * 100) == "answered"
    assert sum(clock.slept) > 900


def test_no_way_yet_is_silence(clock: FakeClock) -> None:
    way = Way(*[_errors.HypervisorUnreachable("down")] * 3)
    assert ask(way, clock, _errors.ConnectionLost("lost")) == "answered"
    assert way.renewed == 4


@pytest.mark.parametrize("end", [_errors.DomainOff("the domain is shutoff"), _errors.DomainNotFound("gone")], ids=str)
def test_a_domain_that_is_off_is_not_waited_for(clock: FakeClock, end: _errors.GuestAgentError) -> None:
    with pytest.raises(type(end)):
        ask(Way(None, end), clock, *[SILENT[3]] * 100)
    assert sum(clock.slept) < 3


@pytest.mark.parametrize(
    "error", [_errors.CommandFailed("no such pid"), _errors.InvalidInput("no"), KeyboardInterrupt(), SystemExit(143)], ids=repr
)
def test_what_does_not_pass_is_told_at_once(clock: FakeClock, error: t.Any) -> None:
    with pytest.raises(type(error)):
        ask(Way(), clock, error)
    assert sum(clock.slept) == 0


@pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)
def test_an_agent_that_gives_nothing_but_nonsense_or_refusals_is_given_up(clock: FakeClock, error: Exception) -> None:
    with pytest.raises(type(error)):
        ask(Way(), clock, *[error] * 100)
    assert sum(clock.slept) < 3


# With a real agent, and what it runs.


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "_FIRST", 0.02)


@pytest.fixture
def keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every command had taken long."""
    assert "-lt 5 ]" in login_shell._REPORT
    monkeypatch.setattr(login_shell, "_REPORT", login_shell._REPORT.replace("-lt 5 ]", "-lt 0 ]"))


def sh(guest: Watched, text: str, timeout: float = 30, **options: t.Any) -> shell.Result:
    return shell.execute(guest.agent(), shell.Command(("/bin/sh", "-c", text), **options), timeout)


def lost_end(_arguments: Message, ask: t.Callable[[], Message]) -> Message:
    """The agent tells the end, and its answer gets lost."""
    while not ask()["return"]["exited"]:
        time.sleep(0.01)
    raise _errors.AgentTimeout("silent")


NO_SUCH_PID = real_agent.refusing("PID 1234 does not exist")
#: goes on, and says whether it was ended
WORKS = "trap 'echo ended; exit 9' TERM; echo begun; sleep 0.4; echo done; exit 7"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("exact", [True, False], ids=["exact", "surrounded"])
@pytest.mark.parametrize("error", [*TOLD, *SILENT], ids=lambda error: type(error).__name__)
def test_a_command_goes_on(guest: Watched, error: _errors.GuestAgentError, exact: bool) -> None:
    guest.faults["guest-exec-status"] = [None, *[real_agent.raising(error)] * 3]
    assert sh(guest, WORKS, tells_signals=exact)[:3] == (7, None, b"begun\ndone\n")
    assert guest.count("guest-exec") == 1


@pytest.mark.usefixtures("impatient", "keeping")
@pytest.mark.parametrize("exact", [True, False], ids=["exact", "surrounded"])
@pytest.mark.parametrize("user", ["root", "nobody"])
def test_what_the_agent_has_forgotten_is_found(guest: Watched, user: str, exact: bool) -> None:
    guest.faults["guest-exec-status"] = [None, NO_SUCH_PID, NO_SUCH_PID]
    found = sh(guest, f"echo to stderr >&2; {WORKS}", user=user, tells_signals=exact)
    assert found[:4] == (7, None, b"begun\ndone\n", b"to stderr\n")


@pytest.mark.usefixtures("impatient", "keeping")
def test_what_the_agent_has_forgotten_is_found_before_it_has_begun(guest: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a guest with more to do than it can: the shell is there, and its files are not yet."""
    monkeypatch.setattr(login_shell, "_TOOLS", f"\nsleep 0.5{login_shell._TOOLS}")
    guest.faults["guest-exec-status"] = [NO_SUCH_PID]
    assert sh(guest, WORKS)[:3] == (7, None, b"begun\ndone\n")


@pytest.mark.usefixtures("impatient", "keeping")
def test_a_lost_answer_is_found(guest: Watched) -> None:
    guest.faults["guest-exec-status"] = [lost_end]
    data = b"x" * (login_shell.INLINE_OUTPUT + 10)
    found = sh(guest, f"head -c {len(data)} /dev/zero | tr '\\0' x; exit 3", stdin=b"y")
    assert (found.rc, found.stdout) == (3, data)


@pytest.mark.usefixtures("impatient")
def test_patience_holds_for_the_rest_of_the_output_too(loose_guest: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_shell, "sizes", lambda _nonce: "exec sleep 31")

    def silent(arguments: Message, ask: t.Callable[[], Message]) -> Message:
        if any("sleep 31" in text for text in arguments["env"]):
            raise _errors.AgentTimeout("silent")
        return ask()

    loose_guest.faults["guest-exec"] = [silent] * 50
    command = shell.Command(("/bin/sh", "-c", f"head -c {2 * login_shell.INLINE_OUTPUT} /dev/zero"))
    began = time.monotonic()
    with pytest.raises(_errors.AgentTimeout):
        shell.execute(loose_guest.agent(), command, 30, patience=0.3)
    assert time.monotonic() - began < 15


@pytest.mark.usefixtures("keeping")
def test_what_is_kept_is_removed_by_its_reader(guest: Watched) -> None:
    assert sh(guest, "echo x").stdout == b"x\n"
    guest.assert_nothing_left(0.5)


@pytest.mark.usefixtures("impatient", "keeping")
def test_a_lost_answer_to_the_start(guest: Watched) -> None:
    guest.faults["guest-exec"] = [real_agent.lost]
    assert sh(guest, WORKS)[:3] == (7, None, b"begun\ndone\n")
    assert guest.count("guest-exec") >= 2


@pytest.mark.usefixtures("impatient", "keeping")
@pytest.mark.parametrize("before", ['[ ! -s "$t.o" ]', "printf ", '[ ! -s "$t.e" ]'], ids=["output", "report", "errors"])
def test_output_that_goes_while_it_is_read_is_not_taken_for_none(
    guest: Watched, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """What removes the files of a quick command may be at it just then; what says how it ended goes first."""
    plain = login_shell.await_end

    def racing(process: int, nonce: str, age: int) -> str:
        text = plain(process, nonce, age)
        at = text.index(before, text.index('[ "$y" = ended ] || lost'))
        return f'{text[:at]}rm -f "$t.r" "$t.o" "$t.e"; {text[at:]}'

    monkeypatch.setattr(login_shell, "await_end", racing)
    guest.faults["guest-exec"] = [real_agent.lost]
    with pytest.raises(_errors.AgentTimeout):
        sh(guest, "echo out; echo err >&2")


def test_what_says_how_it_ended_is_removed_first(tmp_path: Path) -> None:
    tool = tmp_path / "rm"
    tool.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/removed\n')
    tool.chmod(0o755)
    script = f"PATH={tmp_path} t=/there j= k=; size() {{ y=0; }}\n{login_shell._TIDY}\nwait"
    subprocess.run(["/bin/sh", "-c", script], check=True)
    assert (tmp_path / "removed").read_text().split()[:2] == ["-f", "/there.r"]


@pytest.mark.usefixtures("impatient")
def test_a_start_that_was_lost_is_not_sent_again(guest: Watched) -> None:
    guest.faults["guest-exec"] = [real_agent.unheard]
    with pytest.raises(_errors.AgentTimeout):
        sh(guest, WORKS)
    assert sum("began %-58s" in str(arguments) for _command, arguments in guest.sent) == 1


@pytest.mark.usefixtures("impatient")
def test_the_deadline_ends_what_was_started_unheard(loose_guest: Watched) -> None:
    loose_guest.faults["guest-exec"] = [real_agent.lost]
    with pytest.raises(shell.CommandTimeout):
        sh(loose_guest, "sleep 31", timeout=1)
    loose_guest.assert_nothing_left()
    real_agent.wait_until(lambda: not loose_guest.running(), 30, loose_guest.running)


@pytest.mark.usefixtures("impatient")
def test_a_start_that_was_lost_is_found_while_its_files_are_made(guest: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that takes long to fill a file: the first is there, and what says whose it is is not."""
    fill = spool._fill
    monkeypatch.setattr(spool, "_fill", lambda count: f"sleep 1; {fill(count)}")
    guest.faults["guest-exec"] = [real_agent.lost]
    with pytest.raises(shell.CommandTimeout):
        sh(guest, "sleep 31", timeout=4)


@pytest.mark.usefixtures("impatient")
def test_a_result_that_is_gone_is_an_unknown_outcome(guest: Watched) -> None:
    guest.faults["guest-exec-status"] = [lost_end]
    with pytest.raises(_errors.AgentDisappeared, match="how it ended is unknown"):
        sh(guest, "exit 5")


def test_patience_that_ends_kills_nothing(loose_guest: Watched, place: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "_FIRST", 0.02)
    loose_guest.faults["guest-exec-status"] = [None, *[real_agent.raising(_errors.AgentTimeout("silent"))] * 100]
    command = shell.Command(("/bin/sh", "-c", f"sleep 0.6; echo whole >{place}/result"))
    with pytest.raises(_errors.AgentTimeout):
        shell.execute(loose_guest.agent(), command, 30, patience=0.1)
    real_agent.wait_until((place / "result").exists, 30, lambda: "no result")
    assert loose_guest.count("guest-exec") == 1


@pytest.mark.usefixtures("impatient")
def test_the_deadline_ends_it_though_the_guest_is_frozen_just_then(loose_guest: Watched) -> None:
    loose_guest.faults["guest-exec"] = [None, *[real_agent.raising(_errors.GuestFrozen("frozen"))] * 3]
    with pytest.raises(shell.CommandTimeout):
        sh(loose_guest, "sleep 31", timeout=0.3)
    real_agent.wait_until(lambda: not loose_guest.running(), 30, loose_guest.running)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("exact", [True, False], ids=["exact", "surrounded"])
def test_an_agent_that_is_killed_and_started_again(real_socket: Path, tmp_path: Path, exact: bool) -> None:
    """Its pipes are broken when the command ends, which by then may have printed more than an answer holds."""
    del real_socket  # skips where no agent can run
    begun = tmp_path / "begun"
    text = f": >{begun}; sleep 1.5; head -c 200000 /dev/zero | tr '\\0' x; echo warned >&2; exit 7"
    command = shell.Command(("/bin/sh", "-c", text), stdin=b"x", tells_signals=exact)
    with concurrent.futures.ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as until_the_end:
        with real_agent.listening(tmp_path) as path:
            guest = until_the_end.enter_context(real_agent.watched(path))
            running = pool.submit(shell.execute, guest.agent(), command, 30)
            real_agent.wait_until(begun.exists, 10, lambda: "not begun")
        with real_agent.listening(tmp_path):
            found = running.result()
            guest.assert_nothing_left()
    assert found[:4] == (7, None, b"x" * 200000, b"warned\n")


def test_what_was_refused_is_not_cleaned_up() -> None:
    guest = FakeGuest()
    guest.frozen = True
    with pytest.raises(_errors.GuestFrozen):
        shell.execute(guest.agent(), shell.Command(("/bin/true",)))
    assert guest.sent == ["guest-exec", "guest-fsfreeze-status"]


@pytest.mark.parametrize("answered", [True, False])
def test_an_agent_that_was_not_asked_whether_it_is_there_costs_little(clock: FakeClock, answered: bool) -> None:
    """What a silent one is sent first may yet run, so it is asked for as long as another answer would be waited for."""
    guest = FakeGuest()
    agent = guest.agent(5)
    if answered:
        agent.call("guest-ping")
    guest.silent |= {"guest-exec", "guest-exec-status"}
    with pytest.raises(_errors.AgentTimeout):
        shell.execute(agent, shell.Command(("/bin/true",)), patience=600, clock=clock)
    assert (sum(clock.slept) > 500) is answered
    assert answered or sum(clock.slept) < 15


def test_a_state_that_is_never_had_is_waited_for_until_the_deadline(clock: FakeClock) -> None:
    class Away:
        asked = 0

        def state(self) -> str:
            self.asked += 1
            assert self.asked < 100, "it is asked without end"
            raise _errors.HypervisorUnreachable("no route")

        def renew(self, _seconds: float) -> None:
            raise _errors.HypervisorUnreachable("no route")

    with pytest.raises(_errors.HypervisorUnreachable, match="no route"):
        passing.state(t.cast(t.Any, Away()), Deadline(5, clock))
    assert 4 < sum(clock.slept) < 7
