# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module ``snapshot`` and kills its own process at a point of it: killed_snapshot.py POINT COLLECTIONS, options on stdin.

POINT is before or after, and one of STEPS: "before freeze". It is reached when the step is done for the first guest.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

PACKAGE = "ansible_collections.virtops.guest_agent.plugins."
#: step -> the class of the core, and its method, that does it
STEPS = {
    "check": ("_freeze.group", "Member", "check"),
    "arm": ("_freeze.group", "Member", "arm"),
    "freeze": ("_freeze.group", "Member", "freeze"),
    "take": ("_libvirt.storage", "Storage", "take"),
    "thaw": ("_freeze.group", "Member", "thaw"),
    "commit": ("_libvirt.storage", "Storage", "commit"),
    "pivot": ("_libvirt.storage", "Storage", "pivot"),
    "forget": ("_libvirt.storage", "Storage", "forget"),
}


def deadly(step: Callable[..., Any], before: bool) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not before:
            step(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    return wrapped


def main(module: str, steps: Mapping[str, tuple[str, str, str]]) -> None:
    when, step = sys.argv[1].split()
    sys.path.insert(0, sys.argv[2])
    room, owner, name = steps[step]
    cls = getattr(importlib.import_module(f"{PACKAGE}module_utils.{room}"), owner)
    setattr(cls, name, deadly(getattr(cls, name), when == "before"))
    killed = importlib.import_module(f"{PACKAGE}modules.{module}")
    task = importlib.import_module(f"{PACKAGE}module_utils._task.run").Task(json.load(sys.stdin), False, False, print)
    print(killed.ensure(task))  # noqa: T201 - for the log of a test that fails


if __name__ == "__main__":
    main("snapshot", STEPS)
