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


class Plan(t.NamedTuple):
    after: Places
    #: "running", "definition"
    change: tuple[str, ...]
    #: the running domain cannot get the channel
    restart_required: bool


def read(domain: Domain, name: str) -> Places:
    running = _parts(domain.xml(), name) if domain.state() in _ON else None
    return Places(running, _parts(domain.definition(), name) if domain.persistent() else None)


def plan(before: Places, name: str, present: bool) -> Plan:
    """Pure."""
    running, definition = before
    change, restart_required = [], False
    wanted = domain_xml.channel_device(name) if present else ""
    if running is not None and running.channel != wanted:
        if present and not running.controller:
            restart_required = True
        else:
            running = running.with_channel(name) if present else running._replace(channel="")
            change.append("running")
    if definition is not None and definition.channel != wanted:
        definition = definition.with_channel(name) if present else definition._replace(channel="")
        change.append("definition")
    return Plan(Places(running, definition), tuple(change), restart_required)


def apply(domain: Domain, name: str, present: bool, change: t.Sequence[str], deadline: Deadline) -> str:
    """Make the change; why the running domain would not have it, "" where it has. A channel of another type is replaced.

    :raise LibvirtFailure: libvirt refuses to change the definition, or to take the channel out of the running domain.
    :raise WaitTimeout: the guest does not let the channel go.
    """
    refused = ""
    if "definition" in change:
        if plugged := domain_xml.plugged_channel(domain.definition(), name):
            domain.detach(plugged, definition=True)
        if present:
            domain.attach(domain_xml.channel_device(name), definition=True)
    if "running" in change:
        if domain_xml.plugged_channel(domain.xml(), name):
            _unplug(domain, name, deadline)
        if present:
            try:
                domain.attach(domain_xml.channel_device(name))
            except LibvirtFailure as error:
                refused = error.detail
    return refused


def _unplug(domain: Domain, name: str, deadline: Deadline) -> None:
    domain.detach(domain_xml.plugged_channel(domain.xml(), name))
    while domain_xml.plugged_channel(domain.xml(), name):
        if deadline.expired():
            detail = f"the guest has not let the channel {name} go within {deadline.seconds:g} s"
            raise WaitTimeout(detail, domain=domain.name, hint="it is gone from the next start on; does the guest run at all?")
        deadline.sleep(_PAUSE)


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
