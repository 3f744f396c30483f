# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module backup from its arguments to its result, with a libvirt in memory and files in a directory."""

from __future__ import annotations

import functools
import json
import typing as t
from pathlib import Path

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils._backup import images, notes
from ansible_collections.virtops.guest_agent.plugins.modules import backup
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Error, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt_backup import CANCELLED, FAILED, NONE, qemu_img
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run

DISK = "<disk type='file'><driver type='{form}'/><source file='/srv/{target}'/><target dev='{target}'/>{inner}</disk>"
DISKS = DISK.format(form="qcow2", target="vda", inner="")
RAW = DISK.format(form="raw", target="vdb", inner="")
READ_ONLY = DISK.format(form="qcow2", target="vdc", inner="<readonly/>")


@pytest.fixture
def domains() -> list[Domain]:
    found = [Domain(name, number, guest=FakeGuest()) for number, name in enumerate(("web", "db"), 1)]
    for domain in found:
        domain.text = domain.text.replace("</devices>", f"{DISKS}</devices>")
    return found


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(images.subprocess, "run", qemu_img)


@pytest.fixture
def run(run: Run, tmp_path: Path) -> Run:
    options = {"name": "one", "domains": ["web"], "domain": None, "directory": str(tmp_path), "quiesce": "never"}
    return functools.partial(run, backup, **options)


@pytest.fixture
def web(host: Hypervisor) -> Domain:
    return host.domains[0]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def good(result: dict[str, t.Any]) -> dict[str, t.Any]:
    assert "failure" not in result, result
    return result


def base_of(image: Path) -> str | None:
    return t.cast("str | None", json.loads(image.read_text())["backing"])


def test_a_full_one_and_an_increment(web: Domain, run: Run, tmp_path: Path) -> None:
    first = good(run(diff=True))
    found = first["domains"][0]
    assert (found["kind"], found["checkpoint"], found["quiesced"]) == ("full", "one", False)
    assert found["reason"] == "it was not asked for"
    assert found["disks"][0]["image"] == f"{tmp_path}/web-vda.one.qcow2"
    assert "has a checkpoint in libvirt" in found["disks"][0]["reason"]
    assert first["diff"]["after"]["web"] == {"backups": {"one": "full"}, "checkpoints": ["one"], "unfinished": []}
    assert names(tmp_path) == ["web-vda.one.qcow2", "web.one.backup.json"]

    second = good(run(name="two"))["domains"][0]
    assert (second["kind"], second["checkpoint"]) == ("incremental", "two")
    assert second["disks"][0]["chain"] == [f"{tmp_path}/web-vda.one.qcow2"]
    assert [(each["name"], each["parent"]) for each in second["backups"]] == [("one", ""), ("two", "one")]
    assert base_of(tmp_path / "web-vda.two.qcow2") == "./web-vda.one.qcow2"
    assert 'incremental="one"' in web.begun[1]
    # Nothing needs the older checkpoint any more.
    assert list(web.checkpoints) == ["two"]
    assert (tmp_path / "web-vda.two.qcow2").stat().st_mode & 0o777 == 0o600

    again = run(name="two")
    assert (again["changed"], again["domains"][0]["kind"]) == (False, "incremental")
    assert run(name="two", disks=["vda"], check=True)["changed"] is False
    assert run(name="two", disks=["vdx"])["failure"]["kind"] == "foreign_backup"


