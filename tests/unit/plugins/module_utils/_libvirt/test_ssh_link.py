# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One SSH connection for all: a program in ssh's place, masters and daemons in this process, and no hypervisor."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import shutil
import socket
import tempfile
import threading
import typing as t
import urllib.parse
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._deadline import Deadline
from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import HypervisorUnreachable
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import crowded, ssh_link
from ansible_collections.virtops.guest_agent.tests.unit.fakes.ssh_master import GREETING, OPEN, STOP, FakeMaster, daemon

#: Long enough for a machine that does other things besides.
SECONDS = 60.0
OWN_WAY = b"libvirt's own"


class Ssh:
    """A program in ssh's place, what it was asked, and a hypervisor behind it with a daemon at ``sockets[0]``.

    Where the program says that it logged in, a master listens at its ControlPath.
    """

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = place
        self.masters: list[FakeMaster] = []
        self.options: dict[str, t.Any] = {}
        self.opened: list[str] = []
        self.socket = str(place / "daemon")
        self.log = place / "asked"
        self.log.touch()
        self.set("echo controlmaster false", "exit 0")
        self.really_run = ssh_link._run
        monkeypatch.setattr(ssh_link, "_run", self._run)
        monkeypatch.setattr(ssh_link, "_PAUSE", 0.01)

    @property
    def uri(self) -> str:
        return f"qemu+ssh://root@kvm1:2222/system?command={self.place}/ssh&socket={self.socket}"

    def set(self, says: str, login: str) -> None:
        """Shell commands: what ``-G`` does, and what a login does."""
        program = self.place / "ssh"
        program.write_text(f'#!/bin/sh\necho "$*" >>{self.log}\ncase "$*" in *" -G "*) {says} ;; *) {login} ;; esac\n')
        program.chmod(0o755)

    def _run(self, words: t.Sequence[str], deadline: Deadline) -> tuple[int | None, str]:
        code, said = self.really_run(words, deadline)
        if code == 0:
            (control,) = (word.partition("=")[2] for word in words if word.startswith("ControlPath="))
            self.masters.append(FakeMaster(control, **self.options))
        return code, said

    def open_at(self, uri: str, seconds: float) -> bytes:
        """libvirt: what the daemon says that it reaches."""
        self.opened.append(uri)
        if uri == self.uri:
            return OWN_WAY
        parts = urllib.parse.urlsplit(uri)
        assert (parts.scheme, parts.netloc, parts.path) == ("qemu+unix", "", "/system")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(seconds)
            try:
                client.connect(urllib.parse.parse_qs(parts.query)["socket"][0])
                said = client.recv(100)
            except OSError as error:
                raise HypervisorUnreachable(str(error)) from error
        if not said:
            raise HypervisorUnreachable("Cannot recv data: Connection reset by peer")
        return said

    def through(self, seconds: float = SECONDS) -> bytes:
        return crowded.opened(self.open_at, self.uri, 60, Deadline(seconds))

    def logins(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if " -G " not in line]


