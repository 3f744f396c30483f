# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a snapshot would do to chains of images, and which snapshots are taken for the one that is meant."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import disk_images
from ansible_collections.virtops.guest_agent.plugins.module_utils._snapshot import images as _images, plan
from ansible_collections.virtops.guest_agent.plugins.module_utils._task import values

OVER = "/srv/web-vda.nightly.qcow2"
BASE = "/srv/web.qcow2"


def _disk(*images: str, target: str = "vda", inner: str = "", attributes: str = "device='disk'", kind: str = "file") -> str:
    place = {"file": "file", "block": "dev", "network": "name"}[kind]
    layers = ""
    for image in reversed(images[1:]):
        below = layers or "<backingStore/>"
        layers = f"<backingStore type='{kind}'><format type='qcow2'/><source {place}='{image}'/>{below}</backingStore>"
    first = f"<driver name='qemu' type='qcow2'/><source {place}='{images[0]}' index='1'/>" if images else ""
    return f"<disk type='{kind}' {attributes}>{first}{layers}<target dev='{target}' bus='virtio'/>{inner}</disk>"


def _domain(*disks: str) -> str:
    return f"<domain><name>web</name><devices>{''.join(disks)}</devices></domain>"


def _record(overlay: str = OVER, base: str = BASE, mode: str = "external", memory: str = "no") -> str:
    disks = f"<disks><disk name='vda' snapshot='{mode}'><source file='{overlay}'/></disk><disk name='vdb' snapshot='no'/></disks>"
    return f"<domainsnapshot><name>nightly</name><memory snapshot='{memory}'/>{disks}{_domain(_disk(base))}</domainsnapshot>"


def _found(xml: str, record: str | None = None, state: str = "running") -> plan.Found:
    return plan.Found("web", state, disk_images.disks(xml), None if record is None else _images.parse_snapshot(record))


def test_a_chain_is_read_from_the_top() -> None:
    (disk,) = disk_images.disks(_domain(_disk("/a/top", "/a/middle", "/a/base"))).values()
    assert disk.chain == ["/a/top", "/a/middle", "/a/base"]
    assert {(image.kind, image.format) for image in disk.images} == {("file", "qcow2")}
    assert (disk.spared, disk.job, disk.job_ready) == ("", "", False)


@pytest.mark.parametrize(("ready", "known"), [("", False), ("ready='yes'", True), ("ready='abort'", False)])
def test_a_job_is_seen(ready: str, known: bool) -> None:
    mirror = f"<mirror type='file' job='active-commit' {ready}><source file='/a/base'/></mirror>"
    (disk,) = disk_images.disks(_domain(_disk("/a/top", "/a/base", inner=mirror))).values()
    assert (disk.job, disk.job_ready) == ("active-commit", known)


@pytest.mark.parametrize(
    ("xml", "word"),
    [
        (_disk(BASE, attributes="device='cdrom'"), "not a hard disk"),
        (_disk(BASE, inner="<readonly/>"), "read-only"),
        (_disk(BASE, inner="<transient/>"), "transient"),
        (_disk(BASE, attributes="snapshot='no'"), "snapshot='no'"),
    ],
)
def test_what_keeps_nothing_is_spared_unless_it_is_named(xml: str, word: str) -> None:
    found = _found(_domain(xml, _disk("/srv/b", target="vdb")))
    assert word in found.disks["vda"].spared
    assert plan.overlays(found, "nightly", None, None) == {"vdb": "/srv/web-vdb.nightly.qcow2"}
    assert plan.overlays(found, "nightly", ["vda"], "/over") == {"vda": "/over/web-vda.nightly.qcow2"}


def _odd(kind: str, source: str, target: str = "vdb", inner: str = "", device: str = "disk") -> str:
    return f"<disk type='{kind}' device='{device}'>{source}<target dev='{target}'/>{inner}</disk>"


NBD = "<host name='192.0.2.9' port='10809'/>"
ODD = [
    ("network", "<source protocol='rbd' name='pool/web'><host name='192.0.2.9'/></source>", "pool/web"),
    ("network", "<source protocol='gluster' name='vol/web.qcow2'><host name='192.0.2.9'/></source>", "vol/web.qcow2"),
    ("network", f"<source protocol='nbd'>{NBD}</source>", "nbd://192.0.2.9:10809"),
    ("network", "<source protocol='nbd'><host transport='unix' socket='/run/nbd'/></source>", "nbd:///run/nbd"),
    ("volume", "<source pool='images' volume='web.qcow2'/>", "images/web.qcow2"),
    ("nvme", "<source type='pci' namespace='1'><address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source>",
     "nvme://0000:01:00:0/1"),
    ("vhostvdpa", "<source dev='/dev/vhost-vdpa-0'/>", "/dev/vhost-vdpa-0"),
    ("unheard-of", "", "unheard-of"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "source", "name"), ODD, ids=[f"{row[0]}-{row[2]}" for row in ODD])
