"""The images of each kind of guest, where QEMU can read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .cache import published
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
    image = published(tiny_image(), ("vmlinuz", "initrd", "disk.img"))
    return ImageFiles(image / "vmlinuz", image / "initrd", image / "disk.img")
