# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""snapshot with state=reverted, over libvirt and guests in memory; what libvirt really does is in test_revert.py on guests."""

from __future__ import annotations

import functools
import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils._module import wait_for_guest
from ansible_collections.virtops.guest_agent.plugins.modules import snapshot
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import OFF, Domain, Error, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run

MEDIUM = "<disk type='file' device='cdrom'><source file='/iso/seed.iso'/><target dev='sda'/></disk>"
OTHER_DISK = "<disk type='file' device='disk'><source file='/srv/logs.qcow2'/><target dev='vdb'/></disk>"
RUNNING, WITH_NEW_NVRAM = 1, 8


def base(name: str) -> str:
    return f"/srv/{name}.qcow2"


def overlay(name: str) -> str:
    return f"/srv/{name}-vda.s.qcow2"


def new(name: str) -> str:
    return f"/srv/{name}.1796040546"


def disk(*images: str, kind: str = "file") -> str:
    below = f"<backingStore type='file'><source file='{images[1]}'/></backingStore>" if images[1:] else ""
    place = "file" if kind == "file" else "dev"
    return f"<disk type='{kind}' device='disk'><source {place}='{images[0]}'/>{below}<target dev='vda'/></disk>"


def with_devices(domain: Domain, devices: str) -> str:
    return domain.text.replace("</devices>", f"{devices}</devices>")


def record(domain: Domain, devices: str, name: str = "s", mode: str = "external", parent: str = "") -> str:
    before = f"<parent><name>{parent}</name></parent>" if parent else ""
    disks = f"<disks><disk name='vda' snapshot='{mode}'><source file='{overlay(domain.name())}'/></disk></disks>"
    return f"<domainsnapshot><name>{name}</name>{before}{disks}{with_devices(domain, devices)}</domainsnapshot>"


def give(domain: Domain, more: str = "", kind: str = "file") -> None:
    """The snapshot s, of a domain that had ``more`` devices then and has them now."""
    name = domain.name()
    domain.snapshots["s"] = record(domain, disk(base(name), kind=kind) + more)
    domain.newest = "s"
    domain.text = with_devices(domain, disk(overlay(name), base(name)) + more)
    domain.reverts = {overlay(name): new(name)}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait_for_guest, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(wait_for_guest, "_AFTER_EVENT", 0.01)


@pytest.fixture
def domains() -> list[Domain]:
    return [Domain(name, number, guest=FakeGuest()) for number, name in enumerate(("web", "db"), 1)]


@pytest.fixture
def run(run: Run) -> Run:
    return functools.partial(run, snapshot, name="s", domains=["web", "db"], domain=None, state="reverted", diff=True)


def test_one_of_them_that_cannot_be_looked_at(host: Hypervisor, run: Run) -> None:
    for domain in host.domains:
        give(domain)
    host.domains[1].raises["listAllSnapshots"] = Error(1, "internal error: no")
    assert run()["failure"]["domain"] == "db"
    assert [what for domain in host.domains for what in domain.did if what.startswith("revert")] == []


def done(domain: Domain) -> list[str]:
    """What was done to it, and not only asked."""
    words = ("revertToSnapshot", "create", "redefine", "updateDeviceFlags", "destroy")
    return [what for what in domain.did if what.startswith(words)]


def test_all_are_reverted_before_the_first_is_started(host: Hypervisor, run: Run) -> None:
    for domain in host.domains:
        give(domain)
    together: list[str] = []
    for domain in host.domains:
        domain.did = together
    foreseen = run(check=True)
    assert not [what for what in together if what.startswith(("revert", "create"))]
    result = run()
    assert [what for what in together if what.startswith(("revert", "create"))] == ["revertToSnapshot 0"] * 2 + ["create"] * 2
    assert foreseen["changed"] is result["changed"] is True
    for name in ("web", "db"):
        assert result["diff"]["before"][name] == {"snapshot": "present", "images": {"vda": [overlay(name), base(name)]}}
        assert result["diff"]["after"][name] == {"snapshot": "reverted", "images": {"vda": [new(name), base(name)]}}
        assert foreseen["diff"]["after"][name]["images"] == {"vda": ["a new image", base(name)]}
    assert [found["disks"] for found in result["domains"]] == [
        [{"target": "vda", "image": new(name), "base": base(name)}] for name in ("web", "db")
    ]
    assert [found["agent"] for found in result["domains"]] == [True, True]
    assert [found["agent"] for found in foreseen["domains"]] == [None, None]
    # Once more is a revert once more.
    for domain in host.domains:
        domain.reverts = {new(domain.name()): f"/srv/{domain.name()}.1796040600"}
    assert run()["changed"]


