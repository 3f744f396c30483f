# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What libvirt alone tells of an agent, before it is asked. Pure."""

from __future__ import annotations

from . import _advice, _domain_xml
from ._errors import AgentDisconnected, AgentNotConfigured, DomainNotRunning, GuestAgentError


def preflight(state: str, domain: _domain_xml.DomainXml) -> GuestAgentError | None:
    """Why there is no agent to ask, known from libvirt alone; None where there may be one."""
    if domain.channel == "" or domain.kind not in ("kvm", "qemu", "hvf", "xen"):
        return AgentNotConfigured("the domain has no guest agent channel")
    if state not in ("running", "blocked"):
        return DomainNotRunning(f"the domain is {state}")
    if domain.channel == "disconnected":
        return AgentDisconnected("the channel is there, and nobody in the guest listens on it", hint=_advice.install_agent())
    return None
