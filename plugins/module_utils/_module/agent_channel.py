# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A virtio channel in a domain: in the running one, in its definition, or in both."""

from __future__ import annotations

import typing as t

from .._deadline import Deadline
from .._errors import LibvirtFailure, WaitTimeout
from .._libvirt import domain_xml
from .._libvirt.hypervisor import Domain

#: libvirt plugs a channel into a running domain only where there is a controller already, and plugs in no controller.
CONTROLLER: t.Final = '<controller type="virtio-serial" index="0"/>'
NO_CONTROLLER: t.Final = "it has no virtio-serial controller"
_ON: t.Final = ("running", "blocked", "paused", "pmsuspended", "shutdown", "crashed")
_PAUSE: t.Final = 0.2


class Parts(t.NamedTuple):
    """What one XML has of it, without addresses and other things that libvirt adds."""

    controller: str
    channel: str

    def with_channel(self, name: str) -> Parts:
        return Parts(self.controller or CONTROLLER, domain_xml.channel_device(name))


class Places(t.NamedTuple):
    #: None for a domain that is off
    running: Parts | None
    #: None for a transient domain
    definition: Parts | None


class Wish(t.NamedTuple):
    name: str
    present: bool

    @property
    def device(self) -> str:
        """The channel as XML, "" for none."""
        return domain_xml.channel_device(self.name) if self.present else ""

    def met_in(self, parts: Parts) -> Parts:
        return parts.with_channel(self.name) if self.present else parts._replace(channel="")


class Plan(t.NamedTuple):
    after: Places
    #: "running", "definition"
    change: tuple[str, ...]
    #: why the running domain does not get the channel; "" where it does
    obstacle: str


def read(domain: Domain, name: str) -> Places:
    running = _parts(domain.xml(), name) if domain.state() in _ON else None
    return Places(running, _parts(domain.definition(), name) if domain.persistent() else None)


def plan(before: Places, wish: Wish) -> Plan:
    """Pure."""
    running, definition = before
    change, obstacle = [], ""
    if running is not None and running.channel != wish.device:
        if wish.present and not running.controller:
            obstacle = NO_CONTROLLER
        else:
            running = wish.met_in(running)
            change.append("running")
    if definition is not None and definition.channel != wish.device:
        definition = wish.met_in(definition)
        change.append("definition")
    return Plan(Places(running, definition), tuple(change), obstacle)


def check(domain: Domain, plan: Plan) -> None:
    """
    :raise LibvirtFailure: there is nothing else than the running domain to give the channel to, and that does not get it.
    """
    if plan.obstacle and plan.after.definition is None:
        raise LibvirtFailure(
            f"the running domain cannot get the channel, because {plan.obstacle}, and it is transient",
            domain=domain.name,
            hint="create it again with the channel in its XML",
        )


def apply(domain: Domain, wish: Wish, plan: Plan, deadline: Deadline) -> Plan:
    """Make the change, and say what came of it. A channel of another type is replaced.

    :raise LibvirtFailure: libvirt refuses to change the definition, to take the channel out of the running domain, or to plug it
        into one that has no definition.
    :raise WaitTimeout: the guest does not let the channel go.
    """
    if "definition" in plan.change:
        _define(domain, wish)
    refused = _plug(domain, wish, deadline) if "running" in plan.change else ""
    if refused and plan.after.definition is None:
        raise LibvirtFailure(refused, domain=domain.name)
    return plan._replace(after=read(domain, wish.name), obstacle=refused or plan.obstacle)


def _define(domain: Domain, wish: Wish) -> None:
    if plugged := domain_xml.plugged_channel(domain.definition(), wish.name):
        domain.detach(plugged, definition=True)
    if wish.present:
        domain.attach(wish.device, definition=True)


def _plug(domain: Domain, wish: Wish, deadline: Deadline) -> str:
    """Why the running domain would not have it, "" where it has."""
    if domain_xml.plugged_channel(domain.xml(), wish.name):
        _unplug(domain, wish.name, deadline)
    if wish.present:
        try:
            domain.attach(wish.device)
        except LibvirtFailure as error:
            return error.detail
    return ""


def _unplug(domain: Domain, name: str, deadline: Deadline) -> None:
    domain.detach(domain_xml.plugged_channel(domain.xml(), name))
    for _turn in deadline.pauses(_PAUSE, _PAUSE):
        if not domain_xml.plugged_channel(domain.xml(), name):
            return
    detail = f"the guest has not released the channel {name} within {deadline.seconds:g} s"
    raise WaitTimeout(detail, domain=domain.name, hint="it will be gone after the next start; check that the guest runs")


def _parts(xml: str, name: str) -> Parts:
    controller = CONTROLLER if domain_xml.has_serial_controller(xml) else ""
    kind = domain_xml.channel_kind(domain_xml.plugged_channel(xml, name))
    return Parts(controller, domain_xml.channel_device(name, kind) if kind else "")


def text(places: Places) -> str:
    """For a diff."""
    lines = []
    for where, parts in (("running domain", places.running), ("definition", places.definition)):
        if parts is not None:
            lines += [f"<!-- {where} -->", *filter(None, parts)]
    return "\n".join([*lines, ""])
