# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands over a real agent: large input and output, deadlines, interrupted runs, lost and hostile replies, passwords."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import random
import re
import secrets
import stat
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._deadline import Deadline
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import (
    exec as exec_,
    login_shell,
    processes,
    scripts,
    shell,
    spool,
)
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.lanes import AgentLane, ignore
from ansible_collections.virtops.guest_agent.tests.unit import real_agent
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest, Program
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import Fault, Message, Watched, wait_until

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

RANDOM = random.Random(1).randbytes(5 * 1024 * 1024)
#: a command after which another script says what it has printed
ENDS_ITS_SHELL = "kill -TERM 0; sleep 5"
#: both ways of running a command
EXACT = pytest.mark.parametrize("exact", [True, False], ids=["exact", "surrounded"])


def run(guest: Watched, *argv: str, timeout: float = 30, **options: t.Any) -> shell.Result:
    return shell.execute(guest.agent(), shell.Command(argv, **options), timeout)


def sh(guest: Watched, text: str, timeout: float = 30, **options: t.Any) -> shell.Result:
    return run(guest, "/bin/sh", "-c", text, timeout=timeout, **options)


@pytest.mark.parametrize("wrong", ["a\0b", "a\ud800b"])
@pytest.mark.parametrize("where", ["argv", "env", "chdir", "user"])
def test_what_no_program_can_be_given_is_not_sent(guest: Watched, where: str, wrong: str) -> None:
    command = shell.Command(("/bin/true",))
    spoiled: dict[str, t.Any] = {"argv": ("/bin/true", wrong), "env": {"A": wrong}, "chdir": wrong, "user": wrong}
    with pytest.raises(_errors.InvalidInput):
        shell.execute(guest.agent(), command._replace(**{where: spoiled[where]}))
    assert guest.sent == []


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "é", "A;id", "A\n"])
def test_names_that_a_variable_cannot_have(guest: Watched, name: str) -> None:
    with pytest.raises(_errors.InvalidInput, match="environment variable"):
        run(guest, "/bin/true", env={name: "1"})
    assert guest.sent == []


def test_a_user_is_a_name(guest: Watched) -> None:
    for user in ("root:x", "root\n", ""):
        with pytest.raises(_errors.InvalidInput, match="name of a user"):
            run(guest, "/bin/true", user=user)
    assert guest.sent == []


@pytest.mark.parametrize("umask", ["8", "22", "00022", "022\n", "0;:", "u=rwx"])
def test_a_umask_is_octal_digits(guest: Watched, umask: str) -> None:
    with pytest.raises(_errors.InvalidInput, match="three or four octal digits"):
        run(guest, "/bin/true", umask=umask)
    assert guest.sent == []


@EXACT
@pytest.mark.parametrize(("more", "requests"), [(-1, 1), (0, 1), (1, 2)])
def test_input_around_what_goes_with_the_request(guest: Watched, more: int, requests: int, exact: bool) -> None:
    data = RANDOM[: shell._UNREAD_MAX + more]
    assert run(guest, "/bin/cat", stdin=data, tells_signals=exact).stdout == data
    assert guest.count("guest-exec") == requests


@EXACT
@pytest.mark.parametrize("data", [RANDOM[: 1024 * 1024], bytes(5 * 1024 * 1024), RANDOM], ids=["1 MiB", "5 MiB of zeros", "5 MiB"])
def test_input_of_any_size(guest: Watched, data: bytes, exact: bool) -> None:
    said = run(guest, "/usr/bin/sha256sum", stdin=data, tells_signals=exact).stdout.split()[0]
    assert said.decode() == hashlib.sha256(data).hexdigest()


@EXACT
def test_input_that_nobody_reads(guest: Watched, agent_process: Path, exact: bool) -> None:
    """qemu-ga would spin for ever if it had more than a pipe holds for a program that has ended."""
    pipes = _pipes(agent_process)
    for size in (61 * 1024, 1024 * 1024):
        assert run(guest, "/bin/true", stdin=RANDOM[:size], tells_signals=exact).rc == 0
        assert sh(guest, "head -c 1", stdin=RANDOM[:size], tells_signals=exact).stdout == RANDOM[:1]
    guest.assert_nothing_left()
    before = _ticks(agent_process)
    time.sleep(0.5)
    assert _ticks(agent_process) - before < 0.1
    assert _pipes(agent_process) == pipes


def _ticks(process: Path) -> float:
    """Seconds of a processor that it has used."""
    user, system = (process / "stat").read_text().rpartition(") ")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _pipes(process: Path) -> set[str]:
    return {target for target in map(os.readlink, (process / "fd").iterdir()) if target.startswith("pipe:")}


