# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Blocks that the guest's filesystems do not use, given back to what they are stored on: guest-fstrim (qemu-ga 1.2)."""

from __future__ import annotations

import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent


class Trimmed(t.TypedDict):
    path: str
    #: bytes; None where this filesystem could not be trimmed, and on Windows, which does not count
    trimmed: int | None
    #: the least number of bytes in a row that was worth it; the kernel rounds up what it was asked for
    minimum: int | None
    error: str | None


def trim(agent: GuestAgent, minimum: int, timeout: int) -> list[Trimmed]:
    """One entry for each mounted filesystem that is on a disk; empty before qemu-ga 2.4, which did not tell.

    :param minimum: runs of free bytes that are shorter are left alone; 0 for what the filesystem takes
    """
    reply = untrusted.mapping(agent.call("guest-fstrim", {"minimum": minimum}, timeout=timeout))
    return agent.each(reply.get("paths", []), "the paths", _trimmed)


def _trimmed(entry: dict[str, t.Any]) -> Trimmed:
    return {
        "path": untrusted.text(entry.get("path"), "a path"),
        "trimmed": untrusted.optional_integer(entry, "trimmed"),
        "minimum": untrusted.optional_integer(entry, "minimum"),
        "error": untrusted.optional_text(entry, "error", 300),
    }
