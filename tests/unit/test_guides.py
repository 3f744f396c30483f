# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every block of the guides: one that a test knows, right as far as that shows without a guest, and run somewhere.

test_example_blocks.py reads their YAML; test_examples.py of tests/integration writes their files and runs their commands.
"""

from __future__ import annotations

import re

import pytest
import yaml

from ansible_collections.virtops.guest_agent.tests.integration.guide_table import ELSEWHERE, PREPARED, WALKED
from ansible_collections.virtops.guest_agent.tests.unit.example_blocks import blocks
from ansible_collections.virtops.guest_agent.tests.unit.guide_commands import wrong
from ansible_collections.virtops.guest_agent.tests.unit.guide_pages import CONSOLE, GUIDES, ROOT, YAML, commands, pages, parts

PAGES = pages()
#: A command that is wrong, and a word of what is said about it.
BAD = {
    "no prompt": ("make demo", "plain"),
    "a pipe": ("$ make demo | less", "plain"),
    "a program that no test knows": ("$ curl example.com", "curl"),
    "an option that no test knows": ("$ ansible-playbook --foks 5 examples/facts.yml", "--foks"),
    "a playbook that is not there": ("$ ansible-playbook examples/fact.yml", "examples/fact.yml"),
    "a playbook of ours that is not there": ("$ ansible-playbook virtops.guest_agent.docter", "docter"),
    "an inventory that is not there": ("$ ansible-inventory -i examples/a.libvirt.yml --list", "a.libvirt.yml"),
    "a variable that the playbook has not": ("$ ansible-playbook virtops.guest_agent.doctor -e goal=all", "goal"),
    "a module that is not there": ("$ ansible all -m virtops.guest_agent.gest_facts", "gest_facts"),
    "a target that is not there": ("$ make dmo", "dmo"),
    "a package that is required nowhere": ("$ pip install ansible-cor", "ansible-cor"),
    "a plugin without documentation": ("$ ansible-doc -t inventory virtops.guest_agent.libvrt", "libvrt"),
    "an image without a definition": ("$ ansible-builder build --tag x", "execution-environment.yml"),
    "an option whose value no test reads": ("$ ansible-runner run x --container-opt=y", "--container-opt"),
    "what galaxy cannot do here": ("$ ansible-galaxy collection install virtops.guest", "virtops.guest"),
}
GOOD = (
    "$ sudo apt install python3-venv",
    "$ ansible-playbook -i examples/local.libvirt.yml virtops.guest_agent.repair_network -e target=web1",
    "$ ansible-playbook -i mine.libvirt.yml mine.yml --limit web1",
    "$ GUEST_DISK=/x.qcow2 molecule test",
    "$ make site",
    "$ ansible-runner run x -p mine.yml --container-option=--user=root --process-isolation",
)


@pytest.mark.parametrize("page", PAGES)
def test_each_block_is_of_a_kind_that_a_test_knows(page: str) -> None:
    assert [f"{part}: {part.language}" for part in PAGES[page] if part.language not in (*YAML, CONSOLE)] == []


@pytest.mark.parametrize("page", PAGES)
def test_each_command_is_right(page: str) -> None:
    files, found = set(PREPARED.get(page, ())), []
    for part in PAGES[page]:
        files |= {part.file} if part.file else set()
        found += [f"{part}: {sentence}" for line in commands(part) for sentence in wrong(line, files)]
    assert found == []


@pytest.mark.parametrize("page", PAGES)
def test_each_block_is_run(page: str) -> None:
    """A page that is walked is run from top to bottom; what is not says where it is run, or why it cannot be."""
    elsewhere = {head for at, head in ELSEWHERE if at == page}
    lines = [line for part in PAGES[page] for line in commands(part)]
    yaml_parts = [part for part in PAGES[page] if part.language in YAML]
    heads = {*lines, *(part.head for part in yaml_parts)}
    assert elsewhere - heads == set()
    if page not in WALKED:
        assert heads - elsewhere == set()
        return
    used = " ".join(line for line in lines if line not in elsewhere)
    unused = [part for part in yaml_parts if part.head not in elsewhere and not (part.file and part.file in used)]
    assert [f"{part}: no command of the page uses it" for part in unused] == []


def test_the_tables_are_about_pages_that_are_there() -> None:
    assert {*WALKED, *PREPARED, *(page for page, _head in ELSEWHERE)} - PAGES.keys() == set()


def test_yaml_is_read_by_the_test_of_all_examples() -> None:
    """It finds the same blocks by a way of its own."""
    there = {block.where for block in blocks() if block.where.startswith("docs/docsite/rst/")}
    assert there == {f"docs/docsite/rst/{part.where}" for found in PAGES.values() for part in found if part.language in YAML}


@pytest.mark.parametrize(("line", "word"), BAD.values(), ids=BAD)
def test_a_command_that_is_wrong_is_found(line: str, word: str) -> None:
    assert word in " ".join(wrong(line))


@pytest.mark.parametrize("line", GOOD)
def test_a_command_may_be_right(line: str) -> None:
    assert wrong(line, {"mine.yml", "mine.libvirt.yml"}) == []


@pytest.mark.parametrize(
    "text",
    [
        "Like this::\n\n    make demo\n",
        ".. code-block:: shell\n\n    make demo\n",
        "* one\n\n  .. code-block:: yaml\n\n      a: b\n",
        ".. literalinclude:: x.yml\n",
    ],
)
def test_a_block_of_another_kind_is_found(text: str) -> None:
    assert [part.language for part in parts(text) if part.language not in (*YAML, CONSOLE)]


def test_what_a_page_has() -> None:
    text = ".. code-block:: yaml\n\n    # a.yml: x\n    - hosts: all\n\nThen\n\n"
    first, second = parts(f"{text}.. code-block:: console\n\n    $ make \\\n      demo\n    $ x\n", "page.rst")
    assert (first.where, first.file, first.text) == ("page.rst:1", "a.yml", "# a.yml: x\n- hosts: all\n")
    assert (second.file, commands(second)) == (None, ["$ make   demo", "$ x"])


def test_every_guide_is_in_the_table_of_contents() -> None:
    listed = yaml.safe_load((ROOT / "docs/docsite/extra-docs.yml").read_text(encoding="utf-8"))["sections"]
    assert sorted(page for section in listed for page in section["toctree"]) == sorted(PAGES)


def test_links_to_elsewhere_have_the_form_of_one() -> None:
    """None of them is followed: the tests have no network."""
    text = "".join(path.read_text(encoding="utf-8") for path in GUIDES.glob("*.rst"))
    addresses = re.findall(r"<((?:[a-z+]+:)?//?[^>]*|[^>]*\.(?:com|org|io)\b[^>]*)>`_", text)
    assert [address for address in addresses if not re.fullmatch(r"https://[\w.-]+\.[a-z]+(/[\w./#?=&%~+-]*)?", address)] == []
