# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that run commands and move files, from their arguments to their result, with a real qemu-ga on a unix socket."""

from __future__ import annotations

import base64
import glob
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils import basic
from ansible.module_utils.common.parameters import PASS_VARS

from ansible_collections.virtops.guest_agent.plugins.module_utils._module import run_script as _run_script
from ansible_collections.virtops.guest_agent.plugins.modules import pull_file, push_file, run_command, run_script
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import run_module
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import wait_until

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

Run = t.Callable[..., dict[str, t.Any]]
MODULES = (run_command, run_script, push_file, pull_file)
SPOOLS = ("/var/tmp", "/tmp", "/run")
SECRET = "correct-horse-battery-staple"


@pytest.fixture
def run(real_socket: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_it(module: t.Any, **arguments: t.Any) -> dict[str, t.Any]:
        given = {
            "transport": "unix",
            "socket": str(real_socket),
            "domain": "guest",
            "agent_timeout": 20,
            "resident": "never",
            **arguments,
        }
        return run_module(module.main, capsys, **{name: value for name, value in given.items() if value is not None})

    return run_it


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory of the guest, which is this machine."""
    directory = tmp_path / "guest"
    directory.mkdir()
    return directory


def _scripts() -> set[str]:
    return {path for spool in SPOOLS for path in glob.glob(f"{spool}/.virtops-*") if re.fullmatch(r"\.virtops-\w{32}", path[-41:])}


def _assert_none_left(before: set[str]) -> None:
    """Tests beside this one have theirs for a moment."""
    wait_until(lambda: not _scripts() - before, 10, lambda: _scripts() - before)


def test_a_command(run: Run) -> None:
    result = run(run_command, argv=["printf", "%s\\n\\n", "a b", "$HOME"])
    assert (result["rc"], result["signal"], result["stdout"], result["stderr"]) == (0, None, "a b\n\n$HOME", "")
    assert result["cmd"] == ["printf", "%s\\n\\n", "a b", "$HOME"]
    assert result["changed"] is True
    assert result["start"] < result["end"]
    assert re.fullmatch(r"0:00:\d\d\.\d+", result["delta"])
    assert not {"stdout_b64", "stderr_b64", "msg", "diff"} & set(result)


@pytest.mark.parametrize(
    ("arguments", "stdout"),
    [
        ({"cmd": "printf '%s|' 'a b' $HOME \\* | cat"}, "a b|$HOME|*|||cat|"),
        ({"shell": "echo one | tr a-z A-Z"}, "ONE"),
        ({"shell": "echo $0", "executable": "/bin/bash"}, "/bin/bash"),
        ({"shell": "cat; echo end", "stdin": "x"}, "x\nend"),
        ({"shell": "cat; echo end", "stdin": "x", "stdin_add_newline": False}, "xend"),
        ({"shell": "cat; echo end", "stdin": {"a": [1]}}, '{"a": [1]}\nend'),
        ({"argv": ["wc", "-c"], "stdin": "x" * 300_000}, "300001"),
        ({"shell": "echo $A $B $HOME", "env": {"A": "a $B", "B": 5}}, f"a $B 5 {os.path.expanduser('~root')}"),
        ({"shell": "pwd", "chdir": "/usr"}, "/usr"),
        ({"shell": "umask"}, "0022"),
        ({"shell": "umask", "umask": "077"}, "0077"),
        ({"shell": "echo; echo x; echo", "strip_empty_ends": False}, "\nx\n\n"),
    ],
)
def test_how_a_command_runs(run: Run, arguments: dict, stdout: str) -> None:
    result = run(run_command, **arguments)
    assert (result["rc"], result["stdout"]) == (0, stdout)


def test_the_command_is_returned_as_it_was_understood(run: Run) -> None:
    assert run(run_command, cmd="echo 'a b'")["cmd"] == ["echo", "a b"]
    assert run(run_command, shell="echo 'a b'")["cmd"] == "echo 'a b'"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "one of the following is required: cmd, argv, shell"),
        ({"cmd": "id", "shell": "id"}, "parameters are mutually exclusive: cmd|argv|shell"),
        ({"argv": ["id"], "shell": "id"}, "parameters are mutually exclusive: cmd|argv|shell"),
        ({"cmd": "id", "executable": "/bin/bash"}, "parameters are mutually exclusive: cmd|executable"),
        ({"argv": ["id"], "executable": "/bin/bash"}, "parameters are mutually exclusive: argv|executable"),
    ],
)
def test_a_command_is_said_in_one_way(run: Run, arguments: dict, words: str) -> None:
    assert words in run(run_command, **arguments)["msg"]


def test_another_user(run: Run) -> None:
    assert run(run_command, shell="id -un; echo $USER", user="nobody")["stdout"] == "nobody\nnobody"


def test_what_is_no_text_is_not_lost(run: Run) -> None:
    result = run(run_command, shell=r"printf 'a\377\n'; printf '\000\302' >&2")
    assert (result["stdout"], result["stderr"]) == ("a\ufffd", "\0\ufffd")
    assert base64.b64decode(result["stdout_b64"]) == b"a\xff\n"
    assert base64.b64decode(result["stderr_b64"]) == b"\0\xc2"


@pytest.mark.parametrize(
    ("text", "rc", "number", "words"),
    [
        ("echo out; echo err >&2; exit 3", 3, None, "Domain guest: the command ended with exit code 3; see rc"),
        ("echo out; echo err >&2; kill -9 $$", 137, 9, "Domain guest: the command was ended by signal 9; see rc"),
        ("echo out; echo err >&2; exit 137", 137, None, "ended with exit code 137"),
    ],
)
def test_a_command_that_fails_keeps_its_result(run: Run, text: str, rc: int, number: int | None, words: str) -> None:
    result = run(run_command, shell=text)
    assert (result["failed"], result["changed"], result["failure"]["kind"]) == (True, True, "nonzero_rc")
    assert (result["rc"], result["signal"], result["stdout"], result["stderr"]) == (rc, number, "out", "err")
    assert words in result["msg"]


def test_a_command_that_does_not_end(run: Run, place: Path) -> None:
    result = run(run_command, shell="sleep 300 & echo $! >pid; wait", chdir=str(place), timeout=3)
    assert (result["failure"]["kind"], result["rc"], result["changed"]) == ("command_timeout", None, True)
    assert result["delta"] > "0:00:03"
    pid = int((place / "pid").read_text())
    assert not _lives(pid)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"creates": "{}/there"}, "'{}/there' exists"),
        ({"creates": "there"}, "'there' exists"),
        ({"creates": "{}/th*e"}, "'{}/th*e' exists"),
        ({"creates": "{}/dangling"}, "'{}/dangling' exists"),
        ({"creates": "{}/with space*"}, "'{}/with space*' exists"),
        ({"creates": "{}/none"}, ""),
        ({"creates": "{}/none*"}, ""),
        ({"creates": "$(touch {}/ran)"}, ""),
        ({"creates": "{}/none {}/there"}, ""),
        ({"removes": "{}/there"}, ""),
        ({"removes": "{}/none"}, "'{}/none' does not exist"),
        ({"removes": "{}/no*"}, "'{}/no*' does not exist"),
        ({"creates": "{}/none", "removes": "{}/none"}, "'{}/none' does not exist"),
        ({"creates": "{}/there", "removes": "{}/there"}, "'{}/there' exists"),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_whether_it_is_needed(run: Run, place: Path, arguments: dict, reason: str, check: bool) -> None:
    (place / "there").touch()
    (place / "with space 1").touch()
    (place / "dangling").symlink_to("nowhere")
    named = {name: value.replace("{}", str(place)) for name, value in arguments.items()}
    result = run(run_command, cmd="touch ran", chdir=str(place), check=check, **named)
    reason = reason.replace("{}", str(place))
    assert result["changed"] is not bool(reason)
    assert (place / "ran").exists() is not (check or bool(reason))
    assert (result["rc"], result.get("skipped", False)) == (0, False)
    if reason:
        assert result["msg"] == f"{'Would' if check else 'Did'} not run command since {reason}"
        assert result["stdout"] == f"skipped, since {reason}"


@pytest.mark.parametrize(("module", "what"), [(run_command, {"cmd": "true"}), (run_script, {"content": "true"})])
def test_check_mode_skips_what_nobody_can_predict(run: Run, module: t.Any, what: dict) -> None:
    result = run(module, check=True, socket="/nonexistent/socket", **what)
    assert (result["skipped"], result["changed"], result["rc"]) == (True, False, 0)


@pytest.mark.parametrize(
    ("module", "arguments", "words"),
    [
        (run_command, {"argv": []}, "there is no command"),
        (run_command, {"argv": [""]}, "there is no command"),
        (run_command, {"cmd": " "}, "there is no command"),
        (run_command, {"cmd": "'' x"}, "there is no command"),
        (run_command, {"shell": " "}, "there is no command"),
        (run_command, {"cmd": "echo 'a"}, "cmd cannot be split into words: No closing quotation; close its quotes"),
        (run_command, {"cmd": "true", "umask": 63}, "umask must be three or four octal digits in quotes"),
        (run_command, {"cmd": "true", "umask": "0; reboot"}, "umask must be"),
        (run_command, {"cmd": "true", "env": {"A": None}}, "the value of A in env must be a text"),
        (run_command, {"cmd": "true", "env": {"A B": "x"}}, "A B cannot be the name"),
        (run_command, {"cmd": "true", "timeout": 0}, "timeout must be from 1"),
        (push_file, {"content": "x", "dest": "relative"}, "dest must be an absolute path"),
        (push_file, {"content": "x", "dest": "/tmp/"}, "content has no name"),
        (push_file, {"content": "x", "dest": "/tmp/x", "mode": 420}, "mode must be"),
        (push_file, {"content": "x", "dest": "/tmp/x", "mode": "u+q"}, "mode must be"),
        (push_file, {"content": "x", "dest": "/tmp/x", "mode": "77777"}, "mode must be"),
        (push_file, {"content": "x", "dest": "/tmp/x", "mode": "preserve"}, "mode=preserve requires src"),
        (push_file, {"content": "x", "dest": "/tmp/x", "owner": "root:root"}, "owner cannot be"),
        (pull_file, {"src": "etc/passwd", "dest": "/tmp/x"}, "src must be an absolute path"),
        (pull_file, {"src": "/etc/..", "dest": "/tmp/"}, "'/etc/..' has no name"),
    ],
)
def test_options_that_cannot_be(run: Run, module: t.Any, arguments: dict, words: str) -> None:
    result = run(module, **arguments)
    assert (result["failed"], result["failure"]["kind"]) == (True, "invalid_input"), result
    assert words in result["msg"]


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"transport": "unix", "socket": None}, "transport is unix but all of the following are missing: socket"),
        ({"transport": "libvirt", "domain": None}, "transport is libvirt but all of the following are missing: domain"),
        ({"transport": "channel", "domain": None}, "transport is channel but all of the following are missing: domain"),
    ],
)
def test_what_each_transport_needs(run: Run, module: t.Any, arguments: dict, words: str) -> None:
    what = {
        run_command: {"cmd": "true"},
        run_script: {"content": "true"},
        push_file: {"content": "", "dest": "/x"},
        pull_file: {"src": "/x", "dest": "/x"},
    }
    assert words in run(module, **what[module], **arguments)["msg"]


def test_a_socket_needs_no_domain(run: Run, real_socket: Path) -> None:
    result = run(run_command, shell="exit 1", domain=None)
    assert result["failure"]["domain"] == str(real_socket)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (run_command, {"shell": "cat; echo $X", "stdin": SECRET, "env": {"X": f"{SECRET}-too"}}),
        (run_script, {"content": f"#!/bin/sh\necho {SECRET}; exit 1"}),
        (run_script, {"content": f"#!/bin/sh\necho {SECRET}; sleep 60", "timeout": 1}),
        (push_file, {"content": SECRET, "dest": "{}/secret"}),
        (push_file, {"content": SECRET, "dest": "/nonexistent/secret"}),
        (push_file, {"content": SECRET, "dest": "{}/secret", "mode": 1}),
    ],
)
def test_secrets_are_in_no_log(run: Run, place: Path, module: t.Any, arguments: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(basic, "has_journal", False)
    monkeypatch.setattr(basic.syslog, "syslog", lambda _level, text: logged.append(text))
    named = {name: value.replace("{}", str(place)) if name == "dest" else value for name, value in arguments.items()}
    # Since ansible-core 2.20 the invocation is returned on demand.
    demand = {"_ansible_inject_invocation": True} if "inject_invocation" in PASS_VARS else {}
    result = run(module, **demand, **named)
    assert "Invoked with" in logged[0]
    assert SECRET not in " ".join(logged)
    assert SECRET not in json.dumps(result["invocation"])
    assert result["invocation"]["module_args"]["agent_timeout"] == 20
    assert SECRET not in result.get("msg", "")
    if module is run_command:  # which is what the user wants to see
        assert result["stdout"] == f"{SECRET}\n{SECRET}-too"


SCRIPT = '#!/bin/sh\nls -ln "$0"; printf "[%s]" "$@"; cat; exit 4\n'


@pytest.mark.parametrize("user", ["root", "nobody"])
@pytest.mark.parametrize("given", ["script", "content"])
def test_a_script(run: Run, tmp_path: Path, user: str, given: str) -> None:
    path = tmp_path / "a script"
    path.write_text(SCRIPT)
    what = {"script": str(path)} if given == "script" else {"content": SCRIPT}
    before = _scripts()
    result = run(run_script, args=["a b", "$HOME"], stdin="in", user=user, **what)
    listed, said = result["stdout"].split("\n", 1)
    assert said == "[a b][$HOME]in"
    uid = subprocess.run(["id", "-u", user], capture_output=True, text=True, check=True).stdout.strip()
    assert (listed.split()[0], listed.split()[2]) == ("-rwx------", uid)
    assert (result["rc"], result["cmd"]) == (4, [str(path) if given == "script" else "-", "a b", "$HOME"])
    _assert_none_left(before)
    assert path.exists()


def test_a_script_with_its_interpreter(run: Run) -> None:
    result = run(run_script, content="import sys; print(sys.argv[1:])", executable=sys.executable, args=["x"])
    assert (result["stdout"], result["cmd"]) == ("['x']", [sys.executable, "-", "x"])


def test_a_directory_that_takes_nothing_is_passed_over(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_run_script, "_DIRECTORIES", ("/nonexistent", "/proc", "/var/tmp"))
    assert run(run_script, content="#!/bin/sh\necho $0")["stdout"].startswith("/var/tmp/.virtops-")
    monkeypatch.setattr(_run_script, "_DIRECTORIES", ("/nonexistent", "/proc"))
    result = run(run_script, content="#!/bin/sh\necho $0")
    assert (result["failure"]["kind"], "/nonexistent" in result["msg"]) == ("no_space", True)


def test_a_large_program(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(b"#!/bin/sh\nwc -c <$0\nexit\n" + os.urandom(1_000_000))
    assert run(run_script, script=str(path))["stdout"] == str(path.stat().st_size)


@pytest.mark.parametrize("how", ["timeout", "missing interpreter", "missing directory"])
def test_a_script_is_removed_whatever_happens(run: Run, how: str) -> None:
    before = _scripts()
    options = {
        "timeout": ({"timeout": 1}, "command_timeout"),
        "missing interpreter": ({"executable": "/nonexistent/sh"}, "command_failed"),
        "missing directory": ({"chdir": "/nonexistent"}, "command_failed"),
    }
    arguments, kind = options[how]
    result = run(run_script, content="#!/bin/sh\nsleep 300", **arguments)
    assert result["failure"]["kind"] == kind
    _assert_none_left(before)


def test_a_script_that_is_not_there(run: Run) -> None:
    result = run(run_script, script="/nonexistent/script", check=True)
    assert result["failure"]["kind"] == "local_file"
    assert result["msg"] == "/nonexistent/script: No such file or directory (on the host where the module runs)."


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_module_that_is_ended_cleans_up(real_socket: Path, place: Path, number: int) -> None:
    """In a process of its own: it ends."""
    before = _scripts()
    content = f"#!/bin/sh\necho $$ >{place}/pid.new; mv {place}/pid.new {place}/pid; sleep 300"
    arguments = {
        "transport": "unix",
        "socket": str(real_socket),
        "content": content,
        "_ansible_remote_tmp": "/tmp",
        "resident": "never",
    }
    package = run_script.__name__.rpartition(".plugins.")[0]
    program = (
        f"from {package}.plugins.modules import run_script; from {package}.tests.unit import module_runs\n"
        f"with module_runs._arguments({arguments!r}): run_script.main()"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([os.environ.get("ANSIBLE_COLLECTIONS_PATH", ""), *sys.path])}
    module = subprocess.Popen([sys.executable, "-c", program], env=env)
    deadline = time.monotonic() + 30
    while not (place / "pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pid = int((place / "pid").read_text())
    module.send_signal(number)
    assert module.wait(30) == 128 + number
    assert not _lives(pid)
    _assert_none_left(before)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("#!/bin/sh\n", ["/bin/sh"]),
        ("#! /usr/bin/env  python3 -u \n", ["/usr/bin/env", "python3 -u"]),
        ("#!/bin/sh\r\n", ["/bin/sh\r"]),
        ("#!sh\n", []),
        ("#!\n", []),
        ("#!/bin/sh", []),
        ("echo\n", []),
        ("#!/" + "x" * 300 + "\n", []),
    ],
)
def test_the_interpreter_of_a_script(line: str, words: list[str]) -> None:
    assert _run_script._interpreter(io.BytesIO(line.encode() + b"\xff")) == words


def test_a_program_goes_where_it_can_be_executed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    content = "echo $0"
    assert run(run_script, content=content)["stdout"].startswith("/var/tmp/.virtops-")
    monkeypatch.setattr(_run_script, "_TRY", _run_script._TRY.replace('&& "$p" &&', "&& case $p in /run/*) ;; *) false ;; esac &&"))
    assert run(run_script, content=content)["stdout"].startswith("/run/.virtops-")
    monkeypatch.setattr(_run_script, "_TRY", "true")
    failed = run(run_script, content=content)
    assert "mounted noexec" in failed["msg"]
    assert "executable" in failed["failure"]["hint"]
    assert run(run_script, content=f"#!/bin/sh\n{content}")["rc"] == 0


def test_a_script_for_which_there_is_no_space(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_run_script, "_DIRECTORIES", ("/nonexistent", "/proc"))
    failed = run(run_script, content="#!/bin/sh\n")
    assert failed["failure"]["kind"] == "no_space"
    assert "no space" in failed["msg"]
    assert "/nonexistent/" in failed["msg"]
