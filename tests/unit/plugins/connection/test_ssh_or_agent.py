# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH, and the agent where SSH cannot connect: as Ansible loads it, over an ssh that does as told and a real agent."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.playbook.play_context import PlayContext
from ansible.plugins.connection import ssh
from ansible.plugins.loader import become_loader, connection_loader
from ansible.utils.display import Display

from ansible_collections.virtops.guest_agent.tests.unit.ssh_client import FakeSsh

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

NAME = "virtops.guest_agent.ssh_or_agent"
REFUSED = "ssh: connect to host web1 port 22: Connection refused\r\n"
CHANGED = """@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
Offending ED25519 key in /root/.ssh/known_hosts:3
Host key verification failed.\r
"""


class World:
    """``connection``: one of one task. ``ran`` is how often a command of a task has run, by whichever way."""

    def __init__(self, place: Path, socket: Path) -> None:
        self.ssh = FakeSsh(place)
        self.warnings: list[str] = []
        self.count = f"echo x >>{place}/count"
        self._counted = place / "count"
        self._options = {"transport": "unix", "socket": str(socket), "domain": "web1", "agent_user": "root"}
        self._open: list[t.Any] = []

    def connection(self, no_log: bool = False, **options: t.Any) -> t.Any:
        context = PlayContext()
        context.remote_addr, context.no_log = "web1", no_log
        found = connection_loader.get(NAME, context, os.devnull)
        self._open.append(found)
        found.set_options(direct={"host": "web1", "ssh_executable": str(self.ssh.executable), **self._options, **options})
        return found

    def task(self, **options: t.Any) -> None:
        """One that counts, from its begin to its end."""
        connection = self.connection(**options)
        connection.exec_command(self.count)
        connection.close()

    def ran(self) -> int:
        return len(self._counted.read_text().splitlines()) if self._counted.exists() else 0

    def close(self) -> None:
        for connection in self._open:
            connection.close()


@pytest.fixture
def world(tmp_path: Path, real_socket: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[World]:
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path / "run"))
    found = World(tmp_path, real_socket)
    monkeypatch.setattr(Display, "warning", lambda _self, text, *_args, **_kwargs: found.warnings.append(text))
    yield found
    found.close()


def test_ssh_as_always(world: World) -> None:
    assert world.connection().exec_command(f"{world.count}; echo out; exit 3") == (3, b"out\n", b"")
    assert world.ssh.called() == ["check", "true", f"{world.count}; echo out; exit 3"]
    assert (world.ran(), world.warnings) == (1, [])


def test_a_task_finds_out_once(world: World) -> None:
    task = world.connection()
    for _command in range(3):
        task.exec_command(world.count)
    assert world.ssh.called() == ["check", "true", *[world.count] * 3]


def test_a_persistent_connection_is_asked_and_no_other_is_made(world: World) -> None:
    world.ssh.has_master()
    world.connection().exec_command(world.count)
    assert world.ssh.called() == ["check", "true", world.count]
    assert world.ran() == 1


NOT_REACHED = [
    REFUSED,
    "ssh: connect to host 192.0.2.1 port 22: No route to host\r\n",
    "ssh: connect to host 192.0.2.1 port 2222: Connection timed out\r\n",
    "ssh: Could not resolve hostname web1: Name or service not known\r\n",
    "kex_exchange_identification: read: Connection reset by peer\r\nConnection reset by 127.0.0.1 port 22\r\n",
    "kex_exchange_identification: Connection closed by remote host\r\n",
    "ssh_exchange_identification: Connection closed by remote host\r\n",
    "Connection timed out during banner exchange\r\nConnection to 127.0.0.1 port 40022 timed out\r\n",
    "channel 0: open failed: connect failed: No route to host\r\nkex_exchange_identification: Connection closed by remote host\r\n",
    f"debug1: Permission denied is what might come\r\n{REFUSED}",
]


@pytest.mark.parametrize("said", NOT_REACHED)
@pytest.mark.parametrize("no_log", [False, True])
def test_the_agent_where_ssh_cannot_connect(world: World, said: str, no_log: bool) -> None:
    world.ssh.fails(said)
    task = world.connection(no_log=no_log)
    assert task.exec_command(f"{world.count}; echo out; exit 3") == (3, b"out\n", b"")
    assert task.exec_command("cat", in_data=b"x" * 100_000) == (0, b"x" * 100_000, b"")
    assert world.ssh.called() == ["check", "true"]
    assert world.ran() == 1
    (warning,) = world.warnings
    assert warning.startswith("web1: SSH cannot connect (")
    assert warning.endswith("). Tasks go through the guest agent until it can.")


