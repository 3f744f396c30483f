# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest whose /bin/sh is another one: a Debian in which another shell lies over its own. And one without GNU tools."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.ansible_cli import Ansible
from tests.integration.core_matrix import bin_dir
from tests.integration.guests_by_agent import RUN_BY_IT, ok
from tests.integration.test_core_connection import target
from tests.lab import Guest, Lab

pytestmark = pytest.mark.full

NAME, PLACE = "it-other-shell", "/usr/local/shell"
#: Theirs are linked to this host's libraries.
KIND = "debian13" if platform.freedesktop_os_release().get("VERSION_CODENAME") == "trixie" else "debian12"
SHELLS = ("mksh", "ksh93", "yash", "zsh-static")
OVER_SH = 'mount --bind {place}/{program} "$(readlink -f /bin/sh)"'
#: As on Alpine: the tools and the shell are links to busybox, where that has them.
WITHOUT_GNU = """
b=/usr/local/bin/busybox
for p in $(dpkg -L coreutils findutils grep sed gzip tar diffutils dash | $b grep '^\\(/usr\\)\\?/s\\?bin/') /usr/bin/awk; do
  $b --list | $b grep -qxF "${p##*/}" && $b ln -sf $b "$p"
done
$b ln -sf $b /bin/sh
$b sed -i 's,/bin/bash$,/bin/sh,' /etc/passwd
$b mv /bin/bash /root/bash
"""
BACK = "umount -l $(awk '$4 ~ /shell/ {print $5}' /proc/self/mountinfo)"


@pytest.fixture(scope="module")
def debian(lab: Lab, ansible: Ansible) -> Iterator[str]:
    lab.start_all([Guest(name=NAME, kind=KIND, vcpus=2)])
    lab.run(NAME, f"mkdir -p {PLACE}")
    yield NAME
    lab.destroy(NAME)


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, lab: Lab, ansible: Ansible, debian: str) -> Iterator[str]:
    program = request.param
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"SKIPPED OUT LOUD: a guest with {program} is not tried, for this machine has none to give")
    ok(ansible.module("push_file", domain=debian, uri=lab.uri, src=found, dest=f"{PLACE}/{program}", mode="0755"))
    lab.run(debian, OVER_SH.format(place=PLACE, program=program))
    yield program
    lab.run(debian, BACK)
    assert PLACE not in lab.run(debian, "cat /proc/self/mountinfo").output


def test_commands_and_files(lab: Lab, ansible: Ansible, debian: str, shell: str, tmp_path: Path) -> None:
    def run(**options: object) -> dict[str, object]:
        return ok(ansible.module("run_command", domain=debian, uri=lab.uri, **options))

    # The one that is asked is the one that answers.
    assert run(shell="cat /proc/$$/comm; exec 3<>/dev/null; echo $((6*7))")["stdout_lines"] == ["sh", "42"]
    assert f"{PLACE}/" in str(run(shell="cat /proc/self/mountinfo")["stdout"])
    given = run(argv=["cat"], stdin="a b'c\n", env={"A": "x y"}, chdir="/tmp")
    assert given["stdout"] == "a b'c"
    failed = ansible.module("run_command", domain=debian, uri=lab.uri, shell="echo out; echo err >&2; exit 3")
    assert (failed["rc"], failed["stdout"], failed["stderr"]) == (3, "out", "err")
    assert run(shell="id -un; pwd; echo $A", user="games", env={"A": "x y"})["stdout_lines"][::2] == ["games", "x y"]
    content = os.urandom(1024 * 1024)
    (tmp_path / "source").write_bytes(content)
    there = {"domain": debian, "uri": lab.uri}
    pushed = {**there, "src": str(tmp_path / "source"), "dest": "/root/pushed", "owner": "games", "mode": "u=rw,go="}
    assert ok(ansible.module("push_file", **pushed))["changed"]
    assert not ok(ansible.module("push_file", **pushed))["changed"]
    ok(ansible.module("pull_file", **there, src="/root/pushed", dest=str(tmp_path / "back")))
    assert hashlib.sha256((tmp_path / "back").read_bytes()).digest() == hashlib.sha256(content).digest()
    facts = ok(ansible.module("guest_facts", **there))["ansible_facts"]
    assert facts["ansible_distribution"] == "Debian"
    found = ok(ansible.module("guest_info", **there, gather_subset=["packages"], max_items=0, agent_timeout=30))["guests"][0]
    assert "dpkg" in {package["name"] for package in found.get("packages", ())}, found["agent"]


@pytest.mark.parametrize("resident", ["auto", "never"])
def test_connection_target(lab: Lab, debian: str, shell: str, tmp_path: Path, resident: str) -> None:
    commands = bin_dir("2.21", f"the connection target over {shell}")
    connection = target(lab, debian, True, resident, commands, tmp_path)
    status = connection.run()
    said = connection.output.read_text(encoding="utf-8", errors="replace")
    assert status == 0, said[-5000:]
    assert (said.count(RUN_BY_IT) > 10) == (resident == "auto")


@pytest.fixture(scope="module")
def without_gnu(lab: Lab, ansible: Ansible) -> Iterator[str]:
    name = "it-without-gnu"
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("SKIPPED OUT LOUD: a guest without GNU tools is not tried, for this machine has no busybox to give")
    lab.start_all([Guest(name=name, kind=KIND, vcpus=2)])
    ok(ansible.module("push_file", domain=name, uri=lab.uri, src=busybox, dest="/usr/local/bin/busybox", mode="0755"))
    lab.run(name, WITHOUT_GNU)
    tools = ["sh", "cat", "stat", "head", "mktemp", "sha256sum", "chown", "dd"]
    found = lab.run(name, f"for p in {' '.join(tools)}; do readlink -f /usr/bin/$p; done").output.split()
    assert found == ["/usr/local/bin/busybox"] * len(tools)
    yield name
    lab.destroy(name)


@pytest.mark.parametrize("resident", ["auto", "never"])
def test_connection_target_without_gnu_tools(lab: Lab, without_gnu: str, tmp_path: Path, resident: str) -> None:
    commands = bin_dir("2.21", "the connection target without GNU tools")
    connection = target(lab, without_gnu, True, resident, commands, tmp_path)
    status = connection.run()
    said = connection.output.read_text(encoding="utf-8", errors="replace")
    assert status == 0, said[-5000:]
    assert (said.count(RUN_BY_IT) > 10) == (resident == "auto")
