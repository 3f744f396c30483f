# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files as tasks: what push_file and pull_file have in common, and the files of the host where they run."""

from __future__ import annotations

import contextlib
import hashlib
import ntpath
import os
import re
import time
import typing as t

from .._agent.client import GuestAgent
from .._errors import GuestAgentError, InvalidInput
from .._inside.lanes import Preferred
from .._reach.guest import Guest

#: The largest file whose content a diff shows.
DIFF_MAX: t.Final = 100 * 1024
_CHUNK: t.Final = 256 * 1024
#: C:\, C:/ or \\server.
_WINDOWS: t.Final = re.compile(r"[A-Za-z]:[\\/]|\\\\[^\\]")


class LocalFileFailed(GuestAgentError):
    """A file of the host where the module runs could not be read or written."""

    kind = "local_file"


@contextlib.contextmanager
def local_files() -> t.Iterator[None]:
    """What the operating system says about them becomes an error of ours."""
    try:
        yield
    except OSError as error:
        name = f"{error.filename}: " if isinstance(error.filename, str) else ""
        raise LocalFileFailed(f"{name}{error.strerror} (on the host where the module runs)") from error


def guest_path(path: str, option: str) -> str:
    """
    :raise InvalidInput: it is no absolute path, neither with a drive or a share as on Windows nor of another system.
    """
    if not path.startswith("/") and not is_windows(path):
        raise InvalidInput(f"{option} must be an absolute path of the guest, and is '{path}'")
    return path


def is_windows(path: str) -> bool:
    return _WINDOWS.match(path) is not None


def check_system(agent: GuestAgent, path: str, option: str) -> None:
    """
    :raise InvalidInput: the guest's system has other paths.
    """
    if is_windows(path) and agent.windows is None:
        raise InvalidInput(f"{option} must be an absolute path of the guest, and is '{path}'")


def inside(directory: str, source: str) -> str:
    """The name of ``source``, a path that the user gave, in ``directory``."""
    name = ntpath.basename(source.rstrip("/\\")) if is_windows(source) else os.path.basename(source.rstrip("/"))
    if name in ("", ".", ".."):
        raise InvalidInput(f"'{source}' has no name that a file in '{directory}' could have", hint="name the file in dest")
    return ntpath.join(directory, name) if is_windows(directory) else os.path.join(directory, name)


def described(source: t.BinaryIO) -> tuple[dict[str, t.Any], str]:
    """The part of a file's state that its content makes, and its SHA-1, which Ansible's own modules return.

    ``source`` is at its beginning afterwards.
    """
    source.seek(0)
    digest, sha1 = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
    for data in iter(lambda: source.read(_CHUNK), b""):
        digest.update(data)
        sha1.update(data)
    size = source.tell()
    source.seek(0)
    return {"sha256": digest.hexdigest(), "size": size}, sha1.hexdigest()


def text_diff(before: Content, after: Content) -> dict[str, str] | None:
    """What Ansible shows as a unified diff; None where one of the two is no text, is too long, or both are the same."""
    texts = before.text(), after.text()
    if None in texts or texts[0] == texts[1]:
        return None
    return {
        "before": texts[0] or "",
        "after": texts[1] or "",
        "before_header": before.header,
        "after_header": after.header,
    }


class Content(t.NamedTuple):
    """A file for a diff: what is in it, if that is known, and what is said above it."""

    data: bytes | None
    header: str

    def text(self) -> str | None:
        if self.data is None or len(self.data) > DIFF_MAX or b"\0" in self.data:
            return None
        try:
            return self.data.decode("utf-8")
        except UnicodeDecodeError:
            return None


def content(source: t.BinaryIO, path: str, state: t.Mapping[str, t.Any]) -> Content:
    """What is left of ``source``, or so much of it that it is too long."""
    return Content(source.read(DIFF_MAX + 1), header(path, state))


def header(path: str, state: t.Mapping[str, t.Any]) -> str:
    """``path`` with what a diff of the content does not show."""
    shown = [f"{name} {state[name]}" for name in ("mode", "owner", "group") if state.get(name)]
    return f"{path} ({', '.join(shown)})" if shown else path


class Stopwatch:
    """The time of one transfer."""

    def __init__(self, guest: Guest) -> None:
        self._lane = guest.lane
        self._before = self._carried()
        self._started = time.monotonic()

    def _carried(self) -> dict[str, int]:
        return dict(self._lane.carried) if isinstance(self._lane, Preferred) else {self._lane.name: 0}

    def transfer(self, size: int) -> dict[str, t.Any]:
        """The line that a long transfer deserves."""
        seconds = max(time.monotonic() - self._started, 1e-3)
        mib = size / 1024 / 1024
        carried = self._carried()
        lane = max(carried, key=lambda name: carried[name] - self._before[name])
        return {"bytes": size, "seconds": round(seconds, 3), "mib_per_second": round(mib / seconds, 2), "lane": lane}
