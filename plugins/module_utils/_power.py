# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Seeing a domain off."""

from __future__ import annotations

import contextlib
import typing as t

from ._deadline import Deadline
from ._errors import DomainNotFound, DomainNotRunning, DomainStillOn
from ._hypervisor import Domain, LifecycleWatch

#: Between two looks at the domain's state, should an event be lost (seconds).
_LOOK_SECONDS: t.Final = 5.0


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
                    domain.destroy()
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
