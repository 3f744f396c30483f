# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is tried on every ansible-core of the matrix: all tests that need Ansible. The others run on the oldest and the newest."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

UNIT = Path(__file__).parent
ROOT = UNIT.parents[1]
IMPORTS_ANSIBLE = re.compile(r"^\s*(?:from|import) ansible[ .]", re.MULTILINE)


def needs_ansible(path: Path, helpers: set[str]) -> bool:
    """Whether it imports Ansible, or a helper that does, or runs a module by the fixture of conftest.py."""
    text = path.read_text(encoding="utf-8")
    imports = {word for line in re.findall(r"^\s*(?:from|import) .*", text, re.MULTILINE) for word in re.findall(r"\w+", line)}
    return bool(IMPORTS_ANSIBLE.search(text) or imports & helpers or re.search(r"\brun: Run\b", text))


def test_what_needs_ansible_is_among_the_doors() -> None:
    told = ["make", "--no-print-directory", "--dry-run", "unit-of", "CORE=0", "PART=DOORS"]
    command = subprocess.run(told, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    doors = [ROOT / word for word in command.split() if word.startswith("tests/unit/")]
    assert doors
    assert all(door.exists() for door in doors), doors
    here = Path(__file__)
    tests = [path for path in UNIT.rglob("test_*.py") if path != here]
    helpers = {path.stem for path in UNIT.rglob("*.py") if path not in tests and path.name != "conftest.py"} - {here.stem}
    helpers = {path.stem for path in UNIT.rglob("*.py") if path.stem in helpers and needs_ansible(path, set())}
    assert "module_runs" in helpers
    outside = [path for path in tests if not any(path.is_relative_to(door) for door in doors)]
    assert not [str(path.relative_to(UNIT)) for path in outside if needs_ansible(path, helpers)]
