# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of the guest: read one, look at one, bring one there whole or not at all (guest-exec 2.5 and guest-file-* 0.15).

Everything that takes a user is done as that user. Only the content of large files is read and written by the agent itself.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import re
import secrets
import shutil
import tempfile
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._deadline import Deadline
from .._errors import FileFailed, FileMissing, GuestAgentError, InvalidInput, ProtocolError
from . import file_scripts, passing, shell
from .file_scripts import HINTS, PROBLEMS, Attributes, Links, Where
from .lanes import READ_MAX, AgentLane, Lane, Sink, ignore, read_beginning, shrinks

__all__ = (
    "Attributes",
    "FileFailed",
    "FileMissing",
    "FileState",
    "Installed",
    "Links",
    "Where",
    "pull",
    "push",
    "read_small",
    "readable_texts",
    "set_attributes",
    "stat",
)

#: What is no longer than this goes with the command that puts it to its place.
_WITH_COMMAND: t.Final = 512 * 1024
#: Reading and hashing a large file in a slow guest takes its time.
_SECONDS: t.Final = 120.0
_BYTES_PER_SECOND: t.Final = 2 * 1024 * 1024
_NUMBER: t.Final = re.compile("[0-9]{1,18}")
_AS_IT_IS: t.Final = Attributes()
_KINDS: t.Final = ("file", "link", "directory", "special")
#: The first line of an answer is no longer than this.
_LINE_MAX: t.Final = 8 * 1024


class FileState(t.NamedTuple):
    """``kind`` is file, link, directory or special; ``sha256`` is "" for what is no file or where the guest does not tell.

    What is ``planted`` may be the work of another user of the guest: a file that replaces it takes nothing from it.
    """

    kind: str
    planted: bool
    mode: str
    uid: int
    gid: int
    owner: str
    group: str
    size: int
    sha256: str


class Installed(t.NamedTuple):
    """Where the file is now (a link may have been followed), its backup ("" for none), and what it is like, without a checksum."""

    path: str
    backup: str
    state: FileState


def read_small(agent: GuestAgent, path: str, limit: int = 16 * 1024) -> bytes:
    """The first ``limit`` bytes of a file, in three commands, as the agent's user and without a program in the guest.

    :raise CommandFailed: it does not exist or cannot be read.
    """
    return read_beginning(agent, path, min(limit, READ_MAX))[:limit]


def readable_texts(agent: GuestAgent, paths: t.Iterable[str]) -> dict[str, str]:
    """Path -> beginning of those of the files that can be read."""
    texts = {}
    for path in paths:
        with contextlib.suppress(GuestAgentError):
            texts[path] = read_small(agent, path).decode("utf-8", "replace").strip()
    return texts


def stat(agent: GuestAgent, where: Where) -> FileState | None:
    """What is there; None where there is nothing.

    :raise FileFailed: not even its directory is there, or another user may have laid out a link on the way.
    """
    if agent.windows is not None:
        found: FileState | None = agent.windows.stat(where)
        return found
    line = _ask(agent, file_scripts.stat(where), where, ("missing",))
    if line == "missing":
        return None
    kind, *rest = line.split(":")
    if kind not in _KINDS or len(rest) != 12 or rest[0] not in ("no", "planted"):
        raise _unreadable(agent)
    return _state(agent, kind, rest[1:-1], rest[0] == "planted", rest[-1])


def pull(agent: GuestAgent, where: Where, sink: Sink, lane: Lane | None = None) -> None:
    """Hand the file's content to ``sink``, in order. What ``sink`` got before an error is to be thrown away.

    A large file that others can exchange is copied in the guest before, and needs the room for that.

    :raise FileMissing: there is no such file.
    :raise FileFailed: it is no regular file, the user may not read it, or it changed while it was read.
    """
    if agent.windows is not None:
        agent.windows.pull(where, sink)
        return
    lane = lane or AgentLane(agent)
    answer = _Answer(sink)
    shell.execute(agent, _script(file_scripts.read(where), where.user), _SECONDS * 60, lane, sink=answer.take)
    word, *rest = answer.line.decode("utf-8", "replace").rstrip("\n").split(" ", 3)
    if word == "content" and not rest:
        return
    _raise_problem(agent, word, where.path)
    if word not in ("file", "content") or len(rest) != (3 if word == "file" else 2) or not _NUMBER.fullmatch(rest[0]):
        raise _unreadable(agent)
    if word == "file":
        lane.read(where.path if where.path.startswith("/") else rest[2], int(rest[0]), answer.content)
    if answer.size != int(rest[0]) or rest[1] not in ("-", answer.digest.hexdigest()):
        raise _problem(agent, "changed", where.path)


