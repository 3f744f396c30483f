# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guest's memory in blocks: guest-get-memory-blocks, -set-memory-blocks, -get-memory-block-info (qemu-ga 2.3, Linux)."""

from __future__ import annotations

import math
import os
import typing as t

from .. import _untrusted
from .._client import GuestAgent
from .._deadline import Deadline
from .._errors import ProtocolError, WaitTimeout

_BLOCKS_MAX: t.Final = 65536
#: In one request: what is in a block that goes offline has to be moved, and the agent does nothing else meanwhile.
CHUNK: t.Final = 8
#: What Linux itself can do with; far more than that is a mistake.
_SIZE_MAX: t.Final = 2**50


class Block(t.TypedDict):
    #: the guest's own number for it
    id: int
    online: bool
    #: what the kernel believes; whether it can be done turns out when it is tried
    can_offline: bool


def block_size(agent: GuestAgent) -> int:
    """In bytes."""
    reply = _untrusted.mapping(agent.call("guest-get-memory-block-info"))
    return _untrusted.integer(reply.get("size"), "a memory block's size", 1, _SIZE_MAX)


def blocks(agent: GuestAgent) -> list[Block]:
    """By their numbers; empty for a guest whose kernel has no such blocks."""
    found: dict[int, Block] = {}
    for entry in _untrusted.items(agent.call("guest-get-memory-blocks"), "the list of memory blocks", _BLOCKS_MAX):
        number = _untrusted.integer(entry.get("phys-index"), "a memory block's number", 0)
        online = _untrusted.boolean(entry.get("online"), "online")
        can_offline = _untrusted.boolean(entry.get("can-offline", False), "can-offline")
        if number in found:
            raise ProtocolError(
                f"the agent's reply has memory block {number} twice", domain=agent.name, command="guest-get-memory-blocks"
            )
        found[number] = {"id": number, "online": online, "can_offline": can_offline}
    return [found[number] for number in sorted(found)]


def switch(agent: GuestAgent, wanted: t.Sequence[tuple[int, bool]], deadline: Deadline) -> dict[int, str]:
    """Bring memory blocks online or take them offline. What is returned is why, for each that refused.

    :raise WaitTimeout: the deadline came first; those that were not asked for by then are as they were.
    """
    refused: dict[int, str] = {}
    for start in range(0, len(wanted), CHUNK):
        if deadline.expired():
            raise WaitTimeout(
                f"{len(wanted) - start} of {len(wanted)} memory blocks were left to switch after {deadline.seconds:g} s",
                domain=agent.name,
                command="guest-set-memory-blocks",
            )
        chunk = wanted[start : start + CHUNK]
        request = {"mem-blks": [{"phys-index": number, "online": online} for number, online in chunk]}
        reply = agent.call("guest-set-memory-blocks", request, timeout=max(1, math.ceil(deadline.remaining())))
        said = {
            _untrusted.integer(entry.get("phys-index"), "a memory block's number", 0): _refusal(entry)
            for entry in _untrusted.items(reply, "the list of memory blocks", _BLOCKS_MAX)
        }
        refused.update({number: said.get(number, "the agent does not say") for number, _online in chunk})
    return {number: why for number, why in refused.items() if why}


def _refusal(entry: t.Mapping[str, t.Any]) -> str:
    """Why a block is not as it should be, "" for no reason. The error code is one of Linux."""
    response = _untrusted.text(entry.get("response"), "a response", 64)
    if response == "success":
        return ""
    code = _untrusted.optional_integer(entry, "error-code")
    return f"{response} ({os.strerror(code)})" if code and code < 4096 else response