@pytest.mark.parametrize(
    ("arguments", "transient", "expected", "agent"),
    [
        ({}, False, ["revertToSnapshot 0", "create"], True),
        ({"after_revert": "running"}, False, ["revertToSnapshot 0", "create"], None),
        ({"after_revert": "stopped"}, False, ["revertToSnapshot 0"], None),
        ({"reset_nvram": True}, False, ["revertToSnapshot 0", "createWithFlags 32"], True),
        ({}, True, [f"revertToSnapshot {RUNNING}"], True),
        ({"reset_nvram": True}, True, [f"revertToSnapshot {RUNNING | WITH_NEW_NVRAM}"], True),
    ],
)
def test_what_becomes_of_the_domain(
    domain: Domain, run: Run, arguments: dict[str, t.Any], transient: bool, expected: list[str], agent: bool | None
) -> None:
    give(domain)
    if transient:
        domain.flags = 0
    result = run(domains=["web"], **arguments)
    assert done(domain) == expected, result
    assert result["domains"][0]["agent"] is agent
    assert domain.current == (OFF if arguments.get("after_revert") == "stopped" else 1)


def test_of_a_domain_that_is_off_the_chain_is_known_from_before(domain: Domain, run: Run) -> None:
    give(domain)
    domain.reverts = {disk(overlay("web"), base("web")): disk(new("web"))}
    result = run(domains=["web"], after_revert="stopped")
    assert result["diff"]["after"]["web"]["images"] == {"vda": [new("web"), base("web")]}


def test_media_stay_as_they_are_now_and_get_no_image_over_them(domain: Domain, run: Run) -> None:
    give(domain, MEDIUM)
    domain.defined = domain.text.replace("seed.iso", "other.iso")
    run(domains=["web"])
    assert done(domain) == ["redefine", "revertToSnapshot 0", "updateDeviceFlags", "create"]
    assert "seed.iso" not in domain.snapshots["s"]
    assert "other.iso" in domain.attached[-1]


def test_a_medium_that_cannot_be_put_back_is_told_of_a_domain_that_was_reverted(domain: Domain, run: Run) -> None:
    give(domain, MEDIUM)
    domain.raises["updateDeviceFlags"] = Error(1, "no such drive")
    result = run(domains=["web"])
    assert (result["failed"], result["changed"]) == (True, True)
    assert "no such drive" in result["msg"]
    assert result["diff"]["after"]["web"]["snapshot"] == "reverted"


def test_a_domain_without_an_agent_is_not_waited_for(host: Hypervisor, run: Run) -> None:
    # A name of its own: Ansible warns of the same once a process.
    host.domains[0] = Domain("mute", channel=None)
    give(host.domains[0])
    result = run(domains=["mute"])
    assert result["domains"][0]["agent"] is False
    assert "no guest agent channel. Its agent is not waited for" in result["warned"]


def test_an_agent_that_does_not_come_back(domain: Domain, run: Run) -> None:
    give(domain)
    domain.raises["agent"] = Error(86, "Guest agent is not responding: QEMU guest agent is not connected")
    result = run(domains=["web"], revert_timeout=1)
    assert (result["failure"]["kind"], result["changed"]) == ("not_ready", True)
    assert result["diff"]["after"]["web"]["snapshot"] == "reverted"


def test_an_older_libvirt_says_so_before_anything_is_done(host: Hypervisor, domain: Domain, run: Run) -> None:
    give(domain)
    host.version = 9_000_000
    for check in (True, False):
        result = run(domains=["web"], check=check)
        assert (result["failure"]["kind"], result["changed"]) == ("libvirt_error", False)
        assert "libvirt 9.0.0 at" in result["msg"]
        assert "cannot revert external snapshots, which takes 9.9" in result["msg"]
    assert done(domain) == []


