# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands in a Windows guest: words, input, output, exit codes, ends; and nothing of POSIX on the way."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import exec as _exec, lanes, passing, shell, small_files
from ansible_collections.virtops.guest_agent.plugins.module_utils._windows import cmd, commands
from ansible_collections.virtops.guest_agent.plugins.module_utils._windows.recognised import recognise
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest, Program
from ansible_collections.virtops.guest_agent.tests.unit.fakes.windows import ENVIRONMENT, VERSIONS, FakeWindows, _Cmd
from ansible_collections.virtops.guest_agent.tests.unit.plugins.module_utils._windows.test_command_line import AWKWARD

BOTH = Program(3, b"out\r\n", b"err\r\n")


def opened(guest: FakeGuest) -> GuestAgent:
    agent = guest.agent()
    agent.capabilities()
    recognise(agent)
    return agent


@pytest.fixture(params=VERSIONS)
def guest(request: pytest.FixtureRequest) -> t.Iterator[FakeWindows]:
    found = FakeWindows(request.param, lambda argv: BOTH if argv[0] == "both.exe" else None)
    yield found
    assert found.open_handles == 0
    assert not [name for name in found.files if "virtops-" in name]


def run(guest: FakeWindows, *argv: str, **more: t.Any) -> shell.Result:
    return shell.execute(opened(guest), shell.Command(argv, **more), 30)


def test_both_streams_and_the_exit_code(guest: FakeWindows) -> None:
    result = run(guest, "both")
    assert (result.rc, result.signal, result.stdout, result.stderr) == (3, None, b"out\r\n", b"err\r\n")


def test_awkward_words_arrive(guest: FakeWindows) -> None:
    run(guest, "both.exe", *AWKWARD)
    assert guest.started[0][0] == ("both.exe", *AWKWARD)


def test_a_variable_is_added_and_replaces_one_of_the_same_name_in_other_letters(guest: FakeWindows) -> None:
    run(guest, "both.exe", env={"Path": r"C:\x", "NEW": "a!b%c"})
    assert guest.started[0][1] == {
        **{name: text for name, text in ENVIRONMENT.items() if name != "PATH"},
        "Path": r"C:\x",
        "NEW": "a!b%c",
    }


def test_a_variable_with_what_separates_lines_elsewhere(guest: FakeWindows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "ODD", "a\u2028b\x0cc\x85d=e")
    run(guest, "both.exe")
    assert guest.started[0][1] == ENVIRONMENT


@pytest.mark.parametrize("size", [1, 300_000])
def test_input_of_any_size(guest: FakeWindows, size: int) -> None:
    run(guest, "both.exe", stdin=b"\xff\0" * size)
    assert guest.started[0][2] == b"\xff\0" * size


def test_output_of_any_size_comes_in_pieces() -> None:
    guest = FakeWindows(programs={("long.exe",): Program(0, b"x" * 1_000_000)})
    counts: list[int] = []
    exchange = guest.exchange

    def counted(request: t.Any, seconds: int) -> str:
        reply = exchange(request, seconds)
        counts.append(len(reply))
        return reply

    guest.exchange = counted  # type: ignore[method-assign]
    assert run(guest, "long.exe").stdout == b"x" * 1_000_000
    assert max(counts) < 4 * lanes.READ_MAX / 2


@pytest.mark.parametrize(
    ("program", "rc"),
    [(Program(None, signal=-1073741819), 0xC0000005), (Program(None, signal=-1), 0xFFFFFFFF), (Program(70000), 70000)],
)
def test_exit_codes_that_are_no_signals(program: Program, rc: int) -> None:
    result = run(FakeWindows(programs={("x.exe",): program}), "x.exe")
    assert (result.rc, result.signal) == (rc, None)


def test_a_directory_to_run_in(guest: FakeWindows) -> None:
    assert run(guest, "both.exe", chdir="C:/Data").rc == 3
    with pytest.raises(_errors.CommandFailed, match="the directory to run in does not exist"):
        run(guest, "both.exe", chdir=r"C:\nowhere")


def test_a_program_that_is_not_there(guest: FakeWindows) -> None:
    with pytest.raises(_errors.CommandFailed, match="no such program"):
        run(guest, "dir")


def test_what_cmd_does_not_find_it_says_itself(guest: FakeWindows) -> None:
    result = run(guest, *shell.by_shell(opened(guest), 'nosuch "a b"', None))
    assert result.rc == 9009
    assert b"nosuch" not in result.stdout


@pytest.mark.parametrize(
    "refused", [{"user": "tester"}, {"umask": "022"}, {"answer": shell.Answer("", "x", "y")}], ids=["user", "umask", "become"]
)
def test_what_windows_has_not_is_said_before_anything_is_done(guest: FakeWindows, refused: dict[str, t.Any]) -> None:
    with pytest.raises(_errors.InvalidInput):
        run(guest, "both.exe", **refused)
    assert "guest-exec" not in guest.sent


