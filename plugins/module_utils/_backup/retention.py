# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes outdated and is removed, and what killed tasks have left, of several domains."""

from __future__ import annotations

import os
import typing as t

from .._errors import DomainBusy, GuestAgentError
from .._freeze import moment
from .._libvirt.hypervisor import Domain
from .._libvirt.threads import each
from . import plan as _plan, remains
from .notes import Directory, Note, explained
from .plan import Found


class Removal(t.NamedTuple):
    """What is to be removed of one domain: backups, the newer before the older, and checkpoints of this directory."""

    backups: t.Sequence[Note] = ()
    checkpoints: t.Sequence[str] = ()


def check_not_held(found: t.Iterable[Found], directory: Directory) -> None:
    """
    :raise DomainBusy: another task makes or removes a backup of one of them there.
    """
    for state in found:
        for unfinished in state.unfinished:
            if unfinished.held:
                detail = f"another task is at work on the backup {unfinished.note.name} in {directory.path}"
                raise DomainBusy(detail, domain=state.name, hint="wait for its end")


def left_behind(found: t.Iterable[Found], directory: Directory) -> t.Iterator[str]:
    """Of what killed tasks have left, and of images that are missing."""
    for state in found:
        for note, _held in state.unfinished:
            if note not in state.left:
                named = f"{note.domain} ({os.path.join(directory.path, note.file)})"
                yield f"The task that made the backup {note.name} was killed when it was whole, and it stays: {named}."
                continue
            named = remains.left_of(directory, note)
            yield f"The task that made or removed the backup {note.name} was killed; what it has left is removed: {named}."
        for note in state.backups:
            if missing := state.missing(note):
                yield f"Domain {state.name}: of the backup {note.name} in {directory.path} {', '.join(missing)} is missing."


def recover(domains: t.Sequence[Domain], found: t.Sequence[Found], directory: Directory) -> None:
    """Remove what killed tasks have left.

    :raise GuestAgentError: something is left still.
    """

    def clear(pair: tuple[Domain, Found]) -> None:
        domain, state = pair
        for note, _held in state.unfinished:
            with explained(domain.name):
                held = directory.again(note)
            if state.named(note.name) is not None:
                held.drop()  # it was whole, and its task was killed before it said so
            else:
                remains.clear(domain, directory, held)

    failure = moment.first(error for error in each(clear, list(zip(domains, found))) if error is not None)
    if failure is not None:
        raise failure


def remove(domains: t.Sequence[Domain], removals: t.Sequence[Removal], directory: Directory) -> list[GuestAgentError | None]:
    """For each domain why not all of it could be removed."""

    def clear(pair: tuple[Domain, Removal]) -> None:
        domain, removal = pair
        for checkpoint in removal.checkpoints:
            remains.forget(domain, directory, checkpoint)
        for note in removal.backups:
            with explained(domain.name):
                held = directory.removing(note)
            remains.clear(domain, directory, held)

    return each(clear, list(zip(domains, removals)))


def of_name(found: Found, directory: Directory, name: str) -> Removal:
    """What is there of the backup ``name``.

    :raise InvalidInput: increments stand on it.
    """
    _plan.check_unneeded(found, name)
    note = found.named(name)
    checkpoints = [name] if note is None and name in found.ours(directory.path) else []
    return Removal([] if note is None else [note], checkpoints)


def of_age(found: Found, directory: Directory, keep: int, new: Note | None) -> Removal:
    """What is outdated when there is a ``new`` one, or there has been one and its task was killed before it removed the others."""
    backups = [*found.backups, *([] if new is None else [new])]
    files = found.files | frozenset(() if new is None else new.images)
    return Removal(_plan.outdated(found._replace(files=files), backups, keep), _plan.superseded(found, directory.path, backups))
