# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the restore refuses. What it restores is seen by the integration tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_images_of_the_backup_do_not_count_as_restored(tmp_path: Path) -> None:
    """An increment would be told to be whole. The directory has another name here."""
    backups = tmp_path / "backups"
    backups.mkdir()
    (tmp_path / "restored").symlink_to(backups)
    note = {"domain": "web", "name": "b-2", "disks": [{"target": "vda"}]}
    (backups / "web.b-2.backup.json").write_text(json.dumps(note), encoding="utf-8")
    (backups / "web-vda.b-2.qcow2").write_bytes(b"an increment")
    options = {
        "quiesced_backup_domains": ["web"],
        "quiesced_backup_directory": str(backups),
        "quiesced_backup_restore_name": "b-2",
        "quiesced_backup_restore_directory": str(tmp_path / "restored/"),
    }
    role = {"name": "virtops.guest_agent.quiesced_backup", "tasks_from": "restore"}
    task = {"ansible.builtin.include_role": role, "vars": options}
    play = tmp_path / "play.yml"
    play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("ansible-playbook")), str(play), "-i", "localhost,", "-c", "local"]
    extra = ["-e", f"ansible_python_interpreter={sys.executable}"]
    done = subprocess.run([*command, *extra], capture_output=True, text=True, env={**os.environ}, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "is the directory of the backups: take another one for the images" in done.stdout + done.stderr
