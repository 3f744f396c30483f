# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether ssh has not reached the guest at all, by its own words, and what of that one task leaves to the next."""

from __future__ import annotations

import math
import re
import time
import typing as t

from . import remembered

#: What ssh says when it has not come as far as the server's key. OpenSSH does not translate it.
_NOT_REACHED: t.Final = re.compile(
    r"ssh: connect to host |ssh: Could not resolve hostname |(kex|ssh)_exchange_identification: "
    r"|Connection timed out during banner exchange|Connection to \S+ port \d+ timed out|Timeout, server \S+ not responding"
)
#: Whatever else it says, a server was reached. Either it is not certain that this is the guest, or it does not let us in.
_REFUSED: t.Final = re.compile(
    r"permission denied|host key|host identification|too many authentication failures|unable to negotiate|no matching"
    r"|bad configuration option|bad owner or permissions|bad permissions|unprotected private key",
    re.IGNORECASE,
)
_LENGTH: t.Final = 300


def not_reached(said: str) -> str:
    """Why ssh could not connect, from what it said on its standard error; "" where that is not so, or not certain."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("debug")]
    if any(_REFUSED.search(line) for line in lines):
        return ""
    # A server's banner may be longer than what ssh says of it.
    return next((line[:_LENGTH] for line in lines if _NOT_REACHED.match(line)), "")


class LastTrouble:
    """When ssh last could not connect to a host in this run."""

    def __init__(self, host: str, directory: str | None = None) -> None:
        self._path = remembered.path("ssh", host, directory)

    def is_known(self) -> bool:
        """Whether it could not at any time of this run."""
        return bool(remembered.numbers(self._path))

    def ago(self) -> float:
        """Seconds since then; infinite where it could since."""
        found = remembered.numbers(self._path)
        ago = time.monotonic() - found[0] if len(found) == 1 else -1.0
        return ago if ago >= 0 else math.inf

    def now(self) -> None:
        remembered.keep(self._path, [time.monotonic()])

    def over(self) -> None:
        if self.is_known():
            remembered.keep(self._path, [-math.inf])
