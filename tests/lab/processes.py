# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes the lab started: recorded so that `down` ends these and no others."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process id, and its start time, without which the id may be somebody else's by now."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Process:
        """Identify a process that runs now."""
        return cls(pid, _started(pid))

    @property
    def running(self) -> bool:
        """Whether this very process still runs."""
        return bool(self.started) and _started(self.pid) == self.started

    def end(self, first: signal.Signals = signal.SIGTERM, timeout: float = 15) -> None:
        """Ask the process to end, and make it end after the timeout."""
        for number, patience in ((first, timeout), (signal.SIGKILL, 5)):
            if not self.running:
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
            self._wait(patience)

    def _wait(self, timeout: float) -> None:
        # A daemon is nobody's child: there is no event to wait for without a pidfd on every kernel.
        deadline = time.monotonic() + timeout
        while self.running and time.monotonic() < deadline:
            time.sleep(0.05)


def qemu_of(uuid: str) -> Process | None:
    """Return the QEMU process of a domain, found by the UUID on its command line."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"-uuid" in words and words[words.index(b"-uuid") + 1] == uuid.encode():
                return Process.of(int(entry.name))
    return None


def _started(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    state, start_time = fields[0], fields[19]
    return "" if state in "ZX" else start_time


def kill_tree(pid: int) -> None:
    """SIGKILL for a process and all that descends from it by parent, as a machine's OOM killer or an operator would."""
    children = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text(encoding="ascii", errors="replace")
        except OSError:
            continue
        parent = re.search(r"^PPid:\s+(\d+)", text, re.MULTILINE)
        if parent:
            children.setdefault(int(parent.group(1)), []).append(int(status.parent.name))
    doomed = [pid]
    for one in doomed:
        doomed += children.get(one, [])
    for one in doomed:
        os.kill(one, signal.SIGKILL)
