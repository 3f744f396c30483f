# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How busy the guest is: memory, load, processors, disks. All read-only."""

from __future__ import annotations

import re
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._errors import ProtocolError
from .._inside.small_files import ask_or_read, read_text
from . import memory_blocks
from .units import Unit

_CPUS_MAX: t.Final = 8192
_DISKS_MAX: t.Final = 4096
_MEMINFO: t.Final = {
    "total_bytes": "MemTotal",
    "available_bytes": "MemAvailable",
    "free_bytes": "MemFree",
    "buffers_bytes": "Buffers",
    "cached_bytes": "Cached",
    "swap_total_bytes": "SwapTotal",
    "swap_free_bytes": "SwapFree",
}
_MEMINFO_LINE: t.Final = re.compile(r"([A-Za-z]{1,32}): +([0-9]{1,15}) kB")
_CPU_TIMES: t.Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guestnice")
_DISK_COUNTERS: t.Final = (
    *(f"{what}-{counter}" for what in ("read", "write", "discard") for counter in ("ios", "merges", "sectors", "ticks")),
    "flush-ios",
    "flush-ticks",
    "ios-pgr",
    "total-ticks",
    "weight-ticks",
)


class Memory(t.TypedDict):
    """Bytes, None where the guest's kernel does not count it. ``available``: what programs can still have without swapping."""

    total_bytes: int
    available_bytes: int | None
    free_bytes: int | None
    buffers_bytes: int | None
    cached_bytes: int | None
    swap_total_bytes: int | None
    swap_free_bytes: int | None
    #: what the hypervisor leaves to the guest now; None where it was not asked
    balloon_bytes: int | None


#: The mean number of processes that run or wait, over the last 1, 5 and 15 minutes.
Load = t.TypedDict("Load", {"1m": float, "5m": float, "15m": float})


class DiskStats(t.TypedDict):
    name: str
    major: int
    minor: int
    #: as in the kernel's /proc/diskstats: sectors of 512 bytes, ticks in milliseconds
    statistics: dict[str, int]


class MemoryBlocks(t.TypedDict):
    """The pieces that memory can be plugged in and out by."""

    block_bytes: int
    online_bytes: int
    blocks_total: int
    blocks: list[Unit]


def memory(agent: GuestAgent) -> Memory:
    """From the guest's /proc/meminfo, for which the agent has no command. Linux only."""
    lines = map(_MEMINFO_LINE.fullmatch, read_text(agent, "/proc/meminfo").splitlines())
    found = {line.group(1): int(line.group(2)) * 1024 for line in lines if line}
    if "MemTotal" not in found:
        raise ProtocolError("the guest's /proc/meminfo does not say how much memory there is", domain=agent.name)
    return t.cast(Memory, {**{name: found.get(word) for name, word in _MEMINFO.items()}, "balloon_bytes": None})


def load(agent: GuestAgent) -> Load:
    """guest-get-load (qemu-ga 10.0), and /proc/loadavg for older agents."""
    return ask_or_read(agent, "guest-get-load", _ask_load, _read_load)


def cpu_stats(agent: GuestAgent) -> list[dict[str, int]]:
    """guest-get-cpustats (qemu-ga 7.1): for each processor the milliseconds that it has spent with what. Linux only."""
    return agent.each(agent.call("guest-get-cpustats"), "the processors", _cpu_stats, _CPUS_MAX)


def disk_stats(agent: GuestAgent) -> list[DiskStats]:
    """guest-get-diskstats (qemu-ga 7.1), what has never been used last. Linux only."""
    found = agent.each(agent.call("guest-get-diskstats"), "the disks", _disk_stats, _DISKS_MAX)
    return sorted(found, key=lambda disk: not any(disk["statistics"].values()))


def blocks_of_memory(agent: GuestAgent) -> MemoryBlocks:
    """guest-get-memory-blocks and guest-get-memory-block-info (qemu-ga 2.3), in the order of their numbers. Linux only."""
    size = memory_blocks.block_size(agent)
    blocks = memory_blocks.blocks(agent)
    online = sum(block["online"] for block in blocks)
    return {"block_bytes": size, "online_bytes": online * size, "blocks_total": len(blocks), "blocks": blocks}


def _ask_load(agent: GuestAgent) -> Load:
    reply = untrusted.mapping(agent.call("guest-get-load"))
    one, five, fifteen = (round(untrusted.number(reply.get(f"load{minutes}m"), "a load"), 2) for minutes in (1, 5, 15))
    return {"1m": one, "5m": five, "15m": fifteen}


def _read_load(agent: GuestAgent) -> Load:
    words = read_text(agent, "/proc/loadavg").split()[:3]
    if len(words) != 3 or not all(re.fullmatch(r"[0-9]{1,9}\.[0-9]{2}", word) for word in words):
        raise ProtocolError("the guest's /proc/loadavg has no load", domain=agent.name)
    one, five, fifteen = map(float, words)
    return {"1m": one, "5m": five, "15m": fifteen}


def _cpu_stats(entry: dict[str, t.Any]) -> dict[str, int]:
    return {
        "cpu": untrusted.integer(entry.get("cpu"), "a processor's number", 0),
        **{name: untrusted.integer(entry[name], name, 0) for name in _CPU_TIMES if name in entry},
    }


def _disk_stats(entry: dict[str, t.Any]) -> DiskStats:
    counters = untrusted.mapping(entry.get("stats"), "a disk's counters")
    return {
        "name": untrusted.text(entry.get("name"), "a disk's name", 255),
        "major": untrusted.integer(entry.get("major"), "a disk's major number", 0),
        "minor": untrusted.integer(entry.get("minor"), "a disk's minor number", 0),
        "statistics": {
            name.replace("-", "_"): untrusted.integer(counters[name], name, 0) for name in _DISK_COUNTERS if name in counters
        },
    }
