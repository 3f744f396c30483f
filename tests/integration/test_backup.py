# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of several guests at one moment: whole images, all or none, nothing left of those that were cut off."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import libvirt
import pytest

from tests.integration.ansible_cli import ROOT, Ansible
from tests.integration.guests_by_agent import ok
from tests.integration.images_of_writers import WRITER, Inspected, restored, ticking
from tests.lab import Guest, Lab
from tests.lab.processes import qemu_of
from tests.lab.wire import Wire

A, B = "it-backup-a", "it-backup-b"
RAW = """<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{place}/raw'/>
  <target dev='vdb' bus='virtio'/></disk>"""
GROUP = (A, B)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where QEMU may write."""
    if os.environ.get("DOOR") == "session":
        pytest.skip("SKIPPED OUT LOUD: backups by root are not tried, for this QEMU is another's; test_session.py has that user's")
    (place := tmp_path_factory.mktemp("backups")).chmod(0o755)
    return place


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Iterator[None]:
    lab.start_all([Guest(name=name, persistent=True) for name in GROUP])
    yield
    for name in GROUP:
        lab.destroy(name)


Backup = Callable[..., dict[str, Any]]


@pytest.fixture
def group(lab: Lab, ansible: Ansible, pair: None, place: Path) -> Iterator[Backup]:
    """``group(name="s")``: the module on two tiny guests that write, have no backup, and have none in the end."""
    ticking(lab, *GROUP)
    yield lambda **options: ansible.module(
        "backup",
        **{"domains": GROUP, "uri": lab.uri, "directory": str(place), "max_seconds": 20, "diff": True, **options},
    )
    ticking(lab, *GROUP)
    _nothing_left(lab, place, *GROUP)


def _nothing_left(lab: Lab, place: Path, *names: str) -> None:
    """What is left is removed all the same, so that a test that fails does not take the next ones with it."""
    files = [path for path in place.iterdir() if path.name.startswith(names)]
    busy = [name for name in names if lab.domain(name).jobStats(0)["type"] != libvirt.VIR_DOMAIN_JOB_NONE]
    checkpoints = [each for name in names for each in lab.domain(name).listAllCheckpoints(0)]
    left = (sorted(path.name for path in files), busy, [each.getName() for each in checkpoints])
    for name in busy:
        lab.domain(name).abortJob()
    for checkpoint in checkpoints:
        checkpoint.delete(0)
    for path in files:
        path.unlink()
    assert left == ([], [], [])


def test_full_and_incremental_and_gone(lab: Lab, group: Backup, place: Path, tmp_path: Path) -> None:
    would = ok(group(name="one", check=True))
    done = ok(group(name="one"))
    assert would["diff"] == done["diff"]
    before = {name: lab.ticks(name) for name in GROUP}
    for found, name in zip(done["domains"], GROUP):
        assert (found["domain"], found["kind"], found["quiesced"], found["reason"]) == (name, "full", True, "")
        assert 0 < found["seconds_frozen"] < 15
        assert found["disks"][0]["image"] == f"{place}/{name}-vda.one.qcow2"
        assert 0 < restored(found, tmp_path) <= before[name]
    assert not ok(group(name="one"))["changed"]
    ticking(lab, *GROUP)

    two = ok(group(name="two", mode="incremental"))
    for found, name, first in zip(two["domains"], GROUP, done["domains"]):
        assert (found["kind"], found["quiesced"]) == ("incremental", True)
        assert found["disks"][0]["chain"] == [f"{place}/{name}-vda.one.qcow2"]
        assert found["disks"][0]["bytes"] < first["disks"][0]["bytes"]
        assert [each.getName() for each in lab.domain(name).listAllCheckpoints(0)] == ["two"]
        assert restored(first, tmp_path) < restored(found, tmp_path)
        print(name, first["seconds_frozen"], found["seconds_frozen"], first["disks"], found["disks"])  # noqa: T201 - measured

    refused = group(name="one", state="absent")
    assert "the backup two stands on one" in refused["msg"]
    three = ok(group(name="three", mode="full", keep=1))
    assert [found["removed"] for found in three["domains"]] == [["two", "one"]] * 2
    assert sorted(path.name for path in place.glob("*.qcow2")) == sorted(f"{name}-vda.three.qcow2" for name in GROUP)
    assert ok(group(name="three", state="absent", check=True))["changed"]
    assert ok(group(name="three", state="absent"))["changed"]
    assert not ok(group(name="three", state="absent"))["changed"]


def test_one_that_is_silent(lab: Lab, group: Backup) -> None:
    lab.run(B, "kill -STOP $(pidof qemu-ga)")
    try:
        failed = group(name="none", agent_timeout=5)
        assert (failed["failure"]["kind"], failed["failure"]["domain"]) == ("agent_timeout", B)
        assert "no guest was frozen and no backup taken" in failed["msg"]
        ticking(lab, *GROUP)
        done = ok(group(name="some", quiesce="preferred", agent_timeout=5))
        assert [each["quiesced"] for each in done["domains"]] == [True, False], json.dumps(done["domains"])
        assert "did not answer" in done["domains"][1]["reason"]
    finally:
        lab.run(B, "kill -CONT $(pidof qemu-ga)")
    ok(group(name="some", state="absent"))


@pytest.fixture(scope="module")
def slow(lab: Lab, place: Path) -> Iterator[str]:
    """A guest with a disk that is read slowly, so that there is time to do something while it is copied.

    QEMU asks for up to 64 MiB at once, waits for all of it before it gives up a backup, and calls one whole that is by then.
    """
    disk, socket = place.with_name("slow.raw"), place.with_name("slow.nbd")
    disk.write_bytes(os.urandom(1024 * 1024) * 96)
    throttled = ["--object", "throttle-group,id=slow,x-bps-total=5000000", "--image-opts"]
    image = f"driver=throttle,throttle-group=slow,file.driver=raw,file.file.driver=file,file.file.filename={disk}"
    server = subprocess.Popen(["qemu-nbd", "--persistent", f"--socket={socket}", *throttled, image])
    try:
        devices = f"""<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd'>
          <host transport='unix' socket='{socket}'/></source><target dev='vdb' bus='virtio'/></disk>"""
        yield lab.start_all([Guest(name="it-backup-slow", devices=devices, persistent=True)])[0]
    finally:
        if "it-backup-slow" in lab.names():
            lab.destroy("it-backup-slow")
        server.terminate()
        server.wait(10)


@pytest.fixture
def one(lab: Lab, ansible: Ansible, slow: str, place: Path) -> Iterator[Backup]:
    """The module on the slow guest, which has no backup in the end."""
    options = {"domains": [slow], "uri": lab.uri, "directory": str(place), "max_seconds": 20, "diff": True}
    ticking(lab, slow)
    yield lambda **more: ansible.module("backup", **{**options, **more})
    ticking(lab, slow)
    _nothing_left(lab, place, slow)


def test_while_another_client_has_a_backup(lab: Lab, one: Backup, slow: str, place: Path) -> None:
    theirs = place / "theirs"
    disk = f"<disk name='vdb' type='file'><target file='{theirs}'/></disk><disk name='vda' backup='no'/>"
    lab.domain(slow).backupBegin(f"<domainbackup><disks>{disk}</disks></domainbackup>", None)
    failed = one(name="half")
    assert (failed["failure"]["kind"], failed["failure"]["domain"]) == ("domain_busy", slow)
    assert theirs.exists()
    lab.domain(slow).abortJob()
    deadline = time.monotonic() + 30
    while theirs.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_one_that_takes_too_long(lab: Lab, one: Backup, slow: str, place: Path) -> None:
    failed = one(name="slow", backup_timeout=1)
    assert failed["failure"]["kind"] == "wait_timeout"
    assert "no backup is left" in failed["msg"]
    _nothing_left(lab, place, slow)


def _running(lab: Lab, place: Path, **options: Any) -> subprocess.Popen[str]:
    """The module in a process of its own."""
    given = {**_options(lab, place), **options}
    program = (
        "import importlib, json, sys; sys.path.insert(0, sys.argv[1]);"
        "p = 'ansible_collections.virtops.guest_agent.plugins.';"
        "module = importlib.import_module(p + 'modules.backup');"
        "run = importlib.import_module(p + 'module_utils._task.run');"
        "print(run.perform(module.ensure, run.Task(json.load(sys.stdin), False, False, print)))"
    )
    # A shell that runs the tests in the background lets them ignore SIGINT, and Python leaves it so.
    command = ["env", "--default-signal=INT", sys.executable, "-c", program, str(ROOT / ".collections")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdin
    process.stdin.write(json.dumps(given))
    process.stdin.close()
    return process


def _options(lab: Lab, place: Path) -> dict[str, Any]:
    return {
        "name": "cut", "domains": list(GROUP), "state": "present", "uri": lab.uri, "ssh_persist": 0, "quiesce": "required",
        "disks": None, "directory": str(place), "timeout": 10, "max_seconds": 10, "backup_timeout": 60, "keep": 0,
        "agent_timeout": 10, "mode": "auto", "max_increments": 6, "checkpoint": True,
    }  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.full)])
def test_a_task_that_is_ended_leaves_nothing(lab: Lab, one: Backup, slow: str, place: Path, number: int) -> None:
    process = _at_work(lab, slow, place)
    process.send_signal(number)
    assert process.wait(120) == -number, process.stdout and process.stdout.read()
    _nothing_left(lab, place, slow)


def test_a_task_that_is_killed_while_libvirt_copies(lab: Lab, one: Backup, slow: str, place: Path) -> None:
    process = _at_work(lab, slow, place)
    busy = one(name="other")
    assert (busy["failure"]["kind"], busy["failure"]["domain"]) == ("domain_busy", slow)
    assert "another task is at work on the backup cut" in busy["msg"]
    process.kill()
    process.wait(10)
    foreseen = one(name="other", check=True)
    assert _copies(lab, slow)
    done = ok(one(name="other", disks=["vda"]))
    assert (done["diff"]["before"], foreseen["diff"]["before"]) == (
        {slow: {"backups": {}, "checkpoints": ["cut"], "unfinished": ["cut"]}},
    ) * 2
    (told,) = done["warnings"]
    assert f"{slow}-vda.cut.qcow2.part, " in told
    assert "the checkpoint cut" in told
    assert done["diff"]["after"] == {slow: {"backups": {"other": "full"}, "checkpoints": ["other"], "unfinished": []}}
    ok(one(name="other", state="absent"))


def _at_work(lab: Lab, name: str, place: Path) -> subprocess.Popen[str]:
    """The module in a process of its own, which waits for libvirt's copy."""
    process = _running(lab, place, domains=[name])
    deadline = time.monotonic() + 60
    try:
        while not _copies(lab, name):
            assert process.poll() is None, process.stdout and process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    except BaseException:
        process.kill()
        raise
    time.sleep(1)
    return process


