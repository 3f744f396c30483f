# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of the guest: guest-file-open, -read, -close (qemu-ga 0.15)."""

from __future__ import annotations

import base64
import binascii
import contextlib
import typing as t

from .. import _untrusted
from .._client import GuestAgent
from .._errors import GuestAgentError, ProtocolError

#: Raw bytes that one reply may carry; larger ones slow libvirt down and end in its limits.
READ_MAX: t.Final = 192 * 1024


def read_small(agent: GuestAgent, path: str, limit: int = 16 * 1024) -> bytes:
    """The first ``limit`` bytes of a file, in three commands.

    :raise CommandFailed: it does not exist or cannot be read.
    """
    handle = _untrusted.integer(agent.call("guest-file-open", {"path": path, "mode": "r"}), "a file handle")
    try:
        reply = _untrusted.mapping(agent.call("guest-file-read", {"handle": handle, "count": min(limit, READ_MAX)}))
    finally:
        _close(agent, handle)
    content = reply.get("buf-b64")
    if not isinstance(content, str):
        raise ProtocolError("the agent's reply has file content that is not base64", domain=agent.name)
    try:
        return base64.b64decode(content, validate=True)[:limit]
    except (binascii.Error, ValueError) as error:
        raise ProtocolError("the agent's reply has file content that is not base64", domain=agent.name) from error


def _close(agent: GuestAgent, handle: int) -> None:
    # What was read is good whatever this says; a silent agent is reported by the next command.
    with contextlib.suppress(GuestAgentError):
        agent.call("guest-file-close", {"handle": handle})
