# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module snapshot from its arguments to its result; what it does to guests is in test_group_snapshot.py."""

from __future__ import annotations

import functools
import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.modules import snapshot
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Error, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run

DISKS = (
    "<disk type='file'><source file='/srv/base'/><target dev='vda'/></disk>"
    "<disk type='file' device='cdrom'><source file='/srv/cd'/><target dev='sda'/></disk>"
)


@pytest.fixture
def domains() -> list[Domain]:
    found = [Domain(name, number, guest=FakeGuest()) for number, name in enumerate(("web", "db"), 1)]
    for domain in found:
        domain.text = domain.text.replace("</devices>", f"{DISKS}</devices>")
    return found


@pytest.fixture
def run(run: Run) -> Run:
    return functools.partial(run, snapshot, name="s", domains=["web", "db"], domain=None)


def test_check_mode_asks_the_agents_and_does_nothing(host: Hypervisor, run: Run) -> None:
    result = run(check=True, diff=True, domains=["web", samples.uuid(2), "web"])
    assert result["changed"]
    assert result["diff"]["before"]["db"] == {"snapshot": "absent", "images": {"vda": ["/srv/base"], "sda": ["/srv/cd"]}}
    assert result["diff"]["after"]["db"] == {
        "snapshot": "present",
        "images": {"vda": ["/srv/db-vda.s.qcow2", "/srv/base"], "sda": ["/srv/cd"]},
    }
    assert [(found["domain"], found["quiesced"]) for found in result["domains"]] == [("web", None), ("db", None)]
    assert result["domains"][0]["spared"] == {"sda": "it is not a hard disk"}
    for domain in host.domains:
        assert domain.guest
        assert "snapshotCreateXML" not in domain.did
        assert {command for command in domain.guest.sent if "freeze" in command} == {"guest-fsfreeze-status"}


def test_without_the_guests(host: Hypervisor, run: Run) -> None:
    result = run(quiesce="never", disks=["vda"], directory="/over", diff=True)
    assert [(found["quiesced"], found["reason"]) for found in result["domains"]] == [(False, "it was not asked for")] * 2
    assert result["domains"][0]["disks"] == [{"target": "vda", "image": "/over/web-vda.s.qcow2", "base": "/srv/base"}]
    assert result["domains"][0]["spared"] == {"sda": "it is not a hard disk"}
    assert host.agent_commands == 0
    for domain in host.domains:
        domain.text = domain.text.replace(
            "'/srv/base'/>", f"'/over/{domain.name()}-vda.s.qcow2'/><backingStore><source file='/srv/base'/></backingStore>"
        )
    again = run()
    assert (again["changed"], again["domains"][1]["reason"]) == (False, "it was taken before")
    assert again["domains"][1]["disks"] == [{"target": "vda", "image": "/over/db-vda.s.qcow2", "base": "/srv/base"}]


def test_what_was_merged_by_others_is_taken_off_the_record(host: Hypervisor, run: Run) -> None:
    run(quiesce="never")
    foreseen = run(state="absent", check=True, diff=True)
    assert set(host.domains[0].snapshots) == {"s"}
    result = run(state="absent", diff=True)
    assert foreseen["diff"] == result["diff"]
    assert result["diff"]["before"]["web"]["snapshot"] == "present"
    assert result["diff"]["after"]["web"]["snapshot"] == "absent"
    assert "/srv/db-vda.s.qcow2 was not in use for disk vda any more" in foreseen["warned"] + result["warned"]
    assert host.domains[0].snapshots == {}
    assert not run(state="absent")["changed"]


@pytest.mark.parametrize(
    ("arguments", "kind", "word"),
    [
        ({"domains": []}, "invalid_input", "domains is empty"),
        ({"domains": ["web", ""]}, "invalid_input", "domains is empty"),
        ({"domains": ["web", "nobody"]}, "domain_not_found", "nobody"),
        ({"name": "../x"}, "invalid_input", "snapshot's name"),
        ({"max_seconds": 4}, "invalid_input", "max_seconds must be from 5 to"),
        ({"merge_timeout": 0}, "invalid_input", "merge_timeout"),
        ({"disks": ["vdz"]}, "invalid_input", "no disk vdz"),
    ],
)
def test_what_cannot_be_asked_for(host: Hypervisor, run: Run, arguments: dict[str, t.Any], kind: str, word: str) -> None:
    result = run(check=True, **arguments)
    assert (result["failure"]["kind"], result["changed"]) == (kind, False)
    assert word in result["msg"]


def test_a_domain_that_cannot_be_looked_at(host: Hypervisor, run: Run) -> None:
    host.domains[1].raises["listAllSnapshots"] = Error(42, "Domain not found")
    assert run(check=True)["failure"]["kind"] == "domain_not_found"
    host.domains[1].current = 5
    host.domains[1].raises.clear()
    result = run(check=True)
    assert (result["failure"]["kind"], result["failure"]["domain"]) == ("domain_not_running", "db")
    assert [found["quiesced"] for found in run(check=True, quiesce="preferred")["domains"]] == [None, None]
