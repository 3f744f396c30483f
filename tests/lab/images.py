# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images of each kind of guest, where QEMU can read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .cache import published
from .debian_image import KEY, debian_image
from .errors import LabError
from .guest import Kind
from .tiny_image import tiny_image


@dataclass(frozen=True)
class ImageFiles:
    """What a kind of guest boots from; the disk is a read-only base for overlays."""

    kernel: Path
    initrd: Path
    disk: Path


def image_files(kind: Kind) -> ImageFiles:
    """Return the files of a kind, built if need be."""
    image = published(_image(kind), ("vmlinuz", "initrd", "disk.img"))
    return ImageFiles(image / "vmlinuz", image / "initrd", image / "disk.img")


def ssh_key(kind: str) -> Path:
    """Return the private key that opens root's and ansible's account in guests of a Debian kind."""
    if kind == "tiny":
        raise LabError("a tiny guest has no SSH server")
    return debian_image(kind) / KEY


def _image(kind: Kind) -> Path:
    return tiny_image() if kind == "tiny" else debian_image(kind)