def test_one_that_refuses_snapshots_of_disks_only(domain: Domain, run: Run) -> None:
    """Seen of libvirt 10.0."""
    give(domain)
    domain.raises["revertToSnapshot 0"] = Error(1, "Invalid target domain state 'disk-snapshot'. Refusing snapshot reversion")
    result = run(domains=["web"])
    assert "a newer libvirt can" in result["failure"]["hint"]
    assert not result["changed"]


def test_none_is_started_when_one_cannot_be_reverted(host: Hypervisor, run: Run) -> None:
    web, db = host.domains
    give(web, MEDIUM)
    give(db)
    db.raises["revert"] = Error(38, "unable to create /srv/db.1796040546: No space left on device")
    result = run()
    assert (done(web), done(db)) == (["redefine", "revertToSnapshot 0", "updateDeviceFlags"], ["revertToSnapshot 0"])
    assert result["failure"]["domain"] == "db"
    assert "reverted and not started are web" in result["failure"]["detail"]
    assert "the domain is off now, and its images are as they were" in result["failure"]["hint"]
    assert [result["diff"]["after"][name]["snapshot"] for name in ("web", "db")] == ["reverted", "present"]


def later(domain: Domain) -> None:
    domain.snapshots["t"] = record(domain, "", "t", parent="s")
    domain.newest = "t"


def not_current(domain: Domain) -> None:
    domain.newest = ""


def none_at_all(domain: Domain) -> None:
    domain.snapshots = {"other": domain.snapshots["s"]}


def internal(domain: Domain) -> None:
    domain.snapshots["s"] = record(domain, disk(base("web")), mode="internal")


def another_image_on_top(domain: Domain) -> None:
    domain.text = domain.text.replace(disk(overlay("web"), base("web")), disk("/srv/theirs", overlay("web")))


def another_base(domain: Domain) -> None:
    domain.text = domain.text.replace(base("web"), "/srv/merged-into")


def a_job(domain: Domain) -> None:
    domain.text = domain.text.replace("<target dev='vda'/>", "<target dev='vda'/><mirror job='copy'/>")


def a_disk_more(domain: Domain) -> None:
    domain.snapshots["s"] = record(domain, disk(base("web")) + OTHER_DISK)


def a_block_device(domain: Domain) -> None:
    domain.snapshots["s"] = record(domain, disk(base("web"), kind="block"))


def transient_with_a_medium(domain: Domain) -> None:
    domain.flags = 0
    domain.snapshots["s"] = record(domain, disk(base("web")) + MEDIUM)


REFUSED = [
    (later, "invalid_input", "changed since by the snapshot t"),
    (not_current, "invalid_input", "remove later snapshots first"),
    (none_at_all, "invalid_input", "no snapshot s; the domain has other"),
    (internal, "foreign_snapshot", "not an external one"),
    (another_image_on_top, "foreign_snapshot", "written to /srv/theirs"),
    (another_base, "foreign_snapshot", f"does not stand on {base('web')}"),
    (a_job, "disk_busy", "a block job (copy) runs on disk vda"),
    (a_disk_more, "invalid_input", "vdb has no part in the snapshot"),
    (a_block_device, "invalid_input", "only if that is a file (block)"),
    (transient_with_a_medium, "invalid_input", "a transient domain with a medium in a drive"),
]


@pytest.mark.parametrize(("change", "kind", "word"), REFUSED, ids=[row[0].__name__ for row in REFUSED])
def test_what_is_refused_before_anything_is_done_to_any(
    host: Hypervisor, run: Run, change: t.Callable[[Domain], None], kind: str, word: str
) -> None:
    for domain in host.domains:
        give(domain)
    change(host.domains[0])
    for check in (True, False):
        result = run(check=check, domains=["db", "web"])
        assert (result["failure"]["kind"], result["changed"]) == (kind, False), result["msg"]
        assert result["failure"]["domain"] == "web"
        assert word in result["msg"]
    assert [done(domain) for domain in host.domains] == [[], []]


def test_a_transient_domain_cannot_be_left_off(domain: Domain, run: Run) -> None:
    give(domain)
    domain.flags = 0
    assert "a transient domain that is to be stopped" in run(domains=["web"], after_revert="stopped")["msg"]


def test_a_time_that_cannot_be(host: Hypervisor, run: Run) -> None:
    assert "revert_timeout" in run(revert_timeout=0)["msg"]
