# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Snapshots of several guests at one moment: clean images, all or none, and nobody left frozen."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ansible_cli import ROOT, Ansible
from tests.integration.guests_by_agent import ok
from tests.integration.images_of_writers import WRITER, Inspected, ticking
from tests.integration.killed_snapshot import STEPS
from tests.lab import Guest, Lab

MAX_SECONDS = 10


def images(lab: Lab, name: str) -> list[str]:
    """The chain of the guest's first disk, the image that is written to first."""
    disk = lab.domain(name).XMLDesc(0).split("<disk ")[1].split("</disk>")[0]
    return list(re.findall(r"<source file='([^']+)'", disk.split("<mirror")[0]))


def snapshots(lab: Lab, name: str) -> list[str]:
    return list(lab.domain(name).snapshotListNames(0))


A, B = "it-snap-a", "it-snap-b"


PAIR = (Guest(name=A), Guest(name=B))


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Iterator[None]:
    lab.start_all(PAIR)
    yield
    for name in (A, B):
        lab.destroy(name)


@pytest.fixture
def group(lab: Lab, ansible: Ansible, pair: None) -> Iterator[Callable[..., dict[str, Any]]]:
    """``group(name="s")``: the module on two tiny guests that write, have no snapshot, and have none in the end."""
    ticking(lab, A, B)
    yield lambda **options: ansible.module(
        "snapshot", **{"domains": [A, B], "uri": lab.uri, "max_seconds": 20, "diff": True, **options}
    )
    ticking(lab, A, B)
    left = [(snapshots(lab, name), len(images(lab, name))) for name in (A, B)]
    if left != [([], 2)] * 2:  # so that a test that fails does not take the next ones with it
        for name in (A, B):
            lab.destroy(name)
        lab.start_all(PAIR)
    assert left == [([], 2)] * 2


def test_taken_and_merged(lab: Lab, group: Callable[..., dict[str, Any]]) -> None:
    before = {name: images(lab, name) for name in (A, B)}
    overlay = {name: str(Path(before[name][0]).with_name(f"{name}-vda.one.qcow2")) for name in (A, B)}
    would = ok(group(name="one", check=True))
    done = ok(group(name="one"))
    assert would["diff"] == done["diff"]
    assert done["diff"]["after"] == {
        name: {"snapshot": "present", "images": {"vda": [overlay[name], *before[name]]}} for name in (A, B)
    }
    for found, foreseen, name in zip(done["domains"], would["domains"], (A, B)):
        assert (found["domain"], found["quiesced"], found["reason"]) == (name, True, "")
        assert 0 < found["seconds_frozen"] < 15
        assert found["disks"] == foreseen["disks"] == [{"target": "vda", "image": overlay[name], "base": before[name][0]}]
        assert foreseen["quiesced"] is None
    ticking(lab, A, B)
    assert not ok(group(name="one"))["changed"]
    assert ok(group(name="two"))["changed"]

    # The older one goes first, under the newer one.
    gone = ok(group(name="one", state="absent"))
    assert gone["diff"]["after"][A]["images"]["vda"] == [overlay[A].replace(".one.", ".two."), *before[A]]
    assert snapshots(lab, A) == ["two"]
    assert ok(group(name="two", state="absent", check=True))["changed"]
    assert ok(group(name="two", state="absent"))["changed"]
    assert not ok(group(name="two", state="absent"))["changed"]
    for name in (A, B):
        assert images(lab, name) == before[name]
        assert snapshots(lab, name) == []
        assert [path.name for path in Path(overlay[name]).parent.glob("*.qcow2")] == ["disk.qcow2"]


def test_what_is_there_is_listed(lab: Lab, ansible: Ansible, group: Callable[..., dict[str, Any]]) -> None:
    ok(group(name="listed"))
    lab.domain(B).snapshotCreateXML("<domainsnapshot><name>theirs</name></domainsnapshot>", 0)
    try:
        found = ok(ansible.module("snapshot_info", domains=[A, B], uri=lab.uri))["domains"]
        for each, name in zip(found, (A, B)):
            assert [image["image"] for image in each["disks"][0]["images"]] == images(lab, name)
            assert all(image["virtual_bytes"] for image in each["disks"][0]["images"])
            listed = {snapshot["name"]: snapshot for snapshot in each["snapshots"]}
            assert (listed["listed"]["ours"], listed["listed"]["mergeable"]) == (True, True)
            assert listed["listed"]["created"]
        assert (listed["theirs"]["ours"], listed["theirs"]["mergeable"]) == (False, False)
        assert {A, B} <= {each["domain"] for each in ok(ansible.module("snapshot_info", uri=lab.uri))["domains"]}
    finally:
        lab.domain(B).snapshotLookupByName("theirs", 0).delete(0)
    ok(group(name="listed", state="absent"))


def test_one_that_is_silent(lab: Lab, group: Callable[..., dict[str, Any]]) -> None:
    lab.run(B, "kill -STOP $(pidof qemu-ga)")
    try:
        failed = group(name="none", agent_timeout=5)
        assert failed["failed"]
        assert failed["failure"]["domain"] == B
        assert "no snapshot" in failed["msg"]
        assert failed["failure"]["kind"] == "agent_timeout"
        assert (snapshots(lab, A), snapshots(lab, B)) == ([], [])
        ticking(lab, A, B)
        done = ok(group(name="some", quiesce="preferred", agent_timeout=5))
        assert [each["quiesced"] for each in done["domains"]] == [True, False], json.dumps(done["domains"])
        assert "did not answer" in done["domains"][1]["reason"]
        assert len(images(lab, B)) == len(images(lab, A)) == 3
    finally:
        lab.run(B, "kill -CONT $(pidof qemu-ga)")
    ok(group(name="some", state="absent"))


