# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection plugin, as Ansible loads it, over a real agent on a unix socket: what a task gets, and what it is told."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import become_loader, connection_loader
from ansible.utils.display import Display

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import shell, spool
from ansible_collections.virtops.guest_agent.plugins.module_utils._reach.guest import open_guest

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

NAME = "virtops.guest_agent.agent"
PASSWORD = "ge'heim-7f3a"


def connection(**options: t.Any) -> t.Any:
    found = connection_loader.get(NAME, PlayContext(), os.devnull)
    found.set_options(direct={"domain": "web1", "transport": "unix", "resident": "never", **options})
    return found


@pytest.fixture
def reached(real_socket: Path) -> t.Iterator[t.Any]:
    found = connection(socket=str(real_socket))
    yield found
    found.close()


DEFAULTS = {
    "transport": "libvirt",
    "channel": "org.qemu.guest_agent.1",
    "data_lane": "auto",
    "resident": "auto",
    "resident_idle": 60,
    "ssh_persist": 60,
    "agent_timeout": 10,
    "command_timeout": 86400,
    "patience": 600,
    "remote_user": "root",
    "executable": "/bin/sh",
    "pipelining": True,
    "uri": None,
    "socket": None,
}


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ANSIBLE_") and name.split("_")[1] in ("GUEST", "PIPELINING")]:
        monkeypatch.delenv(name)
    found = connection_loader.get(NAME, PlayContext(), os.devnull)
    found.set_options(var_options={"inventory_hostname": "web1"})
    assert {name: found.get_option(name) for name in DEFAULTS} == DEFAULTS
    assert found.has_pipelining


def test_the_guest_is_the_one_that_the_host_is_named_after() -> None:
    with pytest.raises(AnsibleConnectionFailure, match=r"^Domain web1: "):
        _with_variables(inventory_hostname="web1").exec_command("true")
    with pytest.raises(AnsibleConnectionFailure, match=r"^Domain b: "):
        _with_variables(inventory_hostname="web1", ansible_guest_agent_domain="b").exec_command("true")


def _with_variables(**variables: str) -> t.Any:
    found = connection_loader.get(NAME, PlayContext(), os.devnull)
    transport = {"ansible_guest_agent_transport": "unix", "ansible_guest_agent_socket": "/nonexistent/socket"}
    found.set_options(var_options={**transport, **variables})
    return found


def test_variables_name_the_guest() -> None:
    found = connection_loader.get(NAME, PlayContext(), os.devnull)
    variables = {"inventory_hostname": "a", "ansible_guest_agent_domain": "b", "ansible_host": "192.0.2.1"}
    found.set_options(var_options={**variables, "ansible_libvirt_uri": "test:///default", "ansible_user": "someone"})
    assert [found.get_option(name) for name in ("domain", "uri", "remote_user")] == ["b", "test:///default", "someone"]


def test_commands(reached: t.Any) -> None:
    assert reached.exec_command("echo 'é'; echo x >&2; exit 3") == (3, "é\n".encode(), b"x\n")
    assert reached.exec_command("cat | wc -c", in_data=b"x" * 200_000) == (0, b"200000\n", b"")
    assert reached.exec_command("kill -9 $$") == (137, b"", b"")


