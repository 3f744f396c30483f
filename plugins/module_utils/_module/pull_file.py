# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The copy of a guest's file on the host where the module runs."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import typing as t

from .._agent.client import GuestAgent
from .._errors import FileFailed
from .._inside import files
from .._task import modes
from . import transfer

#: For a new copy, because it is not known which users could read the original.
_NEW_MODE: t.Final = 0o600


def original(agent: GuestAgent, where: files.Where) -> files.FileState | None:
    """What is to be copied; None where there is nothing."""
    try:
        return files.stat(agent, where)
    except FileFailed as error:
        if error.reason == "parent":
            return None
        raise


def look(dest: str, src: str, mode: str) -> Copy:
    """The file that ``dest`` means, which may be a directory for ``src``.

    :raise LocalFileFailed: no file can be there.
    """
    path = os.path.realpath(transfer.inside(dest, src) if dest.endswith("/") or os.path.isdir(dest) else dest)
    if not os.path.isdir(os.path.dirname(path)):
        raise transfer.LocalFileFailed(f"{os.path.dirname(path)}: this directory does not exist on the host where the module runs")
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return Copy(path, mode, None, {}, "")
    if not stat.S_ISREG(there.st_mode):
        raise transfer.LocalFileFailed(f"{path}: this is not a regular file (on the host where the module runs)")
    with open(path, "rb") as file:
        return Copy(path, mode, there, *transfer.described(file))


class Copy(t.NamedTuple):
    path: str
    #: the mode that is wanted, octal or symbolic; "" for none
    mode: str
    #: what is there; None for nothing
    old: os.stat_result | None
    #: what is in it, as a part of the state and as a SHA-1
    content: dict[str, t.Any]
    checksum: str

    def state(self) -> dict[str, t.Any]:
        """What is there; empty for nothing."""
        if self.old is None:
            return {}
        return {**self.content, "mode": f"{stat.S_IMODE(self.old.st_mode):04o}"}

    def new_mode(self) -> str:
        kept = _NEW_MODE if self.old is None else stat.S_IMODE(self.old.st_mode)
        return modes.applied(self.mode, f"{kept:04o}")

    def set_mode(self) -> None:
        if self.old is None or self.new_mode() != self.state()["mode"]:
            os.chmod(self.path, int(self.new_mode(), 8))

    @contextlib.contextmanager
    def scratch(self, check_mode: bool) -> t.Iterator[t.BinaryIO]:
        """A private file for what comes, beside the copy, or in check mode nowhere. It is gone afterwards if it was not renamed."""
        if check_mode:
            with tempfile.TemporaryFile() as nowhere:
                yield nowhere
            return
        with tempfile.NamedTemporaryFile(prefix=".virtops-", dir=os.path.dirname(self.path), delete=False) as beside:
            try:
                yield t.cast(t.BinaryIO, beside)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(beside.name)

    def replace(self, scratch: t.BinaryIO) -> None:
        """The content of ``scratch``, with the owner and mode that it is to have, becomes the copy."""
        scratch.flush()
        if self.old is not None:
            with contextlib.suppress(PermissionError):
                os.fchown(scratch.fileno(), self.old.st_uid, self.old.st_gid)
        os.fchmod(scratch.fileno(), int(self.new_mode(), 8))
        os.replace(scratch.name, self.path)

    def diff(self, scratch: t.BinaryIO, before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any]) -> dict[str, str] | None:
        new = transfer.content(scratch, self.path, after)
        if self.old is None:
            return transfer.text_diff(transfer.Content(b"", self.path), new)
        with open(self.path, "rb") as file:
            return transfer.text_diff(transfer.content(file, self.path, before), new)
