# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends of programs, by the agent. What one process learns of a guest's pace, the next one expects; nothing that is found in its
place does harm.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import subprocess
import tempfile
import types
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._deadline import Deadline
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import (
    exec as exec_,
    scripts,
    shell,
    spool,
)
from ansible_collections.virtops.guest_agent.plugins.plugin_utils._connection.pace import Pace
from ansible_collections.virtops.guest_agent.tests.unit import real_agent
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest, Program
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import Fault, Message, Watched


def pace(directory: Path, guest: str = "web1", kind: str = "command") -> Pace:
    return Pace(guest, kind, str(directory))


def test_nothing_is_expected_of_a_stranger(tmp_path: Path) -> None:
    assert pace(tmp_path).expected() == 0.0
    assert pace(tmp_path / "none").expected() == 0.0


def test_the_fastest_of_the_last_three_counts(tmp_path: Path) -> None:
    for seconds in (0.1, 0.5, 0.4, 0.6):
        pace(tmp_path).learn(seconds)
    assert pace(tmp_path).expected() == pytest.approx(0.4, rel=0.1)


@pytest.mark.parametrize("first", [0.02, 0.4])
@pytest.mark.parametrize("expected", [0.0, 0.01, 0.3, 2.0, 17.0, 60.0, 3600.0])
def test_no_pause_is_longer_than_the_command_has_run(expected: float, first: float) -> None:
    pauses = list(itertools.islice(exec_.pauses(expected, first), 100))
    asked = list(itertools.accumulate(pauses))
    assert pauses[0] == (max(0.02, min(expected, 0.2)) if expected else first)
    assert all(0 < pause <= min(1.25, ran) for pause, ran in zip(pauses[1:], asked))


@pytest.mark.parametrize("first", [0.02, 0.4])
def test_the_first_question_is_not_at_the_start(first: float) -> None:
    clock, asked = FakeClock(), []
    guest = FakeGuest(programs=lambda argv: Program())
    guest.after["guest-exec-status"] = lambda: asked.append(sum(clock.slept))
    agent = guest.agent()
    exec_.wait(agent, exec_.start(agent, ["/bin/true"]), Deadline(9, clock), first=first)
    with pytest.raises(_errors.CommandFailed, match="shell that starts commands failed"):
        shell.execute(agent, shell.Command(("true",)), first=first, clock=clock)
    # Twice each, for nothing that was printed says whose end it is.
    assert asked == [first, first, 2 * first, 2 * first]


def test_the_last_question_is_at_the_deadline() -> None:
    clock = FakeClock()
    guest = FakeGuest(programs=lambda argv: Program(polls=1000))
    agent = guest.agent()
    pid = exec_.start(agent, ["/bin/true"])
    deadline = Deadline(9, clock)
    assert exec_.wait(agent, pid, deadline) is None
    assert sum(clock.slept) == pytest.approx(9)


@pytest.mark.parametrize("expected", [0.05, 0.3, 2.0, 17.0])
def test_an_end_that_was_expected_is_seen_at_once(expected: float) -> None:
    asked = list(itertools.accumulate(itertools.islice(exec_.pauses(expected), 40)))
    assert min(abs(at - expected) for at in asked) <= 0.02
    assert asked[asked.index(min(asked, key=lambda at: abs(at - expected))) + 1] - expected <= 0.02 + max(0.02, expected / 16)


def test_a_long_command_is_asked_for_seldom() -> None:
    asked = list(itertools.accumulate(itertools.islice(exec_.pauses(0.0), 100)))
    assert len([at for at in asked if at <= 2]) <= 8
    assert len([at for at in asked if at <= 60]) <= 56


def test_guests_and_kinds_are_told_apart(tmp_path: Path) -> None:
    pace(tmp_path).learn(0.3)
    assert pace(tmp_path, guest="web2").expected() == 0.0
    assert pace(tmp_path, kind="module").expected() == pace(tmp_path / "none", kind="module").expected()


def test_a_name_is_no_path(tmp_path: Path) -> None:
    for guest in ("../../x", "/etc/passwd", "a\0b", "\ud800"):
        pace(tmp_path, guest=guest).learn(0.2)
        assert pace(tmp_path, guest=guest).expected() > 0
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("text", ["", "[", "7", "{}", '["x"]', "[[1]]", "null", "[null]", "é"])
def test_what_is_not_readable_is_not_known(tmp_path: Path, text: str) -> None:
    pace(tmp_path).learn(0.2)
    for path in tmp_path.iterdir():
        path.write_text(text, encoding="utf-8")
    assert pace(tmp_path).expected() == 0.0
    pace(tmp_path).learn(0.2)
    assert pace(tmp_path).expected() > 0


