# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of the project: no person where a program is meant, and no sentence of the documentation that is too long.

Both rules run over the tree, and over made-up texts that break them, so that none goes blind unnoticed.
"""

from __future__ import annotations

import ast
import re
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins"
SENTENCE_WORDS = 30

#: "himself" and the like are put together here, so that this file may be searched too.
_PERSONS = re.compile(r"(?<![a-z])(?:(?:no|some|any)body|him" + r"self|for no matter)(?![a-z])", re.IGNORECASE)
_WRITTEN = {".py", ".md", ".rst", ".yml", ".yaml", ".j2", ".sh", ".txt", ".cfg"}
_FOLDERS = ("plugins", "docs", "roles", "playbooks", "examples")
_PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md")

_DOCUMENTED = ("DOCUMENTATION", "RETURN")
_TABLE = re.compile(r"=+(?: +=+)+$")
_RULER = re.compile(r"([=\-~^\"'])\1{2,}$")
_MARKER = re.compile(r"(\s*)([*-]|\d+\.)( +)(?=\S)")


def _written() -> list[Path]:
    files = [path for folder in _FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in _WRITTEN]
    return sorted([*files, *(ROOT / name for name in _PAGES)])


def persons(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if _PERSONS.search(line)]


def sentences(block: str) -> t.Iterator[str]:
    """A block of text, one sentence after the other. What is quoted as code counts as one word."""
    flat = " ".join(block.split())
    flat = re.sub(r"\[([^\]]+)\]\([^)\s]+\)", r"\1", flat)
    flat = re.sub(r"`+[^`]+`+|\b[CVOEMP]\([^)]*\)", "code", flat)
    yield from re.split(r"(?<=[.!?])[)\"'*]*\s+", flat)


def too_long(block: str) -> list[str]:
    return [
        sentence
        for sentence in sentences(block)
        if sum(any(character.isalnum() for character in word) for word in sentence.split()) > SENTENCE_WORDS
    ]


def _texts(value: object) -> t.Iterator[str]:
    """Every text in what YAML holds."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for below in value.values():
            yield from _texts(below)
    elif isinstance(value, list):
        for below in value:
            yield from _texts(below)


def _example_blocks(examples: str) -> t.Iterator[str]:
    yield from re.findall(r"^ *(?:- )?name: (.*)$", examples, re.MULTILINE)
    for comment in re.findall(r"(?:^ *#.*\n?)+", examples, re.MULTILINE):
        yield re.sub(r"^ *# ?", "", comment, flags=re.MULTILINE)


