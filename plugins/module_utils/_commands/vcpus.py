# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guest's view of its vCPUs: guest-get-vcpus and guest-set-vcpus (qemu-ga 1.5)."""

from __future__ import annotations

import math
import typing as t

from .. import _untrusted
from .._client import GuestAgent
from .._deadline import Deadline
from .._errors import CommandFailed, ProtocolError, WaitTimeout

_VCPUS_MAX: t.Final = 16384
#: In one request: each takes a moment, and the agent does nothing else meanwhile.
_CHUNK: t.Final = 32


class Vcpu(t.TypedDict):
    #: the guest's own number for it
    id: int
    online: bool
    #: False for one that the guest cannot do without, mostly the first
    can_offline: bool


def vcpus(agent: GuestAgent) -> list[Vcpu]:
    """By their numbers."""
    found: dict[int, Vcpu] = {}
    for entry in _untrusted.items(agent.call("guest-get-vcpus"), "the list of vCPUs", _VCPUS_MAX):
        number = _untrusted.integer(entry.get("logical-id"), "a vCPU's number", 0)
        online = _untrusted.boolean(entry.get("online"), "online")
        can_offline = _untrusted.boolean(entry.get("can-offline", False), "can-offline")
        if number in found:
            raise ProtocolError(f"the agent's reply has vCPU {number} twice", domain=agent.name, command="guest-get-vcpus")
        found[number] = {"id": number, "online": online, "can_offline": can_offline}
    return [found[number] for number in sorted(found)]


def switch(agent: GuestAgent, wanted: t.Sequence[tuple[int, bool]], deadline: Deadline) -> dict[int, str]:
    """Bring vCPUs online or take them offline, in this order. What is returned is why, for each that refused.

    :raise WaitTimeout: the deadline came first; those that were not asked for by then are as they were.
    """
    refused: dict[int, str] = {}
    left = list(wanted)
    while left:
        if deadline.expired():
            raise WaitTimeout(
                f"{len(left)} of {len(wanted)} vCPUs were left to switch after {deadline.seconds:g} s",
                domain=agent.name,
                command="guest-set-vcpus",
            )
        chunk = left[:_CHUNK]
        request = {"vcpus": [{"logical-id": number, "online": online} for number, online in chunk]}
        try:
            # The agent stops at the first that refuses. Only when that is the first of all does it say why.
            reply = agent.call("guest-set-vcpus", request, timeout=max(1, math.ceil(deadline.remaining())))
            done = _untrusted.integer(reply, "a number of vCPUs", 1, len(chunk))
        except CommandFailed as error:
            refused[chunk[0][0]] = error.detail
            done = 1
        left = left[done:]
    return refused