@pytest.fixture
def ssh(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Ssh]:
    # Short, for sockets.
    place = Path(tempfile.mkdtemp(prefix="link-", dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    made = Ssh(place, monkeypatch)
    with contextlib.closing(daemon(made.socket)):
        yield made
    for master in made.masters:
        master.close()
    shutil.rmtree(place)


def _private(ssh: Ssh) -> Path:
    return ssh.place / f"virtops-{os.geteuid()}"


def test_the_first_logs_in_for_all(ssh: Ssh) -> None:
    assert [ssh.through() for _number in range(3)] == [GREETING] * 3
    (login,) = ssh.logins()
    words = shlex.split(login)
    assert words[:7] == ["-p", "2222", "-l", "root", "-T", "-e", "none"]
    assert words[7:9] == ["-f", "-N"]
    assert {"ControlMaster=yes", "ControlPersist=60", "ClearAllForwardings=yes"} < set(words)
    assert words[-2:] == ["--", "kvm1"]
    assert [path.name for path in _private(ssh).iterdir()] == [Path(ssh.masters[0].control).name]
    assert _private(ssh).stat().st_mode & 0o777 == 0o700


def test_of_many_at_once_one_logs_in(ssh: Ssh) -> None:
    ssh.set("echo controlmaster false", "sleep 0.3")
    heard: list[bytes] = []
    threads = [threading.Thread(target=lambda: heard.append(ssh.through())) for _number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == [GREETING] * 20
    assert len(ssh.logins()) == 1


def test_another_place_is_another_connection(ssh: Ssh) -> None:
    ssh.through()
    other = ssh.uri.replace("kvm1", "kvm2")
    assert ssh_link.through(ssh.open_at, 60, other, SECONDS) == GREETING
    assert ssh_link.through(ssh.open_at, 5, other, SECONDS) == GREETING
    assert len(ssh.logins()) == 3


def test_switched_off(ssh: Ssh) -> None:
    assert crowded.opened(ssh.open_at, ssh.uri, 0, Deadline(SECONDS)) == OWN_WAY
    assert ssh.log.read_text() == ""
    assert not _private(ssh).exists()


def test_one_that_was_killed_is_replaced(ssh: Ssh) -> None:
    ssh.through()
    killed = ssh.masters.pop()
    killed._listener.close()
    assert Path(killed.control).is_socket()
    assert ssh.through() == GREETING
    assert len(ssh.logins()) == 2


def test_the_next_socket_is_tried(ssh: Ssh, monkeypatch: pytest.MonkeyPatch) -> None:
    sockets = (str(ssh.place / "none"), ssh.socket)
    remote = ssh_link.ssh_uri.remote
    monkeypatch.setattr(ssh_link.ssh_uri, "remote", lambda uri: remote(uri)._replace(sockets=sockets))
    assert ssh.through() == GREETING
    assert len(ssh.opened) == 2


@pytest.mark.parametrize("options", [{"refuses": True}, {"silent": {OPEN}}])
def test_it_may_not_forward(options: dict[str, t.Any], ssh: Ssh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_link, "_ANSWER_SECONDS", 0.2 if "silent" in options else SECONDS)
    ssh.options = options
    assert ssh.through() == OWN_WAY
    assert ssh.opened == [ssh.uri]


def test_nobody_is_behind_it(ssh: Ssh) -> None:
    """What is wrong then, libvirt's own way finds out."""
    os.unlink(ssh.socket)
    assert ssh.through() == OWN_WAY
    assert STOP not in ssh.masters[0].said


def test_a_dead_network_costs_half_of_the_time(ssh: Ssh) -> None:
    """The master answers, and what it forwards does not; nobody else shall come to it."""
    os.unlink(ssh.socket)
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(ssh.socket)
        hung.listen()
        assert ssh.through(6) == OWN_WAY
    assert STOP in ssh.masters[0].said
    assert len(ssh.opened) == 2


@pytest.mark.parametrize(
    "says",
    [
        "echo controlmaster auto",
        "echo controlmaster true",
        "echo controlmaster false; echo controlpath /home/me/.ssh/kvm1",
        "echo controlmaster false; exit 255",
        "echo unknown option",
    ],
)
def test_ssh_config_decides(says: str, ssh: Ssh) -> None:
    ssh.set(says, "exit 0")
    assert ssh.through() == OWN_WAY
    assert ssh.logins() == []
    assert list(_private(ssh).iterdir()) == []


def test_a_login_that_fails_is_not_tried_twice(ssh: Ssh) -> None:
    ssh.set("echo controlmaster false", 'echo "a warning" >&2; echo "root@kvm1: Permission denied (publickey)." >&2; exit 255')
    with pytest.raises(HypervisorUnreachable, match=r"cannot be reached: root@kvm1: Permission denied \(publickey\);"):
        ssh.through()
    assert len(ssh.logins()) == 1
    assert ssh.opened == []
    assert list(_private(ssh).iterdir()) == []


def test_who_was_turned_away_asks_again(ssh: Ssh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowded, "_FIRST_PAUSE", 0.01)
    reset = "kex_exchange_identification: read: Connection reset by peer"
    ssh.set("echo controlmaster false", f'[ $(grep -vc " -G " {ssh.log}) -gt 2 ] || {{ echo "{reset}" >&2; exit 255; }}')
    assert ssh.through() == GREETING
    assert len(ssh.logins()) == 3


@pytest.mark.parametrize(
    "login",
    [
        f"echo unix_listener: cannot bind to path /x/virtops-{os.geteuid()}/$3 >&2; echo $* >&2; exit 255",
        "echo usage >&2; exit 2",
        "exit 0; # and no master",
    ],
)
def test_who_can_be_no_master(login: str, ssh: Ssh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_link, "_run", ssh.really_run)
    ssh.set("echo controlmaster false", login)
    assert ssh.through() == OWN_WAY


def test_those_who_waited_in_vain_go_their_own_way(ssh: Ssh) -> None:
    """One after the other would take its time; libvirt's own way takes it once."""
    ssh.set("echo controlmaster false", 'sleep 0.5; echo "Permission denied" >&2; exit 255')
    errors: list[HypervisorUnreachable] = []
    heard: list[bytes] = []

    def one() -> None:
        try:
            heard.append(ssh.through())
        except HypervisorUnreachable as error:
            errors.append(error)

    control = _control(ssh)
    with ssh_link._locked(control) as is_ours:
        assert is_ours
        threads = [threading.Thread(target=one) for _number in range(3)]
        for thread in threads:
            thread.start()
        threads[0].join(0.3)
        assert all(thread.is_alive() for thread in threads)
    for thread in threads:
        thread.join()
    assert heard == [OWN_WAY] * 3
    assert ssh.logins() == []


def _control(ssh: Ssh) -> str:
    """Where the master is, once there was one."""
    before = ssh.log.read_text()
    ssh.set("echo controlmaster false", "exit 0")
    ssh.through()
    master = ssh.masters.pop()
    master.close()
    ssh.log.write_text(before)
    ssh.opened.clear()
    return master.control


def test_a_login_that_hangs_is_ended(ssh: Ssh) -> None:
    ssh.set("echo controlmaster false", "echo $$ >pid; exec sleep 600".replace("pid", f"{ssh.place}/pid"))
    with pytest.raises(HypervisorUnreachable, match="did not answer within 3 s"):
        ssh.through(3)
    with pytest.raises(ProcessLookupError):
        os.kill(int((ssh.place / "pid").read_text()), 0)


def _open_to_all(path: Path) -> None:
    path.mkdir()
    path.chmod(0o755)


def _file(path: Path) -> None:
    path.touch(0o600)


def _link(path: Path) -> None:
    (path.parent / "target").mkdir(0o700)
    path.symlink_to("target")


@pytest.mark.parametrize("make", [_open_to_all, _link, _file])
def test_a_directory_that_is_not_ours_alone(make: t.Callable[[Path], None], ssh: Ssh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(ssh.place))
    make(_private(ssh))
    assert not ssh_link._is_private(str(ssh.place), str(_private(ssh)))
    assert ssh.through() == OWN_WAY
    assert ssh.log.read_text() == ""


def test_a_place_where_others_may_rename(ssh: Ssh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(ssh.place))
    ssh.place.chmod(0o777)
    assert ssh.through() == OWN_WAY
    ssh.place.chmod(0o1777)
    assert ssh.through() == GREETING


@pytest.mark.skipif(
    os.geteuid() != 0, reason="SKIPPED OUT LOUD: what another user owns is not tried, for only root can give it away"
)
@pytest.mark.parametrize("whose", ["the place", "the directory"])
def test_what_another_user_owns(whose: str, ssh: Ssh, monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_RUNTIME_DIR may be that of the user who has become root."""
    monkeypatch.setattr(tempfile, "tempdir", str(ssh.place))
    _private(ssh).mkdir(0o700)
    os.chown(ssh.place if whose == "the place" else _private(ssh), 65534, 65534)
    assert ssh.through() == OWN_WAY


def test_a_path_that_is_too_long_for_a_socket(ssh: Ssh, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = 103 - len("/virtops-") - len(str(os.geteuid())) - len("/0123456789abcdef") - len(".0123456789abcdef")
    place = ssh.place / ("x" * (longest - len(str(ssh.place)) - 1))
    place.mkdir()
    (ssh.place / f"{place.name}x").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", f"{place}x")
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"{place}x")
    assert ssh.through() == OWN_WAY
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    assert ssh.through() == GREETING


@pytest.mark.parametrize("name", ["a b", "100%h", "${HOME}", "ü", "a?b"])
def test_a_path_that_ssh_would_read_otherwise(name: str, ssh: Ssh, monkeypatch: pytest.MonkeyPatch) -> None:
    (ssh.place / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(ssh.place / name))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(ssh.place / name))
    assert ssh.through() == OWN_WAY
    assert ssh.log.read_text() == ""


def test_a_relative_path(ssh: Ssh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ssh.place)
    monkeypatch.setenv("XDG_RUNTIME_DIR", ".")
    monkeypatch.setattr(tempfile, "tempdir", str(ssh.place))
    assert ssh.through() == GREETING
    assert ssh.masters[0].control.startswith("/")


def test_no_room_for_a_lock(ssh: Ssh, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_control: str) -> t.NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ssh_link, "_locked", full)
    assert ssh.through() == OWN_WAY


def test_a_lock_that_a_killed_process_left(ssh: Ssh) -> None:
    control = _control(ssh)
    Path(f"{control}.lock").touch()
    assert ssh.through() == GREETING
    assert not Path(f"{control}.lock").exists()


def test_who_waits_for_a_lock_does_not_get_what_was_removed(ssh: Ssh) -> None:
    control = _control(ssh)
    late = os.open(f"{control}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    with ssh_link._locked(control) as is_ours:
        assert is_ours
        assert not ssh_link._lock(late, f"{control}.lock")
        with ssh_link._locked(control) as is_second:
            assert not is_second
    assert not ssh_link._lock(late, f"{control}.lock")
    os.close(late)
