# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of an inventory file that are templates or vault values, as each ansible-core reads them."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.plugins.loader import inventory_loader

from ansible_collections.virtops.guest_agent.plugins.module_utils._records import gather
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.plan import Gathered, Plan

NAME = "virtops.guest_agent.libvirt"
SECRET = VaultSecret(b"secret")


class Asked:
    """The hypervisors that a file asks, and how."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.uris: list[str] = []
        self.plan = Plan()

    def gather(self, uris: t.Iterable[str], plan: Plan) -> Gathered:
        self.uris, self.plan = list(uris), plan
        return Gathered([], {})

    def parse(self, text: str) -> t.Any:
        path = self._directory / "x.libvirt.yml"
        path.write_text(f"plugin: {NAME}\n{text}", encoding="utf-8")
        plugin = inventory_loader.get(NAME)
        plugin.parse(InventoryData(), DataLoader(), str(path))
        return plugin


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    found = Asked(tmp_path)
    monkeypatch.setattr(gather, "gather", found.gather)
    monkeypatch.setattr(
        "ansible.plugins.inventory.load_extra_vars", lambda _loader: {"kvm": "kvm7", "limit": 7, "hosts": ["a", "b"]}
    )
    monkeypatch.setenv("KVM", "kvm9")
    return found


def _vaulted(text: str) -> str:
    lines = VaultLib([("default", SECRET)]).encrypt(text, SECRET).decode().splitlines()
    return "".join(f"\n  {line}" for line in lines)


def test_a_template(asked: Asked) -> None:
    asked.parse("uri: 'qemu+ssh://{{ kvm }}/system'\nagent_timeout: '{{ limit }}'\nstates: ['{{ \"running\" }}', paused]\n")
    assert asked.uris == ["qemu+ssh://kvm7/system"]
    assert (asked.plan.agent_timeout, asked.plan.states) == (7, ("running", "paused"))


def test_a_template_that_is_a_list(asked: Asked) -> None:
    asked.parse("""uri: "{{ hosts | map('regex_replace', '^', 'qemu+ssh://') }}"\n""")
    assert asked.uris == ["qemu+ssh://a", "qemu+ssh://b"]


def test_a_lookup(asked: Asked) -> None:
    asked.parse("uri:\n  - qemu+ssh://{{ lookup('ansible.builtin.env', 'KVM') }}/system\n")
    assert asked.uris == ["qemu+ssh://kvm9/system"]


@pytest.mark.parametrize("text", ["uri: !vault |{}\n", "uri:\n- !vault |{}\n"], ids=["a text", "in a list"])
def test_a_vault_value(text: str, tmp_path: Path) -> None:
    pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")
    source, password = tmp_path / "x.libvirt.yml", tmp_path / "password"
    source.write_text(f"plugin: {NAME}\n{text.format(_vaulted('test:///default'))}", encoding="utf-8")
    password.write_bytes(SECRET.bytes)
    command = [str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(source), "--list"]
    done = subprocess.run([*command, "--vault-password-file", str(password)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "test" in json.loads(done.stdout)["_meta"]["hostvars"], done.stderr


def test_what_is_undefined(asked: Asked) -> None:
    with pytest.raises(AnsibleError, match="nowhere"):
        asked.parse("uri: '{{ nowhere }}'\n")


def test_expressions_stay_what_they_are(asked: Asked) -> None:
    plugin = asked.parse(
        "probes: {names: \"docker ps --format '{{.Names}}'\"}\nhostnames: [kvm, name]\ncompose: {a: kvm}\ntimeout: 9\n"
        "include: ['{a: {b: hostname}}.a.b']\n"
    )
    assert asked.plan.probes["names"].argv[-1] == "docker ps --format '{{.Names}}'"
    assert plugin.get_option("hostnames") == ["kvm", "name"]
    assert asked.plan.timeout == 9


def test_a_uri_of_the_environment_is_no_template(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "{{ kvm }}")
    asked.parse("")
    assert asked.uris == ["{{ kvm }}"]