def test_all_or_none(lab: Lab, group: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """libvirt cannot take the second one; the first one is taken back."""
    before = images(lab, A)
    in_the_way = Path(images(lab, B)[0]).with_name(f"{B}-vda.half.qcow2")
    in_the_way.write_text("somebody's")
    failed = group(name="half")
    in_the_way.unlink()
    assert failed["failed"]
    assert "no snapshot is left" in failed["msg"]
    assert not failed["changed"]
    assert images(lab, A) == before


def test_one_has_it_already_and_one_has_another_of_this_name(lab: Lab, group: Callable[..., dict[str, Any]]) -> None:
    ok(group(name="part", domains=[A]))
    failed = group(name="part")
    assert failed["failure"]["kind"] == "partial_snapshot"
    assert A in failed["msg"]
    assert B in failed["msg"]
    lab.domain(B).snapshotCreateXML("<domainsnapshot><name>part</name></domainsnapshot>", 0)
    for state in ("present", "absent"):
        assert group(name="part", state=state, domains=[B])["failure"]["kind"] == "foreign_snapshot"
    lab.domain(B).snapshotLookupByName("part", 0).delete(0)
    assert ok(group(name="part", state="absent", domains=[A]))["changed"]


def test_frozen_by_somebody_else(lab: Lab, group: Callable[..., dict[str, Any]]) -> None:
    lab.domain(B).fsFreeze(None, 0)
    try:
        assert group(name="x")["failure"]["kind"] == "guest_frozen"
        assert lab.domain(B).fsThaw(None, 0) == 1  # it is his to thaw
    finally:
        lab.domain(B).fsThaw(None, 0)


POINTS = [f"{when} {step}" for step in STEPS for when in ("before", "after")]
#: Those between which most can be lost.
SHORT = {"after freeze", "after take", "before pivot"}


@pytest.mark.parametrize("point", [p if p in SHORT else pytest.param(p, marks=pytest.mark.full) for p in POINTS])
def test_killed_at(lab: Lab, group: Callable[..., dict[str, Any]], point: str) -> None:
    """Every guest is thawed in time, and the next runs repair, or name, what is left."""
    before = {name: images(lab, name) for name in (A, B)}
    options = {
        "name": "cut", "domains": [A, B], "state": "present", "uri": lab.uri, "ssh_persist": 0, "quiesce": "required",
        "disks": None, "directory": None, "description": "", "timeout": 10, "max_seconds": MAX_SECONDS, "merge_timeout": 60,
        "agent_timeout": 10,
    }  # fmt: skip
    if point.split()[1] in ("commit", "pivot", "forget"):
        ok(group(name="cut"))
        options["state"] = "absent"
    program = Path(__file__).with_name("killed_snapshot.py")
    command = [sys.executable, str(program), point, str(ROOT / ".collections")]
    killed = subprocess.run(command, input=json.dumps(options), text=True, capture_output=True, timeout=300, check=False)
    assert killed.returncode == -9, killed
    ticking(lab, A, B)
    again = group(name="cut")
    if again.get("failed"):
        assert again["failure"]["kind"] in ("partial_snapshot", "foreign_snapshot", "disk_busy"), again
        assert "cut" in again["msg"]
        assert "state=absent" in again["msg"]
    ok(group(name="cut", state="absent"))
    assert {name: images(lab, name) for name in (A, B)} == before
    ok(group(name="cut"))
    ok(group(name="cut", state="absent"))


def test_images_of_guests_that_write(lab: Lab, ansible: Ansible, debians: Mapping[str, str], tmp_path: Path) -> None:
    """Frozen, their filesystems are clean and end at the pause of the writer; otherwise they are as after a power failure."""
    names = list(debians.values())
    for name in names:
        begin = 'systemd-run --unit sequence python3 -c "$(cat /run/writer)"'
        assert lab.run(name, f"cat >/run/writer <<'END'\n{WRITER}END\n{begin}", timeout=60).returncode == 0
    time.sleep(3)
    options = {"domains": names, "uri": lab.uri, "agent_timeout": 20}
    try:
        for quiesce in ("required", "never"):
            done = ok(ansible.module("snapshot", name=quiesce, quiesce=quiesce, **options))
            for found in done["domains"]:
                inspected = Inspected(found["disks"][0]["base"], tmp_path)
                if quiesce == "never":
                    assert inspected.replays
                    assert (found["quiesced"], found["seconds_frozen"]) == (False, None)
                    continue
                assert found["quiesced"]
                assert found["seconds_frozen"] < 15
                assert not inspected.replays
                assert inspected.fsck.returncode == 0, inspected.fsck.stdout
                look = f"grep -B20 -A2 '^{inspected.last} ' /root/sequence | cut -d' ' -f2"
                times = [int(word) for word in lab.run(found["domain"], look, timeout=60).output.split()]
                *before, last, next_one = (later - time for time, later in zip(times, times[1:]))
                # The one that had to wait has looked at the clock before it did.
                paused = max(last, next_one)
                sys.stderr.write(f"\n{found['domain']}: frozen {found['seconds_frozen']} s, the writer paused {paused} ms\n")
                assert statistics.median(before) * 3 < paused < (found["seconds_frozen"] + 10) * 1000
            ok(ansible.module("snapshot", name=quiesce, state="absent", **options))
    finally:
        for name in names:
            lab.run(name, "systemctl stop sequence; rm -f /root/sequence /run/writer", timeout=60)