def _assigned(tree: ast.Module) -> t.Iterator[tuple[str, str]]:
    """Name and text of what is documentation: in a plugin, or in the class of a fragment."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        value = node.value.value if isinstance(node.value, ast.Constant) else None
        if isinstance(value, str) and node.targets[0].id.isupper():
            yield node.targets[0].id, value


def plugin_blocks(source: str, fragment: bool = False) -> t.Iterator[str]:
    for name, text in _assigned(ast.parse(source)):
        if name == "EXAMPLES":
            yield from _example_blocks(text)
        elif fragment or name in _DOCUMENTED:
            yield from _texts(yaml.safe_load(text))


def yaml_blocks(text: str) -> t.Iterator[str]:
    yield from _texts(yaml.safe_load(text))


def _without_code(lines: t.Iterable[str]) -> t.Iterator[str]:
    """The lines of a page without its code: fenced in Markdown, indented under a directive in reStructuredText."""
    fenced, directive = False, None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if line.lstrip().startswith("```"):
            fenced = not fenced
            yield ""
        elif directive is not None and (not line.strip() or indent > directive):
            yield ""
        elif not fenced:
            directive = indent if re.match(r"\s*\.\. ", line) else None
            yield "" if directive is not None else line


def _table_cells(rows: t.Iterable[str]) -> t.Iterator[str]:
    """Of a simple table; a row that begins with spaces goes on with the last cell of the row before it."""
    last = ""
    for row in rows:
        if row.startswith(" "):
            last += " " + row.strip()
            continue
        yield last
        *cells, last = re.split(r"\s{2,}", row.strip())
        yield from cells
    yield last


def page_blocks(text: str) -> t.Iterator[str]:
    """Paragraphs, entries of lists, definitions, and cells of tables, of Markdown and of reStructuredText."""
    block: list[str] = []
    rows: list[str] | None = None
    before = 0
    for line in _without_code([*text.splitlines(), ""]):
        if _TABLE.match(line):
            yield from _table_cells(rows or [])
            rows = [] if rows is None or not rows else rows[:0]
            continue
        if rows is not None and line.strip():
            rows.append(line)
            continue
        if rows is not None:
            yield from _table_cells(rows)
            rows = None
        marker = _MARKER.match(line)
        indent = len(marker.group(0)) if marker else len(line) - len(line.lstrip())
        if block and (marker or indent != before or not line.strip() or line.lstrip()[:1] in ("|", "#") or _RULER.match(line)):
            yield " ".join(block)
            block = []
        before = indent
        if line.startswith("|"):
            yield from line.strip("|").split("|")
        elif line.strip() and not _RULER.match(line):
            block.append(line[len(marker.group(0)) :] if marker else line)


def _documentation() -> t.Iterator[tuple[Path, t.Callable[[str], t.Iterator[str]]]]:
    for folder in ("modules", "inventory", "connection"):
        for path in (PLUGINS / folder).glob("[!_]*.py"):
            yield path, plugin_blocks
    # _ssh.py takes what ansible-core says.
    for path in set((PLUGINS / "doc_fragments").glob("*.py")) - {PLUGINS / "doc_fragments" / "_ssh.py"}:
        yield path, lambda text: plugin_blocks(text, fragment=True)
    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        yield path, yaml_blocks
    for path in (ROOT / "docs/docsite/rst").glob("*.rst"):
        yield path, page_blocks
    for folder in ("roles", "docs", "examples"):
        for path in (ROOT / folder).rglob("*.md"):
            yield path, page_blocks
    for name in _PAGES:
        yield ROOT / name, page_blocks


def _name(path: object) -> str | None:
    return str(path.relative_to(ROOT)) if isinstance(path, Path) else None


def test_a_program_is_no_person() -> None:
    found = [f"{_name(path)}: {line}" for path in _written() for line in persons(path.read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize(("path", "blocks"), sorted(_documentation(), key=lambda row: row[0]), ids=_name)
def test_sentences_are_short(path: Path, blocks: t.Callable[[str], t.Iterator[str]]) -> None:
    found = list(blocks(path.read_text(encoding="utf-8")))
    assert any(found)
    assert [sentence for block in found for sentence in too_long(block)] == []


@pytest.mark.parametrize("word", ["no" + "body", "Some" + "body", "any" + "body", "him" + "self", "for no" + " matter"])
def test_a_person_is_found(word: str) -> None:
    assert persons(f"fine\n# {word} listens\n") == [f"# {word} listens"]
    assert persons(f"fine\n# if_{word}_is there\n") == [f"# if_{word}_is there"]


LONG = "word " * (SENTENCE_WORDS + 1)
SHORT = "word " * (SENTENCE_WORDS - 1) + "end. "


@pytest.mark.parametrize(
    "text",
    [
        f"DOCUMENTATION = '''\noptions:\n  x:\n    description:\n      - Fine.\n      - {LONG}\n'''",
        f"DOCUMENTATION = '''\noptions:\n  x:\n    choices:\n      a: {LONG}\n'''",
        f"DOCUMENTATION = '''\nnotes:\n  - {SHORT} {LONG}\n'''",
        f"RETURN = '''\nx:\n  contains:\n    y:\n      description: {LONG}\n'''",
        f"EXAMPLES = '''\n- name: {LONG}\n  x:\n'''",
        f"EXAMPLES = '''\n# one\n# {LONG[:60]}\n# {LONG[60:]}\nplugin: x\n'''",
    ],
)
def test_a_long_sentence_of_a_plugin_is_found(text: str) -> None:
    assert [sentence for block in plugin_blocks(text) for sentence in too_long(block)]


def test_a_long_sentence_of_a_fragment_is_found() -> None:
    text = f"class ModuleDocFragment:\n    OTHER = '''\nnotes:\n  - {LONG}\n'''"
    assert [sentence for block in plugin_blocks(text, fragment=True) for sentence in too_long(block)]


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        f"Title\n=====\n\n{SHORT}\n{LONG[:60]}\n{LONG[60:]}\n",
        f"* Fine.\n* {LONG[:60]}\n  {LONG[60:]}\n",
        f"1. {LONG}\n",
        f"``term``\n  {LONG}\n",
        f"====  ====\nA     B\n====  ====\nx     {LONG[:60]}\n      {LONG[60:]}\n====  ====\n",
        f"| a | b |\n| --- | --- |\n| x | {LONG} |\n",
        f"```sh\nx\n```\n{LONG}\n",
        f".. code-block:: yaml\n\n    x\n\n{LONG}\n",
    ],
)
def test_a_long_sentence_of_a_page_is_found(text: str) -> None:
    assert [sentence for block in page_blocks(text) for sentence in too_long(block)]


def test_a_long_sentence_of_an_argument_spec_is_found() -> None:
    text = f"argument_specs: {{main: {{options: {{x: {{description: [{LONG}]}}}}}}}}"
    assert [sentence for block in yaml_blocks(text) for sentence in too_long(block)]


@pytest.mark.parametrize(
    "text",
    [
        SHORT + SHORT,
        f"* {SHORT}\n* {SHORT}\n",
        f"{SHORT[:-2]}\n\n{SHORT}",
        f"``term``\n  {SHORT}",
        f"| {SHORT} | {SHORT} |",
        f"```sh\n{LONG}\n```\n",
        f".. code-block:: sh\n\n    {LONG}\n",
        f"``{LONG}``",
    ],
)
def test_what_is_short_enough_is_not_found(text: str) -> None:
    assert [sentence for block in page_blocks(text) for sentence in too_long(block)] == []
