# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The login that proves where a guest is: what the user's ssh is configured to does not make it prove nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ansible_collections.virtops.guest_agent.tests.unit.templates import rendered

ROLE = Path(__file__).parents[3] / "roles" / "ssh_trust"
#: Each lets ssh in without a look at the host key, or with a look at another place than the role's file.
CONFIGURATION = """Host *
    ControlMaster auto
    ControlPath /nonexistent/%C
    ControlPersist 60
    NoHostAuthenticationForLocalhost yes
    VerifyHostKeyDNS yes
    StrictHostKeyChecking no
    UserKnownHostsFile /nonexistent/user
    GlobalKnownHostsFile /nonexistent/global
"""


def _login(**variables: object) -> list[str]:
    (block,) = yaml.safe_load((ROLE / "tasks" / "prove.yml").read_text(encoding="utf-8"))
    (task,) = [task for task in block["block"] if task["name"] == "Log in"]
    text = task["ansible.builtin.command"]["argv"]
    return list(map(str, rendered(text, variables)))


def test_the_login_looks_at_the_key_whatever_ssh_is_configured_to(tmp_path: Path) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("SKIPPED OUT LOUD: no ssh here, so its configuration is not tried")
    (tmp_path / "config").write_text(CONFIGURATION, encoding="utf-8")
    program, *words = _login(
        ssh_trust_file={"path": "/nonexistent/known"},
        ssh_trust_port=2222,
        ssh_trust_user="admin",
        ssh_trust_private_key="",
        ssh_trust_address="127.0.0.1",
    )
    asked = subprocess.run([program, "-F", tmp_path / "config", "-G", *words], capture_output=True, text=True, check=True)
    found = dict(line.split(" ", 1) for line in asked.stdout.splitlines() if " " in line)
    assert "controlpath" not in found
    assert found["nohostauthenticationforlocalhost"] == "no"
    assert found["verifyhostkeydns"] == "false"
    assert found["stricthostkeychecking"] == "true"
    assert (found["userknownhostsfile"], found["globalknownhostsfile"]) == ("/nonexistent/known", "/dev/null")
    assert (found["batchmode"], found["user"], found["port"]) == ("yes", "admin", "2222")
