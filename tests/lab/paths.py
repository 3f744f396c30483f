# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the lab keeps things: a cache that stays, and a state directory that `down` removes."""

from __future__ import annotations

import os
from pathlib import Path

_NAME = "virtops-guest-agent-lab"


def cache_dir() -> Path:
    """Built images, kept between runs."""
    if chosen := os.environ.get("LAB_CACHE"):
        return Path(chosen).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / _NAME


def state_dir() -> Path:
    """Everything of the guests and daemons that run now.

    Root's is outside /root, because QEMU may run as another user.
    """
    if chosen := os.environ.get("LAB_STATE"):
        return Path(chosen).resolve()
    if os.geteuid() == 0:
        return Path("/var/lib") / _NAME
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / _NAME
