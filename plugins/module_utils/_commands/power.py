# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Down, up again and asleep: guest-shutdown (qemu-ga 0.15), guest-suspend-* (1.1)."""

from __future__ import annotations

import typing as t

from .._agent.client import GuestAgent

SHUTDOWN: t.Final = "guest-shutdown"
#: How a guest suspends itself: mode -> command.
SUSPEND: t.Final = {"ram": "guest-suspend-ram", "disk": "guest-suspend-disk", "hybrid": "guest-suspend-hybrid"}


def shutdown(agent: GuestAgent, mode: str, timeout: int) -> None:
    """guest-shutdown: ``powerdown``, ``halt`` or ``reboot``. The agent replies only to say that it cannot: any end of the
    conversation but CommandRefused can mean that the guest goes down.
    """
    agent.call(SHUTDOWN, {"mode": mode}, timeout=timeout)


def suspend(agent: GuestAgent, mode: str, timeout: int) -> None:
    """guest-suspend-ram, -disk, -hybrid. As with ``shutdown``, the agent replies only to say that it cannot."""
    agent.call(SUSPEND[mode], timeout=timeout)
