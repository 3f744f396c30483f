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
import zlib

from .. import _untrusted
from .._client import GuestAgent
from .._errors import FileFailed, FileMissing, GuestAgentError, ProtocolError
from . import _file_scripts, shell
from ._file_scripts import PROBLEMS, Attributes
from .content import READ_MAX, AgentLane, Lane, Progress, Sink, ignore, read_beginning

__all__ = (
    "Attributes",
    "FileFailed",
    "FileMissing",
    "FileState",
    "Installed",
    "pull",
    "push",
    "read_small",
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
_KINDS: t.Final = ("file", "directory", "special")


class FileState(t.NamedTuple):
    """``kind`` is file, directory or special; ``sha256`` is "" for what is no file or where the guest cannot tell."""

    kind: str
    is_link: bool
    mode: str
    uid: int
    gid: int
    owner: str
    group: str
    size: int
    sha256: str


class Installed(t.NamedTuple):
    """Where the file is now (a link was followed), and its backup ("" for none)."""

    path: str
    backup: str


def read_small(agent: GuestAgent, path: str, limit: int = 16 * 1024) -> bytes:
    """The first ``limit`` bytes of a file, in three commands, as the agent's user and without a program in the guest.

    :raise CommandFailed: it does not exist or cannot be read.
    """
    return read_beginning(agent, path, min(limit, READ_MAX))[:limit]


def stat(agent: GuestAgent, path: str, user: str = "root") -> FileState | None:
    """What ``path`` is, links followed; None where there is nothing.

    :raise FileFailed: not even its directory is there.
    """
    word, *rest = _ask(agent, _file_scripts.stat(path), path, user, ("missing", "dangling")).split(":")
    if word in ("missing", "dangling"):
        return None
    if word not in _KINDS or len(rest) != 8:
        raise _unreadable(agent)
    if not all(_NUMBER.fullmatch(number) for number in (rest[1], rest[2], rest[3], rest[6])):
        raise _unreadable(agent)
    link, mode, uid, gid, owner, group, size, digest = (_untrusted.clean(text, 255) for text in rest)
    sha256 = "" if digest == "-" else digest
    return FileState(word, link == "yes", mode.zfill(4), int(uid), int(gid), owner, group, int(size), sha256)


def pull(agent: GuestAgent, path: str, sink: Sink, user: str = "root", lane: Lane | None = None) -> None:
    """Hand the file's content to ``sink``, in order. What ``sink`` got before an error is to be thrown away.

    :raise FileMissing: there is no such file.
    :raise FileFailed: it is no regular file, the user may not read it, or it changed while it was read.
    """
    command = _script(_file_scripts.read(path), user)
    answer = shell.execute(agent, command, _SECONDS * 60).stdout
    line, _newline, content = answer.partition(b"\n")
    word, *rest = line.decode("utf-8", "replace").split(" ", 3)
    if word == "content":
        sink(content)
        return
    _raise_problem(agent, word, path)
    if word != "file" or len(rest) != 3 or not _NUMBER.fullmatch(rest[0]):
        raise _unreadable(agent)
    size, expected, place = rest
    digest = hashlib.sha256()
    lane = lane or AgentLane(agent)

    def take(data: bytes) -> None:
        digest.update(data)
        sink(data)

    lane.read(place if not path.startswith("/") else path, int(size), take)
    if expected not in ("-", digest.hexdigest()):
        raise FileFailed(
            f"{_name(path)}: the file changed while it was read", reason="corrupt", domain=agent.name, hint="try again"
        )


def push(
    agent: GuestAgent,
    source: t.BinaryIO,
    path: str,
    attributes: Attributes = _AS_IT_IS,
    user: str = "root",
    lane: Lane | None = None,
    backup: str = "",
    progress: Progress = ignore,
) -> Installed:
    """Put the content of ``source``, a file that can be read twice, to ``path``: whole and verified, or not at all.

    :param backup: where a file is replaced, the old one is kept beside it with this in its name
    :raise FileFailed: the guest's file system or the user's rights are in the way.
    """
    size, digest = _measure(source)
    nonce = secrets.token_hex(16)
    lane = lane or AgentLane(agent)
    install = _file_scripts.install(nonce, path, size, digest, attributes, backup)
    command = _script(install, user)
    shell.check(command)
    seconds = _SECONDS + size / _BYTES_PER_SECOND
    if size <= _WITH_COMMAND:
        answer = shell.execute(agent, command._replace(stdin=source.read()), seconds, lane).stdout
        progress(size)
    elif lane.name == "agent" and _shrinks(source):
        with tempfile.TemporaryFile() as packed:
            with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6) as file:
                shutil.copyfileobj(source, file, READ_MAX)
            length = packed.tell()
            packed.seek(0)
            staged = shell.stage(agent, lane, packed, length, progress)
        answer = shell.execute(agent, command, seconds, staged=staged._replace(packed=True)).stdout
    elif user == "root" and _ask(agent, _file_scripts.safe(path), path, user) == "safe":
        return _push_in_place(agent, source, path, (nonce, size, digest, attributes, backup), lane, progress)
    else:
        staged = shell.stage(agent, lane, source, size, progress)
        answer = shell.execute(agent, command, seconds, staged=staged).stdout
    return _installed(agent, answer, path)


