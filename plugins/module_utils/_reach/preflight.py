# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What libvirt alone tells of an agent, before it is asked. Pure."""

from __future__ import annotations

import typing as t

from .._agent import untrusted
from .._errors import AgentDisconnected, AgentNotConfigured, DomainNotRunning, GuestAgentError
from .._libvirt import domain_xml
from . import advice

#: Types of domains that libvirt has a guest agent for: all of QEMU's, and bhyve's.
_WITH_AGENT: t.Final = ("kvm", "qemu", "hvf", "xen", "hyperv", "bhyve")
#: How a domain in this state can be asked again.
_HINTS: t.Final = {
    "shutoff": "start the domain (virtops.guest_agent.start)",
    "paused": "resume the domain (virtops.guest_agent.start)",
    "pmsuspended": "wake the domain (virtops.guest_agent.suspend with state=awake)",
    "crashed": "check its console, and reset it or start it again",
}


def preflight(state: str, domain: domain_xml.DomainXml) -> GuestAgentError | None:
    """Why there is no agent to ask, known from libvirt alone; None where there may be one."""
    if domain.kind not in _WITH_AGENT:
        detail = f"a domain of type {untrusted.clean(domain.kind, 32)} has no guest agent"
        return AgentNotConfigured(detail, hint=f"libvirt has agents in domains of type {', '.join(_WITH_AGENT)}")
    if domain.channel == "":
        return AgentNotConfigured("the domain has no guest agent channel")
    if domain.channel_type != "unix":
        kind = untrusted.clean(domain.channel_type, 32)
        detail = f"the guest agent channel is of type {kind}, and libvirt can use only a channel of type unix"
        return AgentNotConfigured(detail, hint="let virtops.guest_agent.agent_channel replace it")
    if state not in ("running", "blocked"):
        return DomainNotRunning(f"the domain is {state}", hint=_HINTS.get(state, ""))
    if domain.channel == "disconnected":
        return AgentDisconnected("the channel is there, and no agent in the guest listens on it", hint=advice.install_agent())
    return None
