# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands over a real agent, with each of the shells that a guest's /bin/sh may be: what goes in, what comes out, what it says."""

from __future__ import annotations

import os
import pwd
import random
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import login_shell, shell, spool
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import Watched

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

LIMIT = login_shell.INLINE_OUTPUT
NOBODY = "nobody"
#: What sets a command's environment; the shells add PWD (but for mksh), bash and busybox SHLVL and "_", and ksh93 one more.
LOGIN_NAMES = {"HOME", "USER", "LOGNAME", "SHELL", "PATH"}
SHELL_NAMES = {"PWD", "SHLVL", "_", "_AST_FEATURES"}
GIVEN_NAMES = {"LANG", "LANGUAGE", "LC_ALL", "XDG_RUNTIME_DIR"}
#: both ways of running a command
EXACT = pytest.mark.parametrize("exact", [True, False], ids=["exact", "surrounded"])


@pytest.fixture(autouse=True)
def with_shell(shell_path: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(login_shell, "ARGUMENTS", (shell_path, *login_shell.ARGUMENTS[1:]))
    return os.path.basename(os.path.realpath(shell_path))


def run(guest: Watched, *argv: str, **options: t.Any) -> shell.Result:
    return shell.execute(guest.agent(), shell.Command(argv, **options), 30)


def sh(guest: Watched, text: str, **options: t.Any) -> shell.Result:
    return run(guest, "/bin/sh", "-c", text, **options)


def environment(guest: Watched, **options: t.Any) -> dict[str, str]:
    text = run(guest, "/usr/bin/env", "-0", **options).stdout.decode()
    return dict(entry.split("=", 1) for entry in text.split("\0")[:-1])


WORDS = [
    "two words",
    "'",
    '"',
    "a\nb",
    "$HOME",
    "`id`",
    "$(id)",
    "*",
    "-n",
    "",
    "é😀\u202e",
    "\\",
    "a;b|c&d",
    "!x",
    "~",
    "\x01\x7f",
]


def test_arguments_arrive_as_they_are(guest: Watched) -> None:
    said = run(guest, "/usr/bin/printf", "%s\\0", *WORDS).stdout
    assert said.decode().split("\0")[:-1] == WORDS


def test_env_is_added(guest: Watched) -> None:
    found = environment(guest, env={"GREETING": "it's $HOME\n\"*'", "HOME": "/tmp", "EMPTY": ""})
    assert found["GREETING"] == "it's $HOME\n\"*'"
    assert (found["HOME"], found["EMPTY"], found["USER"]) == ("/tmp", "", "root")


@pytest.mark.parametrize("user", ["root", NOBODY])
def test_the_environment_is_that_of_a_login(guest: Watched, user: str) -> None:
    found = environment(guest, user=user)
    entry = pwd.getpwnam(user)
    home = entry.pw_dir if os.path.isdir(entry.pw_dir) else "/"
    assert LOGIN_NAMES <= set(found) <= LOGIN_NAMES | SHELL_NAMES | GIVEN_NAMES
    assert [found[name] for name in ("HOME", "USER", "LOGNAME", "SHELL")] == [entry.pw_dir, user, user, entry.pw_shell or "/bin/sh"]
    assert ("/usr/sbin" in found["PATH"].split(":")) is (user == "root")
    assert found.get("PWD", home) == home


@EXACT
@pytest.mark.parametrize("user", ["root", NOBODY])
def test_a_directory_leaks_no_variable(guest: Watched, user: str, exact: bool) -> None:
    assert set(environment(guest, chdir="/tmp", user=user, tells_signals=exact)) <= LOGIN_NAMES | SHELL_NAMES | GIVEN_NAMES


def test_the_user_is_another(guest: Watched, place: Path) -> None:
    entry = pwd.getpwnam(NOBODY)
    said = sh(guest, "id -u; id -g; id -Gn; touch mine; umask", user=NOBODY, chdir=str(place / "own"))
    assert said.stdout.split()[:2] == [b"%d" % entry.pw_uid, b"%d" % entry.pw_gid]
    assert b"root" not in said.stdout
    assert (place / "own" / "mine").stat().st_uid == entry.pw_uid


@EXACT
@pytest.mark.parametrize("name", ["i", "D", "t", "IFS", "PATH", "CDPATH"])
def test_no_name_of_a_variable_means_something_to_us(guest: Watched, place: Path, name: str, exact: bool) -> None:
    value = {"i": "0", "IFS": "o0", "PATH": "/nonexistent", "t": str(place / "own" / "x"), "CDPATH": "/var"}.get(name, "1")
    said = sh(guest, "/usr/bin/id -u; echo ok; pwd", env={name: value}, user=NOBODY, chdir="tmp", tells_signals=exact)
    assert said[:4] == (0, None, b"%d\nok\n/tmp\n" % pwd.getpwnam(NOBODY).pw_uid, b"")
    assert os.listdir(place / "own") == []


@EXACT
def test_a_name_that_the_guest_s_shell_keeps_for_itself(guest: Watched, with_shell: str, exact: bool) -> None:
    said = sh(guest, "echo ok", env={"UID": "1"}, tells_signals=exact)
    assert (said.rc == 0, said.stdout) == ((True, b"ok\n") if with_shell != "bash" else (False, b""))
    assert (b"UID: readonly variable" in said.stderr) is (with_shell == "bash")


@pytest.mark.parametrize(("umask", "mode"), [("", "0022"), ("0077", "0077"), ("002", "0002")])
def test_umask(guest: Watched, umask: str, mode: str) -> None:
    assert sh(guest, "umask", umask=umask).stdout.decode().strip() == mode


def test_directory(guest: Watched, place: Path) -> None:
    odd = place / "-o 'd\n$d"
    odd.mkdir()
    assert run(guest, "/bin/pwd", chdir=str(odd)).stdout.decode() == f"{odd}\n"
    with pytest.raises(_errors.CommandFailed, match="directory to run in does not exist"):
        run(guest, "/bin/pwd", chdir=str(place / "none"))


@EXACT
def test_a_directory_that_only_the_user_may_enter_or_he_may_not(guest: Watched, place: Path, exact: bool) -> None:
    own = place / "own"
    own.chmod(0o700)
    assert run(guest, "/bin/pwd", chdir=str(own), user=NOBODY, tells_signals=exact).stdout.decode() == f"{own}\n"
    os.chown(own, 0, 0)
    said = run(guest, "/bin/pwd", chdir=str(own), user=NOBODY, tells_signals=exact)
    assert said[:3] in [(rc, None, b"") for rc in (1, 2, 126, 127)]
    assert b"cd: " in said.stderr
    with pytest.raises(_errors.CommandFailed, match="directory to run in does not exist"):
        run(guest, "/bin/pwd", chdir=str(place / "none"), user=NOBODY, tells_signals=exact)


@EXACT
@pytest.mark.parametrize("user", ["root", NOBODY])
def test_a_program_in_the_directory_to_run_in(guest: Watched, place: Path, user: str, exact: bool) -> None:
    program = place / "own" / "program"
    program.write_text("#!/bin/sh\npwd\n")
    program.chmod(0o755)
    said = run(guest, "./program", chdir=str(place / "own"), user=user, tells_signals=exact)
    assert (said.rc, said.stdout.decode()) == (0, f"{place}/own\n")


def test_exit_codes(guest: Watched) -> None:
    for code in (0, 1, 126, 127, 128, 137, 255):
        assert sh(guest, f"exit {code}")[:2] == (code, None)


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV", "HUP"])
def test_signals_are_told_from_exit_codes(guest: Watched, name: str, with_shell: str) -> None:
    number = {"KILL": 9, "TERM": 15, "SEGV": 11, "HUP": 1}[name]
    told = None if with_shell.startswith("zsh") else number
    assert sh(guest, f"echo a; kill -{name} $$")[:3] == (128 + number, told, b"a\n")
    assert sh(guest, f"exit {128 + number}")[:2] == (128 + number, None)
    assert sh(guest, f"echo a; kill -{name} $$", tells_signals=False)[:3] == (128 + number, None, b"a\n")


def test_a_shell_that_complains_has_seen_no_signal(guest: Watched) -> None:
    assert sh(guest, "exit 137", env={"LC_ALL": "xx_YY.UTF-8"})[:2] == (137, None)


@EXACT
def test_a_command_may_kill_its_group(guest: Watched, exact: bool) -> None:
    said = sh(guest, "echo hello; kill -TERM 0; sleep 5", tells_signals=exact)
    assert said[:3] == (143, 15, b"hello\n")


@EXACT
@pytest.mark.parametrize("late", ["exec <&$1", "if cat"])
def test_a_command_may_kill_its_group_before_its_output_is_kept(
    guest: Watched, exact: bool, late: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine with more to do than it can."""
    assert late in spool._KEEP
    monkeypatch.setattr(spool, "_KEEP", spool._KEEP.replace(late, f"sleep 0.5; {late}"))
    said = sh(guest, "echo hello; kill -TERM 0; sleep 5", tells_signals=exact)
    assert said[:3] == (143, 15, b"hello\n")


@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_lot_on_one_stream_and_nothing_on_the_other(guest: Watched, stream: str) -> None:
    """The file of the empty one is removed at once."""
    for _again in range(3):
        said = run(guest, "/bin/sh", "-c", f"head -c 400000 /dev/zero >&{stream}")
        assert sorted((len(said.stdout), len(said.stderr))) == [0, 400_000]


def test_there_is_no_such_program(guest: Watched) -> None:
    for program in ("/nonexistent/program", "nosuchprogram", ""):
        with pytest.raises(_errors.CommandFailed, match="no such program"):
            run(guest, program)
    said = run(guest, "/nonexistent/program", tells_signals=False)
    assert said.rc == 127
    assert b"/nonexistent/program" in said.stderr


def test_there_is_no_such_user(guest: Watched) -> None:
    for user in ("*", "roo", "rootx"):
        with pytest.raises(_errors.CommandFailed, match="no such user"):
            run(guest, "/bin/true", user=user)


def test_input(guest: Watched) -> None:
    for data in (b"", b"x", bytes(range(256)) * 4):
        assert run(guest, "/bin/cat", stdin=data).stdout == data


def test_no_input_is_dev_null(guest: Watched) -> None:
    assert run(guest, "/bin/readlink", "/proc/self/fd/0").stdout == b"/dev/null\n"


@EXACT
def test_input_that_has_to_be_staged(guest: Watched, exact: bool) -> None:
    data = random.Random(3).randbytes(120 * 1024)
    assert run(guest, "/bin/cat", stdin=data, tells_signals=exact).stdout == data
    assert guest.count("guest-exec") <= 3
    assert guest.count("guest-file-open") == exact
    assert run(guest, "/bin/true", stdin=data, tells_signals=exact)[:4] == (0, None, b"", b"")


@EXACT
def test_output_around_the_limit(guest: Watched, exact: bool) -> None:
    for size in (0, LIMIT - 1, LIMIT, LIMIT + 1):
        text = f"head -c {size} /dev/zero; head -c {size} /dev/zero | tr '\\0' '\\377' >&2"
        said = sh(guest, text, tells_signals=exact)
        assert (said.stdout, said.stderr) == (bytes(size), b"\xff" * size)


def test_no_word_of_a_command_is_taken_for_ours(guest: Watched) -> None:
    text = f"{'0' * 32} 7 /var/tmp/.virtops-{'0' * 32}\n"
    said = sh(
        guest, 'printf %s "$1" >&2; ls -a /var/tmp | sed -n "s/^.virtops-\\(.*\\).e$/\\1 0 \\/etc\\/shadow/p" >&2', env={"X": text}
    )
    assert said.rc == 0
    assert b"/etc/shadow" in said.stderr


def test_the_log_of_the_guest_gets_nothing(guest: Watched) -> None:
    run(guest, "/bin/cat", "geheim", env={"A": "geheim"}, stdin=b"geheim", chdir="/tmp")
    run(guest, "/bin/cat", "geheim", env={"A": "geheim"}, stdin=b"geheim", chdir="/tmp", tells_signals=False)
    started = [arguments for command, arguments in guest.sent if command == "guest-exec"]
    assert {(arguments["path"], *arguments["arg"]) for arguments in started} == {(login_shell.PROGRAM, *login_shell.ARGUMENTS)}


@pytest.mark.parametrize("child", ["sleep 20 &", "( sleep 20 & ) ; exec 2>/dev/null", "sleep 20 <&0 >&2 &"])
def test_a_child_in_the_background_is_not_waited_for(loose_guest: Watched, child: str) -> None:
    said = sh(loose_guest, f"echo a; {child} echo b" if child.endswith("&") else f"echo a; {child}; echo b", stdin=b"x")
    assert (said.rc, said.stdout) == (0, b"a\nb\n")
    assert said.seconds < 15
    loose_guest.assert_nothing_left()