def test_both_outputs_large(guest: Watched, place: Path) -> None:
    content = RANDOM[: 3 * 1024 * 1024]
    (place / "content").write_bytes(content)
    said = sh(guest, f"cat {place}/content & cat {place}/content >&2; wait; exit 7")
    assert (said.rc, said.stdout == content, said.stderr == content) == (7, True, True)


@EXACT
def test_no_process_is_left(guest: Watched, monkeypatch: pytest.MonkeyPatch, exact: bool) -> None:
    assert "sleep 5" in login_shell._TIDY
    monkeypatch.setattr(login_shell, "_TIDY", login_shell._TIDY.replace("sleep 5", "sleep 0.1"))
    sh(guest, "head -c 200000 /dev/zero", tells_signals=exact)
    wait_until(lambda: not guest.running(), 2, guest.running)


def test_output_that_is_opened_by_its_name(guest: Watched) -> None:
    """It is a pipe of root's: only root may open it again."""
    assert sh(guest, "echo a; echo b >>/dev/stdout; echo c; echo d >>/dev/stderr")[2:4] == (b"a\nb\nc\n", b"d\n")
    assert sh(guest, "echo a; echo b >/dev/stdout; echo c").stdout == b"a\nb\nc\n"
    said = sh(guest, "echo a; echo b >/dev/stdout; echo c", user="nobody")
    assert (said.stdout, b"denied" in said.stderr) == (b"a\nc\n", True)


@EXACT
def test_files_are_private_while_they_are_there(guest: Watched, exact: bool) -> None:
    seen: set[tuple[str, int]] = set()

    def look(_arguments: Message, ask: t.Callable[[], Message]) -> Message:
        for name in guest.left():
            with contextlib.suppress(FileNotFoundError):
                seen.add((name[-2:], stat.S_IMODE(os.stat(f"/var/tmp/{name}").st_mode)))
        return ask()

    guest.faults["guest-exec-status"] = [look] * 200
    sh(guest, "sleep 1; cat", stdin=RANDOM[: 150 * 1024], tells_signals=exact)
    assert {(ending, 0o600) for ending in (".i", ".o", ".e")} <= seen
    assert {mode for _ending, mode in seen} == {0o600}


@EXACT
def test_a_small_command_costs_one_request_and_its_end(guest: Watched, exact: bool) -> None:
    run(guest, "/bin/true", stdin=b"x", tells_signals=exact)
    assert {command for command, _arguments in guest.sent} == {"guest-exec", "guest-exec-status"}
    assert guest.count("guest-exec") == 1


@pytest.mark.parametrize(("exact", "size"), [(True, 80 * 1024), (False, 120 * 1024)], ids=["exact", "surrounded"])
def test_input_that_is_a_little_too_large_costs_one_request_more(guest: Watched, exact: bool, size: int) -> None:
    sh(guest, "cat >/dev/null", stdin=RANDOM[:size], tells_signals=exact)
    assert guest.count("guest-exec") == 2
    assert {command for command, _arguments in guest.sent} == {"guest-exec", "guest-exec-status"}


#: one that ignores TERM, with a child that does too
STUBBORN = "trap '' TERM; ( while :; do sleep 0.2; done ) & while :; do sleep 0.2; done"


def _assert_forgotten(guest: Watched) -> None:
    wait_until(lambda: not guest.running(), 2, guest.running)
    for pid in guest.pids:
        with pytest.raises(_errors.CommandFailed):
            guest.agent().call("guest-exec-status", {"pid": pid})


