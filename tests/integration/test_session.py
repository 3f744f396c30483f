# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""qemu:///session of an ordinary user, who has his own libvirt daemon, guests and rights, and no others: as that user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.ansible_cli import ROOT, Ansible, hostvars, write_inventory
from tests.integration.conftest import DOOR
from tests.integration.guests_by_agent import Plays, ok
from tests.lab import Guest, Lab
from tests.lab.second import SecondHypervisor, second_hypervisor

NAME, HELLO = "it-session", "hello from a session\n"


class OrdinaryUser(Ansible):
    """Ansible's commands as the user of a session daemon, who has no other rights."""

    def __init__(self, session: SecondHypervisor) -> None:
        super().__init__(session.place / "ansible")
        self.env.update(session.environment)
        account = self.account = pwd.getpwnam(session.user) if session.user else None
        self._become = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"] if account else []
        if account:
            for path in (session.place / "ansible", session.place / "ansible" / "ansible.cfg"):
                shutil.chown(path, account.pw_uid, account.pw_gid)
        self.place = session.place

    def command(self, *words: str) -> list[str]:
        return [*self._become, *super().command(*words)]

    def reads(self) -> bool:
        """Whether the user can read this checkout and its Python."""
        words = self.command("python", "-c", "import libvirt")
        return not subprocess.run(words, cwd=ROOT, capture_output=True, check=False).returncode

    def plays(self, **variables: Any) -> Plays:
        """On the guest, by its name alone: nothing says which hypervisor has it."""
        known = {"ansible_guest_agent_domain": NAME, "ansible_python_interpreter": sys.executable, **variables}
        return Plays(self, self.place, {"guest": {"ansible_connection": "ssh", **known}})


@pytest.fixture(scope="module")
def session() -> Iterator[SecondHypervisor]:
    with second_hypervisor() as running:
        yield running


@pytest.fixture(scope="module")
def user(session: SecondHypervisor) -> Iterator[OrdinaryUser]:
    """One who has a guest."""
    found = OrdinaryUser(session)
    if not found.reads():
        pytest.skip(f"SKIPPED OUT LOUD: a session as {session.user} is not tried, who cannot read {ROOT}")
    with session.lab() as lab:
        lab.start_all([Guest(name=NAME, persistent=True)])
        yield found


def module(module: str, /, **args: Any) -> dict[str, Any]:
    return {"name": module, f"virtops.guest_agent.{module}": args}


def test_the_inventory_without_a_uri(user: OrdinaryUser) -> None:
    found = hostvars(user.inventory(write_inventory(user.place / "it.libvirt.yml")))
    assert set(found) == {NAME}
    guest = found[NAME]
    assert (guest["libvirt_uri"], guest["guest_agent"]["status"]) == ("qemu:///session", "connected")
    assert guest["guest_hostname"] == NAME
    # The guest is behind slirp, where no address leads to it.
    assert "ansible_host" not in guest
    assert guest["ansible_connection"] == "virtops.guest_agent.agent"


def test_modules(user: OrdinaryUser) -> None:
    pulled = user.place / "pulled"
    tasks = (
        module("guest_info", gather_subset=["hostname"]),
        module("run_command", argv=["cat", "/proc/sys/kernel/hostname"]),
        module("push_file", content=HELLO, dest="/tmp/hello", mode="0640"),
        module("pull_file", src="/tmp/hello", dest=str(pulled)),
        module("fsfreeze", state="frozen", max_seconds=60),
        module("guest_info", gather_subset=["hostname"]),
        module("fsfreeze", state="thawed"),
    )
    info, run, pushed, _pulled, frozen, seen, thawed = map(ok, user.plays().play(*tasks))
    assert info["guests"][0]["libvirt"]["uri"] == "qemu:///session"
    assert run["stdout"] == NAME
    assert pushed["changed"]
    assert pulled.read_text() == HELLO
    assert frozen["status"] == "frozen"
    assert seen["guests"][0]["agent"]["status"] == "frozen"
    assert (thawed["changed"], thawed["status"]) == (True, "thawed")


