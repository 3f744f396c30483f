# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""qemu-img on the images of backups: made before, found to be sound afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import typing as t

from .._agent.untrusted import clean
from .._deadline import Deadline
from .._errors import BackupFailed, InvalidInput, WaitTimeout

_PROGRAM: t.Final = "qemu-img"
#: What ``qemu-img check`` ends with where nothing is wrong, and where only space is wasted.
_SOUND: t.Final = (0, 3)


class Size(t.NamedTuple):
    """``occupied`` bytes of the file system; ``virtual`` bytes of the disk."""

    occupied: int
    virtual: int


def require_program() -> None:
    """
    :raise InvalidInput: there is no qemu-img.
    """
    if shutil.which(_PROGRAM) is None:
        hint = "install it (Debian: qemu-utils, Fedora: qemu-img)"
        raise InvalidInput(f"the host that executes the module has no {_PROGRAM}", hint=hint)


def create(path: str, virtual: int, base: str, deadline: Deadline) -> None:
    """An image without content, for a disk of so many bytes. It stands on ``base``, an image in the same directory, "" for nothing.

    libvirt would create one while the guest is frozen, and note the disk that is copied as what an increment stands on.

    :raise BackupFailed: it cannot be created.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    below = ["-u", "-F", "qcow2", "-b", f"./{base}"] if base else []
    done = _run(["create", "-q", "-f", "qcow2", *below, path, str(virtual)], deadline)
    _require(done, done.returncode == 0, path, "the image cannot be created")


def check(path: str, deadline: Deadline) -> None:
    """
    :raise BackupFailed: the image is damaged, or what it stands on cannot be read.
    """
    done = _run(["check", "-q", "-f", "qcow2", path], deadline)
    _require(done, done.returncode in _SOUND, path, "the image is damaged")


def size(path: str, chain: t.Sequence[str], deadline: Deadline) -> Size:
    """The image's size, when it stands on ``chain``, images in the same directory, and on nothing else.

    :raise BackupFailed: it does not.
    """
    done = _run(["info", "--output=json", "--backing-chain", "-f", "qcow2", path], deadline)
    _require(done, done.returncode == 0, path, "the image cannot be read")
    found = json.loads(done.stdout)
    stands_on = [os.path.basename(image["filename"]) for image in found[1:]]
    if stands_on != list(chain):
        said = ", ".join(stands_on) or "nothing"
        raise BackupFailed(f"{path} stands on {said} instead of {', '.join(chain) or 'nothing'}")
    return Size(os.stat(path).st_blocks * 512, found[0]["virtual-size"])


def _run(words: list[str], deadline: Deadline) -> subprocess.CompletedProcess[str]:
    try:
        # pylint: disable-next=ansible-bad-function
        return subprocess.run(
            [_PROGRAM, *words],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=max(deadline.remaining(), 1.0),
        )
    except subprocess.TimeoutExpired:
        raise WaitTimeout(f"{_PROGRAM} {words[0]} had not ended after {deadline.seconds:g} s") from None


def _require(done: subprocess.CompletedProcess[str], good: bool, path: str, what: str) -> None:
    if not good:
        said = clean(" ".join((done.stderr or done.stdout).split()), 300)
        raise BackupFailed(f"{path}: {what} ({_PROGRAM}: {said or f'ended with {done.returncode}'})")