def test_no_posix_shell_is_started(guest: FakeWindows) -> None:
    agent = opened(guest)
    for ask in (
        lambda: shell.execute(agent, shell.Command(("/bin/sh", "-c", "true")), 30),
        lambda: small_files.read_text(agent, "/proc/meminfo"),
        lambda: small_files.boot_id(agent),
    ):
        with pytest.raises(_errors.SystemLacks, match="Windows has no /"):
            ask()
    assert not {"guest-exec", "guest-file-open"} & set(guest.sent)


def test_a_command_that_takes_too_long_is_ended_with_its_children() -> None:
    guest = FakeWindows(programs={("slow.exe",): Program(polls=10_000)})
    clock = FakeClock()
    with pytest.raises(_errors.CommandTimeout, match=r"slow.exe did not end within 5 s"):
        shell.execute(opened(guest), shell.Command(("slow.exe",)), 5, clock=clock)
    assert len(guest.killed) == 1
    assert guest.open_handles == 0
    assert not [name for name in guest.files if "virtops-" in name]


def test_what_was_killed_may_hold_its_files_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = FakeWindows(programs={("slow.exe",): Program(polls=10_000)})
    monkeypatch.setattr(commands, "_GONE_SECONDS", 30.0)

    def hold() -> None:
        removals = sum(line.startswith("del") for line in guest.lines)
        guest.held = {name for name in guest.files if name.endswith(".o")} if removals < 2 else set()

    guest.after["guest-exec"] = hold
    with pytest.raises(_errors.CommandTimeout):
        shell.execute(opened(guest), shell.Command(("slow.exe",)), 5, clock=FakeClock())
    assert not [name for name in guest.files if "virtops-" in name]


@pytest.mark.parametrize("rc", [7, 0xC0000005])
def test_an_agent_that_was_restarted_meanwhile(rc: int) -> None:
    """What runs holds its output open, and its end is in a file."""
    guest = FakeWindows(
        programs={("x.exe",): Program(rc, b"out", polls=1000) if rc == 7 else Program(None, b"out", signal=rc - 2**32, polls=1000)}
    )
    asked = 0

    def restart() -> None:
        nonlocal asked
        if not guest.started:
            return
        asked += 1
        guest._pids.clear()
        guest.held = {name for name in guest.files if name.endswith((".o", ".e"))} if asked < 4 else set()
        if asked == 4:
            guest.note()

    guest.after["guest-exec-status"] = restart
    result = run(guest, "x.exe")
    assert (result.rc, result.stdout) == (rc, b"out")
    assert asked >= 4
    assert not guest.killed


@pytest.mark.parametrize("output", ["there", "gone"])
def test_an_end_that_nothing_tells(output: str) -> None:
    guest = FakeWindows(programs={("x.exe",): Program(polls=1000)})

    def restart() -> None:
        if guest.started:
            guest._pids.clear()
            for name in [name for name in guest.files if output == "gone" and "virtops-" in name]:
                guest._content.pop(name)

    guest.after["guest-exec-status"] = restart
    with pytest.raises(_errors.AgentDisappeared, match="how it ended is unknown"):
        run(guest, "x.exe")
    assert not guest.killed