NEVER = [
    "ann@web1: Permission denied (publickey).\r\n",
    "ann@web1: Permission denied (publickey,password).\r\n",
    CHANGED,
    "No ED25519 host key is known for web1 and you have requested strict checking.\r\nHost key verification failed.\r\n",
    "Received disconnect from 192.0.2.1 port 22:2: Too many authentication failures\r\nDisconnected from 192.0.2.1 port 22\r\n",
    "Unable to negotiate with 192.0.2.1 port 22: no matching host key type found. Their offer: ssh-rsa\r\n",
    "Connection closed by 192.0.2.1 port 22\r\n",
    "Connection reset by 192.0.2.1 port 22\r\n",
    "ssh: connect to host web1 port 22: Permission denied\r\n",
    "Bad owner or permissions on /root/.ssh/config\r\n",
    "command-line: line 0: Bad configuration option: bogus\r\n",
    "WARNING: UNPROTECTED PRIVATE KEY FILE!\r\nann@web1: Permission denied (publickey).\r\n",
    # A jump host that does not let us in.
    "ann@jump: Permission denied (publickey).\r\nkex_exchange_identification: Connection closed by remote host\r\n",
    "Host key verification failed.\r\nkex_exchange_identification: Connection closed by remote host\r\n",
    # A banner, before it lets nobody in.
    "ssh: connect to host web1 port 22: is what this banner says\r\nann@web1: Permission denied (publickey).\r\n",
    "something that nobody has ever seen\r\n",
    "\r\n",
]


@pytest.mark.parametrize("said", NEVER)
def test_what_is_never_a_reason(world: World, said: str) -> None:
    world.ssh.fails(said)
    task = world.connection()
    with pytest.raises(AnsibleConnectionFailure) as failure:
        task.exec_command(world.count)
    assert "Failed to connect to the host via ssh" in str(failure.value)
    assert said.strip().splitlines()[-1:] == [] or said.strip().splitlines()[-1].strip() in str(failure.value)
    assert (world.ran(), world.warnings, task._agent) == (0, [], None)
    assert world.ssh.called() == ["check", "true"]


def test_a_command_that_fails_as_ssh_does_is_not_run_again(world: World) -> None:
    """It has the words and the exit code of an ssh that could not connect: those of another ssh, in the guest."""
    with pytest.raises(AnsibleConnectionFailure):
        world.connection().exec_command(f"{world.count}; echo '{REFUSED.strip()}' >&2; exit 255")
    assert (world.ran(), world.warnings) == (1, [])


def test_what_was_handed_to_ssh_stays_with_ssh(world: World) -> None:
    """The network goes between the first look and the command. Whether that was sent is not known to us."""
    world.ssh.fails(REFUSED, later=True)
    task = world.connection()
    for _command in range(2):
        with pytest.raises(AnsibleConnectionFailure, match="Failed to connect to the host via ssh"):
            task.exec_command(world.count)
    assert (world.ran(), world.warnings) == (0, [])
    assert world.ssh.called() == ["check", "true", world.count, world.count]


@pytest.mark.parametrize(
    ("said", "ways"), [("", ["check", "true", "stop", "true", "ls /"]), (REFUSED, ["check", "true", "stop", "true"])]
)
def test_a_persistent_connection_that_gives_no_answer(world: World, said: str, ways: list[str]) -> None:
    world.ssh.has_master(deaf=True)
    world.ssh.fails(said)
    assert world.connection(timeout=1).exec_command("ls /")[0] == 0
    assert world.ssh.called() == ways
    assert len(world.warnings) == bool(said)


def test_ssh_is_tried_again_after_a_while(world: World) -> None:
    world.ssh.fails(REFUSED)
    for _task in range(3):
        world.task(ssh_retry_after=3000)
    assert world.ssh.called() == ["check", "true"]
    world.task(ssh_retry_after=0)
    assert world.ssh.called() == ["check", "true"]
    world.ssh.fails("")
    world.task(ssh_retry_after=3000)
    assert world.ssh.called() == []
    for seconds in (0, 3000):
        world.task(ssh_retry_after=seconds)
        assert world.ssh.called() == ["check", "true", world.count]
    world.ssh.fails(REFUSED)
    world.task(ssh_retry_after=3000)
    assert (world.ran(), len(world.warnings)) == (8, 1)


def test_after_a_reset_ssh_is_tried_at_once(world: World) -> None:
    world.ssh.fails(REFUSED)
    world.task(ssh_retry_after=3000)
    world.ssh.fails("")
    world.connection(ssh_retry_after=3000).reset()
    world.ssh.called()
    world.task(ssh_retry_after=3000)
    assert world.ssh.called() == ["check", "true", world.count]


