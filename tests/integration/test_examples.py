# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of examples/, as they stand: what a throw-away guest can show is run, of the rest syntax and options are checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.ansible_cli import ROOT, Ansible
from tests.lab import Lab
from tests.lab.daemons import SYSTEM_URI

EXAMPLES = ROOT / "examples"
INVENTORIES = sorted(EXAMPLES.glob("*.libvirt.yml"))
PLAYBOOKS = sorted(set(EXAMPLES.glob("*.yml")) - set(INVENTORIES))


def test_the_readme_names_every_example() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in (*INVENTORIES, *PLAYBOOKS) if f"]({path.name})" not in text] == []
    assert len(INVENTORIES) + len(PLAYBOOKS) >= 10


def test_syntax(ansible: Ansible) -> None:
    ansible.run("ansible-playbook", "--syntax-check", *map(str, PLAYBOOKS))


def test_arguments(ansible: Ansible) -> None:
    """Each task's options are known to its module."""
    tasks = [(path.name, task) for path in PLAYBOOKS for task in _tasks(yaml.safe_load(path.read_text(encoding="utf-8")))]
    used = [(file, name, set(args or {})) for file, task in tasks for name, args in task.items() if name.startswith("virtops.")]
    told = json.loads(ansible.run("ansible-doc", "--json", *sorted({name for _file, name, _args in used})).stdout)
    unknown = [(file, name, args - set(told[name]["doc"]["options"])) for file, name, args in used]
    assert [found for found in unknown if found[2]] == []


def _tasks(tasks: Any) -> list[dict[str, Any]]:
    """Those of the collection's modules, wherever they stand."""
    found = []
    for task in tasks or ():
        if any(key.startswith("virtops.") for key in task):
            found.append(task)
        for block in ("tasks", "handlers", "block", "rescue", "always"):
            found += _tasks(task.get(block))
    return found


@pytest.fixture
def pair(lab: Lab, start: Callable[..., str]) -> list[str]:
    if lab.uri != SYSTEM_URI:
        pytest.skip(f"SKIPPED OUT LOUD: the examples say {SYSTEM_URI}, and this user's guests run on {lab.uri}")
    return [start("db1"), start("app1")]


def test_examples_run_as_they_stand(pair: list[str], ansible: Ansible, tmp_path: Path) -> None:
    for inventory in INVENTORIES:
        options = yaml.safe_load(inventory.read_text(encoding="utf-8"))
        source = inventory
        if options["uri"] != SYSTEM_URI:  # hypervisors that are not here
            source = tmp_path / inventory.name
            source.write_text(json.dumps({**options, "uri": SYSTEM_URI, "address_cidrs": []}), encoding="utf-8")
        hosts = set(ansible.inventory(source)["_meta"]["hostvars"])
        assert len(hosts) >= len(pair), f"{inventory.name}: {hosts}"

    def run(name: str, **variables: Any) -> str:
        words = ["-i", str(EXAMPLES / "local.libvirt.yml"), "--limit", f"{','.join(pair)},localhost", "-e", json.dumps(variables)]
        return ansible.playbook(EXAMPLES / f"{name}.yml", *words).stdout

    assert "failed=0" in run("find_broken_agents")
    assert run("facts").count('"msg"') == len(pair)
    run("files", directory=str(tmp_path / "files"))
    assert len(list((tmp_path / "files").iterdir())) == len(pair)
    run("frozen_copy", guest="db1", copy=["true"])
    run("backup", guests=pair, directory=str(tmp_path / "backup"))
    assert len(list((tmp_path / "backup").iterdir())) == len(pair)
