# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a guest can bring online and take offline: its vCPUs and its blocks of memory."""

from __future__ import annotations

import math
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._deadline import Deadline
from .._errors import ProtocolError, WaitTimeout

#: More than any guest has.
MOST: t.Final = 65536


class Unit(t.TypedDict):
    #: the guest's own number for it
    id: int
    online: bool
    #: what the guest believes; whether it can be done turns out when it is tried
    can_offline: bool


#: A unit, and whether it shall be online.
Wanted = tuple[int, bool]


def ask(agent: GuestAgent, command: str, key: str) -> list[Unit]:
    """By their numbers, which are in ``key``."""
    found: dict[int, Unit] = {}

    def read(entry: dict[str, t.Any]) -> None:
        number = untrusted.integer(entry.get(key), key, 0)
        if number in found:
            raise ProtocolError(f"the agent's reply has {key} {number} twice")
        online = untrusted.boolean(entry.get("online"), "online")
        can_offline = untrusted.boolean(entry.get("can-offline", False), "can-offline")
        found[number] = {"id": number, "online": online, "can_offline": can_offline}

    agent.each(agent.call(command), "the list", read, MOST)
    return [found[number] for number in sorted(found)]


def seconds_left(agent: GuestAgent, command: str, deadline: Deadline, left: int) -> int:
    """How long the next request may take.

    :raise WaitTimeout: the deadline came first; the ``left`` units are as they were.
    """
    if deadline.expired():
        raise WaitTimeout(f"{left} were not switched after {deadline.seconds:g} s", domain=agent.name, command=command)
    return max(1, math.ceil(deadline.remaining()))