def test_each_item_of_a_loop_finds_out_anew(world: World) -> None:
    task = world.connection()
    task.exec_command(world.count)
    world.ssh.fails(REFUSED)
    task.set_options(**task._given)
    task.exec_command(world.count)
    assert (world.ran(), len(world.warnings)) == (2, 1)


def test_files(world: World, tmp_path: Path) -> None:
    world.ssh.fails(REFUSED)
    (tmp_path / "source").write_bytes(b"content")
    task = world.connection()
    task.put_file(str(tmp_path / "source"), str(tmp_path / "there"))
    task.fetch_file(str(tmp_path / "there"), str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == b"content"
    assert world.ssh.called() == ["check", "true"]


def test_neither_ssh_nor_the_agent(world: World, tmp_path: Path) -> None:
    world.ssh.fails(REFUSED)
    with pytest.raises(AnsibleConnectionFailure) as failure:
        world.connection(socket=str(tmp_path / "none")).exec_command(world.count)
    assert "SSH cannot connect (ssh: connect to host web1 port 22: Connection refused)" in str(failure.value)
    assert "neither can the guest agent: Domain web1:" in str(failure.value)
    assert world.warnings == []


@pytest.mark.parametrize(
    ("options", "user"),
    [({}, "ann"), ({"remote_user": "bea"}, "bea"), ({"remote_user": "bea", "agent_user": "root"}, "root")],
)
def test_the_agent_runs_as_the_user_of_ssh(world: World, options: dict[str, str], user: str) -> None:
    """ssh takes it from its own configuration, which says ann, where Ansible does not say it."""
    world.ssh.fails(REFUSED)
    task = world.connection(**{"agent_user": None, "remote_user": None, **options})
    assert task._way().get_option("remote_user") == user


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ssh_retry_after": -1}, "ssh_retry_after must be from 0 to"),
        ({"ssh_executable": "/nonexistent/ssh"}, "ssh cannot be run on the controller: .*No such file or directory"),
    ],
)
def test_what_prevents_a_decision_is_a_sentence(world: World, options: dict[str, t.Any], said: str) -> None:
    task = world.connection(**options)
    with pytest.raises(AnsibleError, match=said):
        task.exec_command(world.count)
    assert (world.ran(), task._agent) == (0, None)


def test_an_ssh_that_does_not_tell_its_user_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.ssh.fails(REFUSED)
    world.ssh.resolves_for_ever()
    monkeypatch.setitem(type(world.connection())._user.__globals__, "_MASTER_SECONDS", 0.2)
    with pytest.raises(AnsibleError, match="ssh does not tell which user it would log in as: set remote_user"):
        world.connection(agent_user=None, remote_user=None).exec_command(world.count)
    assert world.ran() == 0


def test_become_is_the_same(world: World) -> None:
    world.ssh.fails(REFUSED)
    task = world.connection()
    become = become_loader.get("sudo")
    task.set_become_plugin(become)
    assert task._way().become is become


def test_the_options_of_ssh_are_those_of_ssh() -> None:
    ours = connection_loader.get(NAME, PlayContext(), os.devnull)
    theirs = connection_loader.get("ansible.builtin.ssh", PlayContext(), os.devnull)
    names = yaml.safe_load(ssh.DOCUMENTATION)["options"].keys()
    variables = {"inventory_hostname": "a", "ansible_host": "192.0.2.1", "ansible_ssh_user": "u", "ansible_ssh_pipelining": True}
    for connection in (ours, theirs):
        connection.set_options(var_options={**variables, "ansible_ssh_common_args": "-J jump", "ansible_ssh_port": 2022})
    assert {name: ours.get_option(name) for name in names} == {name: theirs.get_option(name) for name in names}
    here, there = (constants.config.get_configuration_definitions("connection", each._load_name) for each in (ours, theirs))
    for name in names:
        for key in ("default", "type", "choices", "aliases"):
            assert here[name].get(key) == there[name].get(key), (name, key)
        for key, word in (("env", "name"), ("vars", "name"), ("cli", "name"), ("ini", "key")):
            assert [each[word] for each in here[name].get(key, ())] == [each[word] for each in there[name].get(key, ())], (
                name,
                key,
            )


def test_no_password_is_given_to_what_only_looks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh.Connection, "_sshpass_available", staticmethod(lambda: True), raising=False)
    task = world.connection(password="geheim", **({"password_mechanism": "sshpass"} if _has_mechanisms() else {}))
    task._find_host()
    before = os.listdir("/proc/self/fd")
    assert task._command("-O", "check", "web1")[0] == str(world.ssh.executable).encode()
    assert len(os.listdir("/proc/self/fd")) == len(before)


def _has_mechanisms() -> bool:
    return "password_mechanism" in yaml.safe_load(ssh.DOCUMENTATION)["options"]
