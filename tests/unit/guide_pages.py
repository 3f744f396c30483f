# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reader of a guide copies: the code of its page, in its order, as files to write and commands to run."""

from __future__ import annotations

import re
import textwrap
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ROOT / "docs/docsite/rst"
YAML = ("yaml", "yaml+jinja")
CONSOLE = "console"
#: Where code begins: a directive with its language, or a paragraph that ends in two colons.
_NAMES = "code-block|code|sourcecode|highlight|literalinclude|parsed-literal|raw|ansible-output-\\w+"
_DIRECTIVE = re.compile(rf"\.\. ({_NAMES})::[ \t]*(\S*)$")
_FILE = re.compile(r"# (\S+\.ya?ml)\b")


class Part(t.NamedTuple):
    """Some code, and its language. ``where`` has the page and the line."""

    where: str
    language: str
    text: str

    @property
    def head(self) -> str:
        return self.text.partition("\n")[0]

    @property
    def file(self) -> str | None:
        """The name of the file that it is, which its first line says."""
        named = _FILE.match(self.text) if self.language in YAML else None
        return named[1] if named else None

    def __str__(self) -> str:
        return self.where


def parts(text: str, name: str = "") -> list[Part]:
    """All code of a page."""
    found = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        directive = _DIRECTIVE.match(line.strip())
        literal = not line.lstrip().startswith("..") and line.endswith("::")
        if directive or literal:
            indent = len(line) - len(line.lstrip())
            language = directive[2] if directive and directive[1] == "code-block" and not indent else line.strip()
            found.append(Part(f"{name}:{number + 1}", language, _below(lines[number + 1 :], indent)))
    return found


def _below(lines: list[str], indent: int) -> str:
    """What is indented more, up to the next line that is not."""
    block = []
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        block.append(line)
    return textwrap.dedent("\n".join(block)).strip() + "\n"


def commands(part: Part) -> list[str]:
    """The lines that are typed; one that ends in a backslash goes on with the next one."""
    return part.text.replace("\\\n", "").splitlines() if part.language == CONSOLE else []


def pages() -> dict[str, list[Part]]:
    """Page -> its code."""
    return {path.stem: parts(path.read_text(encoding="utf-8"), path.name) for path in sorted(GUIDES.glob("*.rst"))}
