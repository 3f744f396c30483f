# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Freeze and thaw: guest-fsfreeze-* (qemu-ga 0.15; -freeze-list 2.2)."""

from __future__ import annotations

import typing as t

from .. import _untrusted
from .._client import GuestAgent
from .._deadline import SYSTEM_CLOCK, Clock, Deadline
from .._errors import GuestAgentError

_PAUSE: t.Final = 0.5


def freeze(agent: GuestAgent, mountpoints: t.Sequence[str] | None, timeout: int) -> int:
    """How many filesystems were frozen: all, or those of ``mountpoints`` (unknown ones are ignored by the agent)."""
    if mountpoints is None:
        return _count(agent.call("guest-fsfreeze-freeze", timeout=timeout))
    return _count(agent.call("guest-fsfreeze-freeze-list", {"mountpoints": list(mountpoints)}, timeout=timeout))


def thaw(agent: GuestAgent, timeout: int) -> int:
    """How many filesystems were thawed. A guest that is not frozen is no error; its thaw hook runs all the same."""
    return _count(agent.call("guest-fsfreeze-thaw", timeout=timeout))


def thaw_until_thawed(agent: GuestAgent, seconds: float, clock: Clock = SYSTEM_CLOCK) -> GuestAgentError | None:
    """Thaw again and again until the agent says that the guest is thawed; None then, or the last error after ``seconds``.

    For a freeze whose outcome is unknown: the agent may still be at work on it and complete it after any one thaw.
    """
    deadline = Deadline(seconds, clock)
    while True:
        agent.retry()
        try:
            thaw(agent, agent.timeout)
            if not agent.frozen():
                return None
            trouble = GuestAgentError("the agent still says frozen", domain=agent.name, command="guest-fsfreeze-thaw")
        except GuestAgentError as error:
            trouble = error
        if deadline.expired():
            return trouble
        deadline.sleep(_PAUSE)


def _count(value: object) -> int:
    return _untrusted.integer(value, "a number of filesystems", 0, 2**31)