def _copies(lab: Lab, name: str) -> bool:
    with contextlib.suppress(libvirt.libvirtError):  # it has not begun quite yet
        return bool(lab.domain(name).jobStats(0)["type"] != libvirt.VIR_DOMAIN_JOB_NONE)
    return False


def _cut(lab: Lab, wire: Wire) -> None:
    wire.cut()


def _half_open_for_a_while(lab: Lab, wire: Wire) -> None:
    wire.hold()
    time.sleep(7)
    wire.cut()


def _libvirt_killed(lab: Lab, wire: Wire) -> None:
    if not lab.kill_libvirt(2):
        pytest.skip("SKIPPED OUT LOUD: a backup while libvirtd is killed is not tried, for this one is not the lab's own")


@pytest.mark.full
@pytest.mark.parametrize("strike", [_cut, _half_open_for_a_while, _libvirt_killed])
def test_goes_on_through(
    lab: Lab, one: Backup, slow: str, place: Path, tmp_path: Path, strike: Callable[[Lab, Wire], None]
) -> None:
    listens = Path(urlsplit(lab.uri).query.removeprefix("socket=") or "/run/libvirt/libvirt-sock")
    with Wire(tmp_path / "sock", listens) as wire, concurrent.futures.ThreadPoolExecutor(1) as pool:
        task = pool.submit(one, name="through", uri=f"qemu+unix:///system?socket={tmp_path / 'sock'}")
        deadline = time.monotonic() + 60
        while not _copies(lab, slow):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        strike(lab, wire)
        done = ok(task.result(180))
    assert (done["domains"][0]["kind"], done["domains"][0]["quiesced"]) == ("full", True)
    ok(one(name="through", state="absent"))


