# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection plugin for Windows, as Ansible loads it, over the recorded replies of real agents: what PowerShell would get.

No PowerShell is here. tests/integration/test_windows_connection.py has the real agents, and a program in PowerShell's place.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import become_loader, connection_loader
from ansible.utils.display import Display

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import passing
from ansible_collections.virtops.guest_agent.plugins.module_utils._reach import guest as reach
from ansible_collections.virtops.guest_agent.plugins.module_utils._windows import cmd
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest, Program
from ansible_collections.virtops.guest_agent.tests.unit.fakes.windows import VERSIONS, FakeWindows

NAME = "virtops.guest_agent.windows"
MODULE = f"PowerShell -NoProfile -NonInteractive -ExecutionPolicy Unrestricted -EncodedCommand {'QQBCAA' * 600}"
OPTIONS = ("-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Unrestricted", "-EncodedCommand")
CLIXML = b'#< CLIXML\r\n<Objs Version="1.1.0.1"><S S="Error">no_x000D__x000A_</S></Objs>'


def script_of(argv: t.Sequence[str]) -> str:
    return base64.b64decode(argv[-1]).decode("utf-16-le")


def powershell(argv: tuple[str, ...]) -> Program | None:
    """In its place: what it prints is in the script."""
    if argv[0] != "PowerShell.exe":
        return None
    script = script_of(argv) if argv[-1] != MODULE.split()[-1] else ""
    if "slow" in script:
        return Program(polls=10_000)
    return Program(3, b"z\xc3\xbc\r\nb\n", CLIXML) if "both" in script else Program(0, b"{}\r\n")


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> t.Callable[[FakeGuest], None]:
    """Make this guest the one that is reached, by real code but for the socket."""

    def make(guest: FakeGuest) -> None:
        @contextlib.contextmanager
        def by_socket(_params: object) -> t.Iterator[reach.Guest]:
            yield reach.Guest(guest.agent())

        monkeypatch.setattr(reach, "_by_socket", by_socket)

    return make


@pytest.fixture(params=VERSIONS)
def guest(request: pytest.FixtureRequest, reachable: t.Callable[[FakeGuest], None]) -> t.Iterator[FakeWindows]:
    found = FakeWindows(request.param, powershell)
    reachable(found)
    yield found
    assert found.open_handles == 0
    assert not [name for name in found.files if "virtops-" in name]


def connection(name: str = NAME, **options: t.Any) -> t.Any:
    found = connection_loader.get(name, PlayContext(), os.devnull)
    found.set_options(direct={"domain": "win1", "transport": "unix", "socket": "/nonexistent", **options})
    return found


@pytest.fixture
def reached() -> t.Iterator[t.Any]:
    found = connection()
    yield found
    found.close()


def test_what_core_asks_of_a_connection_to_windows(reached: t.Any) -> None:
    assert reached._shell.SHELL_FAMILY == "powershell"
    assert (reached.module_implementation_preferences[0], reached.allow_executable) == (".ps1", False)
    assert (reached.has_pipelining, reached.always_pipeline_modules, reached.has_native_async) == (True, True, True)
    assert (reached.get_option("command_timeout"), reached.get_option("agent_timeout")) == (86400, 10)
    for posix in ("executable", "resident", "data_lane", "remote_user"):
        with pytest.raises(KeyError):
            reached.get_option(posix)


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024])
def test_a_module_gets_its_input_and_its_command_as_core_made_them(guest: FakeWindows, reached: t.Any, size: int) -> None:
    given = os.urandom(size)
    assert reached.exec_command(MODULE, in_data=given) == (0, b"{}\r\n", b"")
    ((argv, _env, stdin),) = guest.started
    assert argv == ("PowerShell.exe", *MODULE.split()[1:])
    assert hashlib.sha256(stdin).digest() == hashlib.sha256(given).digest()


def test_a_text_is_for_powershell_to_take_apart(guest: FakeWindows, reached: t.Any) -> None:
    text = "$x = 'ü % ! & ^'\n\n  both | Out-Host # \"\n"
    assert reached.exec_command(text) == (3, b"z\xc3\xbc\r\nb\n", b"no\r\n")
    ((argv, _env, stdin),) = guest.started
    assert (argv[:-1], stdin) == (("PowerShell.exe", *OPTIONS), b"")
    assert f"\n{text}\n" in script_of(argv)


def test_a_text_that_is_too_long_is_the_task_s_failure(guest: FakeWindows, reached: t.Any) -> None:
    with pytest.raises(AnsibleError, match="8000 characters") as caught:
        reached.exec_command("x" * 3000)
    assert not isinstance(caught.value, AnsibleConnectionFailure)
    assert not guest.started


def test_a_kept_module_goes_through_cmd(guest: FakeWindows, reached: t.Any) -> None:
    command = f'type "C:\\Data\\m.ps1" | {MODULE}'
    reached.exec_command(command)
    assert guest.started[0][0] == ("cmd.exe", "/d", "/s", "/c", command)


