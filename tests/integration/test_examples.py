# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of examples/ on guests, as they stand; tests/unit/test_example_blocks.py reads the others."""

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
