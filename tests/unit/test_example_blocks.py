# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example of the documentation, read as Ansible reads it. tests/integration runs them on guests."""

from __future__ import annotations

import re

import pytest

from ansible_collections.virtops.guest_agent.tests.integration.example_table import CANNOT, DEBIAN, REWRITTEN
from ansible_collections.virtops.guest_agent.tests.unit.example_blocks import ROOT, Block, blocks, examples_of
from ansible_collections.virtops.guest_agent.tests.unit.example_checks import wrong

BLOCKS = blocks()
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
FREEZE = "- virtops.guest_agent.fsfreeze: {domain: db1, state: frozen%s}"

#: A block that is wrong, and a word of what is said about it.
BAD = {
    "no YAML": ("- name: a: b", "no YAML"),
    "empty": ("# nothing", "empty"),
    "neither tasks nor an inventory": ("a: 1", "what is"),
    "a module that is not there": ("- virtops.guest_agent.fsfrieze: {domain: db1}", "fsfrieze"),
    "a module of Ansible that is not there": ("- ansible.builtin.debg: {msg: x}", "debg"),
    "a keyword of a task that is not there": (FREEZE % "" + "\n  failed_whem: false", "failed_whem"),
    "a keyword of a play that is not there": ("- hosts: web1\n  gather_fact: false", "gather_fact"),
    "an option that is not there": (FREEZE % ", mountpoint: /", "mountpoint"),
    "an option of Ansible's that is not there": ("- ansible.builtin.debug: {message: x}", "message"),
    "an option that is required": ("- virtops.guest_agent.fsfreeze: {state: frozen}", "domain"),
    "a value of another type": (FREEZE % ", max_seconds: soon", "max_seconds"),
    "a choice that is not there": ("- virtops.guest_agent.fsfreeze: {domain: db1, state: cold}", "cold"),
    "options that exclude each other": ("- virtops.guest_agent.run_command: {domain: a, argv: [a], cmd: a}", "mutually"),
    "a module in a block": (
        "- block: []\n  always:\n    - ansible.builtin.debg:",
        "debg",
    ),
    "an option in a handler": ("- hosts: all\n  handlers:\n    - virtops.guest_agent.restart: {now: true}", "now"),
    "a template that is none": ('- ansible.builtin.debug: {msg: "{{ a | }}"}', "a | "),
    "a condition that is none": (FREEZE % "" + "\n  when: a is", "a is"),
    "a role that is not there": ("- hosts: all\n  roles: [virtops.guest_agent.fleet_repot]", "fleet_repot"),
    "a variable that the role has not": ("- hosts: all\n  vars: {fleet_report_htlm: a}", "fleet_report_htlm"),
    "a value that the role does not take": ("- hosts: all\n  vars: {ssh_trust_port: ssh}", "to int"),
    "an inventory plugin that is not there": ("plugin: virtops.guest_agent.libvrt", "libvrt"),
    "an option that the inventory has not": ("plugin: virtops.guest_agent.libvirt\nuris: []", "uris"),
    "a value that the inventory does not take": ("plugin: virtops.guest_agent.libvirt\nstates: [asleep]", "asleep"),
    "a query that is none": ("plugin: virtops.guest_agent.libvirt\ninclude: ['a ==']", "include"),
    "a variable that the connection has not": ("all: {hosts: {a: {ansible_guest_agent_url: x}}}", "ansible_guest_agent_url"),
}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_is_right(block: Block) -> None:
    assert wrong(block) == []


@pytest.mark.parametrize(("text", "word"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_found(text: str, word: str) -> None:
    assert word in " ".join(wrong(Block("", text)))


def test_a_template_may_be_what_it_should_be() -> None:
    assert wrong(Block("", FREEZE % ', max_seconds: "{{ seconds }}", mountpoints: "{{ all }}"')) == []


def test_every_place_is_looked_at() -> None:
    seen = {block.where.partition(":")[0] for block in BLOCKS}
    assert {f"plugins/modules/{name}.py" for name in MODULES} - seen == set()
    pages = {"README.md", "docs/docsite/rst/using.rst", "docs/docsite/rst/failures.rst", "roles/ssh_trust/README.md"}
    files = {"playbooks/report.yml", "examples/fleet.libvirt.yml", "examples/patch.yml", "roles/ssh_trust/tasks/main.yml"}
    assert pages | files <= seen


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_shown_by_its_own_examples(name: str) -> None:
    assert f"virtops.guest_agent.{name}:" in examples_of(ROOT / "plugins" / "modules" / f"{name}.py")


def test_what_is_told_of_an_example_is_told_of_one_that_is_there() -> None:
    """All that neither table has are run on tiny guests."""
    told = {(module, name) for module, names in DEBIAN.items() for name in names if name} | CANNOT.keys()
    texts = {name: examples_of(ROOT / "plugins" / "modules" / f"{name}.py") for name in MODULES}
    assert sorted(f"{module}: {name}" for module, name in told if f"- name: {name}\n" not in texts[module]) == []
    assert [old for old in REWRITTEN if old not in "".join(texts.values())] == []


def test_the_readme_has_a_line_for_every_example() -> None:
    text = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    files = sorted(str(path.relative_to(ROOT / "examples")) for path in (ROOT / "examples").rglob("*.yml"))
    assert sorted(re.findall(r"^\| \[(\S+)\]\(\1\) \| \S", text, re.MULTILINE)) == files
    assert len(files) >= 10
