# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a backup of a domain would be: full or an increment, of which disks, on what; and which backups are outdated. Pure."""

from __future__ import annotations

import typing as t

from .._agent import untrusted
from .._errors import BackupForeign, BackupPartial, DomainBusy, DomainNotRunning, InvalidInput
from .._libvirt import disk_images
from .._libvirt.backups import Job
from .._libvirt.disk_images import QEMU_RUNS, Disk
from .documents import Checkpoint
from .notes import PART, DiskNote, Note, Unfinished

_BY_CHOICE: t.Final = "a full backup was asked for"


class Wish(t.NamedTuple):
    name: str
    directory: str
    #: full, incremental, auto
    mode: str
    disks: t.Sequence[str] | None
    #: so many increments stand on one full backup, with ``auto``
    most_increments: int
    #: whether a checkpoint is made, for the next increment
    checkpoint: bool


class Found(t.NamedTuple):
    """One domain as it was found, and what the directory has of it."""

    name: str
    uuid: str
    state: str
    persistent: bool
    disks: dict[str, Disk]
    #: the older before the newer
    checkpoints: dict[str, Checkpoint]
    job: Job | None
    #: the files that the job writes to where it is a backup
    writes: frozenset[str]
    #: the older before the newer
    backups: list[Note]
    unfinished: list[Unfinished]
    #: the names of all files in the directory
    files: frozenset[str]

    def ours(self, directory: str) -> list[str]:
        """The checkpoints of backups in this directory."""
        return [name for name, checkpoint in self.checkpoints.items() if checkpoint.directory == directory]

    def missing(self, note: Note) -> list[str]:
        return [image for image in note.images if image not in self.files]

    @property
    def left(self) -> list[Note]:
        """The backups that are to be removed, since their tasks were killed. One that is whole was only not said to be."""
        return [each.note for each in self.unfinished if self.named(each.note.name) is None]

    def named(self, name: str) -> Note | None:
        return next((note for note in self.backups if note.name == name), None)


class DiskPlan(t.NamedTuple):
    """One disk's part. ``base``: the image that its increment stands on, "" for a full copy; ``reason``: why it is full."""

    target: str
    image: str
    base: str
    reason: str
    #: whether the checkpoint has it
    noted: bool


class Plan(t.NamedTuple):
    """``parent``: the backup that increments stand on, "" where all is full."""

    parent: str
    disks: list[DiskPlan]
    others: list[str]
    spared: dict[str, str]

    @property
    def kind(self) -> str:
        return "incremental" if self.parent else "full"

    @property
    def checkpoint(self) -> bool:
        return any(disk.noted for disk in self.disks)


def plan(found: Found, wish: Wish) -> Plan:
    """
    :raise InvalidInput: a disk cannot be copied, or not as it was asked for.
    :raise DomainNotRunning: libvirt backs up running domains only.
    :raise DomainBusy: another job occupies the domain.
    :raise BackupForeign: something else has the name.
    """
    _check(found, wish)
    chosen = disk_images.chosen(found.name, found.disks, wish.disks, "backup")
    base, no_base = _base(found, wish)
    disks = [_disk(disk, found, wish, base, no_base) for disk in chosen]
    for disk in disks:
        if disk.reason and wish.mode == "incremental":
            hint = "let the module choose (mode=auto), or take a full backup (mode=full)"
            raise InvalidInput(f"no increment of disk {disk.target} is possible: {disk.reason}", domain=found.name, hint=hint)
    _check_names(found, wish, disks)
    targets = {disk.target for disk in disks}
    others = [target for target in found.disks if target not in targets]
    spared = {target: found.disks[target].spared or "it was not asked for" for target in others}
    parent = base.name if base is not None and any(disk.base for disk in disks) else ""
    return Plan(parent, disks, others, spared)


def all_there(found: t.Sequence[Found], wish: Wish) -> bool:
    """Whether all of the domains have the backup; False where none has it.

    :raise BackupPartial: some have it, so that those and new ones would show different moments.
    :raise BackupForeign: one has it, and it is not whole, or of other disks.
    """
    have = [each.name for each in found if _is_there(each, wish)]
    lack = [each.name for each in found if each.name not in have]
    if have and lack:
        raise BackupPartial(f"it has the backup {wish.name}, which is missing in {', '.join(lack)}", domain=have[0])
    return not lack


def chain(found: Found, parent: str, target: str) -> list[str]:
    """The images that an image of the disk stands on when its backup stands on ``parent``."""
    images = []
    while parent and (note := found.named(parent)) is not None:
        images.append(note.image(target))
        incremental = any(disk.target == target and disk.kind == "incremental" for disk in note.disks)
        parent = note.parent if incremental and len(images) <= len(found.backups) else ""
    return images


def outdated(found: Found, backups: t.Sequence[Note], keep: int) -> list[Note]:
    """Those that neither belong to the newest ``keep`` nor are what these stand on, the newer before the older. 0: none."""
    whole = [note for note in backups if not found.missing(note)]
    kept = {note.name for note in whole[-keep:]} if keep else {note.name for note in backups}
    # Where the clock was set back, a backup seems older than what it stands on.
    parents = {note.name: note.parent for note in backups}
    for name in list(kept):
        while (name := parents.get(name, "")) and name not in kept:
            kept.add(name)
    return [note for note in reversed(whole) if note.name not in kept]


def superseded(found: Found, directory: str, backups: t.Sequence[Note]) -> list[str]:
    """The checkpoints before that of the newest backup, which nothing needs: each makes QEMU note all that is written again."""
    ours = found.ours(directory)
    having = (note.name for note in reversed(backups) if note.checkpoint and (note.name in ours or note not in found.backups))
    latest = next(having, "")
    return [name for name in ours if latest and name != latest]


