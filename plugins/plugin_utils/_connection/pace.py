# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long the last commands in a guest took, so that the next one is not asked too early or too late whether it has ended.

Each task has a process of its own; what one learns, the next one finds in the run's temporary directory, which Ansible removes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import typing as t

from ansible import constants

_REMEMBERED: t.Final = 3
#: Where nothing is known yet: before that hardly any ends, on the fastest of machines.
_FIRST: t.Final = {"module": 0.15, "command": 0.02}


class Pace:
    """``kind`` tells commands apart that take about as long as each other in one guest."""

    def __init__(self, guest: str, kind: str, directory: str | None = None) -> None:
        name = hashlib.sha256(f"{guest}\0{kind}".encode("utf-8", "replace")).hexdigest()[:32]
        #: seconds after which the first command of its kind is asked for
        self.first = _FIRST[kind]
        self._path = os.path.join(directory or constants.DEFAULT_LOCAL_TMP, f"virtops-pace-{name}")

    def expected(self) -> float:
        """Seconds; 0 where nothing is known."""
        return min(self._known(), default=0.0)

    def learn(self, seconds: float) -> None:
        known = [*self._known(), seconds][-_REMEMBERED:]
        temporary = f"{self._path}.{os.getpid()}"
        with contextlib.suppress(OSError):
            with open(temporary, "w", encoding="ascii") as file:
                json.dump(known, file)
            os.replace(temporary, self._path)

    def _known(self) -> list[float]:
        try:
            with open(self._path, encoding="ascii") as file:
                return [float(seconds) for seconds in json.load(file)]
        except (OSError, ValueError, TypeError):
            return []
