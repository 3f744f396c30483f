# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands, scripts and files as tasks, in real guests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration import second_agent
from tests.integration.ansible_cli import Ansible
from tests.lab import Lab

MIB = 1024 * 1024
SCRIPTS = "ls -A /var/tmp /tmp /run 2>/dev/null | grep -Ex '[.]virtops-[0-9a-f]{32}'"
Module = Callable[..., dict[str, Any]]


@pytest.fixture
def module(lab: Lab, ansible: Ansible) -> Module:
    return lambda name, domain, **options: ansible.module(name, domain=domain, uri=lab.uri, agent_timeout=20, **options)


def read(lab: Lab, name: str, command: str) -> str:
    return lab.run(name, command, timeout=60).output.strip()


def test_command(module: Module, debian: str) -> None:
    text = 'cat; echo "$HOME $X"; id -un >&2; exit 3'
    result = module("run_command", debian, shell=text, stdin="in", env={"X": "x y"}, user="games")
    assert (result["rc"], result["stdout_lines"], result["stderr"]) == (3, ["in", "/usr/games x y"], "games"), result
    assert (result["failed"], result["failure"]["kind"], result["failure"]["domain"]) == (True, "nonzero_rc", debian)


def test_output_of_any_size(module: Module, debian: str) -> None:
    result = module("run_command", debian, shell="head -c 5000000 /dev/zero | tr '\\0' x")
    assert result["stdout"] == "x" * 5_000_000


def test_command_without_end(lab: Lab, module: Module, a_tiny: str) -> None:
    result = module("run_command", a_tiny, shell="sleep 4321; echo never", timeout=2)
    assert (result["failure"]["kind"], result["rc"]) == ("command_timeout", None)
    assert read(lab, a_tiny, "ps | grep -c '[s]leep 4321'") == "0"
    assert module("run_command", a_tiny, argv=["echo", "on"])["stdout"] == "on"


def test_whether_it_is_needed(module: Module, debian: str) -> None:
    for check in (False, True):
        result = module("run_command", debian, check=check, shell="exit 1", creates="/etc/debian_*")
        assert (result["changed"], result["rc"]) == (False, 0)
    assert module("run_command", debian, check=True, shell="exit 1", removes="/etc/passwd")["changed"]


def test_script(lab: Lab, module: Module, debian: str) -> None:
    content = '#!/bin/sh\nstat -c "%a %U" "$0"; cat; printf "[%s]" "$@"; exit 4\n'
    result = module("run_script", debian, content=content, args=["a b", "c"], stdin="in", user="games")
    assert (result["rc"], result["stdout_lines"]) == (4, ["700 games", "in", "[a b][c]"]), result
    late = module("run_script", debian, content="#!/bin/sh\nsleep 4321", timeout=2)
    assert late["failure"]["kind"] == "command_timeout"
    assert read(lab, debian, SCRIPTS) == ""


def test_blocked_commands_are_explained(module: Module, start: Callable[..., str]) -> None:
    name = start(block=["guest-exec"])
    for task in (("run_command", {"cmd": "true"}), ("push_file", {"content": "x", "dest": "/tmp/x"})):
        failed = module(task[0], name, **task[1])
        assert (failed["failure"]["kind"], failed["failure"]["command"]) == ("command_blocked", "guest-exec")
        assert "qemu-ga" in failed["failure"]["hint"]


@pytest.mark.parametrize("size", [0, 3000, pytest.param(20 * MIB, marks=pytest.mark.full)], ids=str)
def test_there_and_back(lab: Lab, module: Module, debian: str, tmp_path: Path, size: int) -> None:
    source, back, there = tmp_path / "source", tmp_path / "back", f"/srv/pushed-{size}"
    source.write_bytes(os.urandom(size))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    given = {"src": str(source), "dest": there, "mode": "0640", "owner": "games", "group": "adm"}
    try:
        told = module("push_file", debian, check=True, diff=True, **given)
        assert read(lab, debian, f"test -e {there} && echo there") == ""
        pushed = module("push_file", debian, diff=True, **given)
        for result in (told, pushed):
            known = {name: result.get(name) for name in ("changed", "sha256", "size", "mode", "owner", "group")}
            assert known == {
                "changed": True, "sha256": digest, "size": size, "mode": "0640", "owner": "games", "group": "adm"
            }, result  # fmt: skip
        assert pushed["diff"] == told["diff"]
        assert read(lab, debian, f"stat -c '%a %U %G' {there}; sha256sum <{there}").split() == ["640", "games", "adm", digest, "-"]
        again = module("push_file", debian, **given)
        assert (again["changed"], "transfer" in again) == (False, False)
        pulled = module("pull_file", debian, src=there, dest=str(back))
        assert (pulled["changed"], pulled["sha256"], pulled["mode"]) == (True, digest, "0600")
        assert back.read_bytes() == source.read_bytes()
        again = module("pull_file", debian, src=there, dest=str(back))
        assert (again["changed"], "transfer" in again) == (False, False)
    finally:
        lab.run(debian, f"rm -f {there}*")


