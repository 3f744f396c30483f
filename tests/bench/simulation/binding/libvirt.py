# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""In libvirt-python's place when this directory comes first on PYTHONPATH: the hypervisors that SIMULATED_FLEET (JSON) describes.

What their daemons saw is written to the file SIMULATED_REPORT when the process ends.
"""

from __future__ import annotations

import atexit
import json
import os
from pathlib import Path
from typing import Any

from ansible_collections.virtops.guest_agent.tests.bench.simulation.hypervisor import Connection, Fleet, libvirtError

__all__ = ["fleet", "libvirtError", "open", "registerErrorHandler"]

fleet = Fleet.read(os.environ.get("SIMULATED_FLEET", '{"hypervisors": 1, "domains": 0}'))


def open(uri: str | None) -> Connection:  # noqa: A001 - libvirt-python's name
    return fleet.open(uri)


def registerErrorHandler(_handler: Any, _context: Any) -> None:
    """Nothing is printed here."""


if "SIMULATED_REPORT" in os.environ:
    atexit.register(lambda: Path(os.environ["SIMULATED_REPORT"]).write_text(json.dumps(fleet.meters()), encoding="utf-8"))
