# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guest's memory in blocks: guest-get-memory-blocks, -set-memory-blocks, -get-memory-block-info (qemu-ga 2.3, Linux)."""

from __future__ import annotations

import os
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._deadline import Deadline
from . import units

#: In one request: what is in a block that goes offline has to be moved, and the agent does nothing else meanwhile.
_CHUNK: t.Final = 8
_SIZE_MAX: t.Final = 2**50
_ERRNO_MAX: t.Final = 4095


def block_size(agent: GuestAgent) -> int:
    """In bytes."""
    reply = untrusted.mapping(agent.call("guest-get-memory-block-info"))
    return untrusted.integer(reply.get("size"), "a memory block's size", 1, _SIZE_MAX)


def blocks(agent: GuestAgent) -> list[units.Unit]:
    """Empty for a guest whose kernel has no such blocks."""
    return units.ask(agent, "guest-get-memory-blocks", "phys-index")


def switch(agent: GuestAgent, wanted: t.Sequence[units.Wanted], deadline: Deadline) -> dict[int, str]:
    """Bring memory blocks online or take them offline. What is returned is why, for each that refused.

    :raise WaitTimeout: the deadline came first.
    """
    refused: dict[int, str] = {}
    for start in range(0, len(wanted), _CHUNK):
        seconds = units.seconds_left(agent, "guest-set-memory-blocks", deadline, len(wanted) - start)
        chunk = wanted[start : start + _CHUNK]
        request = {"mem-blks": [{"phys-index": number, "online": online} for number, online in chunk]}
        reply = agent.call("guest-set-memory-blocks", request, timeout=seconds)
        said = dict(agent.each(reply, "the memory blocks", _switched, units.MOST))
        refused.update({number: said.get(number, "the agent does not say") for number, _online in chunk})
    return {number: why for number, why in refused.items() if why}


def _switched(entry: dict[str, t.Any]) -> tuple[int, str]:
    return untrusted.integer(entry.get("phys-index"), "phys-index", 0), _refusal(entry)


def _refusal(entry: t.Mapping[str, t.Any]) -> str:
    """Why a block is not as it should be, "" for no reason. The error code is one of Linux."""
    response = untrusted.text(entry.get("response"), "a response", 64)
    if response == "success":
        return ""
    code = untrusted.optional_integer(entry, "error-code")
    return f"{response} ({os.strerror(code)})" if code and code <= _ERRNO_MAX else response
