# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What libvirt reports of one domain while it is watched: words in a queue. Knows libvirt's numbers, not libvirt."""

from __future__ import annotations

import contextlib
import queue
import threading
import typing as t

from .._errors import GuestAgentError

#: virDomainEventID
LIFECYCLE: t.Final = 0
REBOOT: t.Final = 1
AGENT: t.Final = 18
#: virDomainEventType: what ends or changes a run of the domain
_LIFECYCLE_WORDS: t.Final = {
    0: "defined",
    1: "undefined",
    2: "started",
    3: "suspended",
    4: "resumed",
    5: "stopped",
    6: "shutdown",
    7: "pmsuspended",
    8: "crashed",
}
#: virConnectDomainEventAgentLifecycleState
_AGENT_WORDS: t.Final = {1: "agent connected", 2: "agent disconnected"}

#: Register a callback for an event, and get its number; and give that back.
Register = t.Callable[[int, t.Callable[..., None]], int]
Deregister = t.Callable[[int], None]


class LifecycleWatch:
    """Lifecycle events of one domain (virConnectDomainEventRegisterAny); with ``restarts`` also resets and the agent's."""

    def __init__(self, register: Register, deregister: Deregister, restarts: bool = False) -> None:
        self._events: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._deregister = deregister
        wanted: dict[int, t.Callable[..., None]] = {LIFECYCLE: self._lifecycle}
        if restarts:
            wanted.update({REBOOT: self._reboot, AGENT: self._agent})
        self._ids = [register(event, receive) for event, receive in wanted.items()]

    def next(self, seconds: float) -> str | None:
        """The next event's name, or None when none came within ``seconds``: a word of the tables above, or "reset"."""
        try:
            return self._events.get(timeout=seconds)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Those of a connection that was lost went with it."""
        for number in self._ids:
            with contextlib.suppress(GuestAgentError):
                self._deregister(number)

    def _lifecycle(self, _connection: object, _domain: object, event: int, _detail: int, _opaque: object) -> None:
        self._events.put(_LIFECYCLE_WORDS.get(event, "unknown"))

    def _reboot(self, _connection: object, _domain: object, _opaque: object) -> None:
        self._events.put("reset")

    def _agent(self, _connection: object, _domain: object, state: int, _reason: int, _opaque: object) -> None:
        self._events.put(_AGENT_WORDS.get(state, "unknown"))


_serving: threading.Thread | None = None


def serve_events(libvirt: t.Any) -> None:
    """Let a thread of this process serve libvirt's events, from before the first connection on."""
    global _serving
    if _serving is None:
        libvirt.virEventRegisterDefaultImpl()
        _serving = threading.Thread(target=_serve, args=(libvirt.virEventRunDefaultImpl,), name="virtops-events", daemon=True)
        _serving.start()


def _serve(run_once: t.Callable[[], object]) -> t.NoReturn:
    while True:
        run_once()
