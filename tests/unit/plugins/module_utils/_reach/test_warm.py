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
from ansible_collections.virtops.guest_agent.plugins.modules import pull_file, push_file, run_command, run_script
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import run_module
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import Watched, listening, wait_until, watched

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

PYTHON = "/usr/bin/python3"
#: No machine is so busy that one of these takes it.
PATIENCE = 60.0
HELLO = Command(("/bin/sh", "-c", "echo hello"))


class Tasks:
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
        return dict(json.loads(path.read_text()))

    def remember(self, **values: object) -> None:
        (path,) = self.directory.iterdir()
        path.write_text(json.dumps({**self.remembered, **values}))

    def is_there(self) -> bool:
        return os.path.exists(f"{self.remembered['directory']}/out")


@pytest.fixture
def tasks(real_socket: Path, tmp_path: Path) -> t.Iterator[Tasks]:
    """Another agent than that of other tests, which has one client at a time."""
    if not Path(PYTHON).exists():
        pytest.skip(f"SKIPPED OUT LOUD: the resident is not tried, for there is no {PYTHON} here")
    (tmp_path / "agent").mkdir()
    with listening(tmp_path / "agent") as path, watched(path) as transport:
        found = Tasks(transport, tmp_path / "memory")
        yield found
        with contextlib.suppress(ValueError, OSError, KeyError):
            _end(found)


