# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The execution environment that the guide shows, built by its own command on a base of Debian's packages alone."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ee.podman import Podman
from tests.lab.cache import key_of
from tests.lab.errors import LabError
from tests.lab.shell import run
from tests.unit.guide_pages import ROOT, Part, commands, pages

PLACE = ROOT / ".cache" / "ee"
IMAGE = "localhost/guest_agent_ee:latest"
DEFINITION = "execution-environment.yml"
#: The release that the guide's base image has.
_SUITE = "trixie"
#: The base's settings of apt.
LEAN = 'Acquire::Languages "none";'
# As small as the guide's: no manuals, no translations, now and later.
_UNNEEDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
_MMDEBSTRAP = (
    "mmdebstrap",
    "--quiet",
    "--variant=minbase",
    "--include=ca-certificates",
    f"--aptopt={LEAN}",
    *(f"--dpkgopt=path-exclude={pattern}" for pattern in _UNNEEDED),
)
_BUILD_SECONDS = 1500.0
#: What took how many seconds, or is how large.
REPORT: list[str] = []


@contextmanager
def step(name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    REPORT.append(f"{name}: {time.monotonic() - began:.1f} s")


def page() -> list[Part]:
    return pages()["awx"]


def line(start: str) -> list[str]:
    """The words of the guide's command that begins so."""
    (found,) = (text for part in page() for text in commands(part) if text.startswith(f"$ {start}"))
    return shlex.split(found.removeprefix("$ "))


def lay_out(place: Path) -> Path:
    """A directory with the guide's definition, and beside it what `make build` has packed; empty but for that."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (definition,) = (part for part in page() if part.file == DEFINITION)
    (place / DEFINITION).write_text(definition.text, encoding="utf-8")
    shutil.copytree(ROOT / "dist", place / "dist")
    return place


def base(podman: Podman) -> str:
    """The name of an image of a minimal Debian, which is made unless it is there."""
    name = f"localhost/debian-{_SUITE}:{key_of((), (*_MMDEBSTRAP, _SUITE))}"
    there = podman.images()
    if name not in there:
        if there:
            podman.run("rmi", "--force", *there)  # of an older definition
        packed = podman.place / "tmp" / "base.tar"
        with step("base image"):
            run([*_MMDEBSTRAP, _SUITE, str(packed)], timeout=900)
            podman.run("import", str(packed), name, timeout=300)
        packed.unlink()
    return name


def build(podman: Podman, place: Path) -> None:
    """By the guide's command, from the base above instead of the one that the definition names."""
    name = base(podman)
    extra = ["--isolation=chroot", "--pull=never", *(f"--volume={mount}" for mount in podman.settings_of_this_machine())]
    command = [*installed(line("ansible-builder build")), "--build-arg", f"EE_BASE_IMAGE={name}", "--verbosity=3"]
    log = podman.place / "build.log"
    with step("execution environment"), log.open("wb") as told:
        done = subprocess.run(
            [*command, "--extra-build-cli-args", shlex.join(extra)],
            cwd=place,
            env={**os.environ, **podman.env},
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            timeout=_BUILD_SECONDS,
            check=False,
        )
    if done.returncode:
        raise LabError(f"{command[0]} failed ({done.returncode}), as {log} says: {log.read_text()[-3000:]}")
    REPORT.append(f"its size: {podman.size(IMAGE) / 1e6:.0f} MB, of which the base has {podman.size(name) / 1e6:.0f} MB")


def installed(words: list[str]) -> list[str]:
    """A command of the environment that this Python is of."""
    return [str(Path(sys.executable).with_name(words[0])), *words[1:]]