class _Answer:
    """A line, and the content after it; a line that ends with a path is all that there is."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._complete = False
        self.line = b""
        self.size = 0
        self.digest = hashlib.sha256()

    def take(self, data: bytes) -> None:
        if self._complete:
            return self.content(data)
        self.line = (self.line + data)[: _LINE_MAX + len(data)]
        line, newline, rest = self.line.partition(b"\n")
        if newline and not line.startswith(b"file "):
            self.line, self._complete = line, True
            if rest:
                self.content(rest)
        return None

    def content(self, data: bytes) -> None:
        self.size += len(data)
        self.digest.update(data)
        self._sink(data)


def push(
    agent: GuestAgent,
    source: t.BinaryIO,
    where: Where,
    attributes: Attributes = _AS_IT_IS,
    lane: Lane | None = None,
    backup: str = "",
) -> Installed:
    """Put the content of ``source``, a file that can be read twice, to its place: whole and verified, or not at all.

    :param backup: where a file is replaced, the old one is kept beside it with this in its name
    :raise FileFailed: the guest's file system or the user's rights are in the way.
    """
    if agent.windows is not None:
        installed: Installed = agent.windows.push(source, where, attributes, backup)
        return installed
    content = file_scripts.Content(secrets.token_hex(16), *_measure(source))
    transfer = _Push(agent, source, where, content, file_scripts.Goal(attributes, backup), lane or AgentLane(agent))
    shell.check(transfer.install)
    *ways, last = transfer.ways()
    start = source.tell()
    for way in ways:
        try:
            return way()
        except (shell.Unpackable, _NoResident):
            pass
        except FileFailed as error:
            if error.reason != "shared" or where.own:
                raise
        source.seek(start)
    return last()


def set_attributes(agent: GuestAgent, where: Where, attributes: Attributes, sha256: str = "") -> FileState:
    """What the file is like then, without a checksum. ``sha256`` is what must be in it, "" for anything.

    :raise FileFailed: there is no such owner or group, or the user may not do it.
    """
    agent.require_posix("modes and owners of files")
    content = file_scripts.Content(secrets.token_hex(16), 0, sha256)
    script = file_scripts.attributes(where, content, file_scripts.Goal(attributes))
    answer = shell.execute(agent, _script(script, where.user), _SECONDS * 60).stdout
    return _installed(agent, answer, where.path).state


class _NoResident(Exception):
    """Nothing has been done."""


class _Push(t.NamedTuple):
    """One file on its way to a guest, and the ways that there are."""

    agent: GuestAgent
    source: t.BinaryIO
    where: Where
    content: file_scripts.Content
    goal: file_scripts.Goal
    lane: Lane

    def ways(self) -> list[t.Callable[[], Installed]]:
        """The best one first. All but the last may turn out not to be possible, before anything has changed in the guest."""
        if self.content.size <= _WITH_COMMAND:
            return [self.with_the_command]
        return [self.by_the_resident, *self._cold()] if self.agent.resident is not None else self._cold()

    def _cold(self) -> list[t.Callable[[], Installed]]:
        if self.lane.name == "agent" and shell.PACKER not in self.agent.missing and _shrinks(self.source):
            return [self.packed, self.staged]
        return [self.in_place, self.staged] if self.where.user == "root" else [self.staged]

    @property
    def install(self) -> shell.Command:
        return _script(file_scripts.install(self.where, self.content, self.goal), self.where.user)

    def with_the_command(self) -> Installed:
        """The content is the input of the command that puts it to its place."""
        return self._installed(self.install._replace(stdin=self.source.read()))

    def by_the_resident(self) -> Installed:
        """The same, in pieces.

        :raise _NoResident: there is none that can run it now.
        """
        command = self.install._replace(stdin=t.cast(bytes, _Rest(self.source, self.content.size)))
        result: shell.Result | None = self.agent.resident.execute(command, Deadline(self._seconds()), passing.PATIENCE, None)
        if result is None:
            raise _NoResident
        return _installed(self.agent, result.stdout, self.where.path)

    def staged(self) -> Installed:
        """The content is in a private file before it is that input."""
        return self._installed(self.install, shell.stage(self.agent, self.lane, self.source, self.content.size, ignore))

    def packed(self) -> Installed:
        """The same, and fewer bytes.

        :raise Unpackable: the guest has no program for that.
        """
        with tempfile.TemporaryFile() as packed:
            with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6) as file:
                shutil.copyfileobj(self.source, file, READ_MAX)
            length = packed.tell()
            packed.seek(0)
            staged = shell.stage(self.agent, self.lane, packed, length, ignore)
        return self._installed(self.install, staged._replace(packed=True))

    def in_place(self) -> Installed:
        """Written by the agent itself beside its place: nothing is there twice.

        :raise FileFailed: with the reason ``shared`` where the agent, which follows links, could be led to another place.
        """
        where, nonce, begun = self.where._replace(own=True), self.content.nonce, False
        try:
            place = _ask(self.agent, file_scripts.prepare(where, nonce), where).partition(" ")[2]
            if not place.endswith(f"/.virtops-{nonce}/{file_scripts.PREPARED}"):
                raise _unreadable(self.agent)
            begun = True
            self.lane.write(place, self.source, self.content.size, ignore)
            return self._installed(_script(file_scripts.finish(where, self.content, self.goal)))
        except BaseException as error:
            if begun or not isinstance(error, FileFailed):
                self.agent.await_return(error)
                with contextlib.suppress(GuestAgentError):
                    shell.execute(self.agent, _script(file_scripts.abandon(where, nonce)), _SECONDS)
            raise

    def _installed(self, command: shell.Command, staged: shell.Staged | None = None) -> Installed:
        answer = shell.execute(self.agent, command, self._seconds(), self.lane, staged).stdout
        return _installed(self.agent, answer, self.where.path)

    def _seconds(self) -> float:
        return _SECONDS + self.content.size / _BYTES_PER_SECOND


def _ask(agent: GuestAgent, script: str, where: Where, allowed: t.Collection[str] = ()) -> str:
    """The line that a script prints.

    :raise FileFailed: it is one of ``PROBLEMS`` and none of ``allowed``.
    """
    answer = shell.execute(agent, _script(script, where.user), _SECONDS * 60).stdout
    line = answer.decode("utf-8", "replace").rstrip("\n")
    if line not in allowed:
        _raise_problem(agent, line, where.path)
    return line


def _installed(agent: GuestAgent, answer: bytes, path: str) -> Installed:
    word, _newline, rest = answer.decode("utf-8", "replace").partition("\n")
    _raise_problem(agent, word, path)
    names = rest.split("\0")
    if word != "done" or len(names) != 3:
        raise _unreadable(agent)
    state = _state(agent, "file", names[2].split(":"))
    return Installed(untrusted.clean(names[0], 4096), untrusted.clean(names[1], 4096), state)


def _state(agent: GuestAgent, kind: str, fields: t.Sequence[str], planted: bool = False, digest: str = "-") -> FileState:
    """From the fields of ``_file_scripts._STATE``."""
    if len(fields) != 10 or not all(_NUMBER.fullmatch(fields[place]) for place in (0, 5, 6, 7)):
        raise _unreadable(agent)
    uid, _access, _device, _inode, _links, mode, gid, size, owner, group = fields
    sha256 = "" if digest == "-" else untrusted.clean(digest, 255)
    owner, group, mode = (untrusted.clean(text, 255) for text in (owner, group, mode.zfill(4)))
    return FileState(kind, planted, mode, int(uid), int(gid), owner, group, int(size), sha256)


def _script(script: str, user: str = "root") -> shell.Command:
    return shell.Command(("/bin/sh", "-c", script), user=user, tells_signals=False)


def _unreadable(agent: GuestAgent) -> ProtocolError:
    return ProtocolError("the guest's report about a file cannot be read", domain=agent.name, command="guest-exec-status")


def _raise_problem(agent: GuestAgent, word: str, path: str) -> None:
    if word in PROBLEMS:
        raise _problem(agent, word, path)


def _problem(agent: GuestAgent, word: str, path: str) -> FileFailed:
    kind = FileMissing if word == "missing" else FileFailed
    return kind(f"{_name(path)}: {PROBLEMS[word]}", reason=word, domain=agent.name, hint=HINTS.get(word, ""))


def _name(path: str) -> str:
    return untrusted.clean(path, 255)


def _shrinks(source: t.BinaryIO) -> bool:
    start = source.tell()
    sample = source.read(READ_MAX)
    source.seek(start)
    return shrinks(sample)


class _Rest:
    """The rest of a file as bytes, of which a slice is read when it is asked for."""

    def __init__(self, source: t.BinaryIO, size: int) -> None:
        self._source, self._start, self._size = source, source.tell(), size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _step = part.indices(self._size)
        self._source.seek(self._start + start)
        data = self._source.read(stop - start)
        if len(data) < stop - start:
            raise InvalidInput(f"the source was {self._size} bytes long, and ended at {start + len(data)}")
        return data


def _measure(source: t.BinaryIO) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    start = source.tell()
    for data in iter(lambda: source.read(READ_MAX), b""):
        digest.update(data)
        size += len(data)
    source.seek(start)
    return size, digest.hexdigest()