def test_disks_that_are_no_files_are_seen_and_merged(kind: str, source: str, name: str) -> None:
    found = _found(_domain(_disk(BASE), _odd(kind, source)))
    assert found.disks["vdb"].chain == [name]
    # where another disk is meant, libvirt is told to leave this one alone
    assert plan.overlays(found, "nightly", ["vda"], None) == {"vda": OVER}
    with pytest.raises(_errors.InvalidInput, match="set directory for the new images"):
        plan.overlays(found, "nightly", None, None)
    over = plan.overlays(found, "nightly", ["vdb"], "/over")["vdb"]
    layers = f"<source file='{over}'/><backingStore type='{kind}'>{source}<backingStore/></backingStore>"
    if not source:
        return
    record = _record(OVER).replace(_disk(BASE), _odd(kind, source)).replace("'vda'", "'vdb'").replace(OVER, over)
    taken = _found(_domain(_odd("file", layers)), record)
    assert plan.removal(taken) == plan.Removal([plan.Merge("vdb", over, True, False)], {})
    assert taken.bases() == {"vdb": name}
    assert plan.removal(_found(_domain(_odd(kind, source)), record)) == plan.Removal([], {"vdb": over})


@pytest.mark.parametrize(
    ("disk", "word"),
    [
        (_odd("file", "<source file='/srv/both'/>", inner="<shareable/>"), "shareable"),
        (_odd("vhostuser", "<source type='unix' path='/run/vhost'/>"), "vhostuser"),
        (_odd("block", "<source dev='/dev/sdx'/>", device="lun"), "lun"),
    ],
)
def test_disks_of_which_no_snapshot_is_possible(disk: str, word: str) -> None:
    found = _found(_domain(_disk(BASE), disk))
    assert word in found.disks["vdb"].spared
    assert plan.overlays(found, "nightly", None, None) == {"vda": OVER}
    with pytest.raises(_errors.InvalidInput, match=rf"no snapshot of disk vdb is possible: .*\({word}\)"):
        plan.overlays(found, "nightly", ["vda", "vdb"], "/over")


def test_a_drive_without_a_medium_is_no_disk() -> None:
    assert disk_images.disks(_domain(_disk(attributes="device='cdrom'"))) == {}


@pytest.mark.parametrize(
    ("disks", "wanted", "directory", "word"),
    [
        ([_disk(BASE)], ["vdz"], None, "no disk vdz; the domain has vda"),
        ([], None, None, "no disk that allows a snapshot"),
        ([_disk(BASE)], [], None, "no disk that allows a snapshot"),
        ([_disk("/dev/vg/web", kind="block")], None, None, "disk vda is not a file (block)"),
        ([_disk("pool/web", kind="network")], None, None, "disk vda is not a file (network)"),
    ],
)
def test_what_no_image_can_be_put_over(disks: list[str], wanted: list[str] | None, directory: str | None, word: str) -> None:
    with pytest.raises(_errors.InvalidInput, match="Domain web: ") as raised:
        plan.overlays(_found(_domain(*disks)), "nightly", wanted, directory)
    assert word in str(raised.value)


def test_a_block_device_with_a_place_for_its_image() -> None:
    found = _found(_domain(_disk("/dev/vg/web", kind="block")))
    assert plan.overlays(found, "n", None, "/over") == {"vda": "/over/web-vda.n.qcow2"}


def test_no_image_goes_over_a_disk_with_a_job() -> None:
    found = _found(_domain(_disk(OVER, BASE, inner="<mirror type='file' job='copy'/>")))
    with pytest.raises(_errors.DiskBusy, match="copy"):
        plan.overlays(found, "n", None, None)


@pytest.mark.parametrize("name", ["", ".hidden", "-option", "a/b", "a\nb", "\x1b[2J", "x" * 101])
def test_names_that_cannot_be_in_a_files_name(name: str) -> None:
    with pytest.raises(_errors.InvalidInput, match="name"):
        values.name_of_images(name, "snapshot")


@pytest.mark.parametrize("name", ["nightly", "2026-11-21 02:00", "vor dem Upgrade é", "x" * 100])
def test_names(name: str) -> None:
    values.name_of_images(name, "snapshot")


THERE = _domain(_disk(OVER, BASE))
NEWER = _domain(_disk("/srv/newer", OVER, BASE))


@pytest.mark.parametrize(
    ("xml", "record", "state", "there"),
    [
        (_domain(_disk(BASE)), None, "running", False),
        (THERE, _record(), "running", True),
        (NEWER, _record(), "running", True),
        # libvirt shows no chain of a domain that is off
        (_domain(_disk("/srv/newer")), _record(), "shutoff", True),
    ],
)
def test_whether_it_is_there(xml: str, record: str | None, state: str, there: bool) -> None:
    assert plan.is_there(_found(xml, record, state), None) is there


