# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all roles keep to, and what users copy."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.virtops.guest_agent.tests.unit.templates import rendered

ROOT = Path(__file__).parents[3]
#: What users run and copy. None of it needs libvirt's own client.
COPIED = sorted(path for folder in ("roles", "playbooks", "examples") for path in (ROOT / folder).rglob("*") if path.is_file())
DOCUMENTED = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.rst"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/**/*.py")])
#: Commands of virsh for which there is a module.
WITH_MODULE = (
    "start|create|destroy|shutdown|reboot|reset|resume|undefine|dompmsuspend|dompmwakeup|domfsfreeze|domfsthaw|domfstrim|domtime"
    "|set-user-password|get-user-sshkeys|set-user-sshkeys|guestvcpus|guestinfo|domfsinfo|domhostname|domifaddr"
    "|qemu-agent-command|snapshot-create|snapshot-create-as|snapshot-list|blockcommit|attach-device|detach-device"
)
VIRSH = re.compile(rf"\bvirsh\b[^\n]*?\s({WITH_MODULE})(?![\w-])")
FILES = sorted(path for folder in ("tasks", "handlers") for path in ROOT.glob(f"roles/*/{folder}/*.yml"))


def _tasks(tasks: t.Any, inherited: t.Mapping[str, t.Any]) -> t.Iterator[dict[str, t.Any]]:
    """Each task with what its blocks say for it."""
    for task in tasks or ():
        whole = {**inherited, **task}
        blocks = [task[part] for part in ("block", "rescue", "always") if part in task]
        if not blocks:
            yield whole
        said = {name: whole[name] for name in ("delegate_to", "become", "vars") if name in whole}
        for block in blocks:
            yield from _tasks(block, said)


def test_there_are_roles() -> None:
    assert len(FILES) > 5


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "roles")))
def test_nobody_becomes_root_on_the_controller(path: Path) -> None:
    """A play with become would change root's files there instead of the user's, and so would a variable of all hosts."""
    tasks = _tasks(yaml.safe_load(path.read_text(encoding="utf-8")), {})
    there = [task for task in tasks if task.get("delegate_to") == "localhost"]
    assert [task["name"] for task in there if task.get("become") is not False] == []
    assert [task["name"] for task in there if task.get("vars", {}).get("ansible_become") is not False] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "roles")))
def test_a_fact_that_grows_begins_anew_with_each_use_of_the_role(path: Path) -> None:
    begun: set[str] = set()
    for task in _tasks(yaml.safe_load(path.read_text(encoding="utf-8")), {}):
        for name, value in task.get("ansible.builtin.set_fact", {}).items():
            grows = isinstance(value, str) and re.search(rf"\b{name}\b", value)
            assert not grows or name in begun, f"{task['name']}: {name} has what an earlier use has put into it"
            begun |= set() if grows else {name}


def _options(role: Path) -> dict[str, str]:
    """Name -> filter, of those that ``-e NAME=VALUE`` gives as a text, whatever the role's specification says."""
    filters = {"int": "int", "float": "float", "bool": "bool"}
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"].values()
    return {name: filters[about["type"]] for spec in specs for name, about in spec["options"].items() if about["type"] in filters}


@pytest.mark.parametrize("role", sorted((ROOT / "roles").iterdir()), ids=lambda path: path.name)
def test_a_number_and_a_flag_count_as_such_where_they_come_as_a_text(role: Path) -> None:
    """A text of 0 or false is true. Modules convert what they are given."""
    for path in (*role.glob("tasks/*"), *role.glob("templates/*"), *role.glob("vars/*")):
        text = path.read_text(encoding="utf-8")
        for name, wanted in _options(role).items():
            uses = re.sub(rf'"{{{{ {name} }}}}"|(say with|set) {name}', "", text)
            assert not re.search(rf"\b{name}\b(?! \| ({wanted}|string)\b)", uses), f"{path.name}: {name} without {wanted}"


LISTS = [
    ("graceful_shutdown", {"graceful_shutdown_exclude": ["db1"], "graceful_shutdown_tiers": [["web1"], []]}, True),
    ("graceful_shutdown", {"graceful_shutdown_exclude": "db1", "graceful_shutdown_tiers": []}, False),
    ("graceful_shutdown", {"graceful_shutdown_exclude": [], "graceful_shutdown_tiers": "web1"}, False),
    ("graceful_shutdown", {"graceful_shutdown_exclude": [], "graceful_shutdown_tiers": [["web1"], "db1"]}, False),
    ("agent_setup", {}, True),
    ("agent_setup", {"agent_setup_block": [], "agent_setup_allow": ["guest-ping"]}, True),
    ("agent_setup", {"agent_setup_block": "guest-exec"}, False),
    ("agent_setup", {"agent_setup_allow": "guest-ping"}, False),
    ("quiesced_snapshot", {"quiesced_snapshot_domains": ["db1"]}, True),
    ("quiesced_snapshot", {"quiesced_snapshot_domains": "db1"}, False),
]


@pytest.mark.parametrize(("role", "variables", "is_taken"), LISTS)
def test_the_letters_of_a_text_are_no_list(role: str, variables: dict[str, t.Any], is_taken: bool) -> None:
    """An excluded guest would be stopped, a guest of a tier left on, and a blocked command accepted."""
    first = yaml.safe_load((ROOT / "roles" / role / "tasks" / "main.yml").read_text(encoding="utf-8"))[0]["ansible.builtin.assert"]
    that = first["that"] if isinstance(first["that"], list) else [first["that"]]
    # As assert does it: what comes after the first that is false is not asked.
    assert all(rendered("{{ " + condition + " }}", variables) for condition in that) is is_taken


@pytest.mark.parametrize("path", COPIED, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_modules_speak_to_libvirt(path: Path) -> None:
    assert "virsh" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", DOCUMENTED, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_documentation_names_the_module_where_there_is_one(path: Path) -> None:
    assert VIRSH.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("text", ["virsh start web1", "'virsh', '--quiet', undefine x", "virsh --connect x domfsfreeze"])
def test_a_command_with_a_module_is_found(text: str) -> None:
    assert VIRSH.search(text)
    assert not VIRSH.search("virsh list --all; virsh console web1; virsh snapshot-delete web1 x; restart it")
