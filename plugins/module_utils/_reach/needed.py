# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The agent of one guest, known to accept what a module needs, and errors that say all there is to say about it."""

from __future__ import annotations

import contextlib
import typing as t

from .._agent.client import GuestAgent
from .._errors import GuestAgentError
from .diagnosis import explain
from .guest import Guest, open_guest


@contextlib.contextmanager
def open_agent(params: t.Mapping[str, t.Any], needed: t.Sequence[str]) -> t.Iterator[GuestAgent]:
    """What ``open_guest`` and ``require`` give and raise."""
    with open_guest(params) as guest, require(guest, needed) as agent:
        yield agent


@contextlib.contextmanager
def require(guest: Guest, needed: t.Sequence[str]) -> t.Iterator[GuestAgent]:
    """
    :raise CommandRefused: the agent blocks or does not know one of the ``needed`` commands, or the guest is frozen.
    :raise GuestAgentError: what ``require_agent`` raises.
    """
    try:
        agent = guest.require_agent()
        for command in needed:
            agent.require(command)
        yield agent
    except GuestAgentError as error:
        # An error that there is nothing to add to is raised as it was.
        raise explain(guest.agent, error, needed) from error.__cause__