@pytest.mark.parametrize("command", ["guest-file-open", "guest-file-write", "guest-file-flush"])
def test_a_full_disk_cuts_no_output_in_silence(guest: FakeWindows, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = opened(guest)
    call, said = agent.call, "the agent says: failed to write to file: There is not enough space on the disk."

    def full(name: str, arguments: t.Any = None, *more: t.Any, **others: t.Any) -> t.Any:
        if name == command and guest.started and (arguments or {}).get("mode", "w") == "w":
            raise _errors.CommandFailed(said)
        return call(name, arguments, *more, **others)

    monkeypatch.setattr(agent, "call", full)
    with pytest.raises(
        _errors.OutputCut, match=r"exit code 3, but its output may be incomplete.*windows.Temp takes no file"
    ) as cut:
        shell.execute(agent, shell.Command(("both.exe",)), 30)
    assert (cut.value.rc, len(guest.started)) == (3, 1)


@pytest.mark.parametrize("command", ["guest-file-write", "guest-file-flush"])
def test_a_guest_that_takes_no_files_is_not_asked_for_room(command: str) -> None:
    guest = FakeWindows(programs={("both.exe",): BOTH}, block=(command,))
    assert run(guest, "both").stdout == BOTH.out


def test_an_agent_that_is_restarted_while_room_is_looked_for(guest: FakeWindows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "_FIRST", 0.01)
    lost = []

    def restart() -> None:
        if not lost:
            lost.append(True)
            guest._handles.clear()
            raise _errors.AgentDisappeared("gone")

    guest.after["guest-file-write"] = restart
    assert (run(guest, "both").rc, lost) == (3, [True])


def test_a_word_of_the_end_that_got_lost(guest: FakeWindows) -> None:
    """The agent tells it once."""
    turns = iter([_errors.AgentTimeout("no reply")])
    agent = opened(guest)
    agent.windows._shell.environment()

    def lose() -> None:
        error = next(turns, None)
        if error is not None:
            raise error

    guest.after["guest-exec-status"] = lose
    assert shell.execute(agent, shell.Command(("both.exe",)), 30).rc == 3
    assert len(guest.started) == 1


def test_a_note_of_the_end_that_cannot_be_read_is_no_end(guest: FakeWindows, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no file in use may pass, and tells nothing."""
    agent = opened(guest)
    run_ = commands.Run(agent, agent.windows._shell, shell.Command(("both.exe",)), 1.0)

    def fail(_run: commands.Run, _which: str) -> str:
        raise _errors.CommandFailed("too many open files")

    monkeypatch.setattr(commands.Run, "_text", fail)
    with pytest.raises(_errors.CommandFailed, match="too many open files"):
        run_._told_by_file()


def test_output_that_a_child_still_writes_to_is_copied(guest: FakeWindows, monkeypatch: pytest.MonkeyPatch) -> None:
    stems: list[str] = []
    new_path = commands.Shell.new_path

    def noted(self: commands.Shell, ending: str = "") -> str:
        stems.append(new_path(self, ending))
        if not ending:
            guest.held.add(f"{stems[-1]}.o".lower())
        return stems[-1]

    monkeypatch.setattr(commands.Shell, "new_path", noted)
    assert run(guest, "both.exe").stdout == b"out\r\n"
    guest.held.clear()
    guest._content.pop(f"{stems[0]}.o".lower())


def test_output_that_is_gone(guest: FakeWindows) -> None:
    def lose() -> None:
        for name in [name for name in guest.files if name.endswith(".o")]:
            guest._content.pop(name)

    guest.after["guest-exec-status"] = lose
    with pytest.raises(_errors.CommandFailed, match="failed to open file"):
        run(guest, "both.exe")


def test_more_output_than_a_controller_holds(guest: FakeWindows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_OUTPUT_MAX", 3)
    with pytest.raises(_errors.OutputTooLong):
        run(guest, "both.exe")


def test_an_end_without_an_exit_code(guest: FakeWindows, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = opened(guest)
    shell.execute(agent, shell.Command(("both.exe",)), 30)
    monkeypatch.setattr(guest, "_exec_status", lambda pid: {"exited": True})
    monkeypatch.setattr(passing, "_FIRST", 0.01)
    with pytest.raises(_errors.ProtocolError, match="no exit code"):
        shell.execute(agent, shell.Command(("both.exe",)), 30)
    for name in [name for name in guest.files if "virtops-" in name]:
        guest._content.pop(name)


def test_a_cmd_that_does_not_end(guest: FakeWindows, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = opened(guest)
    monkeypatch.setattr(cmd, "SHORT", 0.05)
    monkeypatch.setattr(_Cmd, "run", lambda self, line: Program(polls=10_000))
    with pytest.raises(_errors.WaitTimeout, match=r"cmd\.exe did not end within"):
        agent.windows.needless("x", "", "C:/")


def test_the_environment_is_asked_once(guest: FakeWindows) -> None:
    agent = opened(guest)
    for _turn in range(2):
        shell.execute(agent, shell.Command(("both.exe",)), 30)
    assert guest.sent.count("guest-get-osinfo") == 1
    assert len(guest.started) == 2
    first = guest.sent.count("guest-exec")
    shell.execute(agent, shell.Command(("both.exe",)), 30)
    assert guest.sent.count("guest-exec") - first == 2  # it, and the removal of its files


def test_output_that_the_agent_loses_is_asked_for_again(guest: FakeWindows, monkeypatch: pytest.MonkeyPatch) -> None:
    told = guest._exec_status
    losses = iter([True, True])

    def lose(pid: int) -> t.Any:
        status = told(pid)
        if next(losses, False):
            status.pop("out-data", None)
        return status

    monkeypatch.setattr(guest, "_exec_status", lose)
    assert run(guest, "both.exe").rc == 3


def test_a_guest_that_does_not_say_where_windows_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "SystemRoot", 'C:\\a" & calc')
    with pytest.raises(_errors.ProtocolError, match="where Windows is"):
        run(FakeWindows(), "x.exe")


def test_a_probe(guest: FakeWindows) -> None:
    found = _exec.run_probe(opened(guest), _exec.Probe(("both",), 5))
    assert (found["rc"], found["output"], found["error"]) == (3, "out", None)


@pytest.mark.parametrize("block", [(), ("guest-get-osinfo",)])
def test_linux_is_not_asked(block: tuple[str, ...]) -> None:
    guest = FakeGuest(block=block)
    assert opened(guest).windows is None
    assert guest.sent == ["guest-info"]


def test_an_agent_that_is_no_linux_is_asked() -> None:
    guest = FakeGuest(block=["guest-set-vcpus", "guest-get-memory-blocks", "guest-set-memory-blocks", "guest-suspend-hybrid"])
    assert opened(guest).windows is None
    assert guest.sent == ["guest-info", "guest-get-osinfo"]
