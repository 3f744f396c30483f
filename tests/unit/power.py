# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest that can sleep, and modules that do not wait long for it."""

from __future__ import annotations

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._module import restart, shutdown, suspend
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain

SLEEPS = {
    suspend.STATE: b"freeze mem disk\n",
    suspend.DISK: b"[platform] shutdown reboot suspend test_resume\n",
    suspend.SWAPS: b"Filename Type Size Used Priority\n/dev/vdb partition 524284 0 -2\n",
}
#: Commands of an agent that lets no file be read.
NO_FILES = ("guest-file-open", "guest-exec")


def sleeper() -> Domain:
    domain = Domain(guest=FakeGuest(files=SLEEPS))
    domain.boot()
    return domain


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (shutdown, restart, suspend):
        monkeypatch.setattr(module, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(suspend, "_PAUSE", 0.05)
