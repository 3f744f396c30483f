# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ansible-core wraps is run with fewer processes, and ends as it would have ended; anything else is run as it is."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from ansible.plugins.loader import become_loader, shell_loader

from ansible_collections.virtops.guest_agent.plugins.plugin_utils._connection.unwrapped import unwrapped
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import SHELLS, shell_named_sh

SH = "/bin/sh"


def wrapped(text: str, shell: str = SH, pause: str = " && sleep 0") -> str:
    """As ActionBase does it."""
    return f"{shell} -c {shlex.quote(text + pause)}"


@pytest.mark.parametrize("pause", [" && sleep 0", ""], ids=["2.16", "2.21"])
@pytest.mark.parametrize(
    ("text", "argv"),
    [
        pytest.param("/usr/bin/python3", ("/usr/bin/python3",), id="pipelined"),
        pytest.param("/usr/bin/python3 /root/x-1/A_b.py", ("/usr/bin/python3", "/root/x-1/A_b.py"), id="file"),
        pytest.param("/usr/bin/python3 '/a b' \"c d\"e", ("/usr/bin/python3", "/a b", "c de"), id="quoted"),
        pytest.param("LANG=C 'a b=c' /usr/bin/python3", None, id="environment"),
        pytest.param("chmod u+rwx /root/x /root/y", None, id="no path"),
    ],
)
def test_a_command_of_words_needs_no_shell(text: str, argv: tuple[str, ...] | None, pause: str) -> None:
    assert unwrapped(SH, wrapped(text, pause=pause)) == (argv or (SH, "-c", text))


@pytest.mark.parametrize("flags", ["-H -S -n", "-H -S"])
def test_become_keeps_the_shell_that_says_it_has_worked(flags: str) -> None:
    become = become_loader.get("ansible.builtin.sudo")
    become.set_options(direct={"become_user": "root", "become_flags": flags, "become_exe": "/usr/bin/sudo"})
    shell = shell_loader.get("ansible.builtin.sh")
    shell.executable = SH
    module = shell.build_module_command("", "#!/usr/bin/python3", "")
    text = become.build_become_command(module, shell)
    argv = unwrapped(SH, wrapped(text))
    assert (argv[0], argv[-3:-1]) == ("/usr/bin/sudo", (SH, "-c"))
    assert argv[-1].split() == ["echo", become.success, ";", "/usr/bin/python3"]


AS_IT_IS = {
    "not wrapped": "echo a",
    "another quoting": "/bin/sh -c '/usr/bin/python3'",
    "more words": f"{wrapped('true')} x",
    "more commands": f"{wrapped('true')}; true",
    "another option": "/bin/sh -x 'a b'",
    "a shell with options": wrapped("a", "/bin/sh -l"),
    "a shell by name": wrapped("a", "sh"),
    "no end of a quote": "/bin/sh -c 'a",
    "nothing": "",
}


@pytest.mark.parametrize("name", AS_IT_IS)
def test_another_form_is_run_as_it_is(name: str) -> None:
    assert unwrapped(SH, AS_IT_IS[name]) == (SH, "-c", AS_IT_IS[name])


def test_a_shell_of_the_user_s_choice_is_not_left_out() -> None:
    assert unwrapped("/opt/logged", wrapped("/bin/true")) == ("/opt/logged", "-c", wrapped("/bin/true"))
    assert unwrapped("/opt/logged", wrapped("a", "/opt/logged")) == ("/opt/logged", "-c", "a")
    assert unwrapped(SH, wrapped("a", "/bin/bash")) == ("/bin/bash", "-c", "a")


#: Where the pause changes how the command ends, or a shell does more with a word than hand it on.
TEXTS = r"""
echo a &
echo a;
echo a |
echo a \
echo a #
(echo a
echo 'a
a=1
! true
false || echo b
false; true
true; exit 3
exit 4
{ false
if
time
$(echo /bin/echo) a
/bin/echo a&b
/bin/echo ~ * ? [a] {a,b} $HOME `id -u`
/bin/echo ~root a=~
/bin/echo "$HOME" "a\"b" "!" '!'
/bin/echo '#' a#b #c
/bin/echo a  b
/usr/bin/printf '%s|' '' "" a'b'"c" -- -n 'ä'
/bin/cat
/bin/false
/bin/sh -c 'exit 5'
/nonexistent/program
/etc/passwd
A=b /usr/bin/printenv A
a=b=c
kill -9 $$
/usr/bin/env -i /bin/pwd
exec /bin/echo x
""".strip().splitlines()
LINES = ["cat <<E\nb\nE", "echo a\n", "/bin/echo a\nfalse", "/bin/echo 'a\nb'", " /bin/echo a "]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("text", [*TEXTS, *LINES])
def test_it_ends_as_it_would_have(text: str, shell: str, tmp_path: Path) -> None:
    path = shell_named_sh(shell, tmp_path)
    whole = wrapped(text, path)
    expected, found = (_ended([path, "-c", 'exec "$@"', "sh", *argv]) for argv in ((path, "-c", whole), unwrapped(path, whole)))
    assert found[:2] == expected[:2]
    # A shell has more to say where something is wrong with what it reads.
    assert bool(found[2]) == bool(expected[2]) or expected[0] > 128


def _ended(argv: list[str]) -> tuple[int, bytes, bytes]:
    env = {"HOME": "/root", "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    done = subprocess.run(argv, input=b"in\n", capture_output=True, env=env, cwd="/", check=False, timeout=60)
    return (done.returncode if done.returncode >= 0 else 128 - done.returncode), done.stdout, done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_an_interpreter_that_is_missing_is_said_as_core_looks_for_it(shell: str, tmp_path: Path) -> None:
    path = shell_named_sh(shell, tmp_path)
    rc, _stdout, stderr = _ended([path, "-c", 'exec "$@"', "sh", *unwrapped(path, wrapped("/usr/bin/python9", path))])
    assert rc == 127
    assert any(f"/usr/bin/python9: {words}".encode() in stderr for words in ("No such file or directory", "not found"))
