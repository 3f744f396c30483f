# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From task to task: what the first one starts the next ones use, and what cannot be had is done without. With a real agent."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._deadline import Deadline
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import files, shell
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.shell import Command
from ansible_collections.virtops.guest_agent.plugins.module_utils._reach import warm
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import Watched, listening, wait_until, watched

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

PYTHON = "/usr/bin/python3"
#: No machine is so busy that one of these takes it.
PATIENCE = 60.0
HELLO = Command(("/bin/sh", "-c", "echo hello"))


class Run:
    """Tasks of one run of Ansible at one guest: each has an agent and a memory of its own, and the file of the memory in common."""

    def __init__(self, transport: Watched, directory: Path) -> None:
        self._transport = transport
        self.directory = directory
        self.told: list[str] = []

    @contextlib.contextmanager
    def task(self) -> t.Iterator[warm.Warm]:
        agent = self._transport.agent(30)
        agent.resident = warm.Warm(agent, warm.Memory(str(self.directory), "here"), None, 60, self.told.append)
        with contextlib.closing(agent.resident) as found:
            yield found

    def ends(self, command: Command = HELLO) -> shell.Result | None:
        """How ``command`` ends in a task of its own; None where the resident has not run it."""
        with self.task() as found:
            return found.execute(command, Deadline(PATIENCE), PATIENCE, None)

    @property
    def remembered(self) -> dict[str, t.Any]:
        (path,) = self.directory.iterdir()
        return t.cast("dict[str, t.Any]", json.loads(path.read_text()))

    def remember(self, **values: object) -> None:
        (path,) = self.directory.iterdir()
        path.write_text(json.dumps({**self.remembered, **values}))

    def is_there(self) -> bool:
        return os.path.exists(f"{self.remembered['directory']}/out")


@pytest.fixture
def run(real_socket: Path, tmp_path: Path) -> t.Iterator[Run]:
    """Another agent than that of other tests, which has one client at a time."""
    if not Path(PYTHON).exists():
        pytest.skip(f"SKIPPED OUT LOUD: the resident is not tried, for there is no {PYTHON} here")
    (tmp_path / "agent").mkdir()
    with listening(tmp_path / "agent") as path, watched(path) as transport:
        found = Run(transport, tmp_path / "memory")
        yield found
        with contextlib.suppress(ValueError, OSError):
            _end(found)


def _end(run: Run) -> None:
    keeper = run.remembered.get("keeper")
    if keeper:
        with contextlib.suppress(ProcessLookupError):
            os.kill(keeper, signal.SIGKILL)
    shutil.rmtree(run.remembered["directory"], ignore_errors=True)


def _started(run: Run) -> None:
    assert run.ends() is None
    wait_until(run.is_there, PATIENCE, lambda: run.remembered)
    assert run.ends() == shell.Result(0, None, b"hello\n", b"", pytest.approx(0, abs=PATIENCE))


def test_the_first_task_starts_it_and_the_next_ones_use_it(run: Run) -> None:
    _started(run)
    assert run.told == ["a resident is started for the next tasks", "the resident has run the next command"]
    sent = len(run._transport.sent)
    assert run.ends() is not None
    commands = [command for command, _arguments in run._transport.sent[sent:]]
    assert "guest-exec" not in commands
    assert run._transport.open_handles == 0
    assert run.remembered["failures"] == 0


def test_a_command_is_run_by_it_where_shell_is_asked(run: Run) -> None:
    _started(run)
    agent = run._transport.agent(30)
    agent.resident = warm.Warm(agent, warm.Memory(str(run.directory), "here"), None, 60)
    with contextlib.closing(agent.resident):
        sent = len(run._transport.sent)
        assert shell.execute(agent, HELLO, PATIENCE).stdout == b"hello\n"
        assert "guest-exec" not in [command for command, _arguments in run._transport.sent[sent:]]


def test_two_tasks_at_once_share_no_resident(run: Run) -> None:
    _started(run)
    with run.task() as first:
        assert first.execute(HELLO, Deadline(PATIENCE), PATIENCE, None) is not None
        assert run.ends() is None
        assert first.execute(HELLO, Deadline(PATIENCE), PATIENCE, None) is not None
    assert run.ends() is not None


