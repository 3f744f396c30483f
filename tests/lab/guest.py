# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a guest of the lab is: plain data, chosen before it starts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from .errors import LabError

Kind = Literal["tiny", "debian12", "debian13"]
AgentMode = Literal["normal", "stopped", "absent", "relay"]

KINDS: tuple[Kind, ...] = get_args(Kind)
AGENT_MODES: tuple[AgentMode, ...] = get_args(AgentMode)
MEMORY_MIB: dict[Kind, int] = {"tiny": 96, "debian12": 256, "debian13": 256}
# What QEMU may keep of the code it has translated. A Debian that has too little translates the same again and again: it takes
# twice the time. Of tiny guests there are many.
TB_CACHE_MIB: dict[Kind, int] = {"tiny": 32, "debian12": 256, "debian13": 256}

# What the tiny guest says it is: ID and VERSION_ID of its /etc/os-release. The names are those of the command lists.
OS_RELEASES = {"rhel8": "rhel:8.10", "rhel9": "rhel:9.6", "rhel10": "rhel:10.0"}

#: For Guest.kernel: a tiny guest that does not prove that it can write, and leaves its processor alone.
QUIET = "lab.ticks=off"

AGENT_PORT = "org.qemu.guest_agent.0"
RELAY_PORT = "org.virtops.lab.0"


@dataclass(frozen=True)
class Guest:
    """One domain to start.

    name: the domain's name, used as it is; without one the lab counts (tiny-1, tiny-2, ...).
    agent: normal; stopped (opens its port, then SIGSTOP); absent; relay (a ScriptedAgent on the host answers; tiny only).
    block, allow: commands, or the name of a preset (rhel8, rhel9, rhel10).
    os_release: the same names; what guest-get-osinfo says (tiny only).
    metadata: XML elements of other namespaces for <metadata>.
    devices: XML added to <devices>.
    kernel: words added to the kernel's command line; movablecore=512M lets memory blocks go offline, lab.ticks=off
        leaves a tiny guest's processor alone.
    """

    name: str = ""
    kind: Kind = "tiny"
    agent: AgentMode = "normal"
    block: str | Sequence[str] = ()
    allow: str | Sequence[str] = ()
    os_release: str = ""
    channel: bool = True
    hostname: str = ""
    title: str = ""
    description: str = ""
    metadata: str = ""
    devices: str = ""
    persistent: bool = False
    memory_mib: int = 0
    vcpus: int = 1
    kernel: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise LabError(f"{self.kind!r} is no kind of guest: {', '.join(KINDS)}")
        if self.agent not in AGENT_MODES:
            raise LabError(f"{self.agent!r} is no agent mode: {', '.join(AGENT_MODES)}")
        if self.agent == "relay" and (self.kind != "tiny" or not self.channel):
            raise LabError("the relay needs a tiny guest with a channel")
        if self.os_release and (self.kind != "tiny" or self.os_release not in OS_RELEASES):
            raise LabError(f"a tiny guest, and no other, can say that it is one of {', '.join(OS_RELEASES)}")
        if self.hostname and not re.fullmatch(r"[A-Za-z0-9.-]{1,64}", self.hostname):
            raise LabError(f"{self.hostname!r} cannot be a guest's host name")

    @property
    def guest_hostname(self) -> str:
        """The host name in the guest: the one asked for, or the domain's name as far as it can be one."""
        return self.hostname or re.sub(r"[^A-Za-z0-9.-]+", "-", self.name)[:63].strip("-.") or "guest"

    @property
    def opens_channel(self) -> bool:
        """Whether something in the guest will open the agent's port."""
        return self.channel and self.agent != "absent"

    @property
    def answers(self) -> bool:
        """Whether the agent will answer guest-ping without further ado."""
        return self.opens_channel and self.agent == "normal" and "guest-ping" not in self.block