def check_unneeded(found: Found, name: str) -> None:
    """
    :raise InvalidInput: increments stand on it.
    """
    above = [note.name for note in found.backups if note.parent == name]
    if above:
        hint = "remove the increments first, the newest before the others"
        raise InvalidInput(f"the backup {', '.join(above)} stands on {name}", domain=found.name, hint=hint)


def without_unfinished(found: Found, directory: str) -> Found:
    """The domain as it will be when what killed tasks have left is removed."""
    names = {note.name for note in found.left}
    gone = {image + ending for note in found.left for image in note.images for ending in ("", PART)}
    gone |= {note.file for note in found.left} | {each.note.file + PART for each in found.unfinished}
    checkpoints = {name: each for name, each in found.checkpoints.items() if name not in names or each.directory != directory}
    ours = found.writes & {f"{directory}/{name}" for name in gone}
    return found._replace(
        job=None if ours else found.job,
        writes=frozenset() if ours else found.writes,
        checkpoints=checkpoints,
        unfinished=[],
        backups=[note for note in found.backups if note.name not in names],
        files=found.files - gone,
    )


def note_of(found: Found, wish: Wish, plan: Plan, begun: str) -> Note:
    disks = tuple(
        DiskNote(disk.target, "incremental" if disk.base else "full", source=found.disks[disk.target].chain[0])
        for disk in plan.disks
    )
    return Note(wish.name, found.name, found.uuid, begun, plan.parent, plan.checkpoint, disks)


def _check(found: Found, wish: Wish) -> None:
    if found.state not in QEMU_RUNS:
        detail = f"the domain is {found.state}, and libvirt backs up running domains only"
        raise DomainNotRunning(detail, domain=found.name)
    if found.job is not None:
        what = "another backup" if found.job.backup else "another job"
        hint = "wait for its end, or end it with 'virsh domjobabort'"
        raise DomainBusy(f"{what} of this domain is under way", domain=found.name, hint=hint)
    if wish.name in found.checkpoints:
        raise BackupForeign(f"the domain has a checkpoint {wish.name} without its backup in {wish.directory}", domain=found.name)


def _check_names(found: Found, wish: Wish, disks: t.Sequence[DiskPlan]) -> None:
    for name in (name for disk in disks for name in (disk.image, disk.image + PART)):
        if "/" in name or not name.isprintable():  # a note of it would be none: see ``notes``
            raise InvalidInput(f"{untrusted.clean(name)} cannot be the name of a file", domain=found.name)
        if name in found.files:
            raise BackupForeign(f"{wish.directory} has a file {name} without its note", domain=found.name)
    note = Note(wish.name, found.name, "", "", "", False, ()).file
    for name in (note, note + PART):
        if name in found.files:
            raise BackupForeign(f"{wish.directory} has a note {name} of something else", domain=found.name)


def _base(found: Found, wish: Wish) -> tuple[Note | None, str]:
    """What an increment may stand on, or why none may be taken."""
    if wish.mode == "full":
        return None, _BY_CHOICE
    if not found.persistent:
        return None, "the domain has no persistent definition, and its checkpoints end with it"
    ours = found.ours(wish.directory)
    fit = [note for note in found.backups if note.name in ours and not _broken(found, note)]
    if not fit:
        return None, f"no backup in {wish.directory} is whole and has a checkpoint in libvirt"
    standing = len(_line(found, fit[-1])) - 1
    if wish.mode == "auto" and standing >= wish.most_increments:
        return None, f"{standing} increments stand on the last full backup"
    return fit[-1], ""


def _line(found: Found, note: Note) -> list[Note]:
    """The backup, what it stands on, and so on, until a full one or one that is not there."""
    line = [note]
    while line[-1].parent and (below := found.named(line[-1].parent)) is not None and below not in line:
        line.append(below)
    return line


def _broken(found: Found, note: Note) -> bool:
    line = _line(found, note)
    return bool(line[-1].parent) or any(found.missing(each) for each in line)


def _disk(disk: Disk, found: Found, wish: Wish, base: Note | None, no_base: str) -> DiskPlan:
    form = disk.images[0].format
    noted = form == "qcow2" and found.persistent and wish.checkpoint
    reason = no_base
    if form != "qcow2" and wish.mode != "full":
        reason = f"its image is {form or 'of an unknown format'}, and QEMU notes what is written to qcow2 images only"
    elif base is not None and disk.target not in found.checkpoints[base.name].disks:
        reason = f"the checkpoint {base.name} does not have it, or has lost it in a crash"
    elif base is not None and (source := _source(base, disk.target)) and source not in disk.chain:
        reason = f"its image was {source} when the backup {base.name} was made"
    image = _image(found.name, disk.target, wish.name)
    return DiskPlan(disk.target, image, "" if reason or base is None else base.image(disk.target), reason, noted)


def _source(note: Note, target: str) -> str:
    """The image that the backup has of a disk. A disk of another image may have a bitmap of the same name, of its own backups."""
    return next((disk.source for disk in note.disks if disk.target == target), "")


def _image(domain: str, target: str, name: str) -> str:
    return Note(name, domain, "", "", "", False, ()).image(target)


def _is_there(found: Found, wish: Wish) -> bool:
    note = found.named(wish.name)
    if note is None:
        return False
    if missing := found.missing(note):
        raise BackupForeign(f"the backup exists, but {', '.join(missing)} is missing", domain=found.name)
    have = {disk.target for disk in note.disks}
    if wish.disks is not None and set(wish.disks) != have:
        raise BackupForeign(f"the backup exists, but of the disks {', '.join(sorted(have))}", domain=found.name)
    return True
