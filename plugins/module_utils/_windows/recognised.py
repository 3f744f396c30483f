# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a guest is Windows, asked once; and if so, the agent knows how its programs and files are used."""

from __future__ import annotations

import contextlib
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._errors import CommandRefused, ProtocolError

_OSINFO: t.Final = "guest-get-osinfo"
#: What guest-get-osinfo has as the id of every Windows.
_ID: t.Final = "mswindows"
#: An agent that accepts one of these is Linux's, and need not be asked.
_LINUX_ONLY: t.Final = ("guest-set-vcpus", "guest-get-memory-blocks", "guest-set-memory-blocks", "guest-suspend-hybrid")


def recognise(agent: GuestAgent, os_id: str | None = None) -> None:
    """Set ``agent.windows`` where the guest is Windows. An agent that does not tell is taken for another system's.

    :param os_id: what it has told already
    """
    commands = agent.known_commands()
    if agent.windows is not None or any(map(commands.get, _LINUX_ONLY)) or not commands.get(_OSINFO, True):
        return
    if os_id is None:
        with contextlib.suppress(CommandRefused, ProtocolError):
            os_id = untrusted.mapping(agent.call(_OSINFO)).get("id")
    if os_id == _ID:
        # Collections are compiled anew at each start: this is for Windows guests only.
        from .guest import Windows

        agent.windows = Windows(agent)
