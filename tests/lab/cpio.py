# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write an initramfs archive: no root and no cpio program are needed to own files or make device nodes."""

from __future__ import annotations

import stat
from pathlib import Path
from types import TracebackType


class Archive:
    """A "newc" cpio archive in which everything belongs to root."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._inode = 0
        self._directories: set[str] = set()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._add("TRAILER!!!", 0)
        self._file.close()

    def directory(self, name: str, mode: int = 0o755) -> None:
        """Add a directory and the ones above it."""
        name = name.strip("/")
        if not name or name in self._directories:
            return
        self._directories.add(name)
        self.directory(str(Path(name).parent).strip("."))
        self._add(name, stat.S_IFDIR | mode)

    def file(self, name: str, content: bytes, mode: int = 0o644) -> None:
        """Add a file."""
        self.directory(str(Path(name).parent))
        self._add(name, stat.S_IFREG | mode, content)

    def copy(self, source: Path, name: str | None = None) -> None:
        """Add a file of this system, links followed, with its mode."""
        mode = stat.S_IMODE(source.stat().st_mode)
        self.file(name or str(source), source.read_bytes(), mode)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self.directory(str(Path(name).parent))
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, name: str, major: int, minor: int) -> None:
        """Add a device node."""
        self.directory(str(Path(name).parent))
        self._add(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def _add(self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        encoded = name.strip("/").encode() + b"\0"
        links, owner, group, modified, check = 1, 0, 0, 0, 0
        fields = (self._inode, mode, owner, group, links, modified, len(content), 0, 0, *device, len(encoded), check)
        self._write(b"070701" + b"".join(b"%08X" % field for field in fields) + encoded)
        self._write(content)

    def _write(self, data: bytes) -> None:
        self._file.write(data + b"\0" * (-len(data) % 4))