def test_files(reached: t.Any, tmp_path: Path) -> None:
    content = bytes(range(256)) * 3000
    (tmp_path / "source").write_bytes(content)
    reached.put_file(str(tmp_path / "source"), str(tmp_path / "in the guest é"))
    reached.fetch_file(str(tmp_path / "in the guest é"), str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == content
    assert sorted(os.listdir(tmp_path)) == ["back", "in the guest é", "source"]


def test_missing_files(reached: t.Any, tmp_path: Path) -> None:
    with pytest.raises(AnsibleFileNotFound):
        reached.put_file(str(tmp_path / "none"), str(tmp_path / "x"))
    with pytest.raises(AnsibleFileNotFound, match="does not exist"):
        reached.fetch_file(str(tmp_path / "none"), str(tmp_path / "x"))
    assert os.listdir(tmp_path) == []


def test_a_fetch_that_fails_leaves_the_old_file(reached: t.Any, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(AnsibleError, match="directory"):
        reached.fetch_file(str(tmp_path), str(tmp_path / "x"))
    assert os.listdir(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"old"


def test_a_local_file_that_cannot_be_read(reached: t.Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"x")
    monkeypatch.setattr("builtins.open", _denied)
    with pytest.raises(AnsibleError, match="Permission denied") as caught:
        reached.put_file(str(tmp_path / "x"), str(tmp_path / "y"))
    assert not isinstance(caught.value, AnsibleConnectionFailure)


def test_a_local_file_that_cannot_be_written(reached: t.Any, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(AnsibleError, match="No such file or directory") as caught:
        reached.fetch_file(str(tmp_path / "x"), str(tmp_path / "none" / "y"))
    assert not isinstance(caught.value, (AnsibleConnectionFailure, AnsibleFileNotFound))


def _denied(*_arguments: t.Any, **_options: t.Any) -> t.NoReturn:
    raise PermissionError(13, "Permission denied")


def test_a_task_s_own_failure_is_no_unreachable_host(reached: t.Any, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    reached.set_option("command_timeout", 1)
    for wrong in (lambda: reached.exec_command("exec sleep 9"), lambda: reached.put_file(str(tmp_path / "x"), "/nonexistent/x")):
        with pytest.raises(AnsibleError) as caught:
            wrong()
        assert not isinstance(caught.value, AnsibleConnectionFailure)


@pytest.mark.parametrize(
    ("option", "value"), [("agent_timeout", 0), ("agent_timeout", -1), ("command_timeout", 10**9), ("ssh_persist", -1)]
)
def test_times_that_cannot_be(reached: t.Any, option: str, value: int) -> None:
    reached.set_option(option, value)
    with pytest.raises(AnsibleError, match=option) as caught:
        reached.exec_command("true")
    assert not isinstance(caught.value, AnsibleConnectionFailure)


def test_nobody_there_is_an_unreachable_host(tmp_path: Path) -> None:
    with pytest.raises(AnsibleConnectionFailure, match=r"web1: .*no agent listens.*agent status: disconnected"):
        connection(socket=str(tmp_path / "none")).exec_command("true")


def test_a_socket_has_to_be_named() -> None:
    with pytest.raises(AnsibleError, match="path of a socket") as caught:
        connection().exec_command("true")
    assert not isinstance(caught.value, AnsibleConnectionFailure)


def test_reset_opens_afresh(reached: t.Any) -> None:
    reached.exec_command("true")
    reached.reset()
    assert not reached.connected
    assert reached.exec_command("echo again")[1] == b"again\n"


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_a_task_that_is_told_to_end_closes_the_connection(
    reached: t.Any, monkeypatch: pytest.MonkeyPatch, end: type[BaseException]
) -> None:
    """Ansible's worker does not do it, and what was put into the guest would stay."""
    reached.exec_command("true")

    def told_to_end(*_args: object, **_options: object) -> t.NoReturn:
        raise end

    monkeypatch.setattr(shell, "execute", told_to_end)
    with pytest.raises(end):
        reached.exec_command("true")
    assert not reached.connected


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All that is displayed at verbosity 6."""
    said: list[str] = []
    display = Display()
    monkeypatch.setattr(display, "verbosity", 6)
    monkeypatch.setattr(Display, "display", lambda self, message, *arguments, **options: said.append(str(message)))
    return said


def _with_become(reached: t.Any, password: str) -> str:
    become = become_loader.get("ansible.builtin.sudo")
    become.set_options(direct={"become_user": "root", "become_pass": password})
    reached.set_become_plugin(become)
    become.build_become_command("true", reached._shell)
    # In the place of sudo, which not every machine has: it asks as that does.
    return (
        f"printf '%s' '{become.prompt}' >&2; IFS= read -r word;"
        f' [ "$word" = "{PASSWORD}" ] || {{ echo \'Sorry, try again.\' >&2; exit 1; }};'
        f" echo {become.success}; cat"
    )


def test_no_secret_is_displayed(reached: t.Any, told: list[str]) -> None:
    command = _with_become(reached, PASSWORD)
    rc, stdout, _stderr = reached.exec_command(command, in_data=b"data-7f3a")
    assert (rc, stdout.endswith(b"\ndata-7f3a")) == (0, True)
    assert any("EXEC as root" in line for line in told)
    assert not [line for line in told if "7f3a" in line or "Sorry" in line]


def test_a_wrong_password_is_said_and_not_shown(reached: t.Any, told: list[str]) -> None:
    command = _with_become(reached, "wrong-7f3a")
    with pytest.raises(AnsibleError, match="Incorrect sudo password") as caught:
        reached.exec_command(command, in_data=b"data-7f3a")
    assert not [line for line in [*told, str(caught.value)] if "7f3a" in line]


def test_what_become_says_before_it_asks_comes_through(reached: t.Any) -> None:
    """Such as of a directory that is not there: no password was wrong."""
    _with_become(reached, PASSWORD)
    success = reached.become.success
    command = f"echo out; echo 'sudo: unable to change directory to /none' >&2; exit 5; echo {success}"
    assert reached.exec_command(command, in_data=b"data") == (5, b"out\n", b"sudo: unable to change directory to /none\n")
    with pytest.raises(AnsibleError, match="Missing sudo password"):
        reached.exec_command(f"echo 'sudo: a password is required' >&2; exit 1; echo {success}")


def test_no_space_is_the_task_s_failure(reached: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "PLACES", ("/nonexistent", "/proc"))
    with pytest.raises(AnsibleError, match="no space") as caught:
        reached.exec_command("true")
    assert not isinstance(caught.value, AnsibleConnectionFailure)


def test_a_secret_is_in_no_error(reached: t.Any, told: list[str]) -> None:
    reached.set_option("remote_user", "nosuchuser")
    with pytest.raises(AnsibleError, match="no such user") as caught:
        reached.exec_command("echo secret-7f3a", in_data=b"data-7f3a")
    assert not [line for line in [*told, str(caught.value)] if "7f3a" in line]


def test_reach_by_socket(real_socket: Path) -> None:
    params = {"domain": "web1", "transport": "unix", "socket": str(real_socket), "agent_timeout": 3}
    with open_guest(params) as found:
        assert (found.agent.name, found.agent.timeout, found.lane.name) == ("web1", 3, "agent")
        assert found.agent.call("guest-ping") == {}
        with pytest.raises(_errors.InvalidInput, match="use the transport libvirt"):
            found.domain.state()
    with pytest.raises(_errors.InvalidInput, match="the path of a socket"), open_guest({**params, "socket": ""}):
        pass
