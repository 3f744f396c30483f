# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The EXAMPLES of every module on real guests, as they stand: one run of ansible-playbook for all of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.ansible_cli import ROOT, Ansible, write_inventory
from tests.integration.example_table import ALSO, CANNOT, DEBIAN, DEBIAN_HAS, KEY, ON_DEBIAN, REWRITTEN, TINY
from tests.integration.guests_by_agent import ok
from tests.lab import Guest, Lab
from tests.lab.daemons import SYSTEM_URI
from tests.lab.guest import QUIET
from tests.unit.example_blocks import examples_of

MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
#: They take guests away, and with them what was prepared there.
LAST = ("suspend", "wait_for_guest", "restart", "shutdown")
#: In the full form only: three guests boot again.
LONG = ("restart",)
#: The last example of fsfreeze leaves a guest frozen for a moment.
FIRST = [*(name for name in MODULES if name not in ("agent_channel", "fsfreeze", *LAST)), "fsfreeze"]
BLOCKS = ("block", "rescue", "always")
GUESTS = (
    # No channel, and no controller for one: agent_channel's examples begin here.
    Guest(name="web1", vcpus=4, memory_mib=1024, kernel=f"movablecore=640M {QUIET}", channel=False, persistent=True),
    *(Guest(name=name, kernel=QUIET) for name in ("web2", "web3", "web4", "db1")),
)
#: Ansible has no block without a task.
NOTHING = {"name": "Do nothing", "ansible.builtin.meta": "noop"}
Tasks = list[dict[str, Any]]


def plays_of(module: str, place: str = "/x") -> Tasks:
    text = examples_of(ROOT / "plugins" / "modules" / f"{module}.py")
    for old, new in REWRITTEN.items():
        text = text.replace(old, new.format(place=place))
    found: Tasks = yaml.safe_load(text)
    return found if "hosts" in found[0] else [{"hosts": "localhost", "gather_facts": False, "tasks": found}]


def named(tasks: Tasks) -> Iterator[str]:
    """The tasks' names, also of those in blocks."""
    for task in tasks:
        inner = [one for key in BLOCKS for one in task.get(key, ())]
        yield from named(inner) if inner else [task["name"]] if task is not NOTHING else []


def kept(module: str, tasks: Tasks, debian: bool) -> Tasks:
    """Those that run on this kind of guest."""
    found = []
    for task in tasks:
        blocks = {key: kept(module, task[key], debian) for key in BLOCKS if key in task}
        if any(blocks.values()) or (not blocks and here(module, task["name"], debian)):
            found.append({**task, **{key: tasks or [NOTHING] for key, tasks in blocks.items()}})
    return found


def here(module: str, name: str, debian: bool) -> bool:
    on_debian = DEBIAN.get(module, ())
    return (module, name) not in CANNOT and debian == bool({"", name} & set(on_debian))


