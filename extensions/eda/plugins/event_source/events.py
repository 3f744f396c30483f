# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The event source virtops.guest_agent.events of ansible-rulebook: takes arguments, and puts what the core tells into the queue."""

from __future__ import annotations

import asyncio
import sys
import typing as t
from pathlib import Path

DOCUMENTATION = r"""
---
module: events
author:
  - virtops contributors (@virtops)
short_description: What happens to libvirt domains, their guests and their agents
version_added: 0.1.0
description:
  - Tells when domains start, stop, crash or pause, when guests reboot or panic, and when agents come and go.
  - Tells when a filesystem of a guest passes a threshold, where O(filesystem_interval) asks for it.
  - The shape of an event is documented in the guide "Events".
options:
  uri:
    description:
      - The libvirt URIs of the hypervisors, as a list or as a text with commas between them.
      - Without one, the environment variable E(LIBVIRT_DEFAULT_URI) is used, or else libvirt's own default.
    type: list
    elements: str
  timeout:
    description: How long a request to libvirt may take, in seconds.
    type: int
    default: 30
  filesystem_interval:
    description:
      - So many seconds lie between two looks at the filesystems of all guests.
      - With V(0) no agent is ever asked.
    type: int
    default: 0
  filesystem_thresholds:
    description:
      - Percentages of use. One is told when a filesystem reaches it, and when it has fallen two percent below it again.
      - Of several that a filesystem has passed between two looks, the highest is told on the way up, and the lowest on the way
        down.
    type: list
    elements: int
    default: [90]
  agent_timeout:
    description: How long an agent may take to answer, in seconds.
    type: int
    default: 5
"""

EXAMPLES = r"""
- name: Tell of agents that went away
  hosts: localhost
  sources:
    - virtops.guest_agent.events:
        uri:
          - qemu+ssh://root@kvm1.example.com/system
          - qemu+ssh://root@kvm2.example.com/system
        filesystem_interval: 600
        filesystem_thresholds: [80, 95]
  rules:
    - name: An agent went away
      condition: event.type == "agent_disconnected"
      action:
        debug:
          msg: "{{ event.domain }} on {{ event.hypervisor }} has no agent"
"""

# ansible-rulebook runs this file by its path, in a process in which Ansible does not look for collections. The directory with
# ansible_collections is seven above it, and the last place to look for anything.
sys.path.append(str(Path(__file__).absolute().parents[7]))

from ansible_collections.virtops.guest_agent.plugins.module_utils._records.events import (  # noqa: E402
    EventStream,
    Options,
)

#: The connections are given back within so many seconds, or left to the end of the process.
_CLOSE_SECONDS: t.Final = 5.0


class Queue(t.Protocol):
    async def put(self, event: dict[str, t.Any], /) -> None:
        """Waits while the rules have no time for it."""


async def main(queue: Queue, args: dict[str, t.Any]) -> None:
    """Put events into ``queue`` until this is cancelled."""
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    stream = EventStream(options(args), lambda: loop.call_soon_threadsafe(news.set))
    stream.start()
    try:
        while True:
            await news.wait()
            news.clear()
            while (event := stream.take()) is not None:
                await queue.put(dict(event))
    finally:
        stream.close(_CLOSE_SECONDS)


def options(args: t.Mapping[str, t.Any]) -> Options:
    """The arguments of a rulebook; a template's value is a text, whatever it stands for.

    :raise ValueError: there is an argument that is none, or a value that makes no sense.
    """
    known = ("uri", "timeout", "filesystem_interval", "filesystem_thresholds", "agent_timeout")
    if unknown := sorted(set(args) - {*known}):
        raise ValueError(f"virtops.guest_agent.events has no argument {', '.join(unknown)}; it has {', '.join(known)}")
    default = Options()
    return Options(
        uris=tuple(map(str, _listed(args.get("uri")))) or default.uris,
        timeout=_whole(args, "timeout", int(default.timeout), 1),
        filesystem_interval=_whole(args, "filesystem_interval", 0, 0),
        filesystem_thresholds=_thresholds(args.get("filesystem_thresholds")) or default.filesystem_thresholds,
        agent_timeout=_whole(args, "agent_timeout", default.agent_timeout, 1),
    )


def _thresholds(given: object) -> tuple[int, ...]:
    return tuple(_whole({"filesystem_thresholds": member}, "filesystem_thresholds", 0, 1, 100) for member in _listed(given))


def _listed(value: object) -> list[t.Any]:
    if value is None:
        return []
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _whole(args: t.Mapping[str, t.Any], name: str, default: int, low: int, high: int = 86_400) -> int:
    value = args.get(name, default)
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if isinstance(value, (bool, float)) or not low <= number <= high:
        raise ValueError(f"{name} of virtops.guest_agent.events is a whole number from {low} to {high}, not {value!r}")
    return number
