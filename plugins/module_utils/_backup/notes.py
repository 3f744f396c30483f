# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A directory of backups: beside the images of each backup lies a note of it, and a lock says who is at work on it.

Images and notes are called as in ``Note``. As long as a backup is being made or removed, the name of its note ends in ``.part``,
and its task holds a lock on it. So who finds such a note and can lock it has found what a killed task has left.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import typing as t

from .._errors import BackupFailed, BackupForeign, DomainBusy, InvalidInput

PART: t.Final = ".part"
_NOTE: t.Final = ".backup.json"
#: No honest note is longer.
_BYTES_MAX: t.Final = 1024 * 1024
#: A file system that makes no file without a name, such as NFS, or a kernel that knows none.
_NO_UNNAMED: t.Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
#: What its name ends in there, until it is whole; and how often it is made where others take it for a dead one.
_NEW: t.Final = ".new"
_TURNS: t.Final = 5


class DiskNote(t.NamedTuple):
    """One disk of a backup. ``kind``: full or incremental."""

    target: str
    kind: str
    bytes: int = 0
    virtual_bytes: int = 0
    #: the image that was backed up, "" where that is not on record
    source: str = ""


class Note(t.NamedTuple):
    """What is on record of one domain's backup."""

    name: str
    domain: str
    uuid: str
    #: when, in UTC, so that the texts of later ones are greater
    begun: str
    #: the backup that its increments stand on, "" where there are none
    parent: str
    #: whether a checkpoint of its name was made with it
    checkpoint: bool
    disks: tuple[DiskNote, ...]
    quiesced: bool = False
    reason: str = ""
    seconds_frozen: float | None = None

    @property
    def kind(self) -> str:
        return "incremental" if self.parent else "full"

    @property
    def bytes(self) -> int:
        return sum(disk.bytes for disk in self.disks)

    @property
    def file(self) -> str:
        return f"{self.domain}.{self.name}{_NOTE}"

    def image(self, target: str) -> str:
        """The name of a disk's image."""
        return f"{self.domain}-{target}.{self.name}.qcow2"

    @property
    def images(self) -> list[str]:
        return [self.image(disk.target) for disk in self.disks]


class Unfinished(t.NamedTuple):
    """A backup that is being made or removed by a task, or was by one that has been killed. ``held``: a task is at it."""

    note: Note
    held: bool


