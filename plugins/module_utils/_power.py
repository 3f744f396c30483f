# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asking a guest to go down, and seeing its domain off."""

from __future__ import annotations

import contextlib
import typing as t

from ._commands import power
from ._deadline import Deadline
from ._errors import (
    AgentUnavailable,
    CommandRefused,
    DomainNotFound,
    DomainNotRunning,
    DomainStillOn,
    GuestFrozen,
    ProtocolError,
    UnknownOutcome,
)
from ._events import LifecycleWatch
from ._guest import LIBVIRT_SECONDS, Guest
from ._hypervisor import Domain

#: Between two looks at the domain's state, should an event be lost (seconds).
_LOOK_SECONDS: t.Final = 5.0


def choose(mode: str, guest: Guest) -> str:
    """``agent`` or ``acpi``; raises what stands in the way of the agent where the user wants that."""
    if mode == "acpi":
        return "acpi"
    try:
        guest.require_agent().require(power.SHUTDOWN)
        return "agent"
    except GuestFrozen:
        raise
    except (AgentUnavailable, CommandRefused, ProtocolError, UnknownOutcome):
        if mode == "agent":
            raise
        return "acpi"


def request(guest: Guest, method: str, params: t.Mapping[str, t.Any], deadline: Deadline, kind: str = "powerdown") -> str:
    """Ask, and say how: an agent that refuses gives way to the power button in mode auto. ``kind`` is powerdown or reboot.

    The agent is asked by its own command, not by virDomainShutdownFlags: that one would hold the agent for 60 s when the guest
    does nothing, so that nobody could ask it why.
    """
    if method == "agent":
        try:
            power.shutdown(guest.agent, kind, max(1, min(params["agent_timeout"], int(deadline.remaining()))))
        except (UnknownOutcome, ProtocolError, DomainNotRunning, DomainNotFound):
            pass  # no reply is what a shutdown looks like; the domain's state will tell
        except (AgentUnavailable, CommandRefused):
            if params["mode"] == "agent":
                raise
            method = "acpi"
    if method == "acpi":
        press = guest.domain.restart_by_power_button if kind == "reboot" else guest.domain.press_power_button
        press()
    return method


def wait_until_off(domain: Domain, watch: LifecycleWatch, deadline: Deadline, force_after: float | None) -> bool:
    """Until the domain is off or does not exist any more; whether it had to be destroyed for that, after ``force_after`` seconds.

    :raise DomainStillOn: it is still on at the deadline, or is paused, suspended or crashed instead of off.
    """
    forced = False
    while not is_off(domain):
        if deadline.expired():
            raise DomainStillOn(f"still on {deadline.seconds:g} s after it was asked to shut down", domain=domain.name)
        limit = deadline.remaining()
        if force_after is not None:
            limit = force_after - deadline.elapsed()
            if limit <= 0:
                with contextlib.suppress(DomainNotFound, DomainNotRunning):  # it was faster
                    domain.destroy(max(LIBVIRT_SECONDS, deadline.remaining()))
                    forced = True
                force_after = None
                continue
        watch.next(min(limit, _LOOK_SECONDS))
    return forced


def is_off(domain: Domain) -> bool:
    try:
        state = domain.state()
    except DomainNotFound:
        return True
    if state in ("crashed", "pmsuspended", "paused"):
        raise DomainStillOn(f"the domain is {state} instead of off", domain=domain.name)
    return state == "shutoff"