POINTS = [
    *(f"{when} {step}" for step in ("note", "freeze", "begin", "thaw", "wait", "finish", "forget") for when in ("before", "after")),
    *(f"{when} {step} absent" for step in ("remove", "drop") for when in ("before", "after")),
]
#: Those between which most can be lost.
SHORT = {"after begin", "before finish", "after remove absent"}


@pytest.mark.parametrize("point", [p if p in SHORT else pytest.param(p, marks=pytest.mark.full) for p in POINTS])
def test_killed_at(lab: Lab, group: Backup, place: Path, point: str) -> None:
    """Every guest is thawed in time, and the next run names and removes what is left."""
    ok(group(name="base"))
    options = _options(lab, place)
    step, state = point.removesuffix(" absent"), "absent" if point.endswith("absent") else "present"
    if state == "absent":
        ok(group(name="cut"))
        options["state"] = "absent"
    program = Path(__file__).with_name("killed_backup.py")
    command = [sys.executable, str(program), step, str(ROOT / ".collections")]
    killed = subprocess.run(command, input=json.dumps(options), text=True, capture_output=True, timeout=300, check=False)
    assert killed.returncode == -9, killed
    ticking(lab, *GROUP)
    unfinished = sorted(path.name for path in place.glob("*.json.part"))
    again = group(name="cut")
    told = " ".join(again.get("warnings", ()))
    assert [file for file in unfinished if f"{file.partition('.')[0]} (" not in told] == []
    if again.get("failed"):
        assert again["failure"]["kind"] == "partial_backup", again
        assert "state=absent" in again["msg"]
        ok(group(name="cut", state="absent"))
        again = ok(group(name="cut"))
    assert list(place.glob("*.part")) == []
    for name in GROUP:
        assert [each.getName() for each in lab.domain(name).listAllCheckpoints(0)] == ["cut"]
    # What has begun to remove the last one has removed its checkpoint.
    kind = "full" if state == "absent" and point != "before remove absent" else "incremental"
    assert [found["kind"] for found in again["domains"]] == [kind] * 2
    for name in ("cut", "base"):
        ok(group(name=name, state="absent"))


