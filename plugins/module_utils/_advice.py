# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What to do about an agent that does not do what is wanted, per distribution of the guest where that differs. Pure."""

from __future__ import annotations

import typing as t

#: os-release ID -> family of the package's configuration
_FAMILIES: t.Final = {
    **dict.fromkeys(("rhel", "centos", "rocky", "almalinux", "ol", "fedora", "amzn"), "redhat"),
    **dict.fromkeys(("debian", "ubuntu", "linuxmint"), "debian"),
    **dict.fromkeys(("sles", "opensuse-leap", "opensuse-tumbleweed", "suse"), "suse"),
    "alpine": "alpine",
    "mswindows": "windows",
}

_ALLOW: t.Final = {
    "redhat": (
        "in the guest edit /etc/sysconfig/qemu-ga (FILTER_RPC_ARGS or --allow-rpcs since EL 9, BLOCK_RPCS or BLACKLIST_RPC"
        " before), then run 'systemctl restart qemu-guest-agent'"
    ),
    "debian": (
        "in the guest look for block-rpcs or allow-rpcs in /etc/qemu/qemu-ga.conf and in /etc/default/qemu-guest-agent, then"
        " run 'systemctl restart qemu-guest-agent'"
    ),
    "windows": "in the guest look at the command line of the service QEMU-GA (sc qc QEMU-GA) for --block-rpcs or --allow-rpcs",
}
_ALLOW_ANYWHERE: t.Final = (
    "in the guest allow it in the agent's configuration (block-rpcs and allow-rpcs of /etc/qemu/qemu-ga.conf or"
    " /etc/sysconfig/qemu-ga) and restart the agent"
)

_INSTALL: t.Final = (
    "in the guest install and start qemu-guest-agent (Debian, Ubuntu: apt install qemu-guest-agent; Fedora, EL: dnf install"
    " qemu-guest-agent; Windows: the virtio-win guest tools)"
)


def allow_commands(os_id: str | None) -> str:
    """How to make the agent accept a command that its configuration blocks."""
    return _ALLOW.get(_FAMILIES.get(os_id or "", ""), _ALLOW_ANYWHERE)


def install_agent() -> str:
    """How to get an agent to listen on the channel."""
    return _INSTALL
