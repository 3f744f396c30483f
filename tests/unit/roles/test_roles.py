# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all roles keep to."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
FILES = sorted(path for folder in ("tasks", "handlers") for path in ROOT.glob(f"roles/*/{folder}/*.yml"))


def _tasks(tasks: t.Any, inherited: t.Mapping[str, t.Any]) -> t.Iterator[dict[str, t.Any]]:
    """Each task with what its blocks say for it."""
    for task in tasks or ():
        whole = {**inherited, **task}
        blocks = [task[part] for part in ("block", "rescue", "always") if part in task]
        if not blocks:
            yield whole
        said = {name: whole[name] for name in ("delegate_to", "become") if name in whole}
        for block in blocks:
            yield from _tasks(block, said)


def test_there_are_roles() -> None:
    assert len(FILES) > 5


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "roles")))
def test_nobody_becomes_root_on_the_controller(path: Path) -> None:
    """A play with become would change root's files there instead of the user's."""
    tasks = _tasks(yaml.safe_load(path.read_text(encoding="utf-8")), {})
    there = [task for task in tasks if task.get("delegate_to") == "localhost"]
    assert [task["name"] for task in there if task.get("become") is not False] == []
