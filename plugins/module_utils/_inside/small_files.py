# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Small text files of the guest, above all those of /proc: by the agent's own commands, or by ``cat`` where it refuses these."""

from __future__ import annotations

import contextlib
import re
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._errors import (
    CommandBlocked,
    CommandFailed,
    CommandRefused,
    CommandUnknown,
    GuestAgentError,
    ProtocolError,
    WaitTimeout,
)
from . import exec as _exec
from .lanes import decoded
from .spool import BOOT

READING: t.Final = ("guest-file-open", "guest-file-read", "guest-file-close")
_OPENING: t.Final = ("guest-file-open", "guest-file-close")
_EXECUTING: t.Final = ("guest-exec", "guest-exec-status")
_MAX: t.Final = 64 * 1024
#: What ``boot_id`` gives.
BOOT_ID: t.Final = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: Why one file is not told, by an agent that answers.
UNTOLD: t.Final = (CommandRefused, ProtocolError, WaitTimeout)
#: strerror(ENOENT), which qemu-ga does not translate; and our own words.
_MISSING: t.Final = re.compile(r"(No such file or directory|cannot be read in the guest)\W*$")
T = t.TypeVar("T")


def read_text(agent: GuestAgent, path: str) -> str:
    """What the file holds, at most 64 KiB of it. Lines are still lines: pass what is taken of it through ``_untrusted``.

    :raise CommandFailed: it does not exist or cannot be read.
    :raise CommandRefused: the agent neither reads files nor executes programs.
    """
    if path.startswith("/"):
        agent.require_posix(path)
    if not all(map(agent.can, READING)) and all(map(agent.can, _EXECUTING)):
        code, data = _exec.run_limited(agent, ("cat", "--", path), agent.timeout, _MAX)
        if code != 0:
            raise CommandFailed(f"{path} cannot be read in the guest", domain=agent.name, command="guest-exec")
    else:
        for command in READING:
            agent.require(command)
        data = _read(agent, path)
    return data[:_MAX].decode("utf-8", "replace")


def read_if_there(agent: GuestAgent, path: str) -> str | None:
    """``read_text``, and None for a file that does not exist."""
    try:
        return read_text(agent, path)
    except CommandFailed as error:
        if _MISSING.search(error.detail) or (agent.windows is not None and agent.windows.not_opened in error.detail):
            return None
        raise


def exists(agent: GuestAgent, path: str) -> bool:
    """Whether there is a file or directory that can be opened. Not for a path that may be a pipe or a device.

    :raise CommandFailed: it is there, or not, but cannot be looked at.
    :raise CommandRefused: the agent neither opens files nor executes programs.
    """
    agent.require_posix(path)
    if not all(map(agent.can, _OPENING)) and all(map(agent.can, _EXECUTING)):
        return _exec.run_limited(agent, ("test", "-e", path), agent.timeout, _MAX)[0] == 0
    try:
        handle = untrusted.integer(agent.call("guest-file-open", {"path": path, "mode": "r"}), "a file handle")
    except CommandFailed as error:
        if _MISSING.search(error.detail):
            return False
        raise
    agent.call("guest-file-close", {"handle": handle})
    return True


def told(agent: GuestAgent, path: str) -> str | None:
    """``read_text`` without the space around it; None where the agent or the guest does not give it."""
    try:
        return read_text(agent, path).strip()
    except UNTOLD:
        return None


def ask_or_read(agent: GuestAgent, command: str, ask: t.Callable[[GuestAgent], T], read: t.Callable[[GuestAgent], T]) -> T:
    """By ``command`` where the agent has and accepts it, and otherwise from a file.

    :raise CommandRefused: neither is allowed; of a command that is blocked it is that one which is named.
    """
    if agent.can(command):
        return ask(agent)
    try:
        return read(agent)
    except (CommandBlocked, CommandUnknown):
        if command in agent.known_commands():
            agent.require(command)
        raise


def _read(agent: GuestAgent, path: str) -> bytes:
    """Once: nothing is lost where no reply comes, and an agent that is silent costs no more than the time of one command."""
    handle = untrusted.integer(agent.call("guest-file-open", {"path": path, "mode": "r"}), "a file handle")
    try:
        reply = untrusted.mapping(agent.call("guest-file-read", {"handle": handle, "count": _MAX}))
        return decoded(reply.get("buf-b64"))
    finally:
        with contextlib.suppress(GuestAgentError):
            agent.call("guest-file-close", {"handle": handle})


def boot_id(agent: GuestAgent) -> str:
    """The random number that Linux gives to each of its boots: another one means that the guest has been restarted.

    :raise CommandFailed: the guest has none.
    :raise CommandRefused: the agent neither reads files nor executes programs.
    :raise ProtocolError: what it says is none.
    """
    found = read_text(agent, BOOT).strip()
    if not BOOT_ID.fullmatch(found):
        raise ProtocolError(f"{BOOT} does not contain a boot id", domain=agent.name)
    return found
