# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a domain in any state is brought to run."""

from __future__ import annotations

import contextlib
import typing as t

from .._deadline import Deadline
from .._errors import DomainNotFound, DomainNotRunning, HypervisorUnreachable, InvalidInput, LibvirtFailure
from .._inside import passing
from .._libvirt import domain_xml
from .._libvirt.events import LifecycleWatch
from .._libvirt.hypervisor import Domain, connect
from .._reach.guest import LIBVIRT_SECONDS, Params
from . import suspend

Method = t.Literal["none", "started", "created", "resumed", "woken"]

#: Seconds between two requests, where it is not known what became of the first.
_PAUSE: t.Final = 1.0
_ON: t.Final = ("running", "blocked")
#: What a paused domain is resumed after. The rest still goes on, or has to be put right first.
_RESUMED_AFTER: t.Final = ("unknown", "a user", "a revert to a snapshot")
_METHODS: t.Final[dict[str, Method]] = {
    "running": "none",
    "blocked": "none",
    "shutoff": "started",
    "shutdown": "started",
    "paused": "resumed",
    "pmsuspended": "woken",
}


def choose(domain: Domain, state: str) -> Method:
    """
    :raise DomainNotRunning: the domain cannot be brought to run without losing something.
    """
    if state == "paused" and (cause := domain.paused_by()) not in _RESUMED_AFTER:
        hint = "put that right or wait for its end, and resume the domain"
        raise DomainNotRunning(f"the domain was paused by {cause}, and is not resumed", domain=domain.name, hint=hint)
    if state not in _METHODS:
        hint = "destroy it first (virtops.guest_agent.shutdown with force_after=0), which loses what it holds of the crash"
        raise DomainNotRunning(f"the domain is {state} and cannot be started", domain=domain.name, hint=hint)
    return _METHODS[state]


def switch_on(domain: Domain, method: Method, watch: LifecycleWatch, deadline: Deadline) -> Method:
    """Until the domain runs, and how that came about: ``none`` where another client was faster.

    :raise LibvirtFailure: libvirt cannot start it.
    :raise NotAwake: it did not wake up in time.
    """
    lost = False
    while True:
        try:
            _request(domain, method, watch, deadline)
            return method
        except LibvirtFailure:
            if passing.state(domain, deadline) in _ON:
                return method if lost else "none"
            if not lost or deadline.expired():
                raise
        except HypervisorUnreachable:
            # The request may have reached it all the same, and the domain be about to run.
            if passing.state(domain, deadline) in _ON:
                return method
            if deadline.expired():
                raise
            lost = True
        deadline.sleep(_PAUSE)


def _request(domain: Domain, method: Method, watch: LifecycleWatch, deadline: Deadline) -> None:
    if method == "started":
        domain.start(max(LIBVIRT_SECONDS, deadline.remaining()))
    elif method == "resumed":
        domain.resume()
    elif method == "woken":
        suspend.wake(domain, watch, deadline)


def create(params: Params, check_mode: bool, deadline: Deadline) -> bool:
    """Create the domain from the option ``xml`` if it is not there; whether it was missing.

    In check mode libvirt is asked whether it runs domains of this type at all.

    :raise InvalidInput: the XML is another domain's, or none.
    :raise LibvirtFailure: libvirt cannot create it.
    """
    name, xml = params["domain"], params["xml"]
    try:
        described = domain_xml.parse(xml)
    except LibvirtFailure as error:
        raise InvalidInput("xml is not a domain's XML", domain=name) from error
    if name not in (described.name, described.uuid):
        raise InvalidInput("xml describes a domain of another name", domain=name)
    # Events must be asked for before the first connection.
    with contextlib.closing(connect(params["uri"], LIBVIRT_SECONDS, events=True, ssh_persist=params["ssh_persist"])) as connection:
        with contextlib.suppress(DomainNotFound):
            connection.domain(name)
            return False
        if check_mode:
            connection.require_kind(name, described.kind, domain_xml.architecture(xml))
        else:
            connection.create(name, xml, max(LIBVIRT_SECONDS, deadline.remaining()))
        return True
