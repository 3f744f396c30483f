# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which commands an agent refuses: the lists distributions ship, in the options each qemu-ga has."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .errors import LabError

_FILE = ("open", "close", "read", "write", "seek", "flush")
_FILES_AND_EXEC = (*(f"guest-file-{verb}" for verb in _FILE), "guest-exec", "guest-exec-status")

# What `qemu-ga --block-rpcs=help` of 7.2 lists. It has no allow list, so one is given to it as the rest of these.
COMMANDS_7_2 = (
    "guest-sync-delimited",
    "guest-sync",
    "guest-ping",
    "guest-get-time",
    "guest-set-time",
    "guest-info",
    "guest-shutdown",
    *_FILES_AND_EXEC,
    "guest-fsfreeze-status",
    "guest-fsfreeze-freeze",
    "guest-fsfreeze-freeze-list",
    "guest-fsfreeze-thaw",
    "guest-fstrim",
    "guest-suspend-disk",
    "guest-suspend-ram",
    "guest-suspend-hybrid",
    "guest-network-get-interfaces",
    "guest-get-vcpus",
    "guest-set-vcpus",
    "guest-get-disks",
    "guest-get-fsinfo",
    "guest-set-user-password",
    "guest-get-memory-blocks",
    "guest-set-memory-blocks",
    "guest-get-memory-block-info",
    "guest-get-host-name",
    "guest-get-users",
    "guest-get-timezone",
    "guest-get-osinfo",
    "guest-get-devices",
    "guest-ssh-get-authorized-keys",
    "guest-ssh-add-authorized-keys",
    "guest-ssh-remove-authorized-keys",
    "guest-get-diskstats",
    "guest-get-cpustats",
)

# Enterprise Linux 8 blocks these commands; 9 and 10 allow a list, so commands newer than the list are refused there.
_EL9_ALLOWED = tuple(name for name in COMMANDS_7_2 if name not in _FILES_AND_EXEC)
BLOCK_PRESETS: dict[str, tuple[str, ...]] = {"rhel8": _FILES_AND_EXEC}
ALLOW_PRESETS: dict[str, tuple[str, ...]] = {
    "rhel9": _EL9_ALLOWED,
    # Enterprise Linux 10 allows guest-exec without guest-exec-status.
    "rhel10": (*_EL9_ALLOWED, "guest-exec"),
}


def agent_lists(
    block: str | Sequence[str], allow: str | Sequence[str], *, has_allow_option: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what goes to --block-rpcs and to --allow-rpcs.

    Either argument is a list of commands, or the name of a preset, of which some block and some allow.
    """
    blocked: list[str] = []
    allowed: list[str] = []
    for given, target in ((block, blocked), (allow, allowed)):
        if not isinstance(given, str):
            target.extend(given)
        elif given in BLOCK_PRESETS:
            blocked.extend(BLOCK_PRESETS[given])
        elif given in ALLOW_PRESETS:
            allowed.extend(ALLOW_PRESETS[given])
        else:
            raise LabError(f"{given!r} is no preset: {', '.join((*BLOCK_PRESETS, *ALLOW_PRESETS))}")
    if allowed and not has_allow_option:
        return (*blocked, *_complement(allowed, blocked)), ()
    return tuple(blocked), tuple(allowed)


def _complement(allowed: Collection[str], blocked: Collection[str]) -> list[str]:
    return [name for name in COMMANDS_7_2 if name not in allowed and name not in blocked]
