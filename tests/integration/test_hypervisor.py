# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What make test asks of each hypervisor, beside what is marked ``hypervisor`` elsewhere: it is the one named, and plays run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.ansible_cli import Ansible
from tests.integration.conftest import HYPERVISOR, OWN
from tests.integration.guests_by_agent import Plays, ok, variables
from tests.lab import Lab
from tests.lab.hypervisor_root import MODULAR

#: libvirt's major version in each release, or the least that it may be.
MAJOR = {"debian12": range(9, 10), "debian13": range(11, 12), "testing": range(12, 99), "debian13-modular": range(11, 12)}


@pytest.mark.hypervisor
@pytest.mark.skipif(
    not HYPERVISOR, reason="SKIPPED OUT LOUD: the version of another libvirt is not looked at, for HYPERVISOR names none"
)
def test_it_is_the_one_that_was_asked_for(lab: Lab) -> None:
    assert lab.connection.getLibVersion() // 1_000_000 in MAJOR[HYPERVISOR]


@pytest.mark.hypervisor
@pytest.mark.parametrize("debian", [OWN], indirect=True)
def test_raw_command_and_copy(lab: Lab, ansible: Ansible, debian: str, tmp_path: Path) -> None:
    (tmp_path / "local").write_text("one\ntwo\n", encoding="utf-8")
    there = "/root/copied"
    play = (
        {"ansible.builtin.raw": "echo $((6 * 7)); exit 3", "failed_when": False},
        {"ansible.builtin.command": "hostname"},
        {"ansible.builtin.copy": {"src": str(tmp_path / "local"), "dest": there, "mode": "0600"}},
        {"ansible.builtin.raw": f"cat {there}; stat -c %a {there}; rm {there}"},
    )
    raw, command, copy, read = map(ok, Plays(ansible, tmp_path, {debian: variables(lab, debian)}).play(*play))
    assert (raw["stdout"].strip(), raw["rc"]) == ("42", 3)
    assert command["stdout"] == debian
    assert copy["changed"]
    assert read["stdout"].split() == ["one", "two", "600"]


@pytest.mark.hypervisor
@pytest.mark.skipif(
    HYPERVISOR != MODULAR, reason=f"SKIPPED OUT LOUD: virtproxyd is not tried, for only HYPERVISOR={MODULAR} has modular daemons"
)
def test_virtproxyd_leads_to_it(lab: Lab, ansible: Ansible, a_tiny: str) -> None:
    proxied = lab.uri.replace("virtqemud-sock", "libvirt-sock")
    assert proxied != lab.uri
    found = ok(ansible.module("run_command", uri=proxied, domain=a_tiny, argv=["cat", "/proc/sys/kernel/hostname"]))
    assert found["stdout"] == a_tiny