def _end(tasks: Tasks) -> None:
    if tasks.remembered.get("keeper"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(_number(tasks.remembered), signal.SIGKILL)
    shutil.rmtree(tasks.remembered["directory"], ignore_errors=True)


def _number(remembered: dict[str, t.Any]) -> int:
    """Of the keeper's process."""
    return int(remembered["keeper"].partition(":")[0])


def _started(tasks: Tasks) -> None:
    assert tasks.ends() is None
    wait_until(tasks.is_there, PATIENCE, lambda: tasks.remembered)
    assert tasks.ends() == shell.Result(0, None, b"hello\n", b"", pytest.approx(0, abs=PATIENCE))


def test_the_first_task_starts_it_and_the_next_ones_use_it(tasks: Tasks) -> None:
    _started(tasks)
    assert tasks.told == ["a resident is started for the next tasks", "the resident has run the next command"]
    sent = len(tasks._transport.sent)
    assert tasks.ends() is not None
    commands = [command for command, _arguments in tasks._transport.sent[sent:]]
    assert "guest-exec" not in commands
    assert tasks._transport.open_handles == 0
    assert tasks.remembered["failures"] == 0


def test_a_command_is_run_by_it_where_shell_is_asked(tasks: Tasks) -> None:
    _started(tasks)
    agent = tasks._transport.agent(30)
    agent.resident = warm.Warm(agent, warm.Memory(str(tasks.directory), "here"), None, 60)
    with contextlib.closing(agent.resident):
        sent = len(tasks._transport.sent)
        assert shell.execute(agent, HELLO, PATIENCE).stdout == b"hello\n"
        assert "guest-exec" not in [command for command, _arguments in tasks._transport.sent[sent:]]


def test_two_tasks_at_once_share_no_resident(tasks: Tasks) -> None:
    _started(tasks)
    with tasks.task() as first:
        assert first.execute(HELLO, Deadline(PATIENCE), PATIENCE, None) is not None
        assert tasks.ends() is None
        assert first.execute(HELLO, Deadline(PATIENCE), PATIENCE, None) is not None
    assert tasks.ends() is not None


def test_what_a_killed_task_left_open_the_next_one_closes(tasks: Tasks) -> None:
    _started(tasks)
    with tasks.task() as killed:
        assert killed.execute(HELLO, Deadline(PATIENCE), PATIENCE, None) is not None
        killed._memory.close()  # as the kernel does it; nothing is said to the agent any more
        assert tasks._transport.open_handles == 2
        assert tasks.ends() is not None
        assert tasks._transport.open_handles == 0
        assert tasks.remembered["handles"] == []


def test_one_that_was_killed_is_done_without_and_started_anew(tasks: Tasks) -> None:
    _started(tasks)
    before = tasks.remembered["keeper"]
    os.kill(_number(tasks.remembered), signal.SIGKILL)
    assert tasks.ends() is None
    assert tasks.told[-2:] == ["the resident is not there", "a resident is started for the next tasks"]
    wait_until(tasks.is_there, PATIENCE, lambda: tasks.remembered)
    assert tasks.ends() is not None
    assert tasks.remembered["keeper"] != before


def test_one_that_has_been_idle_is_not_asked_for(tasks: Tasks) -> None:
    _started(tasks)
    _end(tasks)
    tasks.remember(used=time.time() - 61, started=time.time() - 61)
    sent = len(tasks._transport.sent)
    assert tasks.ends() is None
    assert "guest-file-open" not in [command for command, _arguments in tasks._transport.sent[sent:]]
    wait_until(tasks.is_there, PATIENCE, lambda: tasks.remembered)


def test_a_guest_where_it_never_comes_is_left_alone(tasks: Tasks) -> None:
    assert tasks.ends() is None
    _end_started(tasks)
    for failures in (1, 2):
        tasks.remember(started=time.time() - 30, directory="", failures=failures)
        starts = tasks._transport.count("guest-exec")
        assert tasks.ends() is None
        assert tasks._transport.count("guest-exec") - starts == (1 if failures == 1 else 0)
        _end_started(tasks)


def _end_started(tasks: Tasks) -> None:
    """What was started is ended before it was used."""
    directory = tasks.remembered["directory"]
    if directory:
        wait_until(tasks.is_there, PATIENCE, lambda: tasks.remembered)
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if any(os.readlink(fd) == f"{directory}/in" for fd in (path / "fd").iterdir()):
                    os.kill(int(path.name), signal.SIGKILL)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.parametrize("content", ["", "no json", "[]", '{"directory": 5, "keeper": "x", "started": 1}'])
def test_a_memory_that_makes_no_sense_is_none(tasks: Tasks, content: str) -> None:
    with tasks.task() as found:
        assert found._memory.locked()
    (path,) = tasks.directory.iterdir()
    path.write_text(content)
    assert tasks.ends() is None


def test_memories_of_guests_that_are_gone_are_removed(tasks: Tasks) -> None:
    tasks.directory.mkdir()
    (tasks.directory / "compiled").mkdir()
    for name, hours in (("old", 25), ("new", 23)):
        (tasks.directory / name).write_text("{}")
        os.utime(tasks.directory / name, (0, time.time() - hours * 3600))
    assert tasks.ends() is None
    assert {"new", "compiled"} < {path.name for path in tasks.directory.iterdir()}
    assert not (tasks.directory / "old").exists()


def test_no_place_for_a_memory_is_no_trouble(tasks: Tasks) -> None:
    tasks.directory.parent.joinpath("memory").write_text("a file")
    assert tasks.ends() is None
    assert tasks._transport.count("guest-exec") == 0


def test_a_link_in_the_memorys_place_is_not_followed(tasks: Tasks, tmp_path: Path) -> None:
    with tasks.task() as found:
        assert found._memory.locked()
    (path,) = tasks.directory.iterdir()
    path.unlink()
    (tmp_path / "other").write_text("kept")
    path.symlink_to(tmp_path / "other")
    assert tasks.ends() is None
    assert (tmp_path / "other").read_text() == "kept"


def test_a_file_comes_whole_where_the_resident_has_ended(tasks: Tasks, tmp_path: Path) -> None:
    _started(tasks)
    os.kill(_number(tasks.remembered), signal.SIGKILL)
    content = os.urandom(700_000)
    with tasks.task() as found:
        files.push(found._agent, io.BytesIO(content), files.Where(str(tmp_path / "pushed"), "root", "none"))
    assert (tmp_path / "pushed").read_bytes() == content


def test_its_pauses_are_learned(tasks: Tasks) -> None:
    _started(tasks)
    tasks.ends(Command(("/bin/sh", "-c", "sleep 0.3")))
    assert len(tasks.remembered["command"]) == 2
    assert tasks.remembered["command"][1] >= 0.3


@pytest.mark.parametrize("size", [0, 1000, 700_000, 20_000_000])
def test_a_file_comes_whole(tasks: Tasks, tmp_path: Path, size: int) -> None:
    _started(tasks)
    content = random.Random(size).randbytes(size)
    agent = tasks._transport.agent(30)
    agent.resident = warm.Warm(agent, warm.Memory(str(tasks.directory), "here"), None, 60)
    with contextlib.closing(agent.resident):
        sent = len(tasks._transport.sent)
        installed = files.push(agent, io.BytesIO(content), files.Where(str(tmp_path / "pushed"), "root", "none"))
        assert (tmp_path / "pushed").read_bytes() == content
        assert installed.state.mode == "0644"
        assert "guest-exec" not in [command for command, _arguments in tasks._transport.sent[sent:]]
        back = io.BytesIO()
        files.pull(agent, files.Where(str(tmp_path / "pushed"), "root"), back.write)
        assert back.getvalue() == content
    assert tasks._transport.open_handles == 0


def test_modules_and_the_connection_have_one_resident(tasks: Tasks, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second task is run by what the first one has started; what a module says is the same."""
    (tmp_path / "source").write_bytes(b"content\n")
    place = {"transport": "unix", "socket": str(tmp_path / "agent/agent"), "domain": "guest", "agent_timeout": 30}
    home = tasks.directory.parent / "home"
    runs = [
        (run_command, {"argv": ["sh", "-c", "echo out; echo err >&2; exit 3"]}),
        (run_script, {"content": "#!/bin/sh\necho $1", "args": ["one"]}),
        (push_file, {"src": str(tmp_path / "source"), "dest": str(tmp_path / "pushed"), "mode": "0600"}),
        (pull_file, {"src": str(tmp_path / "pushed"), "dest": str(tmp_path / "pulled")}),
    ]

    def results(**more: object) -> list[dict[str, t.Any]]:
        (tmp_path / "pushed").unlink(missing_ok=True)
        (tmp_path / "pulled").unlink(missing_ok=True)
        return [run_module(module.main, capsys, **place, **options, **more) for module, options in runs]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANSIBLE_HOME", str(home))
        tasks._transport._transport.close()  # type: ignore[attr-defined]
        cold = results(resident="never")
        run_module(run_command.main, capsys, **place, argv=["true"])
        (path,) = (home / "virtops").iterdir()
        wait_until(lambda: os.path.exists(f"{json.loads(path.read_text())['directory']}/out"), PATIENCE, path.read_text)
        warmed = results()
    remembered = json.loads(path.read_text())
    os.kill(_number(remembered), signal.SIGKILL)
    shutil.rmtree(remembered["directory"])
    assert len(remembered["command"]) == warm._REMEMBERED
    assert [_lasting(result) for result in warmed] == [_lasting(result) for result in cold]


def _lasting(value: t.Any) -> t.Any:
    """What is the same each time."""
    if isinstance(value, dict):
        left_out = ("start", "end", "delta", "transfer", "invocation", "mtime")
        return {key: _lasting(member) for key, member in value.items() if key not in left_out}
    return value
