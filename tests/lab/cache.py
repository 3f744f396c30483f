# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images are built once, under a lock, and found again by the content they are built from."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .paths import cache_dir, state_dir


def key_of(files: Iterable[Path], words: Iterable[str]) -> str:
    """Return the key of an image made from these files and these words (versions, package lists)."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.name}\0{path.stat().st_mode}\0".encode() + path.read_bytes())
    digest.update("\0".join(words).encode())
    return digest.hexdigest()[:16]


def cached(name: str, build: Callable[[Path], None]) -> Path:
    """Return the cached directory of this name; build() fills it when it is not there yet."""
    root = cache_dir()
    final = root / name
    if final.is_dir():
        return final
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root / f".{name}.lock"):
        if final.is_dir():
            return final
        building = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=root))
        try:
            building.chmod(0o755)
            build(building)
            building.rename(final)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return final


def published(image: Path, names: Iterable[str]) -> Path:
    """Return a directory with these files of an image that QEMU can read, whoever it runs as.

    Root's cache is usually below /root, which other users cannot enter.
    """
    if os.geteuid() != 0:
        return image
    target = state_dir() / "images" / image.name
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        _link_or_copy(image / name, target / name)
    return target


def _link_or_copy(source: Path, target: Path) -> None:
    if target.exists():
        return
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:
        partial = target.with_name(f".{target.name}-{os.getpid()}")
        shutil.copy(source, partial)
        partial.rename(target)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
