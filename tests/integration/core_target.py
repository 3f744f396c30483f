# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ansible-core's own integration target ``connection``, as its sdist has it, over a connection of choice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.integration.ansible_cli import ROOT, Ansible
from tests.lab import Lab

GROUP = "guests"
RUN_SECONDS = 600


def agent_variables(lab: Lab, name: str) -> dict[str, Any]:
    """How a host is reached over its agent. The address is nobody's: what goes there does not pass for the agent."""
    return {
        "ansible_connection": "virtops.guest_agent.agent",
        "ansible_guest_agent_domain": name,
        "ansible_guest_agent_uri": lab.uri,
        "ansible_host": "192.0.2.1",
        "ansible_python_interpreter": "/usr/bin/python3",
    }


class ConnectionTarget:
    """The target of the ansible-core in ``bin_dir``, in ``work``, with its output in ``output.txt`` there."""

    def __init__(self, work: Path, bin_dir: Path, hosts: dict[str, dict[str, Any]]) -> None:
        self.output = work / "output.txt"
        self._work = work
        self._bin = bin_dir
        self._inventory = work / "inventory.json"
        self._inventory.write_text(json.dumps({GROUP: {"hosts": hosts}}), encoding="utf-8")
        self._ansible = Ansible(work / "home", bin_dir)
        # What ansible-test sets for it: a play without hosts is a failure, and nothing comes from elsewhere.
        self._env = self._ansible.env | {
            "ANSIBLE_HOST_PATTERN_MISMATCH": "error",
            "ANSIBLE_INVENTORY": "/dev/null",
            "ANSIBLE_LIBRARY": "/dev/null",
            "ANSIBLE_PYTHON_INTERPRETER": "/set/ansible_python_interpreter/in/inventory",
            "ANSIBLE_RETRY_FILES_ENABLED": "false",
            "INVENTORY": str(self._inventory),
            "LC_ALL": "C.UTF-8",
            "PATH": os.pathsep.join([str(bin_dir), os.environ["PATH"]]),
        }

    def run(self) -> int:
        """The exit status of its test.sh, called as connection_ssh/posix.sh calls it; 124 when it did not end in time."""
        words = {"target_hosts": GROUP, "action_prefix": "", "local_tmp": self._work / "local", "remote_tmp": "/tmp/ansible-remote"}
        extra = [word for name, value in words.items() for word in ("-e", f"{name}={value}")]
        command = ["timeout", "--kill-after=10", str(RUN_SECONDS), "./test.sh", *extra, "-vvv"]
        with self.output.open("wb") as output:
            done = subprocess.run(command, cwd=self._copy(), env=self._env, stdout=output, stderr=subprocess.STDOUT, check=False)
        return done.returncode

    def module(self, name: str, arguments: str) -> str:
        """What ``ansible`` prints of one module on these hosts."""
        return self._ansible.run("ansible", GROUP, "-i", str(self._inventory), "-m", name, "-a", arguments).stdout

    def _copy(self) -> Path:
        """A directory of its own: test.sh writes beside itself."""
        program = ROOT / "tests" / "tools" / "core-tests"
        found = subprocess.run([program, self._bin / "python", "connection"], capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stderr
        return Path(shutil.copytree(found.stdout.strip(), self._work / "connection"))
