# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the event source by its path, as ansible-rulebook does, and takes an event each SECONDS: event_taker.py SOURCE URI SECONDS

Each second it prints how many events were taken, how many others these stood for, and what memory the process has (KiB).
"""

from __future__ import annotations

import asyncio
import runpy
import sys
from pathlib import Path
from typing import Any


class _Queue:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.taken = self.replaced = 0

    async def put(self, event: dict[str, Any]) -> None:
        self.taken += 1
        self.replaced += event["replaced"]
        await asyncio.sleep(self._seconds)


def _resident() -> str:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(line.split()[1] for line in lines if line.startswith("VmRSS:"))


async def _take(source: str, uri: str, seconds: float) -> None:
    queue = _Queue(seconds)
    task = asyncio.create_task(runpy.run_path(source)["main"](queue, {"uri": uri}))
    while not task.done():
        sys.stdout.write(f"{queue.taken} {queue.replaced} {_resident()}\n")
        sys.stdout.flush()
        await asyncio.sleep(1)
    await task


if __name__ == "__main__":
    asyncio.run(_take(sys.argv[1], sys.argv[2], float(sys.argv[3])))
