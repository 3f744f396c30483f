# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roles through their playbooks, on several guests: what they leave, and what a second run does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ansible_cli import CALLBACKS, Ansible
from tests.integration.guests_by_agent import ok, variables
from tests.lab import Guest, Lab
from tests.lab.guest import QUIET
from tests.lab.images import image_files
from tests.lab.paths import state_dir

LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}


class Role:
    """A playbook of the collection on some hosts; ``changed`` of its last run."""

    def __init__(self, ansible: Ansible, place: Path, name: str, hosts: dict[str, Any]) -> None:
        self._ansible = ansible
        self._name = name if name.endswith(".yml") else f"virtops.guest_agent.{name}"
        self._place = place
        (place / "hosts.json").write_text(json.dumps({"all": {"hosts": {**hosts, "localhost": LOCAL}}}))
        self._target = ",".join(hosts) or "localhost"
        self.changed = 0
        #: beside what a test's commands have
        self.env: dict[str, str] = {}

    def run(self, *words: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        given = json.dumps({"target": self._target, **options})
        command = ["ansible-playbook", self._name, "-i", str(self._place / "hosts.json"), "-e", given, *words]
        env = {"ANSIBLE_STDOUT_CALLBACK": "last_result", "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS), **self.env}
        done = self._ansible.run(*command, check=False, timeout=600, **env)
        results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert bool(done.returncode) is not check, json.dumps([[r for r in results if r.get("failed")], done.stderr])
        self.changed = sum(bool(result.get("changed")) for result in results)
        return done


def running(lab: Lab) -> set[str]:
    return {
        domain.name() for domain in lab.connection.listAllDomains() if domain.isActive() and domain.name().startswith("it-tier")
    }


@pytest.mark.full  # the molecule scenario of the role is its shorter sister
@pytest.mark.parametrize("size", [6, 20])
def test_graceful_shutdown_and_the_same_set_again(lab: Lab, ansible: Ansible, tmp_path: Path, size: int) -> None:
    """Three tiers, and one guest that does not hear: its plug is pulled. Then another time without leave to do so."""
    names = [f"it-tier-{number}" for number in range(size)]
    tiers = [names[1::3], names[2::3]]  # those of names[0::3] are in none, and go first
    deaf = names[1]
    record = tmp_path / "var" / "record.json"
    role = Role(ansible, tmp_path, "graceful_shutdown", {})
    others = sorted({domain.name() for domain in lab.connection.listAllDomains()})
    options = {
        "graceful_shutdown_uri": lab.uri, "graceful_shutdown_tiers": tiers, "graceful_shutdown_record": str(record),
        "graceful_shutdown_exclude": others, "graceful_shutdown_timeout": 40,
    }  # fmt: skip
    try:
        lab.start_all([Guest(name=name, persistent=True, kernel=QUIET) for name in names], parallel=4, timeout=300)
        lab.domain(names[0]).destroy()
        was = running(lab)
        assert len(was) == size - 1
        lab.run(deaf, "kill -STOP $(pidof qemu-ga power)")
        role.run("--check", **options)
        assert running(lab) == was
        assert not record.exists()
        role.run(check=False, **{**options, "graceful_shutdown_timeout": 15})
        left = running(lab)
        assert deaf in left
        assert set(tiers[1]) <= left  # the tier after his
        assert set(names[0::3]).isdisjoint(left)
        role.run(**options, graceful_shutdown_force_after=10)
        assert running(lab) == set()
        noted = json.loads(record.read_text())
        assert {name for tier in noted["tiers"] for name in tier} == was

        role.run(**options, graceful_shutdown_state="started")
        assert running(lab) == was
        assert not record.exists()
        role.run(**options, graceful_shutdown_state="started")
        assert role.changed == 0
    finally:
        for name in set(names) & set(lab.names()):
            lab.destroy(name)


@pytest.fixture
def without_virsh(tmp_path: Path) -> dict[str, str]:
    """A PATH that has all that this one has, but for virsh."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for folder in filter(None, os.environ["PATH"].split(os.pathsep)):
        for command in Path(folder).glob("*"):
            if command.name != "virsh" and not (commands / command.name).is_symlink():
                (commands / command.name).symlink_to(command)
    assert shutil.which("qemu-img", path=str(commands))
    assert not shutil.which("virsh", path=str(commands))
    return {"PATH": str(commands)}


def test_graceful_shutdown_without_virsh(
    lab: Lab, ansible: Ansible, start: Callable[..., str], without_virsh: dict[str, str], tmp_path: Path
) -> None:
    name = start("it-tier-plain", persistent=True)
    role = Role(ansible, tmp_path, "graceful_shutdown", {})
    role.env = without_virsh
    others = sorted({domain.name() for domain in lab.connection.listAllDomains()} - {name})
    record = tmp_path / "r"
    options = {"graceful_shutdown_uri": lab.uri, "graceful_shutdown_record": str(record), "graceful_shutdown_exclude": others}
    role.run(**options)
    assert running(lab) == set()
    role.run("--check", **options, graceful_shutdown_state="started")
    assert running(lab) == set()
    role.run(**options, graceful_shutdown_state="started")
    assert running(lab) == {name}
    assert not record.exists()
    lab.wait_agents()


def test_disposable_guests_without_virsh(lab: Lab, ansible: Ansible, without_virsh: dict[str, str], tmp_path: Path) -> None:
    """One is booted, found booted, gets a definition, is off, is started again, and is thrown away."""
    if os.environ.get("DOOR") == "session":
        pytest.skip("SKIPPED OUT LOUD: disposable guests of root are not tried, for this QEMU is another's")
    role = Role(ansible, tmp_path, "disposable_guest", {})
    role.env = without_virsh
    options: dict[str, Any] = {"disposable_guest_uri": lab.uri, "disposable_guest_directory": str(state_dir() / "disposable")}
    guest: dict[str, Any] = {
        "name": "it-disposable",
        "cmdline": "console=ttyS0 quiet nokaslr panic=-1",
        "memory_mib": 96,
        "disk_format": "raw",
    }
    guest.update({part: str(getattr(image_files("tiny"), part)) for part in ("kernel", "initrd", "disk")})
    options["disposable_guest_guests"] = [guest]

    def domain() -> Any:
        return next((found for found in lab.connection.listAllDomains() if found.name() == guest["name"]), None)

    try:
        role.run("--check", **options)
        assert domain() is None
        options["disposable_guest_type"] = "qemu"  # in a guest of another hypervisor KVM may be there and not work
        role.run(**options)
        assert domain().isActive()
        role.run(**options)
        assert role.changed == 0
        lab.connection.defineXML(domain().XMLDesc(0))
        domain().destroy()
        role.run(**options)
        assert domain().isActive()
        role.run(**options, disposable_guest_state="absent")
        assert domain() is None
        role.run(**options, disposable_guest_state="absent")
        assert role.changed == 0
    finally:
        if domain() is not None:
            role.run(**options, disposable_guest_state="absent")


def test_the_domains_of_others_are_left_alone(lab: Lab, ansible: Ansible, a_tiny: str, tmp_path: Path) -> None:
    role = Role(ansible, tmp_path, "disposable_guest", {})
    options = {"disposable_guest_uri": lab.uri, "disposable_guest_guests": [{"name": a_tiny}], "disposable_guest_state": "absent"}
    assert "is a domain that this role has not made" in role.run(check=False, **options).stdout
    assert lab.domain(a_tiny).isActive()


def test_who_cannot_be_started_again_is_not_stopped(lab: Lab, ansible: Ansible, start: Callable[..., str], tmp_path: Path) -> None:
    name = start("it-tier-transient")
    role = Role(ansible, tmp_path, "graceful_shutdown", {})
    others = sorted({domain.name() for domain in lab.connection.listAllDomains()} - {name})
    options = {
        "graceful_shutdown_uri": lab.uri, "graceful_shutdown_record": str(tmp_path / "r"), "graceful_shutdown_exclude": others,
    }  # fmt: skip
    assert f"{name} cannot be started again" in role.run(check=False, **options).stdout
    role.run(**options, graceful_shutdown_transient="leave")
    assert running(lab) == {name}
    lab.domain(name).suspend()
    options["graceful_shutdown_transient"] = "stop"
    assert f"{name} cannot shut down" in role.run(check=False, **options).stdout
    assert running(lab) == {name}
    role.run(**options, graceful_shutdown_force_after=3)
    assert running(lab) == set()
    assert not (tmp_path / "r").exists() or json.loads((tmp_path / "r").read_text())["tiers"] == [[]]


@pytest.mark.full
def test_quiesced_snapshots_are_kept_and_merged(lab: Lab, ansible: Ansible, start: Callable[..., str], tmp_path: Path) -> None:
    names = [start("it-quiet-a"), start("it-quiet-b")]
    manifest = tmp_path / "var" / "manifest.json"
    role = Role(ansible, tmp_path, "quiesced_snapshot", {})
    options = {
        "quiesced_snapshot_uri": lab.uri, "quiesced_snapshot_domains": names, "quiesced_snapshot_manifest": str(manifest),
        "quiesced_snapshot_keep": 1, "quiesced_snapshot_prefix": "t",
        "quiesced_snapshot_before": [{"domain": names[0], "shell": "echo before >>/run/hooks"}],
        "quiesced_snapshot_after": [{"domain": names[0], "shell": "echo after >>/run/hooks"}],
    }  # fmt: skip

    def taken(name: str) -> list[str]:
        return sorted(lab.domain(name).snapshotListNames(0))

    role.run("--check", **options)
    assert not manifest.exists()
    role.run(**options, quiesced_snapshot_name="t-1")
    role.run(**options, quiesced_snapshot_name="t-2")
    assert [taken(name) for name in names] == [["t-2"], ["t-2"]]
    (entry,) = json.loads(manifest.read_text())
    assert (entry["name"], entry["group"]) == ("t-2", names)
    assert [found["quiesced"] for found in entry["domains"]] == [True, True]
    for found in entry["domains"]:  # what kept the moment at first was merged
        (disk,) = found["disks"]
        assert disk["base"].endswith("/disk.qcow2")
        assert [Path(disk["base"]).exists(), Path(disk["image"]).exists()] == [True, True]
    role.run(**options, quiesced_snapshot_name="t-2")
    assert len(json.loads(manifest.read_text())) == 1
    # A snapshot that fails has its hooks run all the same, and is noted nowhere.
    Path(entry["domains"][1]["disks"][0]["image"].replace(".t-2.", ".t-3.")).write_text("somebody's")
    role.run(check=False, **options, quiesced_snapshot_name="t-3")
    assert lab.run(names[0], "sort /run/hooks | uniq -c").output.split() == ["3", "after", "3", "before"]
    assert len(json.loads(manifest.read_text())) == 1
    role.run(**options)
    assert [len(taken(name)) for name in names] == [1, 1]
    assert taken(names[0])[0].startswith("t-20")


class Backups:
    """The role quiesced_backup on two guests, whose later backups stand on their first ones."""

    def __init__(self, lab: Lab, ansible: Ansible, start: Callable[..., str], tmp_path: Path) -> None:
        self.names = [start("it-backup-a", persistent=True), start("it-backup-b", persistent=True)]
        self.place, self.there = tmp_path / "backups", tmp_path / "restored"
        self._options = {
            "quiesced_backup_uri": lab.uri, "quiesced_backup_domains": self.names, "quiesced_backup_directory": str(self.place),
            "quiesced_backup_keep": 2, "quiesced_backup_restore_directory": str(self.there),
            "quiesced_backup_before": [{"domain": self.names[0], "shell": "echo before >>/run/hooks"}],
            "quiesced_backup_after": [{"domain": self.names[0], "shell": "echo after >>/run/hooks"}],
        }  # fmt: skip
        play = tmp_path / "restore.yml"
        role = {"name": "virtops.guest_agent.quiesced_backup", "tasks_from": "restore"}
        play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [{"import_role": role}]}]))
        self._take = Role(ansible, tmp_path, "quiesced_backup", {})
        self._restore = Role(ansible, tmp_path, str(play), {})
        tmp_path.chmod(0o755)

    def take(self, name: str, *words: str) -> int:
        """How many tasks changed something."""
        self._take.run(*words, **self._options, quiesced_backup_name=name)
        return self._take.changed

    def restore(self, name: str, check: bool = True) -> tuple[int, str]:
        said = self._restore.run(check=check, **self._options, quiesced_backup_restore_name=name).stdout
        return self._restore.changed, said

    def parents(self, backup: str) -> list[str]:
        """What the backups stand on; all guests were frozen for them."""
        notes = [json.loads((self.place / f"{name}.{backup}.backup.json").read_text()) for name in self.names]
        assert all(note["quiesced"] for note in notes)
        return [note["parent"] for note in notes]


@pytest.fixture
def backups(lab: Lab, ansible: Ansible, start: Callable[..., str], tmp_path: Path) -> Backups:
    return Backups(lab, ansible, start, tmp_path)


@pytest.mark.full
def test_quiesced_backups_between_hooks(lab: Lab, backups: Backups) -> None:
    backups.take("b-0", "--check")
    assert not backups.place.exists()
    backups.take("b-1")
    assert backups.take("b-2")
    assert backups.take("b-2") == 0
    assert backups.parents("b-2") == ["b-1", "b-1"]
    assert lab.run(backups.names[0], "sort /run/hooks | uniq -c").output.split() == ["2", "after", "2", "before"]


@pytest.mark.full
def test_a_guest_goes_back_to_a_backup(lab: Lab, ansible: Ansible, backups: Backups) -> None:
    """As a user would: restore, put the image in the disk's place, start. Its later backups go on."""
    name = backups.names[0]
    backups.take("b-1")
    lab.run(name, "echo later >/data/later && sync")
    backups.take("b-2")
    said = backups.restore("b-9", check=False)[1]
    assert f"{name} has no whole backup b-9 in {backups.place}, so nothing was restored" in said
    assert not backups.there.exists()
    backups.restore("b-1")
    assert backups.restore("b-2")[0]
    assert backups.restore("b-2")[0] == 0
    images = {image.name: image.stat().st_mode & 0o777 for image in backups.there.iterdir()}
    assert images == {f"{each}-vda.{backup}.qcow2": 0o600 for each in backups.names for backup in ("b-1", "b-2")}

    ok(ansible.module("shutdown", domain=name, uri=lab.uri))
    shutil.copyfile(backups.there / f"{name}-vda.b-1.qcow2", lab.console(name).with_name("disk.qcow2"))
    ok(ansible.module("start", domain=name, uri=lab.uri))
    assert "later" not in lab.run(name, "ls /data").output.split()
    backups.take("b-3")
    assert backups.parents("b-3") == ["", "b-2"]


def test_ssh_without_a_prompt(lab: Lab, ansible: Ansible, debians: Mapping[str, str], tmp_path: Path) -> None:
    name = debians["debian13"]
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "of the role's test", "-f", key], check=True)
    guest = {
        "ansible_guest_agent_domain": name, "ansible_guest_agent_uri": lab.uri, "ansible_guest_agent_timeout": 20,
        "ansible_host": "127.0.0.1", "ansible_port": lab.forward(name, 22), "ansible_connection": "virtops.guest_agent.agent",
    }  # fmt: skip
    role = Role(ansible, tmp_path, "ssh_trust", {"guest": guest})
    options = {
        "ssh_trust_user": "ansible", "ssh_trust_keys": [(tmp_path / "key.pub").read_text()], "ssh_trust_private_key": str(key),
        "ssh_trust_known_hosts": str(tmp_path / "known_hosts"),
    }  # fmt: skip
    try:
        role.run("--check", **options)
        assert not (tmp_path / "known_hosts").exists()
        role.run(**options)
        assert role.changed
        role.run(**options)
        assert role.changed == 0
        # Another host has the address: a guest that claims it does not get its place, but where the user says so.
        ours = Path(options["ssh_trust_known_hosts"])
        noted, place = ours.read_text(), f"[127.0.0.1]:{guest['ansible_port']}"
        others = f"{place} {' '.join(key.with_suffix('.pub').read_text().split()[:2])}\n"
        ours.write_text(others)
        assert "by a key that this guest does not have" in role.run(check=False, **options).stdout
        assert ours.read_text() == others
        role.run(**options, ssh_trust_replace=True)
        assert sorted(ours.read_text().splitlines()) == sorted(noted.splitlines())
        # Nothing is noted of a guest that is not at the address that it claims.
        elsewhere = {**options, "ssh_trust_known_hosts": str(tmp_path / "other"), "ssh_trust_address": "127.0.0.2"}
        role.run(check=False, **elsewhere)
        assert not (tmp_path / "other").exists()
        lab.run(name, "sed -i '/of the role/d' /home/ansible/.ssh/authorized_keys")
        role.run(check=False, **{**options, "ssh_trust_keys": []})  # the proof is one
    finally:
        lab.run(name, "sed -i '/of the role/d' /home/ansible/.ssh/authorized_keys")