def test_a_raw_disk_is_said_beforehand(lab: Lab, ansible: Ansible, place: Path, start: Callable[..., str]) -> None:
    with (place / "raw").open("wb") as image:
        image.truncate(1024 * 1024)
    try:
        name = start("it-backup-raw", devices=RAW.format(place=place), persistent=True)
        options = {"domains": [name], "uri": lab.uri, "directory": str(place)}
        ok(ansible.module("backup", name="one", **options))
        refused = ansible.module("backup", name="two", mode="incremental", **options)
        assert "no increment of disk vdb is possible: its image is raw" in refused["msg"]
        found = ok(ansible.module("backup", name="two", **options))["domains"][0]
        assert [(disk["target"], disk["kind"]) for disk in found["disks"]] == [("vda", "incremental"), ("vdb", "full")]
        for gone in ("two", "one"):
            ok(ansible.module("backup", name=gone, state="absent", **options))
    finally:
        (place / "raw").unlink()


def test_a_qemu_that_was_killed_has_no_bitmaps(lab: Lab, ansible: Ansible, place: Path, start: Callable[..., str]) -> None:
    name = start("it-backup-crash", persistent=True)
    options = {"domains": [name], "uri": lab.uri, "directory": str(place), "agent_timeout": 20}
    ok(ansible.module("backup", name="one", **options))
    process = qemu_of(lab.domain(name).UUIDString())
    assert process
    process.end(signal.SIGKILL)
    domain = lab.domain(name)
    while domain.isActive():
        time.sleep(0.1)
    assert ansible.module("backup", name="two", **options)["failure"]["kind"] == "domain_not_running"
    domain.create()
    lab.wait_agents()
    assert "lost it in a crash" in ansible.module("backup", name="two", mode="incremental", **options)["msg"]
    found = ok(ansible.module("backup", name="two", **options))["domains"][0]
    assert found["kind"] == "full"
    assert [each.getName() for each in domain.listAllCheckpoints(0)] == ["two"]
    assert ok(ansible.module("backup", name="three", **options))["domains"][0]["kind"] == "incremental"
    for gone in ("three", "two", "one"):
        ok(ansible.module("backup", name=gone, state="absent", **options))