@pytest.fixture
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orphans that have been killed stay until somebody collects them, which here may be long."""
    assert "-lt 20" in processes._END
    monkeypatch.setattr(processes, "_END", processes._END.replace("-lt 20", "-lt 2"))


@EXACT
@pytest.mark.parametrize("text", ["sleep 30", STUBBORN], ids=["sleep", "stubborn"])
@pytest.mark.usefixtures("little_patience")
def test_a_deadline_ends_all_of_it(guest: Watched, text: str, exact: bool) -> None:
    with pytest.raises(shell.CommandTimeout, match=r"did not end within 0.1 s"):
        sh(guest, text, timeout=0.1, tells_signals=exact)
    _assert_forgotten(guest)


@EXACT
@pytest.mark.parametrize(("error", "size"), [(KeyboardInterrupt(), 0), (RuntimeError("task timeout"), 80 * 1024)])
@pytest.mark.usefixtures("little_patience")
def test_an_interrupted_run_ends_too(guest: Watched, error: BaseException, size: int, exact: bool) -> None:
    guest.faults["guest-exec-status"] = [None, real_agent.raising(error)]
    with pytest.raises(type(error)):
        sh(guest, "sleep 30", stdin=RANDOM[:size], tells_signals=exact)
    _assert_forgotten(guest)


@EXACT
@pytest.mark.usefixtures("little_patience")
def test_interrupted_while_input_is_staged(guest: Watched, exact: bool) -> None:
    guest.faults["guest-file-write"] = [None, real_agent.raising(KeyboardInterrupt())]
    with pytest.raises(KeyboardInterrupt):
        run(guest, "/bin/cat", stdin=RANDOM[: 300 * 1024], tells_signals=exact)


def test_interrupted_before_the_output_is_collected(guest: Watched) -> None:
    guest.faults["guest-exec"] = [None, real_agent.raising(KeyboardInterrupt())]
    with pytest.raises(KeyboardInterrupt):
        sh(guest, ENDS_ITS_SHELL)
    assert guest.count("guest-exec") >= 2


def test_interrupted_while_output_is_fetched(guest: Watched) -> None:
    guest.faults["guest-file-read"] = [None, real_agent.raising(KeyboardInterrupt())]
    with pytest.raises(KeyboardInterrupt):
        sh(guest, "head -c 900000 /dev/zero")


def test_wait_ends_at_its_deadline(guest: Watched) -> None:
    agent = guest.agent()
    pid = exec_.start(agent, ("/bin/sleep", "2"))
    assert exec_.wait(agent, pid, Deadline(0.05)) is None
    ended = exec_.wait(agent, pid, Deadline(60))
    assert ended is not None
    assert ended.rc == 0


def _report(change: t.Callable[[bytes], bytes], out: bytes | None = None) -> Fault:
    def fault(_arguments: Message, ask: t.Callable[[], Message]) -> Message:
        reply = ask()
        if not reply.get("return", {}).get("exited"):
            return reply
        error = change(base64.b64decode(reply["return"].get("err-data", "")))
        changed = {"err-data": base64.b64encode(error).decode()}
        if out is not None:
            changed["out-data"] = base64.b64encode(out).decode()
        return {"return": {**reply["return"], **changed}}

    return fault


LONG = b"x" * login_shell.INLINE_OUTPUT


def _replaced(number: int, word: bytes) -> t.Callable[[bytes], bytes]:
    def change(said: bytes) -> bytes:
        words = said.split(b" ")
        words[number] = word + (b"\n" if words[number].endswith(b"\n") else b"")
        return b" ".join(words)

    return change


HOSTILE: dict[str, Fault] = {
    "no report": _report(lambda said: b""),
    "another nonce": _report(lambda said: re.sub(rb"[0-9a-f]{32} ", b"0" * 32 + b" ", said)),
    "another word": _report(_replaced(3, b"begun")),
    "rc too long": _report(_replaced(4, b"9999")),
    "rc no number": _report(_replaced(4, b"-1")),
    "rc another digit": _report(_replaced(4, "\N{SUPERSCRIPT TWO}".encode())),
    "a foreign file": _report(_replaced(5, b"/etc/shadow"), LONG),
    "a word more": _report(_replaced(5, b"/tmp /tmp")),
    "a path out of it": _report(lambda said: re.sub(rb"(/var/tmp/.virtops-[0-9a-f]{32})", rb"\1/../../../etc/shadow", said), LONG),
    "no base64": real_agent.answering(**{"exited": True, "exitcode": 0, "out-data": "*"}),
    "no text": real_agent.answering(**{"exited": True, "exitcode": 0, "err-data": 7}),
    "no flag": real_agent.answering(exited="yes"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_reports(loose_guest: Watched, kind: str) -> None:
    loose_guest.faults["guest-exec-status"] = [HOSTILE[kind]] * 200
    with pytest.raises((_errors.ProtocolError, _errors.CommandFailed)) as caught:
        run(loose_guest, "/bin/true", timeout=5, tells_signals=False)
    assert len(str(caught.value)) < 600
    assert loose_guest.count("guest-file-open") == 0


#: what the script after it may say
COLLECTED: dict[str, Fault] = {
    "no report": HOSTILE["no report"],
    "another nonce": HOSTILE["another nonce"],
    "another word": _report(_replaced(1, b"begun")),
    "a foreign file": _report(_replaced(2, b"/etc/shadow"), LONG),
    "another's file": _report(_replaced(2, b"/var/tmp/.virtops-" + b"0" * 32), LONG),
    "a path out of it": HOSTILE["a path out of it"],
    "a word more": _report(_replaced(2, b"/tmp /tmp")),
    "no base64": HOSTILE["no base64"],
}


@pytest.mark.parametrize("kind", COLLECTED)
def test_hostile_collections(loose_guest: Watched, kind: str) -> None:
    loose_guest.faults["guest-exec"] = [None, _then(loose_guest, [COLLECTED[kind]] * 200)]
    with pytest.raises((_errors.ProtocolError, _errors.CommandFailed)) as caught:
        sh(loose_guest, ENDS_ITS_SHELL, timeout=5)
    assert len(str(caught.value)) < 600
    assert loose_guest.count("guest-file-open") == 0


def _then(guest: Watched, faults: list[Fault | None]) -> Fault:
    """From this request on, these are the faults of guest-exec-status."""

    def fault(_arguments: Message, ask: t.Callable[[], Message]) -> Message:
        guest.faults["guest-exec-status"] = faults
        return ask()

    return fault


@pytest.mark.parametrize("signal", [128, 2**40])
def test_signals_that_cannot_be(loose_guest: Watched, signal: int) -> None:
    def fault(_arguments: Message, ask: t.Callable[[], Message]) -> Message:
        reply = ask()["return"]
        return {"return": {**reply, "signal": signal} if reply["exited"] else reply}

    loose_guest.faults["guest-exec-status"] = [fault] * 200
    with pytest.raises(_errors.ProtocolError):
        sh(loose_guest, ENDS_ITS_SHELL, timeout=5)


@EXACT
@pytest.mark.parametrize("said", [b"1e9 -1", b"1", b"1 2 3", "\N{SUPERSCRIPT TWO} 1".encode(), b"1 " + b"9" * 16])
def test_sizes_that_cannot_be(guest: Watched, said: bytes, exact: bool) -> None:
    sizes = real_agent.answering(**{"exited": True, "exitcode": 0, "out-data": base64.b64encode(said).decode()})
    guest.faults["guest-exec"] = [None, _then(guest, [sizes])]
    with pytest.raises(_errors.ProtocolError, match="size"):
        sh(guest, "head -c 200000 /dev/zero", tells_signals=exact)


def test_more_output_than_the_controller_takes(guest: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "_OUTPUT_MAX", 150_000)
    with pytest.raises(_errors.OutputTooLong, match="200000 bytes"):
        sh(guest, "head -c 200000 /dev/zero")


def test_an_agent_that_comes_back_after_the_deadline_ends_what_runs(loose_guest: Watched) -> None:
    gone = real_agent.raising(_errors.AgentDisappeared("gone"))
    loose_guest.faults["guest-exec-status"] = [None, *[gone] * 2]
    loose_guest.faults["guest-ping"] = [real_agent.raising(_errors.AgentDisconnected("nobody listens"))]
    with pytest.raises(_errors.AgentDisappeared):
        run(loose_guest, "/bin/sleep", "60", timeout=0.3)
    assert loose_guest.count("guest-ping") == 2
    assert loose_guest.running() == []


def test_an_agent_that_does_not_come_back_is_waited_for_once(loose_guest: Watched) -> None:
    gone = real_agent.raising(_errors.AgentDisappeared("gone"))
    loose_guest.faults["guest-exec-status"] = [None, *[gone] * 100]
    loose_guest.faults["guest-ping"] = [gone] * 100
    started = time.monotonic()
    agent = loose_guest.agent(1)
    with pytest.raises(_errors.AgentDisappeared):
        shell.execute(agent, shell.Command(("/bin/sleep", "3")), 0.3)
    assert time.monotonic() - started < 3


def test_a_number_of_another_boot_is_left_alone() -> None:
    """A guest that is up for less time than the command is old is another one: its process of this number is somebody else's."""
    with subprocess.Popen(["/bin/sleep", "60"], start_new_session=True) as somebody:
        for age, ended in ((10**9, False), (0, True)):
            subprocess.run(["/bin/sh", "-c", login_shell.kill(somebody.pid, "0" * 32, age)], check=True, timeout=20)
            assert (somebody.poll() is not None) is ended


