# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is measured: one row of the table each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .contestants import Contestant

MIB = 1024 * 1024
Direction = Literal["", "copy", "fetch"]
Content = Literal["", "random", "text"]


@dataclass(frozen=True)
class Row:
    """A task, and how often it is run.

    tasks: in one round, for each contestant. rounds: at most. guess: seconds that a task takes, before one was measured.
    """

    key: str
    title: str
    module: str
    tasks: int
    rounds: int
    guess: float
    direction: Direction = ""
    content: Content = ""
    size: int = 0

    def task(self, contestant: Contestant, work: Path) -> dict[str, Any]:
        return _ARGUMENTS[self.direction](self, contestant, work)


def _transfer(direction: Literal["copy", "fetch"], mib: int, content: Literal["random", "text"], guess: float) -> Row:
    kind = {"random": "incompressible", "text": "text-like"}[content]
    key = f"{direction}-{mib}-{content}"
    return Row(key, f"{direction} {mib} MiB, {kind}", direction, 1, 4, guess, direction, content, mib * MIB)


RAW = Row("raw", "raw: true", "raw", 5, 8, 0.3)
COMMAND = Row("command", "command: id", "command", 3, 8, 4)
STAT = Row("stat", "stat: /etc/passwd", "stat", 3, 8, 4)
FILE = Row("file", "file: a directory", "file", 3, 8, 4)
SETUP = Row("setup", "setup", "setup", 3, 4, 8)
COPY_20 = _transfer("copy", 20, "random", 12)
COPY_1 = _transfer("copy", 1, "random", 8)
FETCH_20 = _transfer("fetch", 20, "random", 7)
COPY_20_TEXT = _transfer("copy", 20, "text", 12)
COPY_1_TEXT = _transfer("copy", 1, "text", 8)
FETCH_20_TEXT = _transfer("fetch", 20, "text", 7)

#: In the order in which they are measured: where the time is short, what comes last is left out.
ROWS = (RAW, COMMAND, STAT, FILE, COPY_1, COPY_20, FETCH_20, SETUP, COPY_20_TEXT, COPY_1_TEXT, FETCH_20_TEXT)


def source(work: Path) -> Path:
    """What is copied into the guest."""
    return work / "source"


def fetched(work: Path, contestant: Contestant) -> Path:
    return work / "fetched" / contestant.key


_PLAIN: dict[str, Any] = {
    "raw": "true",
    "command": "id",
    "stat": {"path": "/etc/passwd"},
    "file": {"path": "/etc", "state": "directory"},
    "setup": {},
}


def _plain(row: Row, contestant: Contestant, work: Path) -> dict[str, Any]:
    return {row.module: _PLAIN[row.module]}


def _copy(row: Row, contestant: Contestant, work: Path) -> dict[str, Any]:
    return {row.module: {"src": str(source(work)), "dest": f"{contestant.directory}/{contestant.key}"}}


def _fetch(row: Row, contestant: Contestant, work: Path) -> dict[str, Any]:
    return {row.module: {"src": f"{contestant.directory}/source", "dest": str(fetched(work, contestant)), "flat": True}}


_ARGUMENTS: dict[str, Callable[[Row, Contestant, Path], dict[str, Any]]] = {"": _plain, "copy": _copy, "fetch": _fetch}