#: The agent's package, made again of what is installed: as it is, and a newer one in a repository that apt knows.
REPACK = """
set -eu
tree=/root/again name=qemu-guest-agent info=/var/lib/dpkg/info repository=/root/repository
mkdir -p "$tree/DEBIAN" $repository
dpkg-query -L $name | while read -r file; do [ ! -f "$file" ] || cp -a --parents "$file" "$tree"; done
dpkg-query -s $name | sed '/^Status:/d; /^Conffiles:/,/^[^ ]/{/^Conffiles:/d; /^ /d}' >"$tree/DEBIAN/control"
for file in conffiles postinst prerm postrm preinst; do
    [ ! -f "$info/$name.$file" ] || cp -a "$info/$name.$file" "$tree/DEBIAN/$file"
done
dpkg-deb -Znone --root-owner-group -b "$tree" /root/as-it-is.deb
sed -i 's/^Version: .*/&+again/' "$tree/DEBIAN/control"
dpkg-deb -Znone --root-owner-group -b "$tree" $repository/again.deb
cd $repository
sed '/^$/d' "$tree/DEBIAN/control" >Packages
sum=$(sha256sum again.deb)
printf 'Filename: ./again.deb\\nSize: %s\\nSHA256: %s\\n' "$(stat -c %s again.deb)" "${sum%% *}" >>Packages
echo "deb [trusted=yes] file:$repository ./" >/etc/apt/sources.list.d/again.list
apt-get update -qq -o Dir::Etc::sourcelist=sources.list.d/again.list -o Dir::Etc::sourceparts=-
"""
AS_IT_WAS = """
dpkg -i --force-downgrade /root/as-it-is.deb
rm -rf /root/again /root/repository /root/as-it-is.deb /etc/apt/sources.list.d/again.list
"""


