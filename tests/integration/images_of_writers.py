# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an image keeps of a guest that writes all the while."""

from __future__ import annotations

import hashlib
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.lab import Lab

#: Writes a number and the time (ms), each safe on the disk before the next.
WRITER = """
import os, time
file = os.open("/root/sequence", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
number = 0
while True:
    os.write(file, b"%d %d\\n" % (number, time.monotonic() * 1000))
    os.fsync(file)
    number += 1
"""


def ticking(lab: Lab, *names: str, seconds: float = 60) -> None:
    """Each of these tiny guests writes to its disk."""
    for name in names:
        ticks, deadline = lab.ticks(name), time.monotonic() + seconds
        while lab.ticks(name) <= ticks:
            assert time.monotonic() < deadline, f"{name} is frozen"
            time.sleep(0.2)


class Inspected:
    """A guest's disk as an image keeps it."""

    def __init__(self, image: str, place: Path) -> None:
        raw = place / "image.raw"
        subprocess.run(["qemu-img", "convert", "-U", "-O", "raw", image, str(raw)], check=True)
        self.header = subprocess.run(["dumpe2fs", "-h", raw], capture_output=True, text=True, check=True).stdout
        self.fsck = subprocess.run(["e2fsck", "-f", "-n", raw], capture_output=True, text=True, check=False)
        found = subprocess.run(["debugfs", "-R", "cat /root/sequence", raw], capture_output=True, text=True, check=True).stdout
        #: of all that is before the last line
        self.sha_before_last = hashlib.sha256(found.rpartition("\n")[0].rpartition("\n")[0].encode() + b"\n").hexdigest()
        self.last = int(found.rstrip("\n").rpartition("\n")[2].split()[0]) if found else -1
        raw.unlink()

    @property
    def replays(self) -> bool:
        """Whether its journal has to be replayed when it is mounted."""
        return "needs_recovery" in self.header


def restored(found: dict[str, Any], place: Path) -> int:
    """The last number that a backup of a tiny guest keeps of its file; its filesystem is sound."""
    raw = place / "restored.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", found["disks"][0]["image"], str(raw)], check=True)
    checked = subprocess.run(["e2fsck", "-f", "-n", raw], capture_output=True, text=True, check=False)
    header = subprocess.run(["dumpe2fs", "-h", raw], capture_output=True, text=True, check=True).stdout
    said = subprocess.run(["debugfs", "-R", "cat /ticks", raw], capture_output=True, text=True, check=True).stdout
    raw.unlink()
    assert (checked.returncode, "needs_recovery" in header) == (0, False), checked.stdout
    return int(said.split()[-1])
