# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The definition that the guide has, and what meta/ names for an execution environment; `make ee` builds the image."""

from __future__ import annotations

import re
import typing as t

import pytest
import yaml

from ansible_collections.virtops.guest_agent.tests.unit.guide_pages import ROOT, pages

#: What is needed to run, and to compile, on each kind of system. libvirt's headers are of the same source as its library.
NEEDED = {
    "dpkg": ({"libvirt0", "openssh-client"}, {"libvirt-dev", "python3-dev", "gcc", "pkg-config"}),
    "rpm": ({"libvirt-libs", "openssh-clients"}, {"libvirt-devel", "python3-devel", "gcc", "pkgconf-pkg-config"}),
}


def _yaml(name: str) -> t.Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture
def definition() -> t.Any:
    (found,) = (part for part in pages()["awx"] if part.file == "execution-environment.yml")
    return yaml.safe_load(found.text)


def test_it_takes_what_make_build_packs(definition: t.Any) -> None:
    galaxy = _yaml("galaxy.yml")
    packed = f"{galaxy['namespace']}-{galaxy['name']}-{galaxy['version']}.tar.gz"
    assert definition["additional_build_files"] == [{"src": f"dist/{packed}", "dest": "collections"}]
    assert definition["dependencies"]["galaxy"]["collections"] == [{"name": f"collections/{packed}", "type": "file"}]


def test_meta_names_files_that_are_there() -> None:
    named = _yaml("meta/execution-environment.yml")["dependencies"]
    assert named.keys() == {"python", "system"}
    assert all((ROOT / path).read_text(encoding="utf-8").strip() for path in named.values())


@pytest.mark.parametrize("system", NEEDED)
def test_system_packages(system: str) -> None:
    rows = re.findall(r"^([\w-]+) \[(.*)\]$", (ROOT / "meta/ee-bindep.txt").read_text(encoding="utf-8"), re.MULTILINE)
    mine = [(name, words.split()) for name, words in rows if "platform:" not in words or f"platform:{system}" in words]
    running = {name for name, words in mine if "compile" not in words}
    assert (running, {name for name, _words in mine} - running) == NEEDED[system]