def test_a_directory_that_is_gone_is_no_error(tmp_path: Path) -> None:
    pace(tmp_path / "none").learn(0.2)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def numbered() -> t.Iterator[Watched]:
    """A real agent that is alone with what it starts, so that the next process number can be set."""
    alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0 or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("SKIPPED OUT LOUD: process numbers given again are not tried, for this user may not number processes anew")
    with contextlib.ExitStack() as stack:
        state = stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm"))
        socket = stack.enter_context(real_agent.listening(Path(state), before=alone))
        yield stack.enter_context(real_agent.watched(socket))


def number_again(guest: Watched, olds: int = 1) -> int:
    """The number that the next process gets: that of ``olds`` others whose end was never asked for."""
    agent = guest.agent()
    ended = "/bin/sh", "-c", "echo another; echo another >&2; exit 77"
    number = exec_.start(agent, ended)
    for _turn in range(olds - 1):
        assert _set_next(agent, number) == number
        assert exec_.start(agent, ended) == number
    return _set_next(agent, number)


def _set_next(agent: t.Any, number: int) -> int:
    text = f"while kill -0 {number} 2>/dev/null; do sleep 0.01; done; echo {number - 1} >/proc/sys/kernel/ns_last_pid"
    pid = exec_.start(agent, ("/bin/sh", "-c", text))
    # Whoever asks for this end starts no process.
    assert exec_.wait(agent, pid, Deadline(10)) == exec_.ExecResult(0, None, b"", b"")
    return number


RUNS: dict[str, t.Callable[[Watched], t.Any]] = {
    "program": lambda guest: exec_.run(guest.agent(), ("/bin/echo", "mine"), 10).stdout,
    "script": lambda guest: scripts.run(guest.agent(), "sleep 0.1; echo mine").stdout,
    "probe": lambda guest: exec_.run_limited(guest.agent(), ("echo", "mine"), 10, 100)[1],
    "command": lambda guest: shell.execute(guest.agent(), shell.Command(("echo", "mine")), 10).stdout,
    "running": lambda guest: shell.execute(guest.agent(), shell.Command(("sh", "-c", "sleep 0.4; echo mine")), 10).stdout,
}


@pytest.mark.parametrize("olds", [1, 3])
@pytest.mark.parametrize("kind", RUNS)
def test_an_end_is_not_that_of_an_older_process_of_the_same_number(numbered: Watched, kind: str, olds: int) -> None:
    """qemu-ga keeps what has ended until it is asked for, and finds the oldest of a number first."""
    number = number_again(numbered, olds)
    seen: list[int] = []

    def look(_arguments: Message, ask: t.Callable[[], Message]) -> Message:
        reply = ask()
        seen.append(reply["return"]["pid"])
        return reply

    faults: list[Fault | None] = [look]
    numbered.faults["guest-exec"] = faults
    assert RUNS[kind](numbered) == b"mine\n"
    assert seen == [number]


def _tells_once(guest: FakeGuest) -> None:
    """The first question is answered, and no further one: nobody can ask for that end again."""
    guest.after["guest-exec-status"] = lambda: guest.raises.update({"guest-exec-status": _errors.AgentTimeout("late")})


def test_an_end_that_was_told_is_not_lost_by_the_second_question() -> None:
    guest = FakeGuest(programs=lambda argv: Program(7))
    _tells_once(guest)
    assert exec_.run(guest.agent(), ["/bin/true"], 9, FakeClock()).rc == 7
    assert guest.sent.count("guest-exec-status") == 2


def test_an_end_without_the_mark_is_none_as_long_as_the_agent_may_know_another() -> None:
    guest = FakeGuest(programs=lambda argv: Program(7))
    _tells_once(guest)
    with pytest.raises(_errors.AgentTimeout):
        exec_.run(guest.agent(), ["/bin/true"], 9, FakeClock(), mark=b"mine")


def test_a_guest_that_names_the_same_full_place_again() -> None:
    """It is told to skip that, and could go on for ever."""
    guest = FakeGuest()
    agent = guest.agent()
    stem = spool.stems("n")[0]
    lane = types.SimpleNamespace(write=lambda *_words: _raise(_errors.NoSpace("full", command="guest-file-write")))
    with pytest.MonkeyPatch.context() as patch:
        ends = iter([exec_.ExecResult(0, None, f"{stem}.i\n".encode(), b"")] * 5)
        patch.setattr(scripts, "run", lambda *_words: next(ends))
        with pytest.raises(_errors.ProtocolError, match="the place of a command's files"):
            scripts.stored(agent, t.cast(t.Any, lane), "n", io.BytesIO(b"x"), 1, lambda _count: None)


def _raise(error: Exception) -> t.NoReturn:
    raise error


def test_an_agent_that_never_forgets_costs_some_questions() -> None:
    guest = FakeGuest(programs=lambda argv: Program(7))
    guest.replies["guest-exec-status"] = {"exited": True, "exitcode": 7}
    assert exec_.run(guest.agent(), ["/bin/true"], 9, FakeClock()).rc == 7
    assert guest.sent.count("guest-exec-status") == 5
