# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Debian guests: a whole small system with systemd, Python and SSH, with the qemu-ga of its release."""

from __future__ import annotations

import functools
import os
import shlex
import shutil
from pathlib import Path

from .cache import cached, key_of
from .errors import LabError
from .shell import run

SUITES = {"debian12": "bookworm", "debian13": "trixie"}
KEY = "id_ed25519"
_DISK_SIZE = "2G"
_BUILD_SECONDS = 900.0
_TEMPLATES = Path(__file__).parent / "images" / "debian"
_TINY_SCRIPTS = Path(__file__).parent / "images" / "tiny" / "lab"
_UNNEEDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


@functools.cache
def debian_image(kind: str) -> Path:
    """Return the directory that holds kernel, initrd, disk and SSH key, built if need be."""
    shared = [_TINY_SCRIPTS / "shell", _TINY_SCRIPTS / "ticks"]
    sources = [Path(__file__), *shared, *_TEMPLATES.iterdir()]
    return cached(f"{kind}-{key_of(sources, [SUITES[kind]])}", lambda target: _build(target, SUITES[kind]))


def _build(target: Path, suite: str) -> None:
    if os.geteuid() != 0:
        raise LabError("only root can build a Debian image; build it as root with LAB_CACHE set to a place you can read")
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(target / KEY)])
    tree = target / "tree"
    run(_mmdebstrap(tree, suite, target / f"{KEY}.pub"), timeout=_BUILD_SECONDS)
    for name in ("vmlinuz", "initrd"):
        shutil.copy(next((tree / "boot").glob(f"{name}*-amd64")), target / name)
        (target / name).chmod(0o644)
    disk = target / "disk.img"
    run(["mke2fs", "-q", "-t", "ext4", "-L", "root", "-m", "0", "-d", str(tree), str(disk), _DISK_SIZE], timeout=300)
    shutil.rmtree(tree)


def _mmdebstrap(tree: Path, suite: str, public_key: Path) -> list[str]:
    packages = (_TEMPLATES / "packages.txt").read_text().split()
    early, late = (shlex.quote(str(_TEMPLATES / name)) for name in ("early.sh", "late.sh"))
    return [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _UNNEEDED),
        f'--essential-hook=sh {early} "$1"',
        f'--customize-hook=sh {late} "$1" {shlex.quote(str(public_key))}',
        suite,
        str(tree),
    ]
