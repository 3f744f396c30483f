# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the scripts of ``_login_shell`` print, read back. Pure: nothing of it is trusted."""

from __future__ import annotations

import re
import typing as t

_UPTIME: t.Final = re.compile(r"[0-9]{1,12}\.[0-9]{2}")
_JOB: t.Final = re.compile(rb"^\[\d+\][+-]?\s+\d+\s+([A-Z]\w*)", re.MULTILINE)


def read(nonce: str, stderr: bytes) -> tuple[str, list[str], bytes, bytes]:
    """The last line with the nonce, as a word and values, what the shell itself said before it, and what stands behind it; "" where
    there is no such line, or only that which says that the command is started.
    """
    mark = nonce.encode() + b" "
    said, _found, rest = stderr.partition(mark)
    if rest.startswith(b"started "):
        said, _found, rest = rest.partition(b"\n")[2].partition(mark)
    line, _newline, behind = rest.partition(b"\n")
    word, *values = line.decode("utf-8", "replace").split(" ")
    return word, values, said, behind


def tells_a_signal(said: bytes) -> bool:
    """Whether this is what a shell says of a child that a signal ended. bash speaks of its jobs, whatever ended them."""
    states = _JOB.findall(said)
    return states[-1] not in (b"Done", b"Exit", b"Running") if states else bool(said.strip())


def seconds(before: str, after: str) -> float:
    """Between two times that the guest's /proc/uptime gave."""
    if not _UPTIME.fullmatch(before) or not _UPTIME.fullmatch(after):
        return 0.0
    return max(0.0, round(float(after) - float(before), 2))
