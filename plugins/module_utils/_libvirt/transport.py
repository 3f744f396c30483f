# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An agent on another channel than libvirt's own, through a stream."""

from __future__ import annotations

import typing as t

from .._agent.transport import Link, LinkTransport
from .._errors import AgentDisconnected, InvalidInput
from . import domain_xml

if t.TYPE_CHECKING:
    from .hypervisor import Domain


class ChannelTransport(LinkTransport):
    """An agent on a virtio channel that libvirt leaves alone, such as org.qemu.guest_agent.1, through libvirt."""

    def __init__(self, domain: Domain, channel: str) -> None:
        super().__init__(domain.name, lambda _deadline: _open_channel(domain, channel))
        self._domain = domain

    def renew(self, seconds: float) -> None:
        self.close()
        self._domain.renew(seconds)


def _open_channel(domain: Domain, channel: str) -> Link:
    if channel == domain_xml.AGENT_CHANNEL:
        detail = f"libvirt itself uses the channel {channel}, and no other client can"
        raise InvalidInput(detail, domain=domain.name, hint="use the transport libvirt, or another channel")
    if domain_xml.channels(domain.xml()).get(channel) == "disconnected":
        hint = f"start another qemu-ga in the guest, on /dev/virtio-ports/{channel}"
        raise AgentDisconnected(f"no agent listens on the channel {channel}", domain=domain.name, hint=hint)
    return domain.open_channel(channel)