@pytest.mark.parametrize(
    ("xml", "record", "disks", "word"),
    [
        (THERE, _record(mode="internal"), None, "not an external one of disks"),
        (THERE, _record(memory="external"), None, "not an external one of disks"),
        (_domain(_disk(BASE)), _record(), None, "not in use for disk vda any more; remove the record"),
        (THERE, _record(), ["vda", "vdb"], "of the disks vda"),
    ],
)
def test_a_foreign_snapshot_is_not_taken_for_ours(xml: str, record: str, disks: t.Any, word: str) -> None:
    with pytest.raises(_errors.SnapshotForeign) as raised:
        plan.is_there(_found(xml, record), disks)
    assert word in str(raised.value)


def test_all_or_none_have_it() -> None:
    have = _found(THERE, _record())
    lack = _found(_domain(_disk(BASE)))._replace(name="db")
    assert plan.all_there([have, have], "nightly", None)
    assert not plan.all_there([lack, lack], "nightly", None)
    with pytest.raises(
        _errors.SnapshotPartial, match=r"Domain web: it has the snapshot nightly, which is missing in db; .*state=absent"
    ):
        plan.all_there([lack, have], "nightly", None)


@pytest.mark.parametrize(
    ("xml", "merge", "left"),
    [
        (THERE, plan.Merge("vda", OVER, True, False), [BASE]),
        (NEWER, plan.Merge("vda", OVER, False, False), ["/srv/newer", BASE]),
        (
            _domain(_disk(OVER, BASE, inner="<mirror type='file' job='active-commit'/>")),
            plan.Merge("vda", OVER, True, True),
            [BASE],
        ),
    ],
)
def test_how_it_is_merged(xml: str, merge: plan.Merge, left: list[str]) -> None:
    found = _found(xml, _record())
    removal = plan.removal(found)
    assert removal == plan.Removal([merge], {})
    assert plan.without(found.chains, removal) == {"vda": left}
    assert plan.with_overlays({"vda": [BASE], "vdb": ["/b"]}, {"vda": OVER}) == {"vda": [OVER, BASE], "vdb": ["/b"]}


@pytest.mark.parametrize(
    ("xml", "base"),
    [
        (_domain(_disk(OVER, "/srv/older", BASE)), "/srv/older"),
        (THERE, BASE),  # what was taken before it has been merged
        (_domain(_disk("/srv/newer", OVER, BASE)), BASE),
        (_domain(_disk(OVER)), "/srv/older"),  # of a domain that is off libvirt tells no chain
    ],
)
def test_what_keeps_the_moment_after_older_ones_were_merged(xml: str, base: str) -> None:
    found = _found(xml, _record(base="/srv/older"))
    assert found.bases() == {"vda": base}


def test_what_was_merged_before_is_only_taken_off_the_record() -> None:
    assert plan.removal(_found(_domain(_disk(BASE)), _record())) == plan.Removal([], {"vda": OVER})
    assert plan.removal(_found(_domain(_disk(BASE)))) == plan.Removal([], {})


@pytest.mark.parametrize(
    ("xml", "record", "state", "kind"),
    [
        (_domain(_disk("/srv/other")), _record(), "running", _errors.SnapshotForeign),
        (THERE, _record(mode="internal"), "running", _errors.SnapshotForeign),
        (THERE, _record(), "shutoff", _errors.DomainNotRunning),
        (_domain(_disk(OVER, BASE, inner="<mirror type='file' job='copy'/>")), _record(), "running", _errors.DiskBusy),
        (
            _domain(_disk("/srv/newer", OVER, BASE, inner="<mirror type='file' job='active-commit'/>")),
            _record(),
            "running",
            _errors.DiskBusy,
        ),
    ],
)
def test_what_cannot_be_merged(xml: str, record: str, state: str, kind: type[_errors.GuestAgentError]) -> None:
    with pytest.raises(kind):
        plan.removal(_found(xml, record, state))


def test_the_snapshots_xml() -> None:
    xml = _images.snapshot_xml("a <b>", "why & how", {"vda": OVER}, ["vdb"])
    record = _images.parse_snapshot(xml)
    assert record == _images.Snapshot(True, {"vda": OVER}, {}, "why & how")
    assert "<name>a &lt;b&gt;</name><description>why &amp; how</description>" in xml
    assert '<disk name="vdb" snapshot="no" />' in xml


def test_what_is_no_xml() -> None:
    for read in (disk_images.disks, _images.parse_snapshot):
        with pytest.raises(_errors.LibvirtFailure):
            read("<domain")