def test_check_mode_foresees_and_does_nothing(web: Domain, run: Run, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        foreseen = good(run(name=name, keep=2, check=True, diff=True))
        assert (name in names(tmp_path), list(web.checkpoints), len(web.begun)) == (False, *_seen(web))
        done = good(run(name=name, keep=2, diff=True))
        assert foreseen["diff"] == done["diff"]
        for key in ("kind", "checkpoint", "spared", "removed"):
            assert foreseen["domains"][0][key] == done["domains"][0][key]
    assert foreseen["domains"][0]["quiesced"] is None


def _seen(web: Domain) -> tuple[list[str], int]:
    return list(web.checkpoints), len(web.begun)


def test_retention_keeps_what_kept_increments_stand_on(web: Domain, run: Run, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        good(run(name=name, max_increments=1))
    # c is full again; b and a have nothing above them any more.
    assert [each["kind"] for each in good(run(name="c"))["domains"][0]["backups"]] == ["full", "incremental", "full"]
    result = good(run(name="d", max_increments=1, keep=3, diff=True))
    assert result["domains"][0]["removed"] == []
    result = good(run(name="d", keep=2, diff=True))
    assert result["domains"][0]["removed"] == ["b", "a"]
    assert result["diff"]["after"]["web"]["backups"] == {"c": "full", "d": "incremental"}
    assert names(tmp_path) == ["web-vda.c.qcow2", "web-vda.d.qcow2", "web.c.backup.json", "web.d.backup.json"]
    assert run(name="c", state="absent")["failure"]["detail"] == "the backup d stands on c"
    gone = good(run(name="d", state="absent", diff=True))
    assert gone["diff"]["after"]["web"] == {"backups": {"c": "full"}, "checkpoints": [], "unfinished": []}
    assert not good(run(name="d", state="absent"))["changed"]
    assert web.checkpoints == {}


def test_a_task_that_was_killed_before_it_removed_the_older_ones(web: Domain, run: Run, tmp_path: Path) -> None:
    good(run())
    one = web.checkpoints["one"]
    good(run(name="two"))
    web.checkpoints = {"one": one, **web.checkpoints}
    again = good(run(name="two", keep=1, diff=True))
    assert again["diff"]["before"]["web"]["checkpoints"] == ["one", "two"]
    assert again["diff"]["after"]["web"] == {
        "backups": {"one": "full", "two": "incremental"},
        "checkpoints": ["two"],
        "unfinished": [],
    }
    assert list(web.checkpoints) == ["two"]
    assert not good(run(name="two", keep=1))["changed"]
    # Where the newest one has lost its checkpoint, an older one is what the next increment can be based on.
    web.checkpoints = {"one": one}
    assert not good(run(name="two"))["changed"]
    assert good(run(name="three"))["domains"][0]["disks"][0]["chain"] == [f"{tmp_path}/web-vda.one.qcow2"]


def test_what_only_a_full_backup_can_do(web: Domain, run: Run, tmp_path: Path) -> None:
    web.text = web.text.replace("</devices>", f"{RAW}{READ_ONLY}</devices>")
    good(run())
    two = good(run(name="two"))["domains"][0]
    assert [(disk["target"], disk["kind"]) for disk in two["disks"]] == [("vda", "incremental"), ("vdb", "full")]
    assert "its image is raw" in two["disks"][1]["reason"]
    assert two["spared"] == {"vdc": "it is read-only"}
    assert '<disk name="vdb" checkpoint="no" />' in web.checkpoints["two"]
    refused = run(name="three", mode="incremental")
    assert refused["failure"]["kind"] == "invalid_input"
    assert "no increment of disk vdb is possible: its image is raw" in refused["msg"]
    assert good(run(name="three", mode="incremental", disks=["vda"]))["domains"][0]["kind"] == "incremental"


def test_a_transient_domain_has_no_checkpoint(web: Domain, run: Run) -> None:
    web.flags = 0
    found = good(run())["domains"][0]
    assert (found["kind"], found["checkpoint"], web.checkpoints) == ("full", "", {})
    assert "no persistent definition" in found["disks"][0]["reason"]
    assert "no persistent definition" in run(name="two", mode="incremental")["msg"]


def test_a_bitmap_that_was_lost_in_a_crash(web: Domain, run: Run) -> None:
    good(run())
    web.lost.add(("one", "vda"))
    assert "lost it in a crash" in run(name="two", mode="incremental")["msg"]
    found = good(run(name="two"))["domains"][0]
    assert (found["kind"], list(web.checkpoints)) == ("full", ["two"])
    assert web.did[-1].startswith("delete one 2")


@pytest.mark.parametrize(
    ("end", "word"),
    [
        ({"type": FAILED, "errmsg": "No space left on device"}, "it failed (No space left on device)"),
        ({"type": CANCELLED}, "it was cancelled"),
        ({"type": NONE, "operation": 0}, "does not tell"),
    ],
)
def test_a_job_that_does_not_end_well(host: Hypervisor, run: Run, tmp_path: Path, end: dict[str, t.Any], word: str) -> None:
    host.domains[1].end = end
    result = run(domains=["web", "db"])
    assert (result["failure"]["kind"], result["failure"]["domain"]) == ("backup_failed", "db")
    assert word in result["msg"]
    assert "no backup is left" in result["msg"]
    _nothing_left(host, tmp_path)


def _nothing_left(host: Hypervisor, directory: Path) -> None:
    assert names(directory) == []
    assert [(domain.backup, domain.checkpoints) for domain in host.domains] == [("", {})] * len(host.domains)


def test_one_that_takes_too_long_is_cancelled(host: Hypervisor, run: Run, tmp_path: Path) -> None:
    host.domains[1].looks = None
    result = run(domains=["web", "db"], backup_timeout=1)
    assert result["failure"]["kind"] == "wait_timeout"
    assert "the disks of db were not copied within 1 s" in result["msg"]
    assert host.domains[1].did.count("abortJob") == 1
    _nothing_left(host, tmp_path)


def test_an_image_that_is_damaged(host: Hypervisor, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(command: list[str], **how: t.Any) -> t.Any:
        if command[1] == "check":
            Path(command[-1]).write_text('{"backing": null, "sound": false}')
        return qemu_img(command, **how)

    monkeypatch.setattr(images.subprocess, "run", damaged)
    result = run(domains=["web", "db"])
    assert result["failure"]["kind"] == "backup_failed"
    assert "the image is damaged (qemu-img: 1 errors were found on the image.)" in result["msg"]
    _nothing_left(host, tmp_path)


def test_an_increment_that_stands_on_the_wrong_image(host: Hypervisor, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    good(run())
    create = images.create
    monkeypatch.setattr(images, "create", lambda path, size, _base, deadline: create(path, size, "", deadline))
    result = run(name="two")
    assert result["failure"]["kind"] == "backup_failed"
    assert "stands on nothing instead of web-vda.one.qcow2" in result["msg"]
    assert list(host.domains[0].checkpoints) == ["one"]


def test_one_that_cannot_be_begun_takes_back_the_others(host: Hypervisor, run: Run, tmp_path: Path) -> None:
    host.domains[1].raises["backupBegin"] = Error(1, "internal error: no")
    host.domains[0].looks = None
    result = run(domains=["web", "db"])
    assert "libvirt says: internal error: no; no backup is left" in result["msg"]
    _nothing_left(host, tmp_path)


def test_files_that_are_not_here(host: Hypervisor, run: Run, tmp_path: Path, web: Domain) -> None:
    """libvirt is on another host."""
    web.while_begun = lambda: [path.unlink() for path in tmp_path.glob("*.qcow2.part")]  # type: ignore[assignment]
    result = run()
    assert "No such file or directory; no backup is left; run the task on the hypervisor" in result["msg"]
    _nothing_left(host, tmp_path)


def test_some_have_it(host: Hypervisor, run: Run) -> None:
    good(run())
    result = run(domains=["web", "db"])
    assert result["failure"]["kind"] == "partial_backup"
    assert "it has the backup one, which is missing in db" in result["msg"]


def test_what_else_has_the_name(web: Domain, run: Run, tmp_path: Path) -> None:
    (tmp_path / "web-vda.one.qcow2").write_text("theirs")
    assert "has a file web-vda.one.qcow2 without its note" in run()["msg"]
    (tmp_path / "web-vda.one.qcow2").unlink()
    web.checkpoints["one"] = "<domaincheckpoint/>"
    assert "has a checkpoint one without its backup" in run()["msg"]
    assert not good(run(state="absent"))["changed"]  # it is none of ours
    assert list(web.checkpoints) == ["one"]


def test_a_checkpoint_of_ours_without_its_backup(web: Domain, run: Run, tmp_path: Path) -> None:
    good(run())
    for path in tmp_path.iterdir():
        path.unlink()
    assert run()["failure"]["kind"] == "foreign_backup"
    assert good(run(state="absent"))["changed"]
    assert web.checkpoints == {}


def test_an_image_that_is_missing(web: Domain, run: Run, tmp_path: Path) -> None:
    good(run())
    (tmp_path / "web-vda.one.qcow2").unlink()
    two = run(name="two")
    assert "of the backup one" in two["warned"]
    assert good(two)["domains"][0]["kind"] == "full"
    assert "web-vda.one.qcow2 is missing" in run()["msg"]
    assert good(run(state="absent"))["changed"]


class Killed(BaseException):
    """As kill -9, as far as that goes in one process."""


@pytest.fixture
def left(web: Domain, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[None]:
    """What a task leaves that is killed while libvirt copies."""

    def forked(*_pair: t.Any) -> t.NoReturn:
        raise Killed

    web.looks = None
    with monkeypatch.context() as patch:
        from ansible_collections.virtops.guest_agent.plugins.module_utils._backup import group

        patch.setattr(group, "_copied", forked)
        patch.setattr(group, "_undo", lambda group_, _directory: [subject.held.leave() for subject in group_])
        with pytest.raises(Killed):
            run()
    assert names(tmp_path) == ["web-vda.one.qcow2.part", "web.one.backup.json.part"]
    assert (list(web.checkpoints), bool(web.backup)) == (["one"], True)
    yield
    web.looks = 0


@pytest.mark.usefixtures("left")
def test_what_a_killed_task_has_left_is_named_and_removed(web: Domain, run: Run, tmp_path: Path) -> None:
    foreseen = run(name="two", check=True, diff=True)
    assert names(tmp_path) == ["web-vda.one.qcow2.part", "web.one.backup.json.part"]
    web.looks = 0
    # The job of the killed task goes on in libvirt.
    result = good(run(name="two", diff=True))
    assert foreseen["diff"] == result["diff"]
    told = foreseen["warned"] + result["warned"]
    assert "The task that made or removed the backup one was killed" in told
    assert f"{tmp_path}/web-vda.one.qcow2.part, the checkpoint one" in told
    assert result["diff"]["before"]["web"]["unfinished"] == ["one"]
    assert names(tmp_path) == ["web-vda.two.qcow2", "web.two.backup.json"]
    assert list(web.checkpoints) == ["two"]


@pytest.mark.usefixtures("left")
def test_what_a_killed_task_has_left_is_removed_with_its_name(web: Domain, run: Run, tmp_path: Path) -> None:
    (tmp_path / "web.two.backup.json.part.new").touch()
    assert good(run(state="absent"))["changed"]
    assert (names(tmp_path), web.checkpoints, web.backup) == ([], {}, "")


@pytest.mark.usefixtures("left")
def test_a_task_that_is_at_work_is_left_alone(web: Domain, run: Run, tmp_path: Path) -> None:
    directory = notes.Directory(str(tmp_path))
    (unfinished,) = directory.unfinished(samples.uuid(1))
    held = directory.again(unfinished.note)
    result = run(name="two")
    assert result["failure"]["kind"] == "domain_busy"
    assert "another task is at work on the backup one" in result["msg"]
    assert run(name="two", check=True)["failure"] == result["failure"]
    assert web.backup
    held.leave()


@pytest.mark.usefixtures("left")
def test_what_is_left_and_cannot_be_removed(web: Domain, run: Run, tmp_path: Path) -> None:
    web.raises["abortJob"] = Error(1, "internal error: no")
    before = names(tmp_path)
    assert "internal error: no" in run(name="two")["msg"]
    assert names(tmp_path) == before


def test_one_of_them_that_cannot_be_looked_at(host: Hypervisor, run: Run, tmp_path: Path) -> None:
    host.domains[1].raises["listAllCheckpoints"] = Error(1, "internal error: no")
    result = run(domains=["web", "db"])
    assert (result["failure"]["kind"], result["failure"]["domain"]) == ("libvirt_error", "db")
    assert names(tmp_path) == []


def test_a_job_of_another_client(web: Domain, run: Run, tmp_path: Path) -> None:
    web.looks = None
    disk = f"<disk backup='yes'><target file='{tmp_path}/theirs'/></disk>"
    (tmp_path / "theirs").touch()
    web.backupBegin(f"<domainbackup><disks>{disk}</disks></domainbackup>", "", 1)
    result = run()
    assert result["failure"]["kind"] == "domain_busy"
    assert "another backup of this domain is under way" in result["msg"]
    assert web.backup


def test_a_job_that_cannot_be_read(web: Domain, run: Run, tmp_path: Path) -> None:
    """It may write to any file of the directory."""
    web.looks = None
    (tmp_path / "theirs").touch()
    web.backupBegin(f"<domainbackup><disks><disk><target file='{tmp_path}/theirs'/></disk></disks></domainbackup>", "", 1)
    web.raises["backupGetXMLDesc"] = Error(1, "internal error: no")
    assert run()["failure"]["kind"] == "libvirt_error"
    web.raises.clear()
    web.abortJob()


@pytest.mark.parametrize(
    ("arguments", "kind", "word"),
    [
        ({"domains": []}, "invalid_input", "domains is empty"),
        ({"domains": ["web", "nobody"]}, "domain_not_found", "nobody"),
        ({"name": "../x"}, "invalid_input", "backup's name"),
        ({"max_seconds": 4}, "invalid_input", "max_seconds must be from 5 to"),
        ({"backup_timeout": 0}, "invalid_input", "backup_timeout"),
        ({"keep": -1}, "invalid_input", "keep must be from 0"),
        ({"max_increments": -1}, "invalid_input", "max_increments"),
        ({"directory": "/nowhere"}, "invalid_input", "/nowhere is not a directory here"),
        ({"directory": "here"}, "invalid_input", "not a directory here"),
        ({"disks": ["vdz"]}, "invalid_input", "no disk vdz"),
    ],
)
def test_what_cannot_be_asked_for(host: Hypervisor, run: Run, arguments: dict[str, t.Any], kind: str, word: str) -> None:
    result = run(check=True, **arguments)
    assert (result["failure"]["kind"], result["changed"]) == (kind, False)
    assert word in result["msg"]


def test_no_qemu_img(host: Hypervisor, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images.shutil, "which", lambda _name: None)
    assert "has no qemu-img; install it" in run()["msg"]


def test_a_domain_that_is_off(web: Domain, run: Run) -> None:
    web.current = 5
    result = run()
    assert (result["failure"]["kind"], result["failure"]["domain"]) == ("domain_not_running", "web")
    assert "libvirt backs up running domains only" in result["msg"]


def test_the_agents_are_asked_before(host: Hypervisor, run: Run) -> None:
    guest = host.domains[1].guest
    assert guest
    guest.frozen = True
    result = run(domains=["web", "db"], quiesce="required", check=True)
    assert result["failure"]["kind"] == "guest_frozen"
    assert "no guest was frozen and no backup taken" in result["msg"]
    preferred = good(run(domains=["web", "db"], quiesce="preferred", check=True))
    assert [found["quiesced"] for found in preferred["domains"]] == [None, None]