class Held:
    """The note of a backup that this task makes or removes, and the lock on it."""

    def __init__(self, directory: str, note: Note, handle: int) -> None:
        self._directory = directory
        self._handle = handle
        self.note = note

    def finish(self, note: Note) -> None:
        """It is whole, and stays."""
        self.note = note
        os.close(_written(os.path.join(self._directory, note.file), _text(note)))
        self.drop()

    def drop(self) -> None:
        """Nothing of it is left to do."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._directory, self.note.file + PART))
        self.leave()

    def leave(self) -> None:
        """Something may be left, for the next task to find."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class Directory:
    """
    :raise InvalidInput: it is not there.
    """

    def __init__(self, path: str) -> None:
        # By another name for it, a task would not find the jobs and checkpoints of the last one.
        self.path = os.path.realpath(path)
        if not os.path.isabs(path) or not os.path.isdir(self.path):
            hint = "give the absolute path of a directory of the hypervisor, and run the task there"
            raise InvalidInput(f"{path} is not a directory here", hint=hint)

    def files(self) -> frozenset[str]:
        return frozenset(os.listdir(self.path))

    def whole(self, uuid: str) -> list[Note]:
        """The notes of a domain's backups, the older before the newer."""
        return sorted((note for note in self._notes(_NOTE) if note.uuid == uuid), key=lambda note: note.begun)

    def unfinished(self, uuid: str) -> list[Unfinished]:
        return [Unfinished(note, self._is_held(note)) for note in self._notes(_NOTE + PART) if note.uuid == uuid]

    def tidy(self) -> None:
        """Remove what killed tasks have left of notes that were not whole: see ``_written``."""
        for name in self.files():
            if name.endswith((_NOTE + _NEW, _NOTE + PART + _NEW)):
                with contextlib.suppress(OSError):
                    _remove_dead(os.path.join(self.path, name))

    def begin(self, note: Note) -> Held:
        """Note that a backup is to be made.

        :raise BackupForeign: another task has begun one of this name.
        """
        try:
            handle = _written(os.path.join(self.path, note.file + PART), _text(note))
        except FileExistsError:
            raise BackupForeign(f"another task is at work on the backup {note.name} there", domain=note.domain) from None
        return Held(self.path, note, handle)

    def again(self, note: Note) -> Held:
        """Take over the note of a backup that a killed task has left.

        :raise DomainBusy: another task is at it.
        """
        place = os.path.join(self.path, note.file + PART)
        busy = DomainBusy(f"another task is at work on the backup {note.name} in {self.path}", domain=note.domain)
        try:
            handle = os.open(place, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise busy from None
        if not _locked(handle, place):
            os.close(handle)
            raise busy
        return Held(self.path, note, handle)

    def removing(self, note: Note) -> Held:
        """Take the note of a whole backup for one that is to be removed.

        :raise DomainBusy: another task is at it.
        """
        place = os.path.join(self.path, note.file)
        with contextlib.suppress(FileNotFoundError):
            os.rename(place, place + PART)
        return self.again(note)

    def _is_held(self, note: Note) -> bool:
        try:
            self.again(note).leave()
        except DomainBusy:
            return True
        return False

    def _notes(self, ending: str) -> t.Iterator[Note]:
        """Those that can be read and are called as what they say."""
        named = ((name, _read(os.path.join(self.path, name))) for name in sorted(self.files()) if name.endswith(ending))
        return (note for name, note in named if note is not None and name == note.file + ending[len(_NOTE) :])


def _written(place: str, text: str) -> int:
    """A new file, locked and whole before it is seen: none that is seen without a lock is at work. A task that is killed before
    leaves no file; where the file system makes none without a name, one that ends in ``.new``, until ``Directory.tidy``.

    :raise FileExistsError: there is one, or another task is about to make it.
    """
    with _about(place):
        handle, temporary = _new(place)
        try:
            try:
                _write(handle, text.encode())
                if temporary:
                    os.link(temporary, place)
                else:
                    _name(handle, place)
            finally:
                if temporary:
                    os.unlink(temporary)
        except BaseException:
            os.close(handle)
            raise
    return handle


@contextlib.contextmanager
def _about(place: str) -> t.Iterator[None]:
    """An open file has no name that an error could tell."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, place) from error


def _new(place: str) -> tuple[int, str]:
    """An open file that is locked, and its temporary name; "" where it has none."""
    try:
        handle = os.open(os.path.dirname(place), os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in _NO_UNNAMED:
            raise
    else:
        return _with_lock(handle), ""
    temporary = f"{place}{_NEW}"
    for _turn in range(_TURNS):
        _remove_dead(temporary)
        handle = _with_lock(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), temporary)
        if _is_at(handle, temporary):
            return handle, temporary
        os.close(handle)  # another task took it for a dead one before it was locked
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _with_lock(handle: int, temporary: str = "") -> int:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except BaseException:  # such as a server of NFS that has no locks
        if temporary:
            os.unlink(temporary)
        os.close(handle)
        raise
    return handle


def _write(handle: int, data: bytes) -> None:
    """All of it: a disk that is about to be full takes a part, and says so with the rest only."""
    while data:
        data = data[os.write(handle, data) :]
    os.fsync(handle)


def _name(handle: int, place: str) -> None:
    """Give the open file a name. Python follows the link in /proc only where it is told the directory of that."""
    opened = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(str(handle), place, src_dir_fd=opened, follow_symlinks=True)
    finally:
        os.close(opened)


def _remove_dead(temporary: str) -> None:
    """
    :raise FileExistsError: its task lives.
    """
    try:
        handle = os.open(temporary, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not _locked(handle, temporary):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), temporary)
        os.unlink(temporary)
    finally:
        os.close(handle)


def _locked(handle: int, place: str) -> bool:
    """Whether we have the lock now, on what is there still."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _is_at(handle, place)
    except OSError:
        return False


def _is_at(handle: int, place: str) -> bool:
    """Whether the open file has this name still."""
    try:
        return os.stat(place).st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False


def _text(note: Note) -> str:
    return json.dumps({**note._asdict(), "disks": [disk._asdict() for disk in note.disks]}, indent=2) + "\n"


def _read(path: str) -> Note | None:
    try:
        with open(path, encoding="utf-8") as file:
            data = json.loads(file.read(_BYTES_MAX))
        note = Note(**{**data, "disks": tuple(DiskNote(**disk) for disk in data["disks"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return note if _makes_sense(note) else None


def _makes_sense(note: Note) -> bool:
    """Its texts become the names of files that are removed one day."""
    texts: list[object] = [note.name, note.domain, note.uuid, note.begun, note.parent]
    for disk in note.disks:
        texts += [disk.target, disk.kind]
    return all(isinstance(text, str) and "/" not in text and text.isprintable() for text in texts) and bool(note.name)


@contextlib.contextmanager
def explained(domain: str) -> t.Iterator[None]:
    """
    :raise BackupFailed: the file system does not allow it.
    """
    try:
        yield
    except OSError as error:
        raise BackupFailed(f"{error.filename}: {error.strerror}", domain=domain) from error
