# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backup would be, of what was found: other disks than at the last one, notes of others, and a clock that was set back."""

from __future__ import annotations

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._backup import plan, retention
from ansible_collections.virtops.guest_agent.plugins.module_utils._backup.documents import Checkpoint
from ansible_collections.virtops.guest_agent.plugins.module_utils._backup.notes import Directory, DiskNote, Note, Unfinished
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt.disk_images import Disk, Image

WISH = plan.Wish("new", "/b", "auto", None, 6, True)


def disk(target: str, *paths: str) -> Disk:
    return Disk(target, tuple(Image(path, "file", "qcow2") for path in paths), "", "", "", False)


def note(name: str, parent: str = "", begun: str = "", source: str = "") -> Note:
    disks = (DiskNote("vda", "incremental" if parent else "full", source=source),)
    return Note(name, "web", "u1", begun, parent, True, disks)


def found(*backups: Note, disks: tuple[Disk, ...] = (disk("vda", "/srv/a"),), name: str = "web") -> plan.Found:
    files = frozenset(file for each in backups for file in (each.file, *each.images))
    checkpoints = {backups[-1].name: Checkpoint("/b", ("vda", "vdb"))} if backups else {}
    having = {each.target: each for each in disks}
    return plan.Found(name, "u1", "running", True, having, checkpoints, None, frozenset(), list(backups), [], files)


def test_a_disk_with_another_image_is_copied_in_full() -> None:
    """Two disks that have changed places have bitmaps of the same name, each of what was written to the other one."""
    seen = found(note("old", source="/srv/a"), disks=(disk("vda", "/srv/b"),))
    planned = plan.plan(seen, WISH)
    assert (planned.kind, planned.disks[0].reason) == ("full", "its image was /srv/a when the backup old was made")
    with pytest.raises(_errors.InvalidInput, match="its image was /srv/a"):
        plan.plan(seen, WISH._replace(mode="incremental"))


@pytest.mark.parametrize(("source", "chain"), [("/srv/a", ("/srv/a",)), ("/srv/a", ("/srv/over", "/srv/a")), ("", ("/srv/b",))])
def test_an_image_with_a_snapshot_over_it_is_the_same(source: str, chain: tuple[str, ...]) -> None:
    planned = plan.plan(found(note("old", source=source), disks=(disk("vda", *chain),)), WISH)
    assert (planned.kind, planned.parent) == ("incremental", "old")


def test_the_image_is_on_note() -> None:
    seen = found(disks=(disk("vda", "/srv/over", "/srv/a"),))
    assert plan.note_of(seen, WISH, plan.plan(seen, WISH), "").disks == (DiskNote("vda", "full", source="/srv/over"),)


def test_the_note_of_another_domain_has_the_name() -> None:
    """Of web.new and one it is web.new.one.backup.json, as of web and new.one."""
    files = frozenset([note("new.one").file])
    seen = found(name="web.new", disks=(disk("vda", "/srv/c"),))._replace(files=files)
    with pytest.raises(_errors.BackupForeign, match=r"has a note web\.new\.one\.backup\.json of something else"):
        plan.plan(seen, WISH._replace(name="one"))


@pytest.mark.parametrize("name", ["a\u00a0b", "a\u200bb", "a\x07b"])
def test_a_name_that_no_note_can_have(name: str) -> None:
    with pytest.raises(_errors.InvalidInput, match="cannot be the name of a file"):
        plan.plan(found(name=name), WISH)


def test_a_clock_that_was_set_back_costs_no_backup_that_is_needed() -> None:
    full, first, second = note("full", begun="1"), note("first", "full", "3"), note("second", "first", "2")
    backups = [full, second, first, note("third", "second", "4")]  # in the order of their times
    assert plan.outdated(found(*backups), backups, 1) == []
    circle = [note("one", "two"), note("two", "one")]
    assert plan.outdated(found(*circle), circle, 1) == []
    backups[-1] = note("another", begun="4")
    assert [each.name for each in plan.outdated(found(*backups), backups, 1)] == ["first", "second", "full"]


def test_a_backup_that_was_whole_when_its_task_was_killed_stays() -> None:
    whole = note("old")
    seen = found(whole)._replace(unfinished=[Unfinished(whole, False)])
    seen = seen._replace(files=seen.files | {whole.file + ".part"})
    assert plan.without_unfinished(seen, "/b") == found(whole)
    (told,) = retention.left_behind([seen], Directory("/"))
    assert told == "The task that made the backup old was killed when it was whole, and it stays: web (/web.old.backup.json)."
