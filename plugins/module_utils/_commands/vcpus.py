# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guest's view of its vCPUs: guest-get-vcpus and guest-set-vcpus (qemu-ga 1.5; Windows has only the first)."""

from __future__ import annotations

import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._deadline import Deadline
from .._errors import CommandFailed
from . import units

#: In one request: each takes a moment, and the agent does nothing else meanwhile.
_CHUNK: t.Final = 32


def vcpus(agent: GuestAgent) -> list[units.Unit]:
    return units.ask(agent, "guest-get-vcpus", "logical-id")


def switch(agent: GuestAgent, wanted: t.Sequence[units.Wanted], deadline: Deadline) -> dict[int, str]:
    """Bring vCPUs online or take them offline, in this order. What is returned is why, for each that refused.

    :raise WaitTimeout: the deadline came first.
    """
    refused: dict[int, str] = {}
    left = list(wanted)
    while left:
        seconds = units.seconds_left(agent, "guest-set-vcpus", deadline, len(left))
        chunk = left[:_CHUNK]
        request = {"vcpus": [{"logical-id": number, "online": online} for number, online in chunk]}
        try:
            # The agent stops at the first that refuses. Only when that is the first of all does it say why.
            reply = agent.call("guest-set-vcpus", request, timeout=seconds)
            done = untrusted.integer(reply, "a number of vCPUs", 1, len(chunk))
        except CommandFailed as error:
            refused[chunk[0][0]] = error.detail
            done = 1
        left = left[done:]
    return refused
