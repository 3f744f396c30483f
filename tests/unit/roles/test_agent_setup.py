# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role puts into a guest: the configuration of its agent, and the script that runs the hooks of a freeze."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.tests.unit.templates import rendered

ROLE = Path(__file__).parents[3] / "roles" / "agent_setup"


@pytest.mark.parametrize(
    ("word", "fails", "ran", "status"),
    [
        ("freeze", "", ["10", "20", "30"], 0),
        ("freeze", "20", ["10", "20"], 1),
        ("thaw", "", ["10", "20", "30"], 0),
        ("thaw", "20", ["10", "20", "30"], 1),
        ("thaw", "10", ["10", "20", "30"], 1),
    ],
)
def test_each_hook_hears_of_the_thaw(tmp_path: Path, word: str, fails: str, ran: list[str], status: int) -> None:
    """What was stopped for a freeze goes on, whatever another hook's trouble is. A freeze ends with the first that fails."""
    hooks = tmp_path / "hooks of a guest"
    hooks.mkdir()
    for name in ("10", "20", "30"):
        (hooks / name).write_text(f'#!/bin/sh\necho "{name} $1"\n[ {name} != "{fails}" ]\n', encoding="utf-8")
        (hooks / name).chmod(0o755)
    (hooks / "40").write_text("#!/bin/sh\necho no program\n", encoding="utf-8")
    text = (ROLE / "templates" / "fsfreeze-hook.j2").read_text(encoding="utf-8")
    script = str(rendered(text, {"agent_setup_hook_directory": str(hooks)}, convert_data=False))
    done = subprocess.run(["sh", "-c", script, "fsfreeze-hook", word], capture_output=True, text=True, check=False)
    assert (done.stdout.splitlines(), done.returncode) == ([f"{name} {word}" for name in ran], status)


class Place:
    """The role's tasks on this computer, with another directory in the place of ``/etc``. No agent is restarted."""

    def __init__(self, place: Path) -> None:
        self.etc = place / "etc"
        self._play = place / "play.yml"
        self._role = place / "roles" / "agent_setup"
        shutil.copytree(ROLE, self._role)
        for path in (self._role / "tasks").glob("*.yml"):
            path.write_text(path.read_text(encoding="utf-8").replace(" /etc/", f" {self.etc}/"), encoding="utf-8")
        handler = [{"name": "Restart the agent", "ansible.builtin.debug": {"msg": "restarted"}}]
        (self._role / "handlers" / "main.yml").write_text(json.dumps(handler), encoding="utf-8")
        for folder in ("qemu", "sysconfig"):
            (self.etc / folder).mkdir(parents=True)

    def run(self, tasks: str, **options: t.Any) -> str:
        role = {"ansible.builtin.include_role": {"name": "agent_setup", "tasks_from": tasks}, "vars": options}
        play = {"hosts": "localhost", "gather_facts": False, "tasks": [role]}
        self._play.write_text(json.dumps([play]), encoding="utf-8")
        command = [str(Path(sys.executable).with_name("ansible-playbook")), str(self._play), "-i", "localhost,", "-c", "local"]
        extra = ["-e", f"ansible_python_interpreter={sys.executable}"]
        done = subprocess.run([*command, *extra], capture_output=True, text=True, env={**os.environ}, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def configuration(self) -> dict[str, str]:
        """As the agent reads it."""
        path = shutil.which("qemu-ga") or shutil.which("qemu-ga", path="/usr/sbin")
        if path is None:
            pytest.skip("SKIPPED OUT LOUD: no qemu-ga here, so its reading of the configuration is not tried")
        conf = {**os.environ, "QGA_CONF": str(self.etc / "qemu" / "qemu-ga.conf")}
        told = subprocess.run([path, "--dump-conf"], capture_output=True, text=True, env=conf, check=True).stdout
        parser = configparser.ConfigParser()
        parser.read_string(told)
        return dict(parser["general"])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_hook_that_fails_prevents_the_freeze_whatever_the_distribution_has(place: Place) -> None:
    """Debian's script of the name fsfreeze-hook always ends well. Enterprise Linux says on the command line which it is."""
    theirs = place.etc / "qemu" / "fsfreeze-hook"
    theirs.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    theirs.chmod(0o755)
    sysconfig = place.etc / "sysconfig" / "qemu-ga"
    sysconfig.write_text("# FSFREEZE_HOOK_PATHNAME=\nFSFREEZE_HOOK_PATHNAME=/etc/qemu-ga/fsfreeze-hook\n", encoding="utf-8")
    options = {
        "agent_setup_hook_directory": str(place.etc / "qemu" / "fsfreeze-hook.d"),
        "agent_setup_hooks": [{"name": "10-database", "content": "#!/bin/sh\n[ $1 != freeze ]\n"}],
    }
    assert "restarted" in place.run("hooks", **options)
    program = place.configuration()["fsfreeze-hook"]
    assert sysconfig.read_text(encoding="utf-8") == f'# FSFREEZE_HOOK_PATHNAME=\nFSFREEZE_HOOK_PATHNAME="{program}"\n'
    assert [subprocess.run([program, word], check=False).returncode for word in ("freeze", "thaw")] == [1, 0]
    assert theirs.read_text(encoding="utf-8") == "#!/bin/sh\nexit 0\n"
    sysconfig.unlink()
    assert "changed=0" in place.run("hooks", **options)


def test_commands_are_blocked_by_the_word_that_each_agent_knows(place: Place) -> None:
    """That of agents before 7.2 is not that of those from 9.1 on."""
    place.run("commands", agent_setup_block=["guest-exec", "guest-set-time"])
    parser = configparser.ConfigParser()
    parser.read(place.etc / "qemu" / "qemu-ga.conf")
    assert dict(parser["general"]) == dict.fromkeys(("blacklist", "block-rpcs"), "guest-exec,guest-set-time")
    told = place.configuration()
    assert sorted(told["block-rpcs"].split(",")) == ["guest-exec", "guest-set-time"]