@pytest.mark.full
def test_a_snapshot_and_its_way_back(user: OrdinaryUser, session: SecondHypervisor) -> None:
    taken, known, removed = map(
        ok,
        user.plays().play(
            module("snapshot", name="one", quiesce="required"),
            module("snapshot_info"),
            module("snapshot", name="one", state="absent"),
        ),
    )
    assert taken["changed"]
    assert removed["changed"]
    assert "one" in str(known)


def test_a_backup_and_an_increment(user: OrdinaryUser) -> None:
    """The images are the user's, whose QEMU writes into them."""
    place = user.place / "backups"
    place.mkdir()
    if user.account:
        shutil.chown(place, user.account.pw_uid, user.account.pw_gid)
    full, more, *removed = map(
        ok,
        user.plays().play(
            *(module("backup", name=name, directory=str(place)) for name in ("one", "two")),
            *(module("backup", name=name, directory=str(place), state="absent") for name in ("two", "one")),
        ),
    )
    kinds = [(taken["domains"][0]["kind"], taken["domains"][0]["quiesced"]) for taken in (full, more)]
    assert kinds == [("full", True), ("incremental", True)]
    assert [each["changed"] for each in removed] == [True, True]
    assert list(place.iterdir()) == []


@pytest.mark.full
def test_off_and_on(user: OrdinaryUser) -> None:
    off, on, run = map(
        ok,
        user.plays().play(module("shutdown", timeout=120), module("start", timeout=240), module("run_command", argv=["true"])),
    )
    assert off["changed"]
    assert on["changed"]
    assert run["rc"] == 0


@pytest.mark.full
@pytest.mark.parametrize("resident", ["auto", "never"])
def test_the_connection(user: OrdinaryUser, resident: str) -> None:
    over = {"ansible_connection": "virtops.guest_agent.agent", "ansible_guest_agent_resident": resident}
    said, copied = user.plays(**over).play({"ansible.builtin.raw": "id -u"}, {"ansible.builtin.raw": "echo $((6 * 7))"})
    assert ok(said)["stdout_lines"] == ["0"]
    assert ok(copied)["stdout_lines"] == ["42"]


@pytest.mark.full
def test_a_domain_of_another_hypervisor(user: OrdinaryUser) -> None:
    """Without a URI a user other than root asks qemu:///session, which has none of the domains of qemu:///system."""
    (result,) = user.plays(ansible_guest_agent_domain="it-elsewhere").play(module("run_command", argv=["id"]), ignore_errors=True)
    assert result["failure"]["kind"] == "domain_not_found"
    assert "Domain it-elsewhere: no domain of this name or UUID on qemu:///session" in result["msg"]
    assert "qemu:///system and qemu:///session have different domains" in result["msg"]


@pytest.mark.skipif(
    os.geteuid() != 0, reason="SKIPPED OUT LOUD: a system daemon that is another's is not tried, for that takes root"
)
def test_the_system_is_not_open_to_this_user(user: OrdinaryUser, lab: Lab) -> None:
    """The lab's own daemon is root's alone."""
    if DOOR:
        pytest.skip(f"SKIPPED OUT LOUD: a system daemon that is another's is not tried, for DOOR={DOOR} leads elsewhere")
    (result,) = user.plays(ansible_guest_agent_uri=lab.uri).play(module("run_command", argv=["id"]), ignore_errors=True)
    assert result["failure"]["kind"] == "permission_denied", result
    assert f"{lab.uri} is not open to this user" in result["msg"]
    assert "-sock-ro" in result["msg"]
    source = write_inventory(user.place / "system.libvirt.yml", uri=[lab.uri])
    warned = user.run("ansible-inventory", "-i", str(source), "--list", check=False)
    assert "is not open to this user" in " ".join(warned.stderr.split())
    assert "Traceback" not in warned.stderr
