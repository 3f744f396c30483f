# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""snapshot_info from its arguments to its result."""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils._backup import documents
from ansible_collections.virtops.guest_agent.plugins.module_utils._snapshot import images
from ansible_collections.virtops.guest_agent.plugins.modules import snapshot_info
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Error, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run

OVER, BASE = "/srv/web-vda.nightly.qcow2", "/srv/base"
DISK = (
    f"<disk type='file'><driver type='qcow2'/><source file='{OVER}'/><backingStore type='file'><format type='raw'/>"
    f"<source file='{BASE}'/></backingStore><target dev='vda'/></disk>"
)


class Chained(Domain):
    """A domain that tells the sizes of its images: path -> capacity and allocation."""

    sizes: t.ClassVar[dict[str, tuple[int, int | None]]] = {}

    def connect(self) -> Chained:
        """The connection, as far as it is asked about this domain."""
        return self

    def domainListGetStats(self, domains: list[t.Any], stats: int, flags: int) -> list[tuple[t.Any, dict[str, t.Any]]]:
        assert (len(domains), stats, flags) == (1, 32, 1 << 30)
        found: dict[str, t.Any] = {"block.count": len(self.sizes)}
        for number, (path, (capacity, allocation)) in enumerate(self.sizes.items()):
            found.update({f"block.{number}.path": path, f"block.{number}.capacity": capacity})
            if allocation is not None:
                found[f"block.{number}.allocation"] = allocation
        return [(domains[0], found)]


@pytest.fixture
def domains() -> list[Domain]:
    web, db = Chained("web", 1), Chained("db", 2, state=5)
    web.text = web.text.replace("</devices>", f"{DISK}</devices>")
    web.sizes = {OVER: (100, 7), BASE: (100, None)}  # type: ignore[misc]
    return [web, db]


def _record(name: str, path: str, more: str = "") -> str:
    return images.snapshot_xml(name, "why", {"vda": path}, []).replace("<disks>", f"{more}<disks>")


def test_ours_and_foreign_ones(host: Hypervisor, run: Run) -> None:
    web = host.domains[0]
    time = "<creationTime>1796000000</creationTime><parent><name>older</name></parent>"
    web.snapshots = {
        "nightly": _record("nightly", OVER, time),
        "theirs": _record("theirs", "/srv/web.theirs"),
        "internal": "<domainsnapshot><name>internal</name></domainsnapshot>",
    }
    web.checkpoints = {"two": documents.checkpoint_xml("two", "/backups", ["vda"], []), "x": "<domaincheckpoint/>"}
    found = run(snapshot_info, domain=None, domains=["web", samples.uuid(1)])
    assert found["changed"] is False
    (web_has,) = found["domains"]
    assert web_has["disks"][0]["images"] == [
        {"image": OVER, "kind": "file", "format": "qcow2", "bytes": 7, "virtual_bytes": 100},
        {"image": BASE, "kind": "file", "format": "raw", "bytes": None, "virtual_bytes": 100},
    ]
    ours, theirs, internal = web_has["snapshots"]
    assert (ours["ours"], ours["mergeable"], ours["reason"], ours["parent"]) == (True, True, "", "older")
    assert (ours["created"], ours["description"]) == ("2026-11-30T00:53:20Z", "why")
    assert ours["disks"] == [{"target": "vda", "image": OVER, "base": BASE}]
    assert (theirs["external"], theirs["ours"], theirs["mergeable"], theirs["created"]) == (True, False, False, None)
    assert "/srv/web.theirs" in theirs["reason"]
    assert (internal["external"], internal["ours"], internal["mergeable"]) == (False, False, False)
    assert web_has["checkpoints"] == [
        {"name": "two", "disks": ["vda"], "directory": "/backups"},
        {"name": "x", "disks": [], "directory": ""},
    ]


def test_all_domains_without_one_that_has_just_gone(host: Hypervisor, run: Run) -> None:
    assert [each["domain"] for each in run(snapshot_info, domain=None)["domains"]] == ["db", "web"]
    host.domains[1].raises["state"] = Error(42, "Domain not found")
    assert [each["domain"] for each in run(snapshot_info, domain=None)["domains"]] == ["web"]
    assert run(snapshot_info, domain="db")["failure"]["kind"] == "domain_not_found"


@pytest.mark.parametrize("what", ["state", "XMLDesc"])
def test_one_of_all_that_cannot_be_looked_at_costs_only_itself(host: Hypervisor, run: Run, what: str) -> None:
    host.domains[1].raises[what] = Error(68, f"Timed out: cannot acquire state change lock (held by monitor={what})")
    found = run(snapshot_info, domain=None)
    assert [each["domain"] for each in found["domains"]] == ["web"]
    assert [(each["domain"], each["kind"]) for each in found["failures"]] == [("db", "domain_busy")]
    assert f"held by monitor={what}" in found["warned"]
    assert run(snapshot_info, domain=None, domains=["web", "db"])["failure"]["kind"] == "domain_busy"
    host.domains[0].raises[what] = host.domains[1].raises[what]
    assert run(snapshot_info, domain=None)["failure"]["kind"] == "domain_busy"


@pytest.mark.parametrize(("what", "key"), [("listAllSnapshots", "snapshots"), ("listAllCheckpoints", "checkpoints")])
def test_a_libvirt_that_has_no_such_thing(host: Hypervisor, run: Run, monkeypatch: pytest.MonkeyPatch, what: str, key: str) -> None:
    def lacks(_flags: int) -> t.NoReturn:
        raise Error(3, f"this function is not supported by the connection driver: virDomain{what}")

    monkeypatch.setattr(host.domains[0], what, lacks)
    (found,) = run(snapshot_info)["domains"]
    assert (found[key], len(found["disks"])) == ([], 1)


@pytest.mark.parametrize("time", ["soon", "9" * 18, "9" * 40, ""])
def test_a_moment_that_is_none(host: Hypervisor, run: Run, time: str) -> None:
    host.domains[0].snapshots = {"nightly": _record("nightly", OVER, f"<creationTime>{time}</creationTime>")}
    created: t.Any = run(snapshot_info)["domains"][0]["snapshots"][0]["created"]
    assert created in (None, "9" * 18)
