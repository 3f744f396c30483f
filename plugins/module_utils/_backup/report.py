# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a task on backups says of each domain, before, after and as its result. Pure."""

from __future__ import annotations

import os
import typing as t

from .group import Subject
from .notes import Directory, DiskNote, Note
from .plan import Found, chain
from .retention import Removal


class State(t.TypedDict):
    #: name -> kind
    backups: dict[str, str]
    checkpoints: list[str]
    unfinished: list[str]


class Report(t.TypedDict):
    """What the module ``backup`` returns of one domain; its documentation says what the words mean."""

    domain: str
    uuid: str
    kind: str
    quiesced: bool | None
    reason: str
    seconds_frozen: float | None
    unfrozen: list[str]
    checkpoint: str
    disks: list[dict[str, t.Any]]
    spared: dict[str, str]
    backups: list[dict[str, t.Any]]
    removed: list[str]


def state(found: Found, directory: Directory) -> State:
    unfinished = [each.note.name for each in found.unfinished]
    whole = {note.name: note.kind for note in found.backups if note.name not in unfinished}
    return {"backups": whole, "checkpoints": sorted(found.ours(directory.path)), "unfinished": unfinished}


def changed_state(found: Found, directory: Directory, new: Note | None, removal: Removal) -> State:
    """When there is a new one, and others are removed."""
    before = state(found, directory)
    backups, checkpoints = dict(before["backups"]), set(before["checkpoints"])
    if new is not None:
        backups[new.name] = new.kind
        checkpoints |= {new.name} if new.checkpoint else set()
    for note in removal.backups:
        del backups[note.name]
    checkpoints -= {*removal.checkpoints, *(note.name for note in removal.backups)}
    return {"backups": backups, "checkpoints": sorted(checkpoints), "unfinished": []}


def taken(subject: Subject, directory: Directory, foreseen: bool, after: State, removal: Removal) -> Report:
    whole = subject.whole and not foreseen
    kept = [*subject.found.backups, *([subject.note] if whole else [])]
    return {
        "domain": subject.domain.name,
        "uuid": subject.domain.uuid,
        "kind": subject.plan.kind,
        "quiesced": subject.quiesced if whole else None,
        "reason": subject.reason,
        "seconds_frozen": subject.seconds,
        "unfrozen": subject.unfrozen,
        "checkpoint": subject.note.name if subject.note.checkpoint else "",
        "disks": _disks(subject, directory),
        "spared": subject.plan.spared,
        "backups": [_listed(note, directory) for note in kept if note.name in after["backups"]],
        "removed": [note.name for note in removal.backups],
    }


def as_found(found: Found, directory: Directory, name: str, after: State, removal: Removal) -> Report:
    """``name``: the backup that was asked for, which is there or not."""
    note = found.named(name)
    return {
        "domain": found.name,
        "uuid": found.uuid,
        "kind": "" if note is None else note.kind,
        "quiesced": None if note is None else note.quiesced,
        "reason": "it is not there" if note is None else note.reason or "it was taken before",
        "seconds_frozen": None if note is None else note.seconds_frozen,
        "unfrozen": [],
        "checkpoint": name if name in found.ours(directory.path) else "",
        "disks": [] if note is None else [_disk(note, found, disk, directory, "") for disk in note.disks],
        "spared": {},
        "backups": [_listed(each, directory) for each in found.backups if each.name in after["backups"]],
        "removed": [each.name for each in removal.backups],
    }


def _disks(subject: Subject, directory: Directory) -> list[dict[str, t.Any]]:
    reasons = {disk.target: disk.reason for disk in subject.plan.disks}
    return [_disk(subject.note, subject.found, disk, directory, reasons[disk.target]) for disk in subject.note.disks]


def _disk(note: Note, found: Found, disk: DiskNote, directory: Directory, reason: str) -> dict[str, t.Any]:
    stands_on = chain(found, note.parent, disk.target) if disk.kind == "incremental" else []
    return {
        "target": disk.target,
        "image": os.path.join(directory.path, note.image(disk.target)),
        "kind": disk.kind,
        "chain": [os.path.join(directory.path, image) for image in stands_on],
        "bytes": disk.bytes,
        "virtual_bytes": disk.virtual_bytes,
        "reason": reason,
    }


def _listed(note: Note, directory: Directory) -> dict[str, t.Any]:
    return {
        "name": note.name,
        "kind": note.kind,
        "begun": note.begun,
        "parent": note.parent,
        "bytes": note.bytes,
        "images": [os.path.join(directory.path, image) for image in note.images],
    }
