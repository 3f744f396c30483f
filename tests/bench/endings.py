# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a benchmark ends that cannot measure, and what it was taken with."""

from __future__ import annotations

import functools
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn

import libvirt

from tests.lab.errors import LabError

from .contestants import ROOT

VENV = ROOT / ".venv-bench"


class BenchError(Exception):
    """Something the user of the benchmark can act on; the message is one sentence."""


Main = Callable[[Sequence[str] | None], int]


def told(main: Main) -> Main:
    """``main`` with status 2 and one sentence where there is nothing to measure, and with its guests removed when it is ended."""

    @functools.wraps(main)
    def run(arguments: Sequence[str] | None = None) -> int:
        signal.signal(signal.SIGTERM, _end)
        try:
            return main(arguments)
        except (BenchError, LabError, libvirt.libvirtError, subprocess.TimeoutExpired) as error:
            print(f"bench: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("bench: interrupted; the guests are removed", file=sys.stderr)
            return 130

    return run


def versions() -> dict[str, Any]:
    """
    :raise BenchError: the environment of those who are compared with us is not there.
    """
    core = sorted(VENV.glob("lib/python3*/site-packages/ansible_core-*.dist-info"))
    manifest = sorted(VENV.glob("lib/python3*/site-packages/ansible_collections/community/libvirt/MANIFEST.json"))
    if not core or not manifest:
        raise BenchError(f"{VENV.name} has no community.libvirt: `make bench` makes it")
    community = json.loads(manifest[0].read_text(encoding="utf-8"))["collection_info"]["version"]
    return {"ansible_core": core[0].name.split("-")[1].removesuffix(".dist"), "community_libvirt": community}


def machine(connection: libvirt.virConnect) -> str:
    """The hypervisor in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    libvirtd, qemu = (".".join(str(number // 1000**power % 1000) for power in (2, 1, 0)) for number in _numbers(connection))
    return f"{os.cpu_count()} processors, {memory:.0f} GiB, Python {platform.python_version()}, libvirt {libvirtd}, QEMU {qemu}"


def _numbers(connection: libvirt.virConnect) -> tuple[int, int]:
    return connection.getLibVersion(), connection.getVersion()


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
