# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the restore says and what it refuses. Images of a real backup are restored by the integration tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

#: qemu-img convert -O qcow2 FROM TO
QEMU_IMG = """#!/bin/sh
cp "$4" "$5"
"""


def _restore(backups: Path, to: Path) -> dict[str, t.Any]:
    options = {
        "quiesced_backup_domains": ["web"],
        "quiesced_backup_directory": str(backups),
        "quiesced_backup_restore_name": "b-2",
        "quiesced_backup_restore_directory": str(to),
    }
    role = {"name": "virtops.guest_agent.quiesced_backup", "tasks_from": "restore"}
    return {"ansible.builtin.include_role": role, "vars": options}


def test_a_restore_and_one_into_the_directory_of_the_backups(tmp_path: Path) -> None:
    """There images of the backup would count as restored, and an increment as whole. It has another name here."""
    backups = tmp_path / "backups"
    backups.mkdir()
    (tmp_path / "same").symlink_to(backups)
    note = {"domain": "web", "name": "b-2", "disks": [{"target": "vda"}]}
    (backups / "web.b-2.backup.json").write_text(json.dumps(note), encoding="utf-8")
    (backups / "web-vda.b-2.qcow2").write_bytes(b"an increment")
    (tmp_path / "qemu-img").write_text(QEMU_IMG, encoding="utf-8")
    (tmp_path / "qemu-img").chmod(0o755)
    noted = {"content": "{{ quiesced_backup_restored | to_json }}", "dest": str(tmp_path / "restored.json")}
    tasks = [_restore(backups, tmp_path / "there"), {"ansible.builtin.copy": noted}, _restore(backups, tmp_path / "same")]
    play = tmp_path / "play.yml"
    play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("ansible-playbook")), str(play), "-i", "localhost,", "-c", "local"]
    extra = ["-e", f"ansible_python_interpreter={sys.executable}"]
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([*command, *extra], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    image = tmp_path / "there" / "web-vda.b-2.qcow2"
    restored = json.loads((tmp_path / "restored.json").read_text(encoding="utf-8"))
    assert restored == [{"domain": "web", "target": "vda", "image": str(image)}]
    assert image.read_bytes() == b"an increment"
    assert "is the directory of the backups: take another one for the images" in done.stdout + done.stderr
