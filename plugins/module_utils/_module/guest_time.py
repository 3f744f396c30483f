# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Setting a guest's clock so that it says what it should afterwards, and what it should say."""

from __future__ import annotations

import datetime
import re
import time
import typing as t

from .._agent.client import GuestAgent
from .._commands import clock
from .._errors import CommandFailed, InvalidInput

EPOCH: t.Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
NO_HWCLOCK: t.Final = "check that the guest has /sbin/hwclock (Debian and Ubuntu: package util-linux-extra) and a hardware clock"
#: What qemu-ga takes.
_YEARS: t.Final = (1970, 2069)
#: A guest that is busy may get to it late; each attempt knows better how late.
_ATTEMPTS: t.Final = 3


def agrees(measured: clock.Measured, allowed: int) -> bool:
    """Whether it is known to be off by no more than ``allowed`` ns. What cannot be measured is not to be corrected."""
    return abs(measured.offset) <= allowed + measured.uncertainty


def converge(
    agent: GuestAgent, reference: clock.Reference, measured: clock.Measured, allowed: int
) -> tuple[clock.Measured, CommandFailed | None]:
    """Set the clock until it agrees, and say what the agent complained of: the clock is set before its hardware clock is.

    :raise CommandFailed: it does not agree.
    """
    trouble = None
    for _attempt in range(_ATTEMPTS):
        try:
            trouble = None
            clock.write(agent, reference() + measured.uncertainty)
        except CommandFailed as error:
            trouble = error
        measured = clock.measure(agent, reference)
        if agrees(measured, allowed):
            return measured, trouble
    raise trouble or CommandFailed(
        f"the guest's clock is off by {measured.offset / clock.SECOND:.3f} s after it was set",
        domain=agent.name,
        command="guest-set-time",
        hint="check whether a service in the guest sets it, or allow more tolerance",
    )


def follow_rtc(agent: GuestAgent) -> None:
    try:
        clock.follow_rtc(agent)
    except CommandFailed as error:
        if "hwclock" in error.detail:
            error.hint = NO_HWCLOCK
        raise


def from_now_on(moment: int) -> clock.Reference:
    """A clock that says ``moment`` now, and goes on from there."""
    started = time.monotonic_ns()
    return lambda: moment + time.monotonic_ns() - started


def parse(text: str) -> int:
    """Nanoseconds since the epoch.

    :raise InvalidInput: this is no time, or none that the agent takes.
    """
    try:
        if re.fullmatch(r"[0-9]{1,12}(\.[0-9]+)?", text):
            moment = EPOCH + datetime.timedelta(seconds=float(text))
        else:
            moment = datetime.datetime.fromisoformat(re.sub("[Zz]$", "+00:00", text))
        aware = moment.tzinfo is not None
        moment = moment.astimezone(datetime.timezone.utc)
    except (ValueError, OverflowError):
        raise InvalidInput("time must be like 2026-03-01T10:00:00Z, or seconds since the epoch") from None
    if not aware:
        raise InvalidInput("time has no offset from UTC", hint="end it in Z, or in an offset such as +02:00")
    if not _YEARS[0] <= moment.year <= _YEARS[1]:
        raise InvalidInput(f"time must be in a year from {_YEARS[0]} to {_YEARS[1]}")
    return (moment - EPOCH) // datetime.timedelta(microseconds=1) * 1000


def iso(nanoseconds: int) -> str:
    """ISO 8601, UTC. What 64 bits can say is in the years 1677 to 2262."""
    moment = EPOCH + datetime.timedelta(microseconds=nanoseconds // 1000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
