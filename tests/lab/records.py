# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's memory on disk: one directory per guest and per daemon, each with a small JSON file."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from .paths import state_dir
from .processes import Process


@dataclass(frozen=True)
class GuestRecord:
    """A guest the lab started, written before the domain exists."""

    uuid: str
    name: str
    kind: str
    uri: str
    directory: Path

    def save(self) -> None:
        """Write the record into the guest's directory."""
        data = {key: value for key, value in asdict(self).items() if key != "directory"}
        _write(self.directory / "guest.json", data)


@dataclass(frozen=True)
class DaemonRecord:
    """A libvirtd the lab started, and the paths to remove with it."""

    role: str
    uri: str
    process: Process
    remove: tuple[str, ...]

    def save(self) -> None:
        """Write the record."""
        target = daemon_dir(self.role) / "daemon.json"
        _write(target, asdict(self))


def guest_dir(uuid: str) -> Path:
    """Return a guest's directory; short, because the paths of sockets must be, and never made from a name."""
    return state_dir() / "guests" / uuid[:8]


def daemon_dir(role: str) -> Path:
    """Return a daemon's directory."""
    return state_dir() / "daemons" / role


def guest_records() -> list[GuestRecord]:
    """Return the guests on record."""
    found = []
    for path in sorted(state_dir().glob("guests/*/guest.json")):
        if data := _read(path):
            found.append(GuestRecord(**data, directory=path.parent))
    return found


def daemon_records() -> list[DaemonRecord]:
    """Return the daemons on record."""
    found = []
    for path in sorted(state_dir().glob("daemons/*/daemon.json")):
        if data := _read(path):
            process = Process(**data["process"])
            found.append(DaemonRecord(data["role"], data["uri"], process, tuple(data["remove"])))
    return found


@contextmanager
def state_lock() -> Iterator[None]:
    """Let one process at a time start or stop daemons, or remove the state directory."""
    path = state_dir() / "lock"
    while True:
        state_dir().mkdir(parents=True, exist_ok=True)
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Who held the lock before may have removed the directory, and this file with it.
            if path.exists() and path.stat().st_ino == os.fstat(lock.fileno()).st_ino:
                yield
                return


def mark_in_use() -> IO[str]:
    """Return a file that, while it is open, says that somebody uses the lab; call it under the state lock."""
    mark = (state_dir() / "in-use").open("w")
    fcntl.flock(mark, fcntl.LOCK_SH)
    return mark


def in_use() -> bool:
    """Whether any process has such a file open."""
    with (state_dir() / "in-use").open("w") as mark:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _write(path: Path, data: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(data))
    partial.rename(path)


def _read(path: Path) -> dict[str, Any] | None:
    """Return the record, or None when its owner removed it just now."""
    try:
        data: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return data
