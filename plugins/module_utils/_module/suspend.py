# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a guest can suspend itself, seeing it asleep, and waking it."""

from __future__ import annotations

import contextlib
import typing as t

from .._agent.client import GuestAgent
from .._commands import power
from .._deadline import Deadline
from .._errors import (
    CannotSuspend,
    DomainNotFound,
    GuestAgentError,
    HypervisorUnreachable,
    LibvirtFailure,
    NotAwake,
    NotBack,
    NotSuspended,
)
from .._inside import passing, small_files
from .._libvirt import domain_xml
from .._libvirt.events import LifecycleWatch
from .._libvirt.hypervisor import Domain
from .._reach.guest import Guest

#: Between two looks at the domain's state, should an event be lost; and between two questions to an agent, or two calls to wake up.
_LOOK_SECONDS: t.Final = 5.0
_PAUSE: t.Final = 1.0
State = t.Literal["awake", "suspended", "off"]


class Sleep(t.NamedTuple):
    """One of the modes in which a guest suspends itself."""

    mode: str
    #: what the domain's <pm> and the kernel's /sys/power/state call it
    element: str
    word: str
    #: what the task calls a guest that sleeps so, and what libvirt calls its domain
    state: State
    domain_state: str


SLEEPS: t.Final = {
    "ram": Sleep("ram", "suspend-to-mem", "mem", "suspended", "pmsuspended"),
    "disk": Sleep("disk", "suspend-to-disk", "disk", "off", "shutoff"),
    "hybrid": Sleep("hybrid", "suspend-to-disk", "disk", "suspended", "pmsuspended"),
}
STATE: t.Final = "/sys/power/state"
DISK: t.Final = "/sys/power/disk"
SWAPS: t.Final = "/proc/swaps"


class Kernel(t.NamedTuple):
    """What the guest's kernel says it can do; None where the agent may not tell."""

    state: str | None
    disk: str | None = None
    swaps: str | None = None


class Obstacle(t.NamedTuple):
    detail: str
    #: what to do about it
    hint: str = ""


def check(guest: Guest, agent: GuestAgent, sleep: Sleep) -> None:
    """
    :raise CannotSuspend: it is known that this cannot work.
    """
    management = domain_xml.power_management(guest.domain.xml())
    kernel = Kernel(small_files.told(agent, STATE))
    if sleep.mode != "ram":
        kernel = kernel._replace(disk=small_files.told(agent, DISK), swaps=small_files.told(agent, SWAPS))
    found = obstacle(sleep, management, kernel)
    if found:
        raise CannotSuspend(found.detail, domain=agent.name, command=power.SUSPEND[sleep.mode], hint=found.hint)


def obstacle(sleep: Sleep, management: t.Mapping[str, bool], kernel: Kernel) -> Obstacle | None:
    """Why this cannot work; None for nothing known. Pure."""
    mode, element, word = sleep.mode, sleep.element, sleep.word
    if not management.get(element, True):
        hint = f"set <pm><{element} enabled='yes'/></pm> in its definition, and start it again"
        return Obstacle(f"the domain's definition disables {element}", hint)
    if kernel.state is not None and word not in kernel.state.split():
        return Obstacle(f"the guest's kernel offers no suspend to {mode} ({STATE} has no {word})")
    if mode != "ram" and kernel.disk is not None and "[disabled]" in kernel.disk:
        detail = f"the guest's kernel does not allow a suspend to disk ({DISK})"
        return Obstacle(detail, "secure boot is one possible reason")
    if mode == "hybrid" and kernel.disk is not None and "suspend" not in kernel.disk.replace("[", " ").replace("]", " ").split():
        return Obstacle(f"the guest's kernel offers no hybrid suspend ({DISK} has no suspend)")
    if mode != "ram" and kernel.swaps is not None and len(kernel.swaps.splitlines()) < 2:
        detail = "the guest has no swap space to write its memory to"
        return Obstacle(detail, "add a swap partition or file as large as its memory")
    return None


def wait_until_suspended(domain: Domain, watch: LifecycleWatch, deadline: Deadline, sleep: Sleep, reply: str) -> None:
    """``reply``: what came of the request, for the error.

    :raise NotSuspended: it runs at the deadline, or has woken up by itself, or went off instead.
    """
    slept = False
    while True:
        state = _state(domain, deadline)
        if state == sleep.domain_state or (state == "gone" and sleep.state == "off"):
            return
        if state in ("shutoff", "gone"):
            raise NotSuspended(f"the domain is {state} instead of suspended", domain=domain.name, hint="start it")
        if slept and sleep.state != "off":
            raise NotSuspended("the guest suspended itself and woke up again", domain=domain.name)
        if deadline.expired():
            detail = f"the domain is {state} {deadline.seconds:g} s after the guest was asked to suspend itself ({reply})"
            raise NotSuspended(detail, domain=domain.name, command=power.SUSPEND[sleep.mode])
        event = watch.next(min(deadline.remaining(), _LOOK_SECONDS))
        slept = slept or event == "pmsuspended"


def wake(domain: Domain, watch: LifecycleWatch, deadline: Deadline) -> None:
    """Wake the domain again and again until it runs: QEMU refuses in the first moments of a suspend.

    :raise NotAwake: it is suspended at the deadline.
    """
    refused = ""
    while True:
        try:
            domain.wake()
        except (LibvirtFailure, HypervisorUnreachable) as error:
            refused = f" ({error.detail})"
        state = _state(domain, deadline)
        if state in ("running", "blocked"):
            return
        if state != "pmsuspended":
            raise NotAwake(f"the domain is {state} instead of awake", domain=domain.name)
        if deadline.expired():
            detail = f"the domain is still suspended {deadline.seconds:g} s after the first call to wake it{refused}"
            raise NotAwake(detail, domain=domain.name)
        watch.next(min(deadline.remaining(), _PAUSE))


def wait_for_agent(agent: GuestAgent, deadline: Deadline) -> None:
    """
    :raise NotBack: it has not answered by the deadline.
    """
    while True:
        agent.retry()
        try:
            agent.call("guest-ping")
            return
        except GuestAgentError as error:
            if deadline.expired():
                detail = f"the domain runs, and its agent has not answered within {deadline.seconds:g} s: {error.detail}"
                raise NotBack(detail, domain=agent.name) from error
        deadline.sleep(_PAUSE)


def _state(domain: Domain, deadline: Deadline) -> str:
    with contextlib.suppress(DomainNotFound):
        return passing.state(domain, deadline)
    return "gone"
