# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All YAML that a reader may copy, and where it stands."""

from __future__ import annotations

import ast
import re
import textwrap
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
YAML_FILES = (
    "docs/molecule/*/handlers/*.yml",
    "docs/molecule/*/molecule/*/[!m]*.yml",
    "docs/molecule/*/tasks/*.yml",
    "examples/*.yml",
    "playbooks/*.yml",
    "roles/*/handlers/*.yml",
    "roles/*/tasks/*.yml",
    "tests/lab/*.yml",
)
PAGES = ("*.md", "docs/**/*.md", "docs/**/*.rst", "examples/*.md", "roles/*/*.md", "tests/*/*.md")
_FENCE = re.compile(r"^```ya?ml$\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_DIRECTIVE = re.compile(r"^\.\. code-block:: ya?ml(?:\+jinja)?$\n((?:[ \t]+.*\n|\n)+)", re.MULTILINE)


class Block(t.NamedTuple):
    """Some YAML, and where it stands, from the root of the checkout."""

    where: str
    text: str

    def __str__(self) -> str:
        return self.where


def examples_of(path: Path) -> str:
    """The EXAMPLES of a plugin, or ""."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "EXAMPLES":
            return str(ast.literal_eval(node.value))
    return ""


def blocks() -> list[Block]:
    return [block for block in (*_of_plugins(), *_of_pages(), *_of_files()) if block.text.strip()]


def _of_plugins() -> t.Iterator[Block]:
    for path in sorted((ROOT / "plugins").rglob("*.py")):
        yield Block(str(path.relative_to(ROOT)), examples_of(path))


def _of_pages() -> t.Iterator[Block]:
    for path in sorted({path for pattern in PAGES for path in ROOT.glob(pattern)}):
        text = path.read_text(encoding="utf-8")
        for found in (_DIRECTIVE if path.suffix == ".rst" else _FENCE).finditer(text):
            line = text[: found.start()].count("\n") + 1
            yield Block(f"{path.relative_to(ROOT)}:{line}", textwrap.dedent(found[1]))


def _of_files() -> t.Iterator[Block]:
    for path in sorted(path for pattern in YAML_FILES for path in ROOT.glob(pattern)):
        yield Block(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
