# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of a Windows guest: look at one, fetch one, bring one there whole and verified or not at all.

The agent is SYSTEM, and follows what links it finds. There are no modes and owners as POSIX has them: a file gets the rights that
its directory hands down.
"""

from __future__ import annotations

import hashlib
import ntpath
import re
import secrets
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._deadline import Deadline
from .._errors import CommandFailed, FileFailed, FileMissing, InvalidInput, WaitTimeout
from .._inside import exec as _exec, passing
from .._inside.file_scripts import PROBLEMS, Attributes, Where
from .._inside.files import FileState, Installed
from .._inside.lanes import PATIENCE, READ_MAX, Sink, ignore
from . import content
from .cmd import Shell, check_user, native

_ABSOLUTE: t.Final = re.compile(r"(?:[A-Za-z]:|\\\\[^\\]+\\[^\\]+)\\.*", re.DOTALL)
#: What no name has, and what cmd.exe would take for a pattern.
_NEVER: t.Final = set('"*?<>|') | set(map(chr, range(32)))
_SHA256: t.Final = re.compile("[0-9a-f]{64}")
#: The exit codes of cmd.exe for what it finds; another one for nothing.
_KINDS: t.Final = {91: "directory", 92: "file", 93: "missing"}
#: Hashing a large file takes its time.
_HASH_SECONDS: t.Final = 600.0


def stat(agent: GuestAgent, shell: Shell, where: Where) -> FileState | None:
    """
    :raise FileFailed: not even its directory is there.
    """
    path = _checked(agent, where)
    kind = _kind(shell, path)
    if kind == "nowhere":
        raise _problem(agent, "parent", path)
    if kind == "missing":
        return None
    if kind == "directory":
        return _state("directory", 0, "")
    return _state("file", content.size(agent, path), _told_sum(agent, shell, path))


def pull(agent: GuestAgent, shell: Shell, where: Where, sink: Sink) -> None:
    """
    :raise FileMissing: there is no such file.
    :raise FileFailed: it is a directory, or may not be read.
    """
    path = _checked(agent, where)
    try:
        content.read(agent, shell, path, sink)
    except CommandFailed as error:
        if content.NOT_OPENED not in error.detail:
            raise
        reason = {"missing": "missing", "nowhere": "missing", "directory": "directory"}.get(_kind(shell, path), "unreadable")
        raise _problem(agent, reason, path) from error


def push(agent: GuestAgent, shell: Shell, source: t.BinaryIO, where: Where, attributes: Attributes, backup: str) -> Installed:
    """
    :raise FileFailed: the file system, or a program that has the file open, is in the way.
    """
    path = _checked(agent, where)
    check_attributes(attributes)
    size, digest = _measured(source)
    new = f"{path}.virtops-{secrets.token_hex(8)}"
    try:
        _brought(agent, shell, source, new, (size, digest))
        kept = _kept(shell, path, backup) if backup else ""
        if not shell.put("move", new, path) or content.size(agent, path) != size:
            raise _problem(agent, "rename", path)
    except BaseException as error:
        agent.await_return(error)
        shell.remove(new)
        raise
    return Installed(path, kept, _state("file", size, digest))


def check_attributes(wanted: Attributes) -> None:
    """
    :raise InvalidInput: one is given.
    """
    if any(wanted):
        raise InvalidInput(
            "Windows has no mode, owner and group of a file as POSIX has them", hint="leave them out, and use icacls"
        )


def _brought(agent: GuestAgent, shell: Shell, source: t.BinaryIO, new: str, wanted: tuple[int, str]) -> None:
    try:
        content.write(agent, new, source, wanted[0], ignore)
    except CommandFailed as error:
        if content.NOT_OPENED not in error.detail:
            raise
        parent = ntpath.dirname(new)
        raise _problem(agent, "create" if shell_has(shell, parent) else "parent", parent) from error
    if (_told_sum(agent, shell, new) or _read_sum(agent, shell, new, wanted[0])) != wanted[1]:
        raise _problem(agent, "corrupt", new)


def shell_has(shell: Shell, directory: str) -> bool:
    return _kind(shell, directory) == "directory"


def _kept(shell: Shell, path: str, backup: str) -> str:
    """The copy of the file that is replaced; "" where there is none."""
    if _kind(shell, path) != "file":
        return ""
    # A colon would make a stream of the file.
    copy = f"{path}.{backup.replace(':', '-')}~"
    if not shell.put("copy /b", path, copy):
        raise FileFailed(f"{untrusted.clean(path, 255)}: no backup could be made", reason="create")
    return copy


def _kind(shell: Shell, path: str) -> str:
    """file, directory, missing, or nowhere: not even its directory is there. Of a directory cmd.exe finds what is in it."""
    names = {"VIRTOPS_IN": _within(path), "VIRTOPS": path, "VIRTOPS_BY": _within(ntpath.dirname(path))}
    words = " else ".join(f"if exist !{name}! (exit {code})" for name, code in zip(names, _KINDS))
    code = shell.ask(*words.split(), **{name: f'"{value}"' for name, value in names.items()})
    return _KINDS.get(code, "nowhere")


def _within(directory: str) -> str:
    return ntpath.join(directory, "*")


def _told_sum(agent: GuestAgent, shell: Shell, path: str) -> str:
    """What certutil says of the file; "" where it is not there, or is another program."""
    shell.environment()
    words = (rf"{shell.root}\System32\certutil.exe", "-hashfile", path, "SHA256")
    deadline = Deadline(_HASH_SECONDS)
    try:
        pid = _exec.start(agent, words)
        printed = passing.through(agent, lambda: _printed(agent, pid, deadline), deadline, PATIENCE)
    except CommandFailed:
        return ""
    # Before Windows 10 it puts a blank between two bytes.
    lines = (line.replace(" ", "").strip().lower() for line in printed.splitlines())
    return next(filter(_SHA256.fullmatch, lines), "")


def _printed(agent: GuestAgent, pid: int, deadline: Deadline) -> str:
    """What the program printed; "" where the agent does not know it any more."""
    try:
        ended = _exec.wait(agent, pid, deadline)
    except _exec.ProcessForgotten:
        return ""
    if ended is None:
        raise WaitTimeout(f"certutil did not end within {deadline.seconds:g} s", domain=agent.name, command="guest-exec")
    return ended.stdout.decode("ascii", "replace")


def _read_sum(agent: GuestAgent, shell: Shell, path: str, size: int) -> str:
    """
    :raise FileFailed: there is more than ``size``, for a guest may never come to an end.
    """
    digest, left = hashlib.sha256(), size

    def take(data: bytes) -> None:
        nonlocal left
        left -= len(data)
        if left < 0:
            raise _problem(agent, "corrupt", path)
        digest.update(data)

    content.read(agent, shell, path, take)
    return digest.hexdigest()


def _measured(source: t.BinaryIO) -> tuple[int, str]:
    start, digest = source.tell(), hashlib.sha256()
    for data in iter(lambda: source.read(READ_MAX), b""):
        digest.update(data)
    size = source.tell() - start
    source.seek(start)
    return size, digest.hexdigest()


def _checked(agent: GuestAgent, where: Where) -> str:
    """
    :raise InvalidInput: this is no path of a file on Windows, or it is to be handled as another user.
    """
    check_user(where.user)
    path = native(where.path)
    if not _ABSOLUTE.fullmatch(path):
        raise InvalidInput(
            rf"{untrusted.clean(where.path, 255)} is no absolute path on Windows, such as C:\Temp\x", domain=agent.name
        )
    if set(path) & _NEVER or ":" in path[2:]:
        raise InvalidInput(f"{untrusted.clean(where.path, 255)} cannot be the name of a file on Windows", domain=agent.name)
    return path


def _state(kind: str, size: int, sha256: str) -> FileState:
    """What POSIX has beside these, is empty."""
    return FileState(kind, False, "", 0, 0, "", "", size, sha256)


def _problem(agent: GuestAgent, word: str, path: str) -> FileFailed:
    kind = FileMissing if word == "missing" else FileFailed
    return kind(f"{untrusted.clean(path, 255)}: {PROBLEMS[word]}", reason=word, domain=agent.name)
