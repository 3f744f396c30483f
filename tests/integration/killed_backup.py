# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module ``backup`` and kills its own process at a point of it: killed_backup.py POINT COLLECTIONS, options on stdin.

POINT is before or after, and one of STEPS: "before freeze". It is reached when the step is done for the first guest.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.integration.killed_snapshot import main

#: step -> the class of the core, and its method, that does it
STEPS = {
    "note": ("_backup.notes", "Directory", "begin"),
    "freeze": ("_freeze.group", "Member", "freeze"),
    "begin": ("_libvirt.backups", "Backups", "begin"),
    "thaw": ("_freeze.group", "Member", "thaw"),
    "wait": ("_libvirt.backups", "Backups", "end"),
    "finish": ("_backup.notes", "Held", "finish"),
    "forget": ("_libvirt.backups", "Backups", "forget"),
    "remove": ("_backup.notes", "Directory", "removing"),
    "drop": ("_backup.notes", "Held", "drop"),
}


if __name__ == "__main__":
    main("backup", STEPS)