@pytest.mark.full  # the molecule scenario of the role is its shorter sister
def test_the_agent_is_upgraded_over_itself(lab: Lab, ansible: Ansible, debian: str, tmp_path: Path) -> None:
    role = Role(ansible, tmp_path, "agent_setup", {"guest": variables(lab, debian, timeout=20)})
    try:
        made = lab.run(debian, REPACK, 300)
        assert made.returncode == 0, made.output
        pid = lab.run(debian, "systemctl show -p MainPID qemu-guest-agent").output
        role.run(agent_setup_package_state="latest")
        assert role.changed
        assert "+again" in lab.run(debian, "dpkg-query -W qemu-guest-agent").output
        assert lab.run(debian, "systemctl show -p MainPID qemu-guest-agent").output != pid
        role.run(agent_setup_package_state="latest")
        assert role.changed == 0
    finally:
        lab.run(debian, AS_IT_WAS, 300)


def test_doctor(lab: Lab, ansible: Ansible, start: Callable[..., str], tmp_path: Path) -> None:
    well, absent, bare = start("it-doctor-well"), start("it-doctor-absent", agent="absent"), start("it-doctor-bare", channel=False)
    limited = start("it-doctor-limited", allow="rhel9", os_release="rhel9")
    names = [well, absent, bare, limited]
    done = Role(ansible, tmp_path, "doctor", {}).run(doctor_uri=lab.uri, doctor_domains=names)
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    (wrong,) = [result["results"] for result in results if result["task"].endswith("Say what is wrong")]
    found = {each["msg"]["domain"]: each["msg"] for each in wrong}
    assert {name: message["agent"] for name, message in found.items()} == {
        absent: "disconnected", bare: "not_configured", limited: "connected",
    }  # fmt: skip
    assert all(message["reason"] and message["remedy"] for message in found.values())
    assert "FILTER_RPC_ARGS" in found[limited]["remedy"]
    assert results[-1]["msg"] == [well]
