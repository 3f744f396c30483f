# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The legend of the scripts that surround a command, held against the scripts."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import login_shell, resident, spool
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.login_shell import Answer, Command, Input
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import SHELLS, shell_named_sh

N = "0" * 32
#: What shells and programs know by these names.
KNOWN = {"BASH_VERSION", "HOME", "IFS", "LOGNAME", "PATH", "PWD", "SHELL", "USER", "VIRTOPS", "XDG_RUNTIME_DIR"}
#: Of dd.
OPERANDS = {"bs", "count"}
_ASSIGNED = re.compile(r"(?<![\w$.\"'-])([A-Za-z_]\w*)=")
_USED = re.compile(r"\$\{?([A-Za-z_]\w*)")
_LOOP = re.compile(r"\bfor ([A-Za-z_]\w*)\b")
_READ = re.compile(r"\bread -r ([A-Za-z_ ]+)")
_ENDINGS = re.compile(rf"(?:\$[tj]|virtops-{N})\.([a-z])\b|virtops-{N}\.\[([a-z]+)\]")


def scripts() -> list[str]:
    commands = [
        Command(("a",)),
        Command(("a",), tells_signals=False),
        Command(("a",), user="u", chdir="/tmp", umask="077"),
        Command(("a",), answer=Answer("p", "a", "s")),
    ]
    inputs = [Input(*flags) for flags in itertools.product((False, True), repeat=3)]
    return [
        *(login_shell.surround(N, command, source) for command in commands for source in inputs),
        login_shell.collect(N),
        login_shell.await_end(7, N, 1),
        login_shell.await_end(0, N, 1),
        login_shell.kill(7, N, 1),
        login_shell.discard(N),
        login_shell.sizes(N),
        login_shell.clean_up(N),
        spool.store(N, 1),
        *login_shell.ARGUMENTS,
        *login_shell.WITHOUT_PROGRAM,
    ]


def variables(script: str) -> set[str]:
    read = {name for names in _READ.findall(script) for name in names.split()}
    return {*_ASSIGNED.findall(script), *_USED.findall(script), *_LOOP.findall(script), *read} - KNOWN - OPERANDS


def endings(script: str) -> set[str]:
    return {letter for found in _ENDINGS.findall(script) for letter in "".join(found)}


def legend() -> set[str]:
    """What stands in the first column of the tables."""
    rows = re.findall(r"^((?:``\.?[A-Za-z]`` ?)+) {2,}\S", login_shell.__doc__ or "", re.MULTILINE)
    return {name for row in rows for name in re.findall(r"``(\.?[A-Za-z])``", row)}


def test_the_legend_has_every_variable_and_every_file_of_the_scripts() -> None:
    used = {name for script in scripts() for name in (*variables(script), *(f".{letter}" for letter in endings(script)))}
    assert legend() == used


@pytest.mark.parametrize(
    ("script", "found"),
    [
        pytest.param("a=1 bee=2; $(c=3)", {"a", "bee", "c"}, id="assigned"),
        pytest.param('echo "$d ${e%%.*}" $((f+1))', {"d", "e"}, id="used"),
        pytest.param("for g in 1 2; do :; done", {"g"}, id="loop"),
        pytest.param("IFS=: read -r h i <f", {"h", "i"}, id="read"),
        pytest.param("PATH=/x dd bs=1 --colour=no", set(), id="others'"),
    ],
)
def test_variables_are_found(script: str, found: set[str]) -> None:
    assert variables(script) == found


def test_endings_are_found() -> None:
    assert endings(f'rm "$t.o" "$j.i" /tmp/.virtops-{N}.x /run/.virtops-{N}.[er] "$t.old"') == set("oixer")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("place", ["", "unified", "systemd", "none"])
def test_what_runs_leaves_the_agent_s_cgroup(tmp_path: Path, shell: str, place: str) -> None:
    """So that it outlives the agent, also one that is restarted by the upgrade that runs."""
    root = tmp_path / "cgroup"
    for name in {"", "unified", "systemd", place} - {"none"}:
        (root / name).mkdir(parents=True, exist_ok=True)
    if place != "none":
        (root / place / "cgroup.procs").touch()
    script = login_shell.LEAVE_AGENT.replace("/sys/fs/cgroup", str(root)) + "echo $$"
    words = [shell_named_sh(shell, tmp_path), "-c", script]
    ended = subprocess.run(words, capture_output=True, timeout=60, check=True)
    assert ended.stderr == b""
    assert [file.read_bytes() for file in root.rglob("cgroup.procs")] == ([] if place == "none" else [ended.stdout])


def test_every_command_and_the_resident_leave_it() -> None:
    commands = [Command(("a",)), Command(("a",), user="u", tells_signals=False), Command(("a",), answer=Answer("p", "a", "s"))]
    assert all(login_shell.LEAVE_AGENT in login_shell.surround(N, command, Input()) for command in commands)
    assert login_shell.LEAVE_AGENT in resident._START.format(interpreter="python3")
