# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A hypervisor over SSH: one connection for all tasks, hosts and the inventory, and nothing of it that stays."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ansible_cli import CALLBACKS, Ansible, hostvars, write_inventory
from tests.integration.guests_by_agent import ok
from tests.lab import Lab
from tests.lab.daemons import SYSTEM_URI
from tests.lab.ssh_server import SshServer, ssh_server

TASKS = 5
#: Nothing but what libvirt itself knows.
LISTING = {"virtops.guest_agent.guest_info": {"gather_subset": []}}
ECHO = {"ansible.builtin.raw": "echo hi"}


Start = Callable[..., str]


class Reached:
    """Ansible, and the hypervisor of the lab by an SSH server."""

    def __init__(self, ansible: Ansible, place: Path, server: SshServer) -> None:
        self._ansible = ansible
        self._place = place
        self.server = server
        self.kept = server.place / "virtops-0"

    def inventory(self, persist: int = 60) -> Path:
        options = {"uri": [self.server.uri], "connection": "agent", "hostnames": ["name"], "ssh_persist": persist}
        return write_inventory(self._place / "it.libvirt.yml", **options)

    def hosts(self, domain: str, *persists: int, timeout: int = 10) -> Path:
        """As many hosts, all of them this guest, each with its own time."""
        one = {
            "ansible_guest_agent_timeout": timeout,
            "ansible_connection": "virtops.guest_agent.agent",
            "ansible_guest_agent_domain": domain,
            "ansible_guest_agent_uri": self.server.uri,
        }
        hosts = {f"host{number}": {**one, "ansible_guest_agent_ssh_persist": persist} for number, persist in enumerate(persists)}
        path = self._place / "hosts.json"
        path.write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
        return path

    def play(self, inventory: Path, hosts: str, *tasks: dict[str, Any], forks: int = 5) -> list[dict[str, Any]]:
        path = self._place / "play.json"
        path.write_text(json.dumps([{"hosts": hosts, "gather_facts": False, "tasks": list(tasks)}]), encoding="utf-8")
        env = {"ANSIBLE_STDOUT_CALLBACK": "last_result", "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS), **self._env}
        done = self._ansible.playbook(path, "-i", str(inventory), "-f", str(forks), check=False, timeout=600, **env)
        found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert found, f"{done.stdout}\n{done.stderr}"
        return [ok(result) for result in found]

    def list(self, inventory: Path) -> list[str]:
        return list(hostvars(self._ansible.inventory(inventory, **self._env)))

    @property
    def _env(self) -> dict[str, str]:
        return {"XDG_RUNTIME_DIR": str(self.server.place)}


#: Called with settings of the server, and of its clients.
Way = Callable[..., AbstractContextManager[Reached]]


@pytest.fixture
def reached(lab: Lab, ansible: Ansible, tmp_path: Path) -> Way:
    if lab.uri != SYSTEM_URI:
        pytest.skip(
            "SKIPPED OUT LOUD: the one SSH connection of a run is not tried, for only the system's libvirtd is reached over SSH"
        )

    @contextmanager
    def made(*settings: str, client: str = "") -> Iterator[Reached]:
        with ssh_server(*settings, client=client) as server:
            yield Reached(ansible, tmp_path, server)

    return made


def test_one_connection_for_all(reached: Way, start: Start) -> None:
    name = start()
    with reached() as there:
        server = there.server
        results = there.play(there.inventory(), name, *[ECHO] * TASKS)
        assert [result["stdout"].strip() for result in results] == ["hi"] * TASKS
        assert (server.logins(), server.sessions()) == (1, 0)
        (killed,) = server.clients()
        killed.end(signal.SIGKILL)

        there.play(there.hosts(name, 60, 60, 8, 0), "all", LISTING)
        # For the first two, for the third, and by libvirt itself for the last.
        assert (server.logins(), server.sessions()) == (4, 1)
        _wait_until_one_is_left(server)
        (last,) = server.clients()
        last.end()
        assert list(there.kept.iterdir()) == []

        assert name in there.list(there.inventory(persist=0))
        assert server.logins() - 4 == server.sessions() - 1 > 0
        assert server.clients() == []


def _wait_until_one_is_left(server: SshServer) -> None:
    deadline = time.monotonic() + 60
    while len(server.clients()) > 1 and time.monotonic() < deadline:
        time.sleep(0.1)


@pytest.mark.full
def test_a_server_that_forwards_no_sockets(reached: Way, start: Start) -> None:
    name = start()
    with reached("AllowStreamLocalForwarding no") as there:
        there.play(there.hosts(name, 60), "all", ECHO, LISTING)
        # One for the connection that is of no use here.
        assert (there.server.logins(), there.server.sessions()) == (3, 2)


@pytest.mark.full
def test_a_master_of_the_users_own(reached: Way, start: Start) -> None:
    name = start()
    with reached(client="    ControlMaster auto\n    ControlPath {place}/own\n    ControlPersist 60\n") as there:
        there.play(there.hosts(name, 60), "all", *[LISTING] * 3)
        assert (there.server.logins(), there.server.sessions()) == (1, 3)
        assert list(there.kept.iterdir()) == []


@pytest.mark.full
@pytest.mark.parametrize("persist", [60, 0])
def test_a_crowd(persist: int, reached: Way, start: Start) -> None:
    """More tasks at once than sshd allows: it has ten sessions on one connection, and may drop a login from the 11th on."""
    name = start()
    with reached("MaxStartups 10:30:100", "MaxSessions 10") as there:
        results = there.play(there.hosts(name, *[persist] * 50), "all", LISTING, forks=50)
        assert len(results) == 50
        if persist:
            assert (there.server.logins(), there.server.sessions(), there.server.turned_away()) == (1, 0, 0)
        else:
            assert there.server.logins() == 50


@pytest.mark.full
def test_a_crowd_at_one_warm_guest(reached: Way, debians: Mapping[str, str]) -> None:
    """One of them has the resident, and the others do without. More than these fill the memory of a guest of 256 MiB."""
    with reached("MaxStartups 10:30:100", "MaxSessions 10") as there:
        hosts = there.hosts(debians["debian12"], *[60] * 15, timeout=120)
        results = there.play(hosts, "all", ECHO, ECHO, ECHO, forks=15)
        assert [result["stdout"].strip() for result in results] == ["hi"] * 45
        assert (there.server.logins(), there.server.turned_away()) == (1, 0)
