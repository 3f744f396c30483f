# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When an agent last answered a task of this run, so that the next one does not ask first whether it is there.

The question protects from an agent that is silent: what it is sent then it still does when it goes on, though the task has long
failed. So an answer counts for a moment only, for the same guest by the same way, and not after anything went wrong.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
import typing as t

from . import remembered


class Heard:
    """``way``: how the guest is reached. Its agent is another one by another."""

    def __init__(self, guest: str, way: t.Mapping[str, t.Any], directory: str | None = None) -> None:
        self._path = remembered.path("heard", repr((guest, sorted(way.items()))), directory)

    def ago(self) -> float:
        """Seconds since it answered; infinite where no task of this run has heard it."""
        # The clock is that of the machine: all processes have the same.
        found = remembered.numbers(self._path)
        ago = time.monotonic() - found[0] if len(found) == 1 else -1.0
        return ago if ago >= 0 else math.inf

    def now(self) -> None:
        remembered.keep(self._path, [time.monotonic()])

    def forget(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._path)
