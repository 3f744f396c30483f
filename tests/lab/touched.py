# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which guests of which hypervisors a test has had a hand on, so that what was tried where is written down by the tests."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Touched(NamedTuple):
    """``hypervisor`` and ``uri`` are "" where an agent was tried without any."""

    hypervisor: str
    uri: str
    guest: str


#: Since somebody last emptied it.
TOUCHED: set[Touched] = set()
#: The version that an agent has told of itself.
AGENTS: dict[Touched, str] = {}


def hypervisor_of(connection: Any) -> str:
    """The versions of libvirt and QEMU."""
    return f"libvirt {_version(connection.getLibVersion())}, QEMU {_version(connection.getVersion())}"


def plain_uri(uri: str) -> str:
    """Without what is a lab's own: ``qemu:///session``, ``qemu+ssh://HOST/system``."""
    parts = urlsplit(uri)
    return f"qemu+ssh://HOST{parts.path}" if parts.scheme.endswith("ssh") else f"qemu://{parts.path}"


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"