@pytest.mark.full
@pytest.mark.parametrize("others", [(), GROUP], ids=["alone", "three"])
def test_ten_backups_of_a_guest_that_writes(
    lab: Lab, ansible: Ansible, pair: None, place: Path, tmp_path: Path, others: tuple[str, ...]
) -> None:
    """Each restored image is clean, ends in the pause of the writer, and holds exactly what was written until then."""
    (name,) = lab.start_all([Guest(name="it-backup-writer", kind="debian12", vcpus=2, persistent=True)])
    options = {"domains": [name, *others], "uri": lab.uri, "directory": str(place), "agent_timeout": 20, "max_increments": 4}
    begin = 'systemd-run --unit sequence python3 -c "$(cat /run/writer)"'
    assert lab.run(name, f"cat >/run/writer <<'END'\n{WRITER}END\n{begin}", timeout=60).returncode == 0
    try:
        time.sleep(3)
        for number in range(10):
            found, *rest = ok(ansible.module("backup", name=f"b{number}", **options))["domains"]
            assert {each["kind"] for each in (found, *rest)} == {"full" if number in (0, 5) else "incremental"}
            assert all(each["quiesced"] for each in (found, *rest))
            assert all(restored(each, tmp_path) > 0 for each in rest)
            inspected = Inspected(found["disks"][0]["image"], tmp_path)
            assert not inspected.replays
            assert inspected.fsck.returncode == 0, inspected.fsck.stdout
            look = f"sed -n '/^{inspected.last} /q;p' /root/sequence | sha256sum; grep -B20 -A2 '^{inspected.last} ' /root/sequence"
            said = lab.run(name, look, timeout=60).output.splitlines()
            assert said[0].split()[0] == inspected.sha_before_last
            times = [int(line.split()[1]) for line in said[1:]]
            *before, last, next_one = (later - time for time, later in zip(times, times[1:]))
            paused = max(last, next_one)
            assert statistics.median(before) < paused < (found["seconds_frozen"] + 10) * 1000
            frozen = [each["seconds_frozen"] for each in (found, *rest)]
            sys.stderr.write(f"\n{found['kind']}: frozen {frozen} s, paused {paused} ms, {found['disks'][0]['bytes']} bytes\n")
        for number in reversed(range(10)):
            ok(ansible.module("backup", name=f"b{number}", state="absent", **options))
    finally:
        lab.destroy(name)
