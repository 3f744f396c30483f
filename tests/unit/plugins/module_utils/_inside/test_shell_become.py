# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A password is typed for a program that asks for it, once, and reaches no other program."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import login_shell, shell
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import Watched

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

PASSWORD = "ge'h$e im"
#: Asks as often as it is told ($1) on the stream ($2), and then does what sudo's shell would: says so, and runs the rest.
ASKS = """
n=0
while [ $n -lt "$1" ]; do
  n=$((n+1)); printf "%s" "$QUESTION" >&$2; IFS= read -r word || exit 9
  [ "$word" = "$SECRET" ] && break
  [ $n = "$1" ] && { echo sorry >&2; exit 1; }
done
echo BECOME-SUCCESS; exec cat
"""


@pytest.fixture(autouse=True)
def with_shell(shell_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_shell, "ARGUMENTS", (shell_path, *login_shell.ARGUMENTS[1:]))


def ask(guest: Watched, times: int, stream: int, given: str, script: str = ASKS, **options: t.Any) -> shell.Result:
    prompt = "Password for \N{SNOWMAN}: "
    answer = shell.Answer(options.pop("prompt", prompt), given, "BECOME-SUCCESS")
    command = shell.Command(("/bin/sh", "-c", script, "sh", str(times), str(stream)), answer=answer, **options)
    return shell.execute(guest.agent(), command._replace(env={"QUESTION": prompt, "SECRET": PASSWORD}), 8)


@pytest.mark.parametrize("stream", [1, 2])
@pytest.mark.parametrize("prompt", ["Password for \N{SNOWMAN}: ", ""], ids=["known", "any"])
def test_the_right_password(guest: Watched, stream: int, prompt: str) -> None:
    data = b"data\n" * stream * 30_000
    said = ask(guest, 2, stream, PASSWORD, prompt=prompt, stdin=data)
    assert said.rc == 0
    assert said.stdout.endswith(b"BECOME-SUCCESS\n" + data)
    assert PASSWORD.encode() not in said.stdout + said.stderr


def test_a_wrong_password_is_typed_once_and_no_data(guest: Watched) -> None:
    said = ask(guest, 3, 2, "wrong", stdin=b"data\n", script=ASKS.replace("[ $n = ", 'echo "<$word>" >&2; [ $n = '))
    assert said.rc == 9
    assert said.stderr.count(b"<wrong>") == 1
    assert b"data" not in said.stdout + said.stderr


def test_nobody_asks(guest: Watched) -> None:
    assert ask(guest, 0, 2, PASSWORD, stdin=b"data").stdout == b"BECOME-SUCCESS\ndata"
    slow = "sleep 0.1; echo warning >&2; sleep 0.1; echo BECOME-SUCCESS; exec cat"
    assert ask(guest, 0, 2, PASSWORD, stdin=b"data", script=slow).stdout == b"BECOME-SUCCESS\ndata"


def test_it_ends_at_once(guest: Watched) -> None:
    assert ask(guest, 0, 2, PASSWORD, script="exit 3", stdin=b"data")[:3] == (3, None, b"")


def test_it_says_something_and_ends(guest: Watched) -> None:
    said = ask(guest, 0, 2, PASSWORD, script="echo no >&2; exit 3", stdin=b"data", prompt="")
    assert (said.rc, said.stderr) == (3, b"no\n")


def test_a_success_between_two_looks_is_no_question(guest: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = 'grep() { command grep "$@"; r=$?; sleep 0.15; return $r; }\n'
    surround = login_shell.surround
    monkeypatch.setattr(login_shell, "surround", lambda *arguments: slow + surround(*arguments))
    said = ask(guest, 0, 1, PASSWORD, script="sleep 0.1; echo BECOME-SUCCESS; exec cat", stdin=b"data", prompt="")
    assert said.stdout == b"BECOME-SUCCESS\ndata"


def test_a_password_is_not_shown() -> None:
    assert PASSWORD not in repr(shell.Command(("id",), answer=shell.Answer("p", PASSWORD, "s")))


def test_a_password_is_not_in_the_environment(guest: Watched) -> None:
    answer = shell.Answer("Password: ", PASSWORD, "BECOME-SUCCESS")
    command = shell.Command(("/bin/sh", "-c", "echo BECOME-SUCCESS; env"), env={"A": "1"}, answer=answer)
    assert PASSWORD.encode() not in shell.execute(guest.agent(), command, 8).stdout
