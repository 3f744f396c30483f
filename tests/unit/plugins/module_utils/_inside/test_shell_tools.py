# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands in guests that lack tools or have them elsewhere; users with several names, umasks, processes that leave the session."""

from __future__ import annotations

import io
import os
import random
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import files, login, login_shell, processes, shell
from ansible_collections.virtops.guest_agent.tests.unit import real_agent
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import Watched

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

NEEDED = ("rm", "cat", "sleep")
#: what a guest may lack, and commands go on
SPARED = ("setsid", "head", "wc", "gzip", "mkfifo")


@pytest.fixture(autouse=True)
def with_shell(shell_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_shell, "ARGUMENTS", (shell_path, *login_shell.ARGUMENTS[1:]))


def sh(guest: Watched, text: str, seconds: float = 20, **options: t.Any) -> shell.Result:
    return shell.execute(guest.agent(), shell.Command(("/bin/sh", "-c", text), tells_signals=False, **options), seconds)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., None]:
    """Gives the scripts these programs only."""

    def give(*names: str) -> None:
        directory = tmp_path / "bin"
        directory.mkdir()
        for name in names:
            os.symlink(f"/usr/bin/{name}", directory / name)
        monkeypatch.setattr(login_shell, "TOOLS_PATH", str(directory))
        # A shell that has applets of its own finds them without a path.
        monkeypatch.setattr(login_shell, "ARGUMENTS", ("/bin/dash", *login_shell.ARGUMENTS[1:]))

    return give


@pytest.mark.parametrize("more", [(), ("mknod",)], ids=["pipes", "named pipes"])
def test_commands_do_without(
    guest: Watched, tools: t.Callable[..., None], more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    tools("rm", "cat", "sleep", "dd", "ls", "id", "setpriv", *more)
    if more:
        real_agent.named_pipes(monkeypatch)
    monkeypatch.setattr(login_shell, "PROGRAM", "setsid-is-not-there")
    data = b"0123456789" * 30_000
    assert sh(guest, "echo out; echo err >&2; exit 3")[:4] == (3, None, b"out\n", b"err\n")
    assert sh(guest, "cat; head -c 300000 /dev/zero >&2", stdin=data)[2:4] == (data, bytes(300_000))
    assert guest.count("guest-exec") < 12


@pytest.mark.parametrize("name", [*NEEDED, "mkfifo"])
def test_what_is_missing_is_said(guest: Watched, tools: t.Callable[..., None], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tools(*(set(NEEDED) | {"head", "wc", "mkfifo"}) - {name})
    if name == "mkfifo":
        real_agent.named_pipes(monkeypatch)
    with pytest.raises(_errors.ProgramMissing, match=f"the guest has no {name}, which commands require; install it"):
        sh(guest, "true")


def test_a_file_that_cannot_be_unpacked_goes_as_it_is(guest: Watched, tools: t.Callable[..., None], place: Path) -> None:
    tools(*NEEDED, "head", "wc", "setpriv")
    data = random.Random(3).randbytes(100) * 8000
    where = files.Where(str(place / "own" / "x"), "nobody", "none", own=True)
    for _again in range(2):
        files.push(guest.agent(), io.BytesIO(data), where, files.Attributes())
        assert (place / "own" / "x").read_bytes() == data


@pytest.mark.parametrize("program", ["setsid", "setsid-is-not-there"])
def test_without_setsid_a_command_ends_with_all_it_started(guest: Watched, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_shell, "PROGRAM", program)
    with pytest.raises(_errors.CommandTimeout):
        sh(guest, "setsid sleep 4713 & sleep 4713 & sleep 4713", 0.5)
    real_agent.wait_until(lambda: not _sleepers("4713"), 4, lambda: _sleepers("4713"))


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_what_su_has_started_ends_too(guest: Watched, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """su begins a session of its own, and does not end what its shell has started."""
    monkeypatch.setattr(login, "SWITCH", login.SWITCH.replace("/usr/bin/setpriv", "/nonexistent"))
    text = "trap '' TERM; sleep 4714 & sleep 4714"
    become = f'exec su nobody -s /bin/sh -c "{text}"' if user == "root" else text
    with pytest.raises(_errors.CommandTimeout):
        sh(guest, become, 0.7, user=user)
    real_agent.wait_until(lambda: not _sleepers("4714"), 4, lambda: _sleepers("4714"))


def _sleepers(seconds: str) -> list[str]:
    found = subprocess.run(["pgrep", "-fx", f"sleep {seconds}"], capture_output=True, text=True, check=False)
    return found.stdout.split()


def test_the_agent_s_own_processes_are_no_family_of_a_command(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as other, subprocess.Popen(["/bin/sleep", "60"], start_new_session=True) as own:
        subprocess.run(["/bin/sh", "-c", f"G={own.pid}\n{processes.end()}"], check=True, timeout=20)
        assert (other.poll(), own.wait(5)) == (None, -15)
        other.kill()


@pytest.fixture
def getent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory service that knows nobody by another name, and answers numbers too."""
    answers = 'case "$1 $2" in "passwd CORP\\\\me" | "passwd 65534") command getent passwd nobody ;; *) command getent "$@" ;; esac'
    monkeypatch.setattr(login, "ACCOUNT", f"getent() {{ {answers}; }}\n{login.ACCOUNT}")


@pytest.mark.usefixtures("getent")
def test_a_user_by_another_of_his_names(guest: Watched) -> None:
    said = sh(guest, 'id -un; echo "$USER $LOGNAME"', user="CORP\\me")
    assert said.stdout == b"nobody\nnobody nobody\n"
    for user in ("65534", "-s", "--help", "CORP\\you"):
        with pytest.raises(_errors.CommandFailed, match="no such user"):
            sh(guest, "true", user=user)


@pytest.mark.parametrize(
    ("group", "enabled", "umask"), [("nobody", "yes", "0002"), ("nogroup", "yes", "0022"), ("nobody", "no", "0022")]
)
def test_the_umask_of_a_user_whose_group_has_his_name(
    guest: Watched, place: Path, group: str, enabled: str, umask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pam_umask compares the names, and not the numbers."""
    (place / "group").write_text(f"root:x:0:\n{group}:x:65534:\n")
    (place / "login.defs").write_text(f"UMASK\t022\nUSERGROUPS_ENAB {enabled}\n")
    (place / "session").write_text("session optional pam_umask.so\n")
    script = login.ENVIRONMENT
    for there, here in (("/etc/group", "group"), ("/etc/login.defs", "login.defs"), ("/etc/pam.d/common-session", "session")):
        script = script.replace(there, str(place / here))
    monkeypatch.setattr(login, "ENVIRONMENT", script)
    assert sh(guest, "umask", user="nobody").stdout.decode().strip() == umask


def test_tools_of_nixos_are_found(guest: Watched, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = place / "system"
    system.mkdir()
    (system / "odd-tool").write_text("#!/bin/sh\necho found\n")
    (system / "odd-tool").chmod(0o755)
    script = login.ENVIRONMENT.replace("/run/current-system/sw/bin", str(system))
    monkeypatch.setattr(login, "ENVIRONMENT", script)
    assert sh(guest, "odd-tool", user="nobody").stdout == b"found\n"
