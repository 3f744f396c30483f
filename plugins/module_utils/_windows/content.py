# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bytes of a Windows guest's files, by the agent: it shares what it has open with those who read only, and with no writer."""

from __future__ import annotations

import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._errors import CommandFailed
from .._inside.lanes import READ_MAX, AgentLane, Progress, Sink, opened
from .cmd import Shell

#: The agent's own words, in all languages of Windows. What follows them is Windows' own, in one of these.
NOT_OPENED: t.Final = "failed to open file"
_END: t.Final = 2


def write(agent: GuestAgent, path: str, source: t.BinaryIO, size: int, progress: Progress) -> None:
    """A new file with the next ``size`` bytes of ``source``.

    :raise CommandFailed: no file can be there.
    """
    with opened(agent, path, "w"):
        pass
    if size:
        AgentLane(agent).write(path, source, size, progress)


def read(agent: GuestAgent, shell: Shell, path: str, sink: Sink, patience: float = 0) -> None:
    """All of the file. One that a program is still writing to cannot be opened by the agent: then it is a copy that is read.

    :raise CommandFailed: it is not there, or may not be read.
    """
    begun = False

    def take(data: bytes) -> None:
        nonlocal begun
        begun = True
        sink(data)

    try:
        _read(agent, path, take, patience)
    except CommandFailed as error:
        if begun or NOT_OPENED not in error.detail:
            raise
        copy = shell.new_path(".copy")
        try:
            if not shell.put("copy /b", path, copy):
                raise
            _read(agent, copy, sink, patience)
        finally:
            shell.remove(copy)


def _read(agent: GuestAgent, path: str, sink: Sink, patience: float) -> None:
    with opened(agent, path, "r", patience) as file:
        offset = 0
        while True:
            data = file.read(offset, READ_MAX)
            if not data:
                return
            sink(data)
            offset += len(data)
            if len(data) < READ_MAX:
                return


def size(agent: GuestAgent, path: str) -> int:
    """
    :raise CommandFailed: it cannot be opened.
    """
    handle = untrusted.integer(agent.call("guest-file-open", {"path": path, "mode": "r"}), "a file handle")
    try:
        reply = untrusted.mapping(agent.call("guest-file-seek", {"handle": handle, "offset": 0, "whence": _END}))
        return untrusted.integer(reply.get("position"), "a position", 0)
    finally:
        agent.call("guest-file-close", {"handle": handle})
