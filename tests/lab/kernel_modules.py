# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules of an unpacked kernel: which of them a guest has to load, in which order, and what is in their files."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable
from pathlib import Path

from .errors import LabError

_DEPENDS = re.compile(rb"(?<=\0)depends=([^\0]*)\0")


def needed_modules(kernel: Path, wanted: Iterable[str]) -> dict[str, bytes]:
    """Return the wanted modules and those they depend on, in the order to load them; what is built in is left out."""
    built_in = _built_in(kernel)
    files = {_name(path): path for path in kernel.rglob("*.ko*")}
    needed: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in built_in or name in needed:
            return
        if name not in files:
            raise LabError(f"the kernel package has no module {name}, and its kernel has not built it in")
        content = _unpacked(files[name])
        for dependency in _dependencies(files[name], content):
            add(dependency)
        needed[name] = content

    for name in wanted:
        add(name)
    return needed


def _built_in(kernel: Path) -> set[str]:
    lists = list(kernel.rglob("modules.builtin"))
    if not lists:
        raise LabError("the kernel package does not say what is built into its kernel: it has no modules.builtin")
    return {_name(Path(line)) for line in lists[0].read_text(encoding="utf-8").splitlines()}


def _name(path: Path) -> str:
    """Files and modules.builtin write a module's name with dashes too, dependencies and the kernel do not."""
    return path.name.partition(".ko")[0].replace("-", "_")


def _unpacked(path: Path) -> bytes:
    packed = path.read_bytes()
    if path.suffix == ".ko":
        return packed
    if path.suffix == ".gz":
        return gzip.decompress(packed)
    if path.suffix == ".xz":
        return _from_xz(packed)
    raise LabError(f"the lab cannot unpack the kernel's module {path.name}: it knows .ko, .ko.gz and .ko.xz")


def _from_xz(packed: bytes) -> bytes:
    try:
        import lzma  # not at the top: some Pythons that were built by hand lack it, and do without where no module is packed
    except ImportError:
        raise LabError("this Python has no lzma, which the kernel's modules are packed with: take Debian's python3") from None
    return lzma.decompress(packed)


def _dependencies(path: Path, content: bytes) -> list[str]:
    if not (found := _DEPENDS.search(content)):
        raise LabError(f"{path.name} does not say which modules it depends on")
    return [name.replace("-", "_") for name in found[1].decode().split(",") if name]
