# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wait for agents by libvirt's events, not by asking again and again."""

from __future__ import annotations

import threading
import time
import xml.etree.ElementTree as ET
from typing import Any

import libvirt
import libvirt_qemu

from .errors import LabError
from .guest import AGENT_PORT

# An event that is lost costs this much, not the whole timeout.
_FALLBACK_SECONDS = 5.0
# libvirt announces an open port a moment before its own side of the channel is ready.
_SETTLING_SECONDS = 0.1

_loop_lock = threading.Lock()
_loop: threading.Thread | None = None


def ensure_event_loop() -> None:
    """Run libvirt's event loop in a thread of this process, once; needed before a connection is opened."""
    global _loop
    with _loop_lock:
        if _loop is None:
            libvirt.virEventRegisterDefaultImpl()
            _loop = threading.Thread(target=_run_loop, name="lab-libvirt-events", daemon=True)
            _loop.start()


def _run_loop() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


class AgentEvents:
    """Wakes waiters whenever an agent comes or goes or a domain changes its state."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._changed = threading.Condition()
        self._count = 0
        self._callbacks = [
            connection.domainEventRegisterAny(None, event, self._on_event, None)
            for event in (libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE)
        ]

    def close(self) -> None:
        """Stop listening."""
        for callback in self._callbacks:
            self._connection.domainEventDeregisterAny(callback)

    def _on_event(self, *_: object) -> None:
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def wait_connected(self, domain: Any, deadline: float) -> None:
        """Return when the guest has opened the agent's port; raise LabError at the deadline or when the domain ends."""
        while True:
            seen = self._count
            if _port_state(domain) == "connected":
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise LabError(f"domain {domain.name()}: no agent opened the channel in time")
            with self._changed:
                if self._count == seen:
                    self._changed.wait(min(left, _FALLBACK_SECONDS))


def wait_answer(domain: Any, deadline: float) -> None:
    """Return when the agent answers guest-ping; raise LabError at the deadline."""
    while True:
        left = deadline - time.monotonic()
        try:
            libvirt_qemu.qemuAgentCommand(domain, '{"execute":"guest-ping"}', max(1, int(left)), 0)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_AGENT_UNRESPONSIVE or left <= 0:
                raise LabError(f"domain {domain.name()}: the agent does not answer: {error}") from None
            time.sleep(_SETTLING_SECONDS)
        else:
            return


def _port_state(domain: Any) -> str | None:
    try:
        if not domain.isActive():
            raise LabError(f"domain {domain.name()} ended while it was booting; its console log says why")
        tree = ET.fromstring(domain.XMLDesc())
    except libvirt.libvirtError as error:
        raise LabError(f"domain {domain.name()} ended while it was booting: {error}") from None
    target = tree.find(f"devices/channel/target[@name='{AGENT_PORT}']")
    return None if target is None else target.get("state")
