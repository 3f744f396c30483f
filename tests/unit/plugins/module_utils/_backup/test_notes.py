# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notes of backups: what they are called, who is at work on them, and that no odd one costs a file."""

from __future__ import annotations

import errno
import json
import os
import signal
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._backup import notes

NOTE = notes.Note("one", "web", "u1", "2026-01-01", "", True, (notes.DiskNote("vda", "full", 5, 7),))


def refuse_unnamed(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A file without a name cannot be made, for this reason."""
    opens = os.open

    def refuses(path: t.Any, flags: int, *more: t.Any, **options: t.Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(number, os.strerror(number), path)
        return opens(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", refuses)


@pytest.fixture(params=["ext4", "NFS"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> notes.Directory:
    """On a file system that makes files without a name, and on one that does not."""
    if request.param == "NFS":
        refuse_unnamed(monkeypatch, errno.EOPNOTSUPP)
    return notes.Directory(str(tmp_path))


def names(directory: notes.Directory) -> list[str]:
    return sorted(os.listdir(directory.path))


def test_from_begin_to_end(place: notes.Directory) -> None:
    held = place.begin(NOTE)
    assert names(place) == ["web.one.backup.json.part"]
    assert place.unfinished("u1") == [notes.Unfinished(NOTE, True)]
    assert place.whole("u1") == place.unfinished("u2") == []
    with pytest.raises(_errors.BackupForeign, match="another task is at work on the backup one"):
        place.begin(NOTE)
    with pytest.raises(_errors.DomainBusy):
        place.again(NOTE)
    held.finish(NOTE._replace(quiesced=True))
    assert names(place) == ["web.one.backup.json"]
    assert place.whole("u1") == [NOTE._replace(quiesced=True)]


def test_what_a_killed_task_has_left(place: notes.Directory) -> None:
    place.begin(NOTE).leave()
    assert place.unfinished("u1") == [notes.Unfinished(NOTE, False)]
    held = place.again(NOTE)
    assert place.unfinished("u1") == [notes.Unfinished(NOTE, True)]
    held.drop()
    assert names(place) == []
    with pytest.raises(_errors.DomainBusy):  # another task has removed it
        place.again(NOTE)


@pytest.fixture(params=["write", "fsync", "link"])
def killed(request: pytest.FixtureRequest) -> t.Callable[[t.Callable[[], object]], None]:
    """Runs something in a process of its own that is killed at this step of it."""

    def run(work: t.Callable[[], object]) -> None:
        child = os.fork()
        if child == 0:
            setattr(os, request.param, lambda *words, **options: os.kill(os.getpid(), signal.SIGKILL))
            try:
                work()
            finally:
                os._exit(1)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL

    return run


def test_a_task_that_is_killed_while_it_writes_leaves_nothing(
    place: notes.Directory, killed: t.Callable[[t.Callable[[], object]], None], request: pytest.FixtureRequest
) -> None:
    nameless = "ext4" in request.node.callspec.id
    killed(lambda: place.begin(NOTE))
    assert names(place) == ([] if nameless else ["web.one.backup.json.part.new"])
    place.tidy()
    assert names(place) == []
    killed(lambda: place.begin(NOTE))
    held = place.begin(NOTE)  # the next one
    assert names(place) == ["web.one.backup.json.part"]
    killed(lambda: held.finish(NOTE))
    temporary = [] if nameless else ["web.one.backup.json.new"]
    assert names(place) == [*temporary, "web.one.backup.json.part"]
    place.tidy()
    assert names(place) == ["web.one.backup.json.part"]
    held.finish(NOTE)
    assert names(place) == ["web.one.backup.json"]


def test_one_that_is_made_once_more(place: notes.Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another task tidies up between its making and its lock."""
    locks = notes.fcntl.flock

    def late(handle: int, how: int) -> None:
        monkeypatch.setattr(notes.fcntl, "flock", locks)
        place.tidy()
        locks(handle, how)

    monkeypatch.setattr(notes.fcntl, "flock", late)
    place.begin(NOTE)
    assert names(place) == ["web.one.backup.json.part"]
    assert place.unfinished("u1") == [notes.Unfinished(NOTE, True)]


def test_a_server_without_locks(place: notes.Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_words: t.Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(notes.fcntl, "flock", refuses)
    with pytest.raises(_errors.BackupFailed, match=r"web\.one\.backup\.json\.part: No locks available"), notes.explained("web"):
        place.begin(NOTE)
    assert names(place) == []


def test_one_that_is_being_written_is_left_to_its_task(tmp_path: Path) -> None:
    temporary = str(tmp_path / "web.one.backup.json.part.new")
    with open(temporary, "w", encoding="utf-8") as file:
        notes.fcntl.flock(file, notes.fcntl.LOCK_EX)
        with pytest.raises(FileExistsError):
            notes._remove_dead(temporary)
        notes.Directory(str(tmp_path)).tidy()
    notes._remove_dead(temporary)
    notes._remove_dead(temporary)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("place", ["NFS"], indirect=True)
def test_one_that_was_taken_for_a_dead_one_is_another_tasks(place: notes.Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its making and its lock another task comes: what that one makes then is not ours."""
    locks = notes.fcntl.flock
    temporary = Path(place.path, f"{NOTE.file}.part.new")

    def late(handle: int, how: int) -> None:
        if temporary.exists():
            temporary.unlink()
            temporary.write_text("of another task", encoding="utf-8")
        locks(handle, how)

    monkeypatch.setattr(notes.fcntl, "flock", late)
    with pytest.raises(_errors.BackupForeign, match="another task is at work on the backup one"):
        place.begin(NOTE)
    assert temporary.read_text(encoding="utf-8") == "of another task"


def test_a_note_is_written_whole_where_a_disk_takes_a_part_at_a_time(
    place: notes.Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: writes(handle, data[:10]))
    place.begin(NOTE).finish(NOTE)
    monkeypatch.undo()
    assert notes.Directory(place.path).whole("u1") == [NOTE]


def test_a_disk_that_is_full_is_told_with_the_name_of_the_note(place: notes.Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    held = place.begin(NOTE)

    def refuses(*_words: t.Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuses)
    with pytest.raises(_errors.BackupFailed, match=r"/web\.one\.backup\.json: No space left on device"), notes.explained("web"):
        held.finish(NOTE)
    assert names(place) == ["web.one.backup.json.part"]


def test_the_note_of_something_else_is_not_written_over(place: notes.Directory) -> None:
    other = NOTE._replace(name="two.one", domain="web")
    place.begin(other).finish(other)
    ours = NOTE._replace(name="one", domain="web.two", uuid="u2")
    held = place.begin(ours)
    with pytest.raises(_errors.BackupFailed, match=r"web\.two\.one\.backup\.json: File exists"), notes.explained("web"):
        held.finish(ours)
    assert place.whole("u1") == [other]


def test_a_directory_has_one_path(tmp_path: Path) -> None:
    """What a killed task has left is found by the path that libvirt was told."""
    (tmp_path / "link").symlink_to(tmp_path)
    assert notes.Directory(f"{tmp_path}/link").path == str(tmp_path)


def test_a_file_system_that_has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = notes.Directory(str(tmp_path))
    refuse_unnamed(monkeypatch, errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        directory.begin(NOTE)
    assert names(directory) == []


def test_a_whole_one_is_removed(place: notes.Directory) -> None:
    place.begin(NOTE).finish(NOTE)
    held = place.removing(NOTE)
    assert (place.whole("u1"), names(place)) == ([], ["web.one.backup.json.part"])
    with pytest.raises(_errors.DomainBusy):
        place.removing(NOTE)
    held.drop()
    assert names(place) == []


def test_the_older_come_first(place: notes.Directory) -> None:
    for name, begun in (("a", "2026-03-01"), ("b", "2026-01-01"), ("c", "2026-02-01")):
        note = NOTE._replace(name=name, begun=begun)
        place.begin(note).finish(note)
    assert [note.name for note in place.whole("u1")] == ["b", "c", "a"]


def _data(**more: t.Any) -> dict[str, t.Any]:
    return {**NOTE._asdict(), "disks": [NOTE.disks[0]._asdict()], **more}


@pytest.mark.parametrize(
    "odd",
    [
        "no JSON",
        "[]",
        json.dumps({"name": "one"}),
        json.dumps(_data(name="../one")),
        json.dumps(_data(name="")),
        json.dumps(_data(domain=5)),
        json.dumps(_data(more=1)),
        json.dumps(_data(disks=[{"target": "../../etc", "kind": "full"}])),
        json.dumps(_data(disks=[{"target": None, "kind": "full"}])),
        json.dumps(_data(disks=5)),
        json.dumps(_data(name="two")),
        b"\xff".decode("latin-1"),
    ],
)
def test_an_odd_note_is_none(place: notes.Directory, odd: str) -> None:
    place.begin(NOTE).finish(NOTE)
    Path(place.path, NOTE.file).write_text(odd, encoding="latin-1")
    assert place.whole("u1") == []


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    for path in (str(tmp_path / "none"), "here", str(Path(__file__))):
        with pytest.raises(_errors.InvalidInput, match="not a directory here"):
            notes.Directory(path)
    assert notes.Directory(f"{tmp_path}//x/..").path == str(tmp_path)


def test_what_the_file_system_refuses_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(_errors.BackupFailed, match=r"Domain web: .*/none: No such file or directory"), notes.explained("web"):
        (tmp_path / "none").read_text()
