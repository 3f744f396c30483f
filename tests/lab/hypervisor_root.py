# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Another Debian's hypervisor: its libvirt and QEMU in a directory that is built once."""

from __future__ import annotations

import os
from pathlib import Path

from .cache import cached, key_of
from .debian_image import SUITES
from .errors import LabError
from .shell import run

#: What HYPERVISOR may name, and whose packages that is. Testing is what comes next: another one each month.
HYPERVISORS = {**SUITES, "testing": "testing"}
#: Debian 13's with the modular daemons, which Debian itself does not build.
MODULAR = "debian13-modular"
_PLACE = Path(__file__).parent / "images" / "hypervisor"
_PACKAGES, _MODULAR = _PLACE / "packages.txt", _PLACE / "modular.sh"
_BUILD_SECONDS = 3600.0


def asked_for() -> str:
    """Return the Debian whose hypervisor the lab is to use, "" for this machine's own."""
    return os.environ.get("HYPERVISOR", "")


def hypervisor_root(name: str) -> Path:
    """Return the directory that holds its root file system, built if need be.

    LabError: it is none that the lab knows, or this user may not build or run it.
    """
    if name not in (*HYPERVISORS, MODULAR):
        raise LabError(f"HYPERVISOR={name} is none of {', '.join((*HYPERVISORS, MODULAR))}")
    if os.geteuid() != 0:
        raise LabError(f"only root can run HYPERVISOR={name}, which has mounts of its own")
    if name == MODULAR:
        monolithic = hypervisor_root("debian13")
        return cached(f"hypervisor-{name}-{key_of([_MODULAR], [monolithic.name])}", lambda target: _add_daemons(target, monolithic))
    suite = HYPERVISORS[name]
    return cached(f"hypervisor-{name}-{key_of([Path(__file__), _PACKAGES], [suite])}", lambda target: _build(target, suite))


def _build(target: Path, suite: str) -> None:
    packages = ",".join(_PACKAGES.read_text().split())
    # A mirror may be weeks behind, for which testing's signatures are too short.
    words = ["mmdebstrap", "--quiet", "--variant=minbase", '--aptopt=Acquire::Check-Valid-Until "false"', f"--include={packages}"]
    run([*words, suite, str(target)], timeout=_BUILD_SECONDS)


def _add_daemons(target: Path, monolithic: Path) -> None:
    run(["cp", "--archive", "--reflink=auto", f"{monolithic}/.", str(target)], timeout=_BUILD_SECONDS)
    run([str(_MODULAR), str(target)], timeout=_BUILD_SECONDS)
