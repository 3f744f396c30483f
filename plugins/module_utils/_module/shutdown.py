# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asking a guest to go down, and seeing its domain off."""

from __future__ import annotations

import contextlib
import typing as t

from .._commands import power
from .._deadline import Deadline
from .._errors import (
    AgentUnavailable,
    CommandRefused,
    DomainNotFound,
    DomainNotRunning,
    DomainStillOn,
    GuestAgentError,
    GuestFrozen,
    InvalidInput,
    LibvirtFailure,
    NotAwake,
    NotBack,
    ProtocolError,
    UnknownOutcome,
)
from .._inside import passing
from .._libvirt import domain_xml
from .._libvirt.events import LifecycleWatch
from .._libvirt.hypervisor import Domain
from .._reach.guest import LIBVIRT_SECONDS, Guest
from . import suspend

#: Between two looks at the domain's state, should an event be lost (seconds).
_LOOK_SECONDS: t.Final = 5.0
#: How long a guest that sleeps may take to wake up and answer.
_WAKE_SECONDS: t.Final = 60.0
#: What keeps a guest from being asked, and not its domain from being destroyed.
OBSTACLES: t.Final = (
    AgentUnavailable,
    CommandRefused,
    DomainNotRunning,
    LibvirtFailure,
    NotAwake,
    NotBack,
    ProtocolError,
    UnknownOutcome,
)


def options(timeout: int) -> dict[str, dict[str, t.Any]]:
    """What shutdown and restart have in common; ``timeout`` is the default."""
    return {
        "mode": {"type": "str", "choices": ["auto", "agent", "acpi"], "default": "auto"},
        "wait": {"type": "bool", "default": True},
        "timeout": {"type": "int", "default": timeout},
        "force_after": {"type": "int"},
    }


def check(params: t.Mapping[str, t.Any]) -> None:
    """
    :raise InvalidInput: the options contradict each other.
    """
    force_after, timeout = params["force_after"], params["timeout"]
    if force_after is not None and not params["wait"]:
        raise InvalidInput("force_after needs wait=true")
    if force_after is not None and force_after >= timeout:
        raise InvalidInput(f"force_after ({force_after} s) must be less than timeout ({timeout} s)")


def choose(mode: str, guest: Guest) -> str:
    """``agent`` or ``acpi``; raises what stands in the way of the agent where the user wants that."""
    if mode == "acpi":
        return "acpi"
    try:
        guest.require_agent(power.SHUTDOWN)
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
    does nothing, so it could not be asked why.
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


class Shutdown:
    """The way of one guest to its end. ``method``: how it was asked, ``none`` where it was not."""

    def __init__(self, guest: Guest, watch: LifecycleWatch, params: t.Mapping[str, t.Any], deadline: Deadline) -> None:
        self.method = "none"
        self._guest = guest
        self._watch = watch
        self._params = params
        self._deadline = deadline
        self._obstacle: GuestAgentError | None = None

    def foresee(self) -> str:
        """How it would be asked, or ``forced``.

        :raise GuestAgentError: it could not be asked.
        """
        domain = self._guest.domain
        state = domain.state()
        if state == "shutdown":
            return "none"
        if state == "pmsuspended":  # what its agent can do is known once it is awake
            return "acpi" if self._params["mode"] == "acpi" else "agent"
        try:
            _check_state(domain, state)
            return choose(self._params["mode"], self._guest)
        except OBSTACLES:
            if self._params["force_after"] is None:
                raise
            return "forced"

    def ask(self) -> None:
        """Where the domain is to be destroyed in the end, what keeps it from being asked is no error.

        :raise GuestAgentError: it cannot be asked.
        """
        self._obstacle = None
        try:
            self._ask()
        except OBSTACLES as error:
            if self._params["force_after"] is None:
                raise
            self._obstacle = error

    def wait(self) -> None:
        """
        :raise DomainStillOn: as wait_until_off
        """
        if wait_until_off(self._guest.domain, self._watch, self._deadline, self._params["force_after"], self._ask_again):
            self.method = "forced"

    def _ask(self) -> None:
        domain = self._guest.domain
        state = domain.state()
        if state == "pmsuspended":
            self._wake()
        elif state not in ("running", "blocked"):
            # One that is on its way off already is waited for, and not asked again.
            _check_state(domain, state)
            return
        self.method = request(self._guest, choose(self._params["mode"], self._guest), self._params, self._deadline)

    def _ask_again(self) -> None:
        if isinstance(self._obstacle, (DomainNotRunning, GuestFrozen)):  # these pass
            self._guest.agent.retry()
            self.ask()

    def _wake(self) -> None:
        """A guest that has just been woken misses the power button, and libvirt the agent."""
        seconds = (self._deadline.remaining(), self._params["force_after"], _WAKE_SECONDS)
        limit = Deadline(min(each for each in seconds if each is not None))
        suspend.wake(self._guest.domain, self._watch, limit)
        try:
            if domain_xml.parse(self._guest.domain.xml()).channel != "":
                suspend.wait_for_agent(self._guest.agent, limit)
        except NotBack:
            if self._params["mode"] == "agent":
                raise


def _check_state(domain: Domain, state: str) -> None:
    if state not in ("running", "blocked", "shutdown", "shutoff"):
        hint = "resume it, or set force_after to destroy it"
        raise DomainNotRunning(f"the domain is {state} and cannot shut down", domain=domain.name, hint=hint)


def wait_until_off(
    domain: Domain,
    watch: LifecycleWatch,
    deadline: Deadline,
    force_after: float | None,
    meanwhile: t.Callable[[], None] = lambda: None,
) -> bool:
    """Until the domain is off or does not exist any more; whether it had to be destroyed for that, after ``force_after`` seconds.

    ``meanwhile`` is called each time that it is seen to be on.

    :raise DomainStillOn: it is still on at the deadline, or, where it is not to be destroyed, paused, suspended or crashed.
    """
    forced, patient = False, force_after is not None
    while not is_off(domain, deadline, patient):
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
        meanwhile()
        watch.next(min(limit, _LOOK_SECONDS))
    return forced


def is_off(domain: Domain, deadline: Deadline, patient: bool = False) -> bool:
    """``patient``: a domain that has stopped in another way is only not off yet."""
    try:
        state = passing.state(domain, deadline)
    except DomainNotFound:
        return True
    if state in ("crashed", "pmsuspended", "paused") and not patient:
        raise DomainStillOn(f"the domain is {state} instead of off", domain=domain.name)
    return state == "shutoff"
