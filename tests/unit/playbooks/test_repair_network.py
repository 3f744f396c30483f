# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom the playbook leaves alone. What it puts right is seen by the integration tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ansible_collections.virtops.guest_agent.tests.unit.ssh_client import FakeSsh

#: As sudo does by default, it hands on nothing of the environment.
SUDO = """#!/bin/sh
while [ "$1" != /bin/sh ]; do shift; done
exec env -i PATH="$PATH" "$@"
"""


def test_a_guest_that_ssh_reaches_is_left_alone_with_become_too(tmp_path: Path) -> None:
    """What tells SSH from the agent is a variable of the environment, which sudo does not hand on."""
    sudo = tmp_path / "sudo"
    sudo.write_text(SUDO, encoding="utf-8")
    sudo.chmod(0o755)
    host = {
        "ansible_become": True,
        "ansible_become_exe": str(sudo),
        "ansible_user": "ann",
        "ansible_host": "192.0.2.1",
        "ansible_ssh_executable": str(FakeSsh(tmp_path).executable),
        "ansible_guest_agent_uri": "test:///default",
    }
    inventory = tmp_path / "hosts.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"web1": host}}}), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "virtops.guest_agent.repair_network", "-i", str(inventory)]
    env = {**os.environ, "SSH_CONNECTION": "192.0.2.9 40022 192.0.2.1 22"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Put the network right" not in done.stdout