def test_words_and_symbolic_modes(lab: Lab, module: Module, a_tiny: str, tmp_path: Path) -> None:
    back = tmp_path / "back"
    assert module("run_command", a_tiny, cmd="echo 'a b' $HOME | cat")["stdout"] == "a b $HOME | cat"
    given = {"content": "x\n", "dest": "/root/symbolic", "mode": "u=rwX,g=rX,o="}
    modes = []
    for before in ("rm -f /root/symbolic", "chmod 0705 /root/symbolic", "true"):
        read(lab, a_tiny, before)
        told, done = (module("push_file", a_tiny, check=check, **given) for check in (True, False))
        modes.append((told["mode"], done["mode"], read(lab, a_tiny, "stat -c %a /root/symbolic"), done["changed"]))
        assert told["checksum"] == done["checksum"] == read(lab, a_tiny, "sha1sum </root/symbolic").split()[0]
    assert modes == [("0640", "0640", "640", True), ("0750", "0750", "750", True), ("0750", "0750", "750", False)]
    pulled = module("pull_file", a_tiny, src="/root/symbolic", dest=str(back), mode="g+r")
    assert (pulled["mode"], pulled["checksum"]) == ("0640", told["checksum"])


def test_backup_and_attributes(lab: Lab, module: Module, debian: str) -> None:
    try:
        module("push_file", debian, content="one\n", dest="/srv/kept")
        done = module("push_file", debian, content="two\n", dest="/srv/kept", backup=True, diff=True)
        assert (done["diff"]["before"], done["diff"]["after"]) == ("one\n", "two\n")
        assert read(lab, debian, f"cat '{done['backup_file']}'") == "one"
        done = module("push_file", debian, content="two\n", dest="/srv/kept", mode="0600", diff=True)
        assert (done["diff"]["before"]["mode"], done["diff"]["after"]["mode"], "transfer" in done) == ("0644", "0600", False)
    finally:
        lab.run(debian, "rm -f /srv/kept*")


@pytest.mark.parametrize("user", ["root", "daemon"])
def test_a_new_file_has_the_mode_that_was_told(lab: Lab, module: Module, debian: str, user: str) -> None:
    """A user with a group of its own has another umask than root on Debian."""
    try:
        told, done = (module("push_file", debian, check=check, content="x", dest="/tmp/new", user=user) for check in (True, False))
        assert {key: told[key] for key in ("mode", "owner", "group")} == {"mode": "0644", "owner": user, "group": user}
        assert read(lab, debian, "stat -c '%a %U %G' /tmp/new") == f"644 {user} {user}"
        assert done["mode"] == "0644"
    finally:
        lab.run(debian, "rm -f /tmp/new")


def test_keys_of_a_user(lab: Lab, module: Module, debian: str) -> None:
    """With the user's rights: a link to a file of root makes no key one of root's."""
    home = read(lab, debian, "getent passwd ansible | cut -d: -f6")
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMgaXMgYW4gZXhhbXBsZSBhbmQgbm8ga2V5ICAx of a test"
    file = f"{home}/.ssh/authorized_keys"
    try:
        lab.run(debian, f"cp -a {file} /root/kept; printf '\n# of a test\n' >>{file}")
        added = module("authorized_keys", debian, user="ansible", keys=[key])
        assert (added["changed"], added["added"]) == (True, [key]), added
        assert read(lab, debian, f"tail -n 3 {file} | tr '\\n' '|'; stat -c '%a %U' {file}") == f"|# of a test|{key}|600 ansible"
        assert not module("authorized_keys", debian, user="ansible", keys=[key])["changed"]
        lab.run(debian, f"touch /root/keys; chmod 600 /root/keys; rm {file}; ln -s /root/keys {file}; chown -h ansible {file}")
        refused = module("authorized_keys", debian, user="ansible", keys=[key])
        assert refused["failed"], refused
        assert read(lab, debian, "stat -c '%s %U' /root/keys") == "0 root"
    finally:
        lab.run(debian, f"rm -f {file} /root/keys; mv /root/kept {file}")


def test_files_over_the_data_lane(module: Module, start: Callable[..., str], tmp_path: Path) -> None:
    name = start()
    (tmp_path / "source").write_bytes(os.urandom(4 * MIB))
    pushed = module("push_file", name, src=str(tmp_path / "source"), dest="/tmp/", data_lane="attach")
    assert (pushed["transfer"]["lane"], pushed["dest"]) == ("data", "/tmp/source"), pushed
    pulled = module("pull_file", name, src="/tmp/source", dest=str(tmp_path / "back"))
    assert pulled["transfer"]["lane"] == "data"
    assert (tmp_path / "back").read_bytes() == (tmp_path / "source").read_bytes()


def test_another_channel(lab: Lab, module: Module, start: Callable[..., str]) -> None:
    name = start(devices=second_agent.DEVICE)
    second_agent.start(lab, name)
    assert module("run_command", name, shell="echo $((6*7))", transport="channel")["stdout"] == "42"
