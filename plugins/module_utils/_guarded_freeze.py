# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A freeze after which the guest is frozen as asked, or not at all."""

from __future__ import annotations

import contextlib
import typing as t

from ._client import GuestAgent
from ._commands import filesystems, freeze
from ._errors import (
    AgentUnavailable,
    CommandBlocked,
    CommandFailed,
    CommandUnknown,
    ConnectionLost,
    GuestAgentError,
    GuestFrozen,
    HypervisorUnreachable,
    InvalidInput,
    LibvirtFailure,
    PermissionDenied,
    StillInFlight,
)
from ._watchdog import Watchdog


def check_freezable(agent: GuestAgent, mountpoints: t.Sequence[str] | None) -> None:
    """Everything that can be known before the first filesystem is frozen, above all that the thaw will be accepted.

    :raise CommandRefused: the agent would refuse the freeze or the thaw.
    :raise InvalidInput: one of ``mountpoints`` is not a filesystem of the guest; the agent would ignore it silently.
    """
    freezer = "guest-fsfreeze-freeze" if mountpoints is None else "guest-fsfreeze-freeze-list"
    for command in (freezer, "guest-fsfreeze-thaw"):
        agent.require(command)
    if mountpoints is None:
        return
    mounted = {found["mount_point"] for found in filesystems.filesystems(agent)}
    unknown = [path for path in mountpoints if path not in mounted]
    if unknown:
        raise InvalidInput(
            f"no filesystem that can be frozen is mounted at {', '.join(unknown)}",
            domain=agent.name,
            command=freezer,
            hint=f"the guest has {', '.join(sorted(mounted)[:20]) or 'none'}",
        )


def guarded_freeze(agent: GuestAgent, mountpoints: t.Sequence[str] | None, seconds: int, watchdog: Watchdog) -> int:
    """How many filesystems are frozen now. The watchdog must be armed; it is told what happens.

    :raise GuestAgentError: the freeze failed, or froze less than it was asked to; the guest is thawed, or the watchdog is at it.
    """
    watchdog.tell("freezing")
    try:
        count = freeze.freeze(agent, mountpoints, seconds)
    except (CommandBlocked, CommandUnknown, GuestFrozen, AgentUnavailable, PermissionDenied):
        watchdog.tell("release")  # nothing was frozen, or not by us: somebody else was faster
        raise
    except GuestAgentError as error:
        raise _undone(agent, error, seconds, watchdog) from error
    wanted = 1 if mountpoints is None else len(mountpoints)
    if count < wanted:
        detail = f"only {count} of {wanted} filesystems could be frozen" if mountpoints else "no filesystem could be frozen"
        short = CommandFailed(detail, domain=agent.name, command="guest-fsfreeze-freeze")
        raise _undone(agent, short, seconds, watchdog)
    try:
        watchdog.hold()
    except LibvirtFailure as error:
        raise _undone(agent, error, seconds, watchdog) from error
    return count


def _undone(agent: GuestAgent, error: GuestAgentError, seconds: int, watchdog: Watchdog) -> GuestAgentError:
    """Thaw whatever the failed freeze froze, or may still freeze, and say in its error how that went."""
    trouble = freeze.thaw_until_thawed(agent, seconds)
    # The agent does one thing after the other: what it says after the freeze was given to it is the last word. Only a freeze
    # that libvirt may not have sent yet can still come.
    certain = trouble is None and not isinstance(error, (StillInFlight, ConnectionLost, HypervisorUnreachable))
    with contextlib.suppress(LibvirtFailure):
        watchdog.tell("release" if certain else "failed")
    outcome = "the guest is thawed" if trouble is None else "the watchdog goes on trying to thaw the guest"
    error.detail = f"{error.detail}; {outcome}"
    return error
