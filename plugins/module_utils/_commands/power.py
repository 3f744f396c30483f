# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Down, up again and asleep: guest-shutdown (qemu-ga 0.15), guest-suspend-* (1.1), and which boot of the kernel it is."""

from __future__ import annotations

import re
import typing as t

from .._agent.client import GuestAgent
from .._errors import CommandFailed, CommandRefused, CommandUnknown, ProtocolError, WaitTimeout
from .._inside import exec as _exec, files

SHUTDOWN: t.Final = "guest-shutdown"
#: How a guest suspends itself: mode -> command.
SUSPEND: t.Final = {"ram": "guest-suspend-ram", "disk": "guest-suspend-disk", "hybrid": "guest-suspend-hybrid"}
#: Random, and made anew by each boot of the kernel.
BOOT_ID: t.Final = "/proc/sys/kernel/random/boot_id"
UUID: t.Final = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHORT: t.Final = 10.0
_LONGEST: t.Final = 4096


def shutdown(agent: GuestAgent, mode: str, timeout: int) -> None:
    """guest-shutdown: ``powerdown``, ``halt`` or ``reboot``. The agent replies only to say that it cannot: any end of the
    conversation but CommandRefused can mean that the guest goes down.
    """
    agent.call(SHUTDOWN, {"mode": mode}, timeout=timeout)


def suspend(agent: GuestAgent, mode: str, timeout: int) -> None:
    """guest-suspend-ram, -disk, -hybrid. As with ``shutdown``, the agent replies only to say that it cannot."""
    agent.call(SUSPEND[mode], timeout=timeout)


def boot_id(agent: GuestAgent) -> str | None:
    """Which boot of the kernel this is; None where the guest has no such thing, or its agent gives no files and runs no programs.

    :raise AgentUnavailable: nobody answers.
    :raise UnknownOutcome: nobody answers in time.
    """
    found = small_file(agent, BOOT_ID)
    return found if found is not None and UUID.fullmatch(found) else None


def small_file(agent: GuestAgent, path: str) -> str | None:
    """The content of a short file of the kernel's, by guest-file-read, or by guest-exec where that is refused; None where both are.

    :raise AgentUnavailable: nobody answers.
    :raise UnknownOutcome: nobody answers in time.
    """
    for read in (_by_file, _by_program):
        try:
            return read(agent, path).decode("utf-8", "replace").strip()
        except (CommandRefused, ProtocolError, WaitTimeout):
            continue
    return None


def _by_file(agent: GuestAgent, path: str) -> bytes:
    return files.read_small(agent, path, _LONGEST)


def _by_program(agent: GuestAgent, path: str) -> bytes:
    if not agent.can("guest-exec-status"):
        raise CommandUnknown("what is started could not be asked for its end", domain=agent.name, command="guest-exec-status")
    found = _exec.run(agent, ("cat", path), _SHORT)
    if found.rc != 0:
        raise CommandFailed(f"{path} cannot be read in the guest", domain=agent.name, command="guest-exec")
    return found.stdout[:_LONGEST]