def test_files(guest: FakeWindows, reached: t.Any, tmp_path: Path) -> None:
    content = bytes(range(256)) * 3000
    (tmp_path / "source").write_bytes(content)
    for name in ("C:/Data/ü x", "'C:\\Data\\b'"):
        reached.put_file(str(tmp_path / "source"), name)
        reached.fetch_file(name, str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == content
    assert sorted(guest.files) == ["c:\\data\\b", "c:\\data\\ü x"]
    for wrong in ("x.txt", "~\\x.txt", "C:\\none\\x"):
        with pytest.raises(AnsibleError, match=r"absolute path|directory does not exist") as caught:
            reached.put_file(str(tmp_path / "source"), wrong)
        assert not isinstance(caught.value, AnsibleConnectionFailure)
    for missing in (lambda: reached.put_file(str(tmp_path / "none"), "C:/Data/x"), lambda: reached.fetch_file("C:/none", "x")):
        with pytest.raises(AnsibleFileNotFound):
            missing()


def test_what_takes_too_long_is_ended_and_its_files_are_removed(guest: FakeWindows, reached: t.Any) -> None:
    reached.set_option("command_timeout", 1)
    with pytest.raises(AnsibleError, match=r"did not end within 1 s, and was killed") as caught:
        reached.exec_command("slow", in_data=b"secret")
    assert not isinstance(caught.value, AnsibleConnectionFailure)
    assert len(guest.killed) == 1


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_a_task_that_is_told_to_end_leaves_nothing(guest: FakeWindows, reached: t.Any, end: type[BaseException]) -> None:
    """The timeout of a task, and Ansible's own end."""

    def told_to_end() -> None:
        if guest.started and not guest.killed:
            raise end

    guest.after["guest-exec-status"] = told_to_end
    with pytest.raises(end):
        reached.exec_command("slow", in_data=b"secret")
    assert (len(guest.killed), reached.connected) == (1, False)


def test_input_that_cannot_be_staged_leaves_nothing(guest: FakeWindows, reached: t.Any) -> None:
    def refuse() -> None:
        raise _errors.CommandFailed("failed to write to file: There is not enough space on the disk.")

    guest.after["guest-file-write"] = refuse
    with pytest.raises(AnsibleError, match="not enough space"):
        reached.exec_command(MODULE, in_data=b"x" * 1000)
    assert not guest.started


def test_an_agent_that_is_gone_meanwhile(guest: FakeWindows, reached: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "_FIRST", 0.01)
    reached.set_option("patience", 1)

    def go() -> None:
        if guest.started:
            raise _errors.AgentDisappeared("gone")

    guest.after["guest-exec-status"] = go
    with pytest.raises(AnsibleConnectionFailure, match="gone"):
        reached.exec_command("slow", in_data=b"x")
    guest.after.clear()
    for name in [name for name in guest.files if "virtops-" in name]:
        guest._content.pop(name)  # it goes on, and its files with it


def test_no_powershell(reachable: t.Callable[[FakeGuest], None], reached: t.Any) -> None:
    reachable(FakeWindows())
    with pytest.raises(AnsibleConnectionFailure, match=r"finds no PowerShell.*PATH"):
        reached.exec_command("dir")


def become(reached: t.Any, method: str) -> None:
    plugin = become_loader.get(f"ansible.builtin.{method}")
    plugin.set_options(direct={"become_user": "tester", "become_pass": "secret-7f3a"})
    reached.set_become_plugin(plugin)


def test_become_is_core_s_own_or_refused(guest: FakeWindows, reached: t.Any) -> None:
    become(reached, "runas")
    assert reached.exec_command(MODULE, in_data=b"{}")[0] == 0
    assert len(guest.started) == 1
    with pytest.raises(AnsibleError, match="not for raw"):
        reached.exec_command("whoami")
    become(reached, "sudo")
    for command in (MODULE, "whoami"):
        with pytest.raises(AnsibleError, match=r"no become by sudo: set become_method to runas"):
            reached.exec_command(command)
    assert len(guest.started) == 1


def test_a_guest_that_is_not_windows(reachable: t.Callable[[FakeGuest], None], reached: t.Any) -> None:
    linux = FakeGuest()
    reachable(linux)
    with pytest.raises(AnsibleConnectionFailure, match=r"not Windows.*virtops\.guest_agent\.agent"):
        reached.exec_command("dir")
    assert "guest-exec" not in linux.sent


def test_windows_has_no_posix_shell_also_when_it_was_just_heard(guest: FakeWindows, reached: t.Any, tmp_path: Path) -> None:
    """What one plugin has learnt of an agent, the other one does not take for its own."""
    posix = connection("virtops.guest_agent.agent")
    for _turn in range(2):
        reached.exec_command(MODULE)
        with pytest.raises(AnsibleConnectionFailure, match=r"no POSIX shell.*virtops\.guest_agent\.windows"):
            posix.exec_command("true")
    again = connection()
    again.exec_command(MODULE)
    again.close()
    assert [argv[0] for argv, _env, _stdin in guest.started] == ["PowerShell.exe"] * 3


def test_reset_opens_afresh(guest: FakeWindows, reached: t.Any) -> None:
    reached.exec_command(MODULE)
    reached.reset()
    assert not reached.connected
    reached.exec_command(MODULE)
    assert guest.sent.count("guest-get-osinfo") == 2


def test_no_secret_is_displayed_or_logged(guest: FakeWindows, reached: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(Display(), "verbosity", 6)
    monkeypatch.setattr(Display, "display", lambda self, message, *arguments, **options: said.append(str(message)))
    reached.exec_command("both secret-7f3a", in_data=b"data-7f3a")
    assert any("EXEC 16 characters, 9 bytes in, 7 and 75 bytes out, rc 3" in line for line in said), said
    assert not [line for line in said if "7f3a" in line]
    # The arguments of guest-exec are in the agent's log.
    assert not [line for line in guest.lines if "EncodedCommand" in line]


def test_what_cannot_be_removed_fails_no_task(guest: FakeWindows, reached: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reached.exec_command(MODULE)

    def slow(*_words: str, **_env: str) -> t.NoReturn:
        raise _errors.WaitTimeout("cmd.exe did not end")

    monkeypatch.setattr(cmd.Shell, "ask", slow)
    assert reached.exec_command(MODULE)[0] == 0
    monkeypatch.undo()
    for name in [name for name in guest.files if "virtops-" in name]:
        guest._content.pop(name)
