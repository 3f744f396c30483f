# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is left of a backup that failed, was interrupted or is not wanted any more: its job, its checkpoint and its files go."""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._deadline import Deadline
from .._errors import DomainNotRunning, DomainOff, LibvirtFailure, WaitTimeout
from .._freeze import moment
from .._libvirt.hypervisor import Domain
from . import documents
from .notes import PART, Directory, Held, Note, explained

#: How long libvirt may take to cancel a job and to remove a checkpoint.
SECONDS: t.Final = 60.0
_FIRST_PAUSE: t.Final = 0.05
_LONGEST_PAUSE: t.Final = 0.5


def clear(domain: Domain, directory: Directory, held: Held, doubtful: bool = False) -> None:
    """Remove all of it, and its note in the end; what is interrupted here is found by the next task.

    The note of a ``doubtful`` one stays: libvirt may begin it yet.

    :raise GuestAgentError: something is left, and so is the note.
    """
    note, deadline = held.note, Deadline(SECONDS)
    try:
        runs = _reached(domain, deadline)
        if runs:
            _end_job(domain, directory, note, deadline)
        with explained(domain.name):
            for path in _paths(directory, note):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        forget(domain, directory, note.name, runs)
        if not doubtful:
            with explained(domain.name):
                held.drop()
    finally:
        held.leave()


def forget(domain: Domain, directory: Directory, checkpoint: str, runs: bool = True) -> None:
    """Remove a checkpoint of a backup in this directory, where there is one.

    :raise DomainNotRunning: libvirt removes those of running domains only.
    """
    known = domain.storage.backups.checkpoints()
    if checkpoint not in known or documents.parse_checkpoint(known[checkpoint]).directory != directory.path:
        return
    if not runs:
        detail = f"libvirt removes the checkpoint {checkpoint} only while the domain runs"
        raise DomainNotRunning(detail, domain=domain.name)
    domain.storage.backups.forget(checkpoint)


def _reached(domain: Domain, deadline: Deadline) -> bool:
    """Whether it runs; over another connection where this one is lost."""
    try:
        moment.reach_again(domain, deadline, lambda: None)
    except DomainOff:
        return False
    return True


def _end_job(domain: Domain, directory: Directory, note: Note, deadline: Deadline) -> None:
    """Cancel the job that writes this backup; another one is left alone."""
    paths = frozenset(_paths(directory, note))
    for number, _turn in enumerate(deadline.pauses(_FIRST_PAUSE, _LONGEST_PAUSE)):
        if not documents.files_of(domain.storage.backups.running()) & paths:
            return
        try:
            if not number:
                domain.storage.backups.abort()
        except LibvirtFailure:  # it may have ended before it was told to
            if documents.files_of(domain.storage.backups.running()) & paths:
                raise
    raise WaitTimeout(f"libvirt did not cancel the backup within {SECONDS:g} s", domain=domain.name)


def _paths(directory: Directory, note: Note) -> list[str]:
    return [os.path.join(directory.path, image + ending) for image in note.images for ending in (PART, "")]


def left_of(directory: Directory, note: Note) -> str:
    """For a sentence: where to look for what could not be removed."""
    checkpoint = f", the checkpoint {note.name}" if note.checkpoint else ""
    return f"{note.domain} ({', '.join(_paths(directory, note)[::2])}{checkpoint})"
