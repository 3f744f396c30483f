# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tiny guest: Debian's cloud kernel, and an initramfs of busybox and the real qemu-ga."""

from __future__ import annotations

import functools
import re
import shutil
import tempfile
from pathlib import Path

from .cache import cached, key_of
from .cpio import Archive
from .errors import LabError
from .kernel_modules import needed_modules
from .shell import run

KERNEL_PACKAGE = "linux-image-cloud-amd64"
DATA_DISK_MIB = 16
# Each kernel has some of them built in, and some need others.
MODULES = ("virtio_pci", "virtio_console", "virtio_net", "virtio_blk", "button", "evdev", "ext4")
_TEMPLATES = Path(__file__).parent / "images" / "tiny"
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
_GROUP = "root:x:0:\nnogroup:x:65534:\n"


@functools.cache
def tiny_image() -> Path:
    """Return the directory that holds kernel, initrd and disk, built if need be."""
    package = _kernel_package()
    versions = run(["dpkg-query", "--show", "qemu-guest-agent", "busybox-static"])
    code = [Path(__file__), *(Path(__file__).with_name(name) for name in ("cpio.py", "kernel_modules.py"))]
    sources = [*code, *(path for path in _TEMPLATES.rglob("*") if path.is_file())]
    return cached(f"tiny-{key_of(sources, [package, versions])}", lambda target: _build(target, package))


@functools.cache
def tiny_has_allow_option() -> bool:
    """Return whether the agent of tiny guests, this system's, can be given a list of the commands it allows."""
    return "--allow-rpcs" in run([str(_program("qemu-ga")), "--help"])


def _kernel_package() -> str:
    """Return the newest kernel as name=version, which is what apt-get downloads."""
    shown = run(["apt-cache", "depends", "--important", KERNEL_PACKAGE])
    if not (found := re.search(r"Depends: (linux-image-\S+)", shown)):
        raise LabError(f"apt knows no {KERNEL_PACKAGE}: run apt-get update")
    policy = run(["apt-cache", "policy", found[1]])
    if not (version := re.search(r"Candidate: (\S+)", policy)):
        raise LabError(f"apt knows no version of {found[1]}: run apt-get update")
    return f"{found[1]}={version[1]}"


def _build(target: Path, package: str) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        kernel = _unpack_kernel(Path(scratch), package)
        shutil.copy(next((kernel / "boot").glob("vmlinuz-*")), target / "vmlinuz")
        with Archive(target / "initrd") as archive:
            _add_base(archive)
            _add_agent(archive)
            _add_modules(archive, kernel)
    disk = target / "disk.img"
    disk.touch()
    run(["truncate", "--size", f"{DATA_DISK_MIB}M", str(disk)])
    run(["mke2fs", "-q", "-t", "ext4", "-L", "data", "-m", "0", str(disk)])


def _unpack_kernel(scratch: Path, package: str) -> Path:
    """Unpack the kernel package without installing it."""
    # apt downloads as a user of its own, which may not write here: the option keeps it quiet.
    run(["apt-get", "download", "-o", "APT::Sandbox::User=root", package], cwd=scratch, timeout=300)
    unpacked = scratch / "kernel"
    run(["dpkg-deb", "--extract", str(next(scratch.glob("*.deb"))), str(unpacked)])
    return unpacked


def _add_base(archive: Archive) -> None:
    for name in ("proc", "sys", "dev", "run", "data", "tmp", "root", "mnt", "var"):
        archive.directory(name)
    archive.link("var/run", "/run")
    # The kernel opens this for init before devtmpfs is mounted.
    archive.character_device("dev/console", 5, 1)
    busybox = _program("busybox")
    archive.copy(busybox, "bin/busybox")
    for applet in run([str(busybox), "--list-full"]).split():
        if applet != "bin/busybox":
            archive.link(applet, "/bin/busybox")
    archive.link("init", "/bin/busybox")
    archive.file("etc/passwd", _PASSWD.encode())
    archive.file("etc/group", _GROUP.encode())
    archive.copy(_TEMPLATES / "inittab", "etc/inittab")
    archive.copy(_TEMPLATES / "os-release", "etc/os-release")
    for script in sorted((_TEMPLATES / "lab").iterdir()):
        archive.copy(script, f"lab/{script.name}")
    archive.link("sbin/shutdown", "/lab/shutdown")


def _add_agent(archive: Archive) -> None:
    agent = _program("qemu-ga")
    archive.copy(agent, "usr/sbin/qemu-ga")
    for library in re.findall(r"(/\S+) \(0x", run(["ldd", str(agent)])):
        archive.copy(Path(library))


def _add_modules(archive: Archive, kernel: Path) -> None:
    modules = needed_modules(kernel, MODULES)
    for name, content in modules.items():
        archive.file(f"lib/modules/{name}.ko", content)
    archive.file("lib/modules/order", "".join(f"{name}\n" for name in modules).encode())


def _program(name: str) -> Path:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if not found:
        raise LabError(f"{name} is not installed: run tests/lab/install.sh")
    return Path(found)