@pytest.mark.parametrize(
    ("said", "ended"),
    [("began {pid} {boot}", True), ("began {pid} another", False), ("began {pid}", False), ("ended 0 1.00 2.00", False)],
)
def test_whose_the_number_is_its_file_says(said: str, ended: bool) -> None:
    """A guest that was paused for hours is up for less than the command is old, and is the same."""
    nonce = secrets.token_hex(16)
    record = Path(f"/var/tmp/.virtops-{nonce}.r")
    with subprocess.Popen(["/bin/sleep", "60"], start_new_session=True) as process:
        record.write_text(f"{said.format(pid=process.pid, boot=Path(spool.BOOT).read_text().strip())}\n")
        script = login_shell.kill(process.pid, nonce, age=10**9)
        subprocess.run(["/bin/sh", "-c", script], check=True, timeout=20)
        assert (process.poll() is not None) is ended
        process.kill()
    assert not record.exists()


def test_a_short_script_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "_SHORT", 0.2)
    agent = FakeGuest(programs=lambda _argv: Program(polls=10**6)).agent()
    with pytest.raises(_errors.WaitTimeout, match=r"a script of a few lines did not end within 0\.2 s"):
        shell.stage(agent, AgentLane(agent), io.BytesIO(b"x"), 1, ignore)
