# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An execution environment that was built as the guide says: the inventory and plays inside it, on a real guest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ee.image import DEFINITION, IMAGE, LEAN, installed, lay_out, line, page, step
from tests.ee.podman import APT_SETTINGS, Podman
from tests.integration.ansible_cli import write_inventory
from tests.lab.ssh_server import ssh_server

#: Facts over a module, and a task over the connection plugin.
_PLAY = """
- hosts: db1
  gather_facts: false
  tasks:
    - virtops.guest_agent.guest_facts:
    - ansible.builtin.debug:
        msg: "{{ ansible_facts.kernel }}"
    - ansible.builtin.raw: uname -n; id -u
"""
_SOCKETS = "/run/libvirt:/run/libvirt"


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """The runner's directory of the guide, with one play more."""
    files = {part.file: part.text for part in page() if part.file}
    project, inventory = tmp_path / "runner/project", tmp_path / "runner/inventory"
    for place in (project, inventory):
        place.mkdir(parents=True)
    (inventory / "guests.libvirt.yml").write_text(files["guests.libvirt.yml"], encoding="utf-8")
    (project / "site.yml").write_text(files["site.yml"], encoding="utf-8")
    (project / "inside.yml").write_text(_PLAY, encoding="utf-8")
    return tmp_path / "runner"


def run(podman: Podman, command: list[str], cwd: Path, stdin: bytes = b"") -> bytes:
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    done = subprocess.run(command, cwd=cwd, env={**env, **podman.env}, input=stdin, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout!r}\n{done.stderr!r}"
    return done.stdout


def results(artifacts: Path) -> dict[str, Any]:
    """Task -> its result on db1, of the one run that left something here; no task has failed."""
    events = [json.loads(file.read_text()) for file in artifacts.rglob("job_events/*.json")]
    assert not [event["stdout"] for event in events if event["event"] in ("runner_on_failed", "runner_on_unreachable")]
    data = [event["event_data"] for event in events if event["event"] == "runner_on_ok"]
    assert {event["host"] for event in data} == {"db1"}
    return {event["task_action"]: event["res"] for event in data}


def is_as_the_play_has_it(found: dict[str, Any]) -> None:
    facts = found["virtops.guest_agent.guest_facts"]["ansible_facts"]
    assert facts["ansible_hostname"] == "db1"
    assert found["ansible.builtin.debug"]["msg"] == facts["ansible_kernel"]
    assert found["ansible.builtin.raw"]["stdout_lines"] == ["db1", "0"]


def test_a_build_context(tmp_path: Path) -> None:
    """Of the definition that the guide has, without building it: seconds, where the image takes minutes."""
    lay_out(tmp_path / "x")
    run_here = [*installed(["ansible-builder", "create"]), "--verbosity=1"]
    subprocess.run(run_here, cwd=tmp_path / "x", check=True, timeout=60)
    copied = tmp_path / "x/context/_build"
    assert (tmp_path / "x" / DEFINITION).exists()
    assert [path.name for path in (copied / "collections").iterdir()]


def test_what_is_in_it(image: Podman) -> None:
    """What the bindep file names for running is there; what it names for compiling is not, and no setting of this machine."""
    script = """
import json, pathlib, shutil, subprocess, libvirt, libvirt_qemu, jmespath
print(json.dumps({
    "programs": [name for name in ("ssh", "gcc", "pkg-config") if shutil.which(name)],
    "apt": pathlib.Path("%s").read_text(),
    "pip": subprocess.run(["python3", "-m", "pip", "config", "list"], capture_output=True, text=True).stdout,
    "home": sorted(path.name for path in pathlib.Path("/root").iterdir()),
}))
"""
    told = image.run("run", "--rm", "--user=root", IMAGE, "python3", "-c", script % APT_SETTINGS)
    of_the_builder = ":env:.break-system-packages='1'\n"
    assert json.loads(told) == {"programs": ["ssh"], "apt": f"{LEAN}\n", "pip": of_the_builder, "home": [".bashrc", ".profile"]}
    listed = image.run("run", "--rm", IMAGE, "ansible-galaxy", "collection", "list", "virtops.guest_agent")
    assert "virtops.guest_agent" in listed


def test_the_inventory(image: Podman, guest: str, private: Path) -> None:
    script = """
import json, sys, ansible_runner
listed, errors = ansible_runner.interface.get_inventory(
    action="list", inventories=[sys.argv[1]], response_format="json", quiet=True, private_data_dir=sys.argv[2],
    process_isolation=True, container_image=sys.argv[3], container_volume_mounts=[sys.argv[4]], container_options=["--user=root"])
assert listed, errors
json.dump(listed, sys.stdout)
"""
    source = str(private / "inventory/guests.libvirt.yml")
    with step("the inventory in it"):
        told = run(image, [sys.executable, "-c", script, source, str(private), IMAGE, _SOCKETS], private)
    listed = json.loads(told)
    assert listed["agent_connected"]["hosts"] == [guest]
    assert listed["_meta"]["hostvars"][guest]["guest_agent"]["connected"] is True


def test_plays(image: Podman, guest: str, private: Path) -> None:
    """The guide's command with the guide's play, and with one more."""
    command = installed(line("ansible-runner run runner -p site.yml --process-isolation"))
    with step("the guide's play in it"):
        run(image, command, private.parent)
    assert set(results(private / "artifacts")) == {"virtops.guest_agent.run_command"}
    shutil.rmtree(private / "artifacts")
    with step("facts and a task over the connection in it"):
        run(image, [word.replace("site.yml", "inside.yml") for word in command], private.parent)
    is_as_the_play_has_it(results(private / "artifacts"))


def test_as_awx_runs_it(image: Podman, guest: str, private: Path) -> None:
    """The image's own runner, as the image's own user, on a hypervisor that it reaches by SSH."""
    with ssh_server() as server:
        shutil.copy(server.place / "key", private / "hypervisor_key")
        uri = f"qemu+ssh://root@127.0.0.1:{server.port}/system?no_tty=1&keyfile=/runner/hypervisor_key"
        write_inventory(private / "inventory/guests.libvirt.yml", uri=uri, connection="agent")
        known = f"{server.place}/known_hosts:/etc/ssh/ssh_known_hosts:ro"
        worker = ["ansible-runner", "worker", "--private-data-dir", "/runner"]
        with step("the same by SSH, as AWX runs it"):
            sent = run(image, installed(["ansible-runner", "transmit", ".", "-p", "inside.yml"]), private)
            back = run(image, ["podman", "run", "--rm", "--interactive", f"--volume={known}", IMAGE, *worker], private, sent)
            run(image, installed(["ansible-runner", "process", "processed"]), private.parent, back)
        assert server.logins() > 0
    is_as_the_play_has_it(results(private.parent / "processed/artifacts"))


def test_nothing_is_left(image: Podman) -> None:
    assert image.left() != []
    image.clean()
    assert image.left() == []