def set_attributes(agent: GuestAgent, path: str, attributes: Attributes, user: str = "root") -> None:
    """
    :raise FileFailed: there is no such owner or group, or the user may not do it.
    """
    _ask(agent, _file_scripts.attributes(path, attributes), path, user)


def _push_in_place(
    agent: GuestAgent,
    source: t.BinaryIO,
    path: str,
    what: tuple[str, int, str, Attributes, str],
    lane: Lane,
    progress: Progress,
) -> Installed:
    """A large file, written by the agent itself beside its place: nothing is there twice."""
    nonce, size = what[:2]
    try:
        place = _ask(agent, _file_scripts.prepare(nonce, path), path, "root").partition(" ")[2]
        if not place.endswith(f"/.virtops-{nonce}"):
            raise _unreadable(agent)
        lane.write(place, source, size, progress)
        command = _script(_file_scripts.finish(nonce, path, *what[1:]))
        answer = shell.execute(agent, command, _SECONDS + size / _BYTES_PER_SECOND).stdout
        return _installed(agent, answer, path)
    except BaseException as error:
        agent.await_return(error)
        with contextlib.suppress(GuestAgentError):
            shell.execute(agent, _script(_file_scripts.abandon(nonce, path)), _SECONDS)
        raise


def _ask(agent: GuestAgent, script: str, path: str, user: str, allowed: t.Collection[str] = ()) -> str:
    """The line that a script prints.

    :raise FileFailed: it is one of ``PROBLEMS`` and none of ``allowed``.
    """
    answer = shell.execute(agent, _script(script, user), _SECONDS * 60).stdout
    line = answer.decode("utf-8", "replace").rstrip("\n")
    if line not in allowed:
        _raise_problem(agent, line, path)
    return line


def _installed(agent: GuestAgent, answer: bytes, path: str) -> Installed:
    word, _newline, rest = answer.decode("utf-8", "replace").partition("\n")
    _raise_problem(agent, word, path)
    names = rest.split("\0")
    if word != "done" or len(names) != 2:
        raise _unreadable(agent)
    return Installed(_untrusted.clean(names[0], 4096), _untrusted.clean(names[1], 4096))


def _script(script: str, user: str = "root") -> shell.Command:
    return shell.Command(("/bin/sh", "-c", script), user=user, tells_signals=False)


def _unreadable(agent: GuestAgent) -> ProtocolError:
    return ProtocolError("what the guest says about a file is not readable", domain=agent.name, command="guest-exec-status")


def _raise_problem(agent: GuestAgent, word: str, path: str) -> None:
    if word in PROBLEMS:
        kind = FileMissing if word == "missing" else FileFailed
        raise kind(f"{_name(path)}: {PROBLEMS[word]}", reason=word, domain=agent.name)


def _name(path: str) -> str:
    return _untrusted.clean(path, 255)


def _shrinks(source: t.BinaryIO) -> bool:
    """Whether the content is worth packing: the agent's parser is slower than any packer."""
    start = source.tell()
    sample = source.read(READ_MAX)
    source.seek(start)
    return len(zlib.compress(sample, 1)) < 0.7 * len(sample)


def _measure(source: t.BinaryIO) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    start = source.tell()
    for data in iter(lambda: source.read(READ_MAX), b""):
        digest.update(data)
        size += len(data)
    source.seek(start)
    return size, digest.hexdigest()