def test_one_that_was_killed_is_done_without_and_started_anew(run: Run) -> None:
    _started(run)
    before = run.remembered["keeper"]
    os.kill(before, signal.SIGKILL)
    assert run.ends() is None
    assert "the resident is not there" in run.told
    run.remember(started=time.time() - 100)
    assert run.ends() is None
    shutil.rmtree(run.remembered["directory"] or "/nonexistent", ignore_errors=True)
    run.ends()
    wait_until(lambda: bool(run.remembered["directory"]) and run.is_there(), PATIENCE, lambda: run.remembered)
    assert run.ends() is not None
    assert run.remembered["keeper"] != before


def test_one_that_has_been_idle_is_not_asked_for(run: Run) -> None:
    _started(run)
    _end(run)
    run.remember(used=time.time() - 61, started=time.time() - 61)
    sent = len(run._transport.sent)
    assert run.ends() is None
    assert "guest-file-open" not in [command for command, _arguments in run._transport.sent[sent:]]
    wait_until(run.is_there, PATIENCE, lambda: run.remembered)


def test_a_guest_where_it_never_comes_is_left_alone(run: Run) -> None:
    assert run.ends() is None
    _end_started(run)
    for failures in (1, 2):
        run.remember(started=time.time() - 30, directory="", failures=failures)
        starts = run._transport.count("guest-exec")
        assert run.ends() is None
        assert run._transport.count("guest-exec") - starts == (1 if failures == 1 else 0)
        _end_started(run)


def _end_started(run: Run) -> None:
    """What was started is ended before it was used."""
    directory = run.remembered["directory"]
    if directory:
        wait_until(run.is_there, PATIENCE, lambda: run.remembered)
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if any(os.readlink(fd) == f"{directory}/in" for fd in (path / "fd").iterdir()):
                    os.kill(int(path.name), signal.SIGKILL)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.parametrize("content", ["", "no json", "[]", '{"directory": 5, "keeper": "x", "started": 1}'])
def test_a_memory_that_makes_no_sense_is_none(run: Run, content: str) -> None:
    with run.task() as found:
        assert found._memory.locked()
    (path,) = run.directory.iterdir()
    path.write_text(content)
    assert run.ends() is None


def test_no_place_for_a_memory_is_no_trouble(run: Run) -> None:
    run.directory.parent.joinpath("memory").write_text("a file")
    assert run.ends() is None
    assert run._transport.count("guest-exec") == 0


def test_a_link_in_the_memorys_place_is_not_followed(run: Run, tmp_path: Path) -> None:
    with run.task() as found:
        assert found._memory.locked()
    (path,) = run.directory.iterdir()
    path.unlink()
    (tmp_path / "other").write_text("kept")
    path.symlink_to(tmp_path / "other")
    assert run.ends() is None
    assert (tmp_path / "other").read_text() == "kept"


def test_its_pauses_are_learned(run: Run) -> None:
    _started(run)
    run.ends(Command(("/bin/sh", "-c", "sleep 0.3")))
    assert len(run.remembered["command"]) == 2
    assert run.remembered["command"][1] >= 0.3


@pytest.mark.parametrize("size", [0, 1000, 700_000, 3_000_000, 5_000_000])
def test_a_file_comes_whole(run: Run, tmp_path: Path, size: int) -> None:
    """What is longer than the resident takes goes the other way."""
    _started(run)
    content = random.Random(size).randbytes(size)
    agent = run._transport.agent(30)
    agent.resident = warm.Warm(agent, warm.Memory(str(run.directory), "here"), None, 60)
    with contextlib.closing(agent.resident):
        installed = files.push(agent, io.BytesIO(content), files.Where(str(tmp_path / "pushed"), "root", "none"))
        assert (tmp_path / "pushed").read_bytes() == content
        assert installed.state.mode == "0644"
        back = io.BytesIO()
        files.pull(agent, files.Where(str(tmp_path / "pushed"), "root"), back.write)
        assert back.getvalue() == content
    assert run._transport.open_handles == 0
