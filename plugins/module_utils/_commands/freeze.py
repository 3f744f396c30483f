# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Freeze and thaw: guest-fsfreeze-* (qemu-ga 0.15; -freeze-list 2.2), and which filesystems a freeze reaches."""

from __future__ import annotations

import re
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._deadline import SYSTEM_CLOCK, Clock, Deadline
from .._errors import AgentUnavailable, CommandFailed, ConnectionLost, GuestAgentError
from .filesystems import GuestFilesystem

_PAUSE: t.Final = 0.5
#: They are never written to. Linux freezes none of them, and the agent does not count what it could not freeze.
_READ_ONLY: t.Final = frozenset({"cramfs", "erofs", "iso9660", "romfs", "squashfs", "udf"})
#: The firmware's partition, which Linux cannot freeze and hardly ever writes to.
_FIRMWARE: t.Final = frozenset({"msdos", "vfat"})
#: On the guest's disks, and passed over by the agent because Linux gives them no block device (only btrfs is looked up).
_PASSED_OVER: t.Final = frozenset({"bcachefs", "zfs"})
_FREEZABLE: t.Final = frozenset(
    {"btrfs", "ext2", "ext3", "ext4", "f2fs", "gfs2", "jfs", "nilfs2", "ocfs2", "reiserfs", "ufs", "xfs"}
)
#: Where the system of an image-based guest is, whose root is put together from it.
_SYSROOT: t.Final = "/sysroot"


class Thawed(t.NamedTuple):
    """``filesystems``: how many, None where the agent did not say. ``warning``: what went wrong all the same."""

    filesystems: int | None
    warning: str = ""


class Extent(t.NamedTuple):
    """What a freeze can reach. ``wanted``: how many filesystems it must count to be complete.

    beyond_reach: what keeps data and cannot be frozen. spared: what cannot be frozen and need not. doubtful: what may not be.
    """

    wanted: int = 1
    beyond_reach: tuple[str, ...] = ()
    spared: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()


def freeze(agent: GuestAgent, mountpoints: t.Sequence[str] | None, timeout: int) -> int:
    """How many filesystems were frozen: all, or those of ``mountpoints`` (unknown ones are ignored by the agent)."""
    if mountpoints is None:
        return _count(agent.call("guest-fsfreeze-freeze", timeout=timeout))
    return _count(agent.call("guest-fsfreeze-freeze-list", {"mountpoints": list(mountpoints)}, timeout=timeout))


def thaw(agent: GuestAgent, timeout: int) -> Thawed:
    """Thaw once, and know that it is thawed. A guest that is not frozen is no error; its thaw hook runs all the same.

    What is frozen after the agent has said that it thawed something is another client's. After an error of its thaw hook the
    guest is thawed too, and a second thaw would only run the hook again.

    :raise GuestAgentError: it is frozen still, or it is not known.
    """
    try:
        count = _count(agent.call("guest-fsfreeze-thaw", timeout=timeout))
    except CommandFailed as error:
        if agent.frozen():
            raise
        return Thawed(None, error.detail)
    if not count and agent.frozen():
        raise CommandFailed("the guest is still frozen", domain=agent.name, command="guest-fsfreeze-thaw")
    return Thawed(count)


def thaw_until_thawed(agent: GuestAgent, seconds: float, clock: Clock = SYSTEM_CLOCK, first_seconds: int = 0) -> Thawed:
    """Thaw again and again until the agent says that the guest is thawed. ``first_seconds``: what the first thaw may take.

    :raise GuestAgentError: it did not within ``seconds``; the last error.
    """
    deadline = Deadline(seconds, clock)
    sent = False
    while True:
        agent.retry()
        try:
            # A thaw without a reply may have been done: look before its hook runs again.
            if sent and not agent.frozen():
                return Thawed(None)
            return thaw(agent, agent.timeout if sent else first_seconds or agent.timeout)
        except GuestAgentError as error:
            sent = sent or not isinstance(error, AgentUnavailable)
            if deadline.expired():
                raise
            if isinstance(error, ConnectionLost):
                agent.await_return(error, clock)
        deadline.sleep(_PAUSE)


def extent(found: t.Sequence[GuestFilesystem], mount_table: str | None, mountpoints: t.Sequence[str] | None) -> Extent:
    """What a freeze of ``mountpoints``, or of all, can reach: of the filesystems that the agent lists, a device each. Pure.

    ``mount_table``: the guest's /proc/self/mountinfo, None where it cannot be read.
    """
    if mountpoints is not None:
        return Extent(len({_device(each) for each in found if each["mount_point"] in mountpoints}))
    if not any(each["mount_point"].startswith("/") for each in found):
        return Extent()  # Windows' volumes are counted in another way
    counted = [each for each in found if each["file_system_type"] not in _READ_ONLY | _FIRMWARE]
    return Extent(
        max(1, len({_device(each) for each in counted})),
        tuple(_beyond_reach({each["mount_point"] for each in found}, mount_table)),
        _named(each for each in found if each["file_system_type"] in _FIRMWARE),
        _named(each for each in counted if each["file_system_type"] not in _FREEZABLE),
    )


def _beyond_reach(listed: t.AbstractSet[str], mount_table: str | None) -> t.Iterator[str]:
    if mount_table is None:
        if not listed & {"/", _SYSROOT}:
            yield "/"
        return
    # Of what separates words and lines elsewhere, only these cannot stand in a name here.
    for line in mount_table.split("\n"):
        place, _dash, kind = line.partition(" - ")
        words = place.split(" ")
        file_system_type = kind.partition(" ")[0]
        if len(words) >= 5 and file_system_type in _PASSED_OVER and _unescaped(words[4]) not in listed:
            yield f"{untrusted.clean(_unescaped(words[4]), 255)} ({file_system_type})"


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def _named(found: t.Iterable[GuestFilesystem]) -> tuple[str, ...]:
    return tuple(f"{each['mount_point']} ({each['file_system_type']})" for each in found)


def _device(found: GuestFilesystem) -> str:
    return found["disk_name"] or found["mount_point"]


def _count(value: object) -> int:
    return untrusted.integer(value, "a number of filesystems", 0, 2**31)
