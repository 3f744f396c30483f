# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What libvirt reports of any domain of a hypervisor -> words. Knows libvirt's numbers, not libvirt."""

from __future__ import annotations

import time
import typing as t

from .events import AGENT, LIFECYCLE, REBOOT

#: virDomainEventType -> the word, and those of its details
_LIFECYCLE_WORDS: t.Final[dict[int, tuple[str, tuple[str, ...]]]] = {
    2: ("domain_started", ("booted", "migrated", "restored", "from_snapshot", "wakeup")),
    3: (
        "domain_paused",
        ("user", "migrated", "io_error", "watchdog", "restored", "from_snapshot", "api_error", "postcopy", "postcopy_failed"),
    ),
    4: ("domain_resumed", ("unpaused", "migrated", "from_snapshot", "postcopy", "postcopy_failed")),
    5: ("domain_stopped", ("shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from_snapshot")),
    7: ("domain_suspended", ("memory", "disk")),
    8: ("guest_panicked", ("panicked", "crashloaded")),
}
#: virConnectDomainEventAgentLifecycleState, and ...Reason
_AGENT_WORDS: t.Final = {1: "agent_connected", 2: "agent_disconnected"}
_AGENT_REASONS: t.Final = ("unknown", "domain_started", "channel")
#: state -> virDomainPausedReason, virDomainShutoffReason and so on, in the words of the events
_STATE_REASONS: t.Final[dict[str, tuple[str, ...]]] = {
    "running": ("unknown", "booted", "migrated", "restored", "from_snapshot", "unpaused", "migrated", "save_canceled", "wakeup"),
    "paused": ("unknown", "user", "migrated", "save", "dump", "io_error", "watchdog", "from_snapshot", "shutdown", "snapshot"),
    "shutoff": ("unknown", "shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from_snapshot", "daemon"),
}
#: A domain in one of these has a QEMU that runs the guest.
_RUNNING: t.Final = ("nostate", "blocked", "shutdown")


class Report(t.NamedTuple):
    """What was reported of a domain; ``kind`` is a type of event."""

    uuid: str
    name: str
    #: the number of the domain's run (virDomainGetID), -1 while it is off
    run: int
    kind: str
    reason: str = "unknown"
    #: when (time.monotonic)
    at: float = 0.0


class Sight(t.NamedTuple):
    """How a domain was when its hypervisor was asked."""

    uuid: str
    name: str
    run: int
    state: str
    reason: str
    #: whether the agent's channel is open in the guest; None where that is not known
    agent: bool | None


Receive = t.Callable[[Report], None]


def callbacks(receive: Receive) -> dict[int, t.Callable[..., None]]:
    """virDomainEventID -> what libvirt is to call."""

    def lifecycle(_connection: object, domain: t.Any, event: int, detail: int, _opaque: object) -> None:
        kind, reasons = _LIFECYCLE_WORDS.get(event, ("", ()))
        reason = _word(reasons, detail)
        if kind == "domain_stopped":
            kind = end_of(reason)
        elif (kind, reason) == ("domain_started", "wakeup"):
            kind = "domain_resumed"
        if kind:
            receive(_report(domain, kind, reason))

    def reboot(_connection: object, domain: t.Any, _opaque: object) -> None:
        receive(_report(domain, "guest_rebooted", "unknown"))

    def agent(_connection: object, domain: t.Any, state: int, reason: int, _opaque: object) -> None:
        if state in _AGENT_WORDS:
            receive(_report(domain, _AGENT_WORDS[state], _word(_AGENT_REASONS, reason)))

    return {LIFECYCLE: lifecycle, REBOOT: reboot, AGENT: agent}


def end_of(reason: str) -> str:
    """The type of event by which a domain ended. Of a QEMU that died libvirt's event says "failed", and its state "crashed"."""
    return "domain_crashed" if reason in ("crashed", "failed") else "domain_stopped"


def in_words(state: str, reason: int) -> tuple[str, str]:
    """State and reason of a listing, in the words of events."""
    state = "running" if state in _RUNNING else state
    return state, _word(_STATE_REASONS.get(state, ()), reason)


def _word(words: tuple[str, ...], number: int) -> str:
    return words[number] if 0 <= number < len(words) else "unknown"


def _report(domain: t.Any, kind: str, reason: str) -> Report:
    return Report(domain.UUIDString(), domain.name(), domain.ID(), kind, reason, time.monotonic())