class Run:
    """Runs of ansible-playbook with the plays of modules; ``domains`` are read as others.

    With ``in_process`` tasks that name a domain run in the controller's process, as a guest's do, in a fifth of the time.
    """

    def __init__(self, ansible: Ansible, place: Path, uri: str, domains: Mapping[str, str], in_process: bool = False) -> None:
        self._ansible = ansible
        self._place = place
        self._domains = domains
        self._variables = {"ansible_guest_agent_domain": "web1"} if in_process else {}
        self._words = ["-i", str(write_inventory(place / "lab.libvirt.yml", uri=uri, connection="agent"))]
        self._words += ["-e", json.dumps({"ansible_python_interpreter": sys.executable})]
        (place / ".ssh").mkdir()
        (place / "keys" / "former").mkdir(parents=True)
        for name in ("anna", "ben", "former/carla"):
            (place / "keys" / f"{name}.pub").write_text(KEY.format(name=name))
        (place / "app.tar").write_bytes(b"\0" * 300_000)
        (place / "first-boot.sh").write_text("#!/bin/sh\necho $2 >/etc/first-boot.done\n")

    def troubles(self, modules: Iterable[str], debian: bool = False) -> str:
        """What failed, and what was not run."""
        plays = [play for module in modules for play in self._plays(module, debian)]
        path = self._place / "plays.json"
        path.write_text(json.dumps(plays))
        env = {**self._ansible.TELLING, "HOME": str(self._place)}
        done = self._ansible.playbook(path, *self._words, check=False, timeout=900, **env)
        results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        missing = {name for play in plays for name in named(play["tasks"])} - {result["task"] for result in results}
        found = [f"{result['task']}: {result}" for result in results if result.get("failed") or result.get("skipped")]
        return "\n".join(
            [*found, *(f"{name}: not run" for name in sorted(missing)), *([done.stdout, done.stderr] if missing else [])]
        )

    def _plays(self, module: str, debian: bool) -> Iterator[dict[str, Any]]:
        # Where no domain is named, all are meant.
        variables = self._variables if module != "guest_info" else {}
        for play in plays_of(module, str(self._place)):
            tasks = self._renamed(module, kept(module, play["tasks"], debian))
            yield {**play, "ignore_errors": True, "vars": {**play.get("vars", {}), **variables}, "tasks": tasks}

    def _renamed(self, module: str, tasks: Tasks) -> Tasks:
        """With the module before each name, and the domains that are here."""
        return [self._task(module, task) for task in tasks]

    def _task(self, module: str, task: dict[str, Any]) -> dict[str, Any]:
        blocks = {key: self._renamed(module, task[key]) for key in BLOCKS if key in task}
        # Not the names of what is registered.
        here = {key: self._here(value) for key, value in task.items() if "." in key or key == "loop"}
        return {**task, **here, **blocks, "name": f"{module}: {task['name']}"} if task is not NOTHING else task

    def _here(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._here(member) for key, member in value.items()}
        if isinstance(value, list):
            return [self._here(member) for member in value]
        return self._domains.get(value, value) if isinstance(value, str) else value


@pytest.fixture
def system(lab: Lab) -> None:
    if lab.uri != SYSTEM_URI:
        pytest.skip(f"SKIPPED OUT LOUD: module examples are not run: they mean {SYSTEM_URI}, and these guests run on {lab.uri}")


@pytest.fixture
def tiny(lab: Lab, system: None) -> Iterator[None]:
    try:
        lab.start_all(GUESTS)
        yield
    finally:
        for guest in GUESTS:
            if guest.name in lab.names():
                lab.destroy(guest.name)


def prepare(lab: Lab, guest: str, commands: Iterable[str]) -> None:
    for command in commands:
        done = lab.run(guest, command, timeout=60)
        assert done.returncode == 0, f"{guest}: {command}: {done.output}"


@pytest.mark.parametrize("edge", ["in-process", pytest.param("module", marks=pytest.mark.full)])
def test_on_tiny_guests(lab: Lab, ansible: Ansible, tiny: None, tmp_path: Path, edge: str) -> None:
    run = Run(ansible, tmp_path, lab.uri, ALSO, in_process=edge == "in-process")
    assert not (troubles := run.troubles(["agent_channel"])), troubles
    ok(ansible.module("wait_for_guest", domain="web1", timeout=120))
    for guest, commands in TINY.items():
        prepare(lab, guest, commands)
    assert not (troubles := run.troubles(FIRST)), troubles
    assert not (troubles := run.troubles(LAST if edge == "module" else [name for name in LAST if name not in LONG])), troubles


@pytest.mark.full
def test_on_debian(lab: Lab, ansible: Ansible, system: None, spare: str, tmp_path: Path) -> None:
    run = Run(ansible, tmp_path, lab.uri, dict.fromkeys(ON_DEBIAN, spare))
    prepare(lab, spare, DEBIAN_HAS)
    ok(ansible.module("guest_session", domain=spare, user="ann", tty="tty8", state="present", timeout=240))
    assert not (troubles := run.troubles(DEBIAN, debian=True)), troubles
