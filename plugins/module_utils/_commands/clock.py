# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guest's clock: guest-get-time and guest-set-time (qemu-ga 1.5), in nanoseconds since the epoch, UTC."""

from __future__ import annotations

import time
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent

SECOND: t.Final = 1_000_000_000
#: Questions for one measurement: the fastest of a few says nearly all that many would.
_SAMPLES: t.Final = 5

#: A clock to hold the guest's against, in nanoseconds since the epoch.
Reference = t.Callable[[], int]


class Measured(t.NamedTuple):
    """All in nanoseconds."""

    #: what the guest's clock says
    guest: int
    #: how far it is ahead of the reference
    offset: int
    #: how far off this may be to either side: half of what the question and the answer took
    uncertainty: int


def read(agent: GuestAgent) -> int:
    return untrusted.integer(agent.call("guest-get-time"), "a time", -(2**63), 2**63 - 1)


def measure(agent: GuestAgent, reference: Reference) -> Measured:
    """The guest reads its clock halfway between question and answer, more or less: less where the answer came fast."""
    return min((_ask(agent, reference) for _sample in range(_SAMPLES)), key=lambda measured: measured.uncertainty)


def _ask(agent: GuestAgent, reference: Reference) -> Measured:
    expected, began = reference(), time.monotonic_ns()
    guest = read(agent)
    uncertainty = (time.monotonic_ns() - began) // 2
    return Measured(guest, guest - expected - uncertainty, uncertainty)


def write(agent: GuestAgent, moment: int) -> None:
    """Set the guest's clock, and from it its hardware clock with hwclock.

    :raise CommandFailed: the agent says why. The clock may be set all the same, and only the hardware clock not.
    """
    agent.call("guest-set-time", {"time": moment})


def follow_rtc(agent: GuestAgent) -> None:
    """Set the guest's clock from its hardware clock (hwclock -s; not on Windows)."""
    agent.call("guest-set-time")
