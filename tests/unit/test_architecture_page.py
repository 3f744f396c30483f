# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page that says where each line lives, held against the tree: modules, promises, agent commands, files."""

from __future__ import annotations

import ast
import re
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "plugins/module_utils"
PAGE = (ROOT / "docs/docsite/rst/architecture.rst").read_text(encoding="utf-8")
COMMANDS = (ROOT / "docs/docsite/rst/commands.rst").read_text(encoding="utf-8")
_WORD = re.compile(r"``([^`]+)``")


def _section(title: str, page: str = PAGE) -> str:
    return re.split(r"\n\S.*\n-+\n", page.split(f"\n{title}\n-", 1)[1], maxsplit=1)[0]


def _entries(title: str, page: str = PAGE) -> dict[str, list[str]]:
    """Term -> files, of a section that is a list of definitions; several terms may share one definition."""
    found = {}
    for terms, definition in re.findall(r"^(\S.*)\n +(``.*)$", _section(title, page), re.MULTILINE):
        for term in [terms.partition(".")[0]] if terms[0].isdigit() else _WORD.findall(terms):
            found[term] = _WORD.findall(definition)
    return found


def _imported(path: Path) -> t.Iterator[Path]:
    """The project's own files that a file imports, also inside of functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for file in (base, *(base / alias.name for alias in node.names)):
                if file.with_suffix(".py").is_file():
                    yield file.with_suffix(".py")


def _reached(start: Path) -> set[str]:
    """The files of the core that a file uses, itself or by others."""
    found, new = {start}, [start]
    while new:
        more = set(_imported(new.pop())) - found
        found |= more
        new += more
    return {str(path.relative_to(CORE)) for path in found if CORE in path.parents}


def test_every_module_has_its_entry() -> None:
    assert sorted(_entries("Modules")) == sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))


def test_a_module_uses_the_files_that_are_named() -> None:
    entries = _entries("Modules")
    used = {module: _reached(ROOT / f"plugins/modules/{module}.py") for module in entries}
    assert {module: set(files) - used[module] for module, files in entries.items() if set(files) - used[module]} == {}


def test_a_modules_own_file_is_named() -> None:
    own = {path.stem: f"_module/{path.name}" for path in (CORE / "_module").glob("*.py")}
    entries = _entries("Modules")
    assert [file for module, file in own.items() if module in entries and file not in entries[module]] == []


def test_a_file_that_a_module_does_not_use_is_found() -> None:
    used = _reached(ROOT / "plugins/modules/fstrim.py")
    assert "_commands/trim.py" in used
    assert "_agent/client.py" in used
    assert "_snapshot/plan.py" not in used


def test_entries_are_read() -> None:
    page = "\nModules\n-------\n\n``a``, ``b``\n  ``x.py`` ``y.py``\n\n1. One.\n     ``z.py``\n\nNext\n----\n\n``c``\n  ``z.py``\n"
    assert _entries("Modules", page) == {"a": ["x.py", "y.py"], "b": ["x.py", "y.py"], "1": ["z.py"]}


def test_every_agent_command_is_sent_where_the_page_says() -> None:
    entries = _entries("Agent commands")
    assert sorted(entries) == sorted(set(re.findall(r"^``(guest-[a-z-]+)``", COMMANDS, re.MULTILINE)))
    for command, files in entries.items():
        if files != ["agent_command"]:
            assert [name for name in files if f'"{command}"' not in (CORE / name).read_text(encoding="utf-8")] == [], command


def test_what_only_agent_command_sends_is_sent_nowhere_else() -> None:
    sources = [path.read_text(encoding="utf-8") for path in sorted(CORE.rglob("*.py"))]
    sent = {command for source in sources for command in re.findall(r'\bcall\(\s*"(guest-[a-z-]+)"', source)}
    assert "guest-file-read" in sent
    assert sent & {command for command, files in _entries("Agent commands").items() if files == ["agent_command"]} == set()


def test_every_promise_has_its_entry() -> None:
    assert [int(term) for term in _entries("Promises")] == list(range(1, 15))


@pytest.mark.parametrize("title", ["Modules", "Promises"])
def test_the_files_are_there(title: str) -> None:
    named = {name for files in _entries(title).values() for name in files}
    assert named
    assert [name for name in sorted(named) if not (CORE / name).is_file()] == []


def test_every_room_is_in_the_ladder() -> None:
    rooms = {path.name.partition(".")[0] for path in CORE.iterdir() if path.name != "__pycache__"}
    ladder = {word for cell in _WORD.findall(_section("The ladder")) for word in cell.split() if word.startswith("_")}
    assert rooms == ladder
