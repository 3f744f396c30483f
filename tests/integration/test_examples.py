# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of examples/, the guides, and the inventories of the plugins' EXAMPLES on guests, as they stand.

test_module_examples.py has the modules'; tests/unit/test_example_blocks.py and test_guides.py read all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.ansible_cli import ROOT, Ansible
from tests.integration.guide_reader import Reader
from tests.integration.guide_table import FIRST, WALKED
from tests.lab import Guest, Lab
from tests.lab.daemons import SYSTEM_URI
from tests.lab.guest import QUIET
from tests.lab.second import second_hypervisor
from tests.unit.example_blocks import examples_of

EXAMPLES = ROOT / "examples"
INVENTORIES = sorted(EXAMPLES.glob("*.libvirt.yml"))
ON_TINY = {"backup", "facts", "files", "find_broken_agents", "frozen_copy"}
#: They need apt, systemd's network, and a hypervisor of their own.
FULL = {"patch", "repair_network", "maintenance"}
#: test_events.py runs them by their rulebooks.
BY_EVENTS = {"repair_agent", "report_full_disk"}


def test_every_file_is_run() -> None:
    assert {path.stem for path in set(EXAMPLES.glob("*.yml")) - set(INVENTORIES)} == ON_TINY | FULL | BY_EVENTS


@pytest.fixture(scope="module")
def system(lab: Lab) -> None:
    if lab.uri != SYSTEM_URI:
        pytest.skip(f"SKIPPED OUT LOUD: examples/ is not run, for it says {SYSTEM_URI}, and this user's guests run on {lab.uri}")


@pytest.fixture(scope="module")
def pair(lab: Lab, system: None) -> Iterator[list[str]]:
    names = lab.start_all([Guest(name=name, kernel=QUIET, persistent=True) for name in ("db1", "app1")])
    yield names
    for name in names:
        lab.destroy(name)


@pytest.fixture
def run(ansible: Ansible) -> Callable[..., str]:
    def run_example(name: str, hosts: list[str], timeout: float = 180, **variables: Any) -> str:
        words = ["-i", str(EXAMPLES / "local.libvirt.yml"), "-e", json.dumps(variables)]
        words += ["--limit", ",".join([*hosts, "localhost"])] if hosts else []
        return ansible.playbook(EXAMPLES / f"{name}.yml", *words, timeout=timeout).stdout

    return run_example


def sources() -> Iterator[tuple[str, dict[str, Any]]]:
    """The inventories of the examples, with their names."""
    for path in INVENTORIES:
        yield path.name, yaml.safe_load(path.read_text(encoding="utf-8"))
    for number, document in enumerate(yaml.safe_load_all(examples_of(ROOT / "plugins" / "inventory" / "libvirt.py"))):
        yield f"{number}.libvirt.yml", document


def test_inventories(pair: list[str], ansible: Ansible, tmp_path: Path) -> None:
    for name, options in sources():
        # Hypervisors that are not here, and their networks.
        here = {"uri": SYSTEM_URI, "address_cidrs": []} if "kvm1" in str(options.get("uri")) else {}
        (tmp_path / name).write_text(json.dumps({**options, **here}), encoding="utf-8")
        hosts = ansible.inventory(tmp_path / name, HOME=str(tmp_path))["_meta"]["hostvars"]
        assert len(hosts) >= len(pair), f"{name}: {set(hosts)}"


def test_hosts_of_an_inventory_by_hand(pair: list[str], ansible: Ansible, tmp_path: Path) -> None:
    """The second host has an agent without libvirt: test_connection_transports.py."""
    source = tmp_path / "hosts.yml"
    text = examples_of(ROOT / "plugins" / "connection" / "agent.py")
    source.write_text(text.replace("qemu+ssh://root@kvm1.example.com/system", SYSTEM_URI).replace("web1-production", pair[0]))
    said = ansible.run("ansible", "web1", "-i", str(source), "-m", "ansible.builtin.raw", "-a", "hostname").stdout
    assert said.split()[-1] == pair[0]


def test_playbooks(pair: list[str], run: Callable[..., str], tmp_path: Path) -> None:
    assert "failed=0" in run("find_broken_agents", pair)
    assert run("facts", pair).count('"msg"') == len(pair)
    run("files", pair, directory=str(tmp_path / "files"))
    assert len(list((tmp_path / "files").iterdir())) == len(pair)
    run("frozen_copy", pair, guest="db1", copy=["true"])
    run("backup", pair, guests=pair, directory=str(tmp_path / "backup"))
    taken = {path.name.split(".")[1] for path in (tmp_path / "backup").glob("*.qcow2")}
    assert len(taken) == 1
    run("backup", pair, guests=pair, directory=str(tmp_path / "backup"), restore=taken.pop())
    assert len(list((tmp_path / "backup" / "restored").glob("*.qcow2"))) == len(pair)


@pytest.mark.parametrize("page", [FIRST, *(pytest.param(page, marks=pytest.mark.full) for page in WALKED if page != FIRST)])
def test_a_guide_is_walked(pair: list[str], tmp_path: Path, page: str) -> None:
    (tmp_path / "place").mkdir()
    tmp_path.chmod(0o711)
    told = Reader(tmp_path / "home", tmp_path / "place", pair).follow(page)
    assert [word for word in WALKED[page] if word not in told] == [], told


@pytest.mark.full
def test_playbooks_on_debian(lab: Lab, system: None, run: Callable[..., str], spare: str) -> None:
    # There is no mirror: what apt knows is what is installed.
    assert lab.run(spare, "rm -rf /etc/apt/sources.list*").returncode == 0
    assert "failed=0" in run("patch", [spare], timeout=600)
    assert "192.168.122.5" in run("repair_network", [spare])


@pytest.mark.full
def test_maintenance(run: Callable[..., str], tmp_path: Path) -> None:
    """All guests of the hypervisor are stopped: it has one of its own."""
    names = {"web1", "web2", "db1"}
    with second_hypervisor() as hypervisor, hypervisor.lab() as lab:
        lab.start_all([Guest(name=name, kernel=QUIET, persistent=True) for name in names])
        boots = {name: lab.domain(name).ID() for name in names}
        here = {"graceful_shutdown_uri": hypervisor.uri, "graceful_shutdown_record": str(tmp_path / "record.json")}
        assert "failed=0" in run("maintenance", [], timeout=300, **here)
        assert {name for name in names if lab.domain(name).isActive() and lab.domain(name).ID() != boots[name]} == names
