# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest that can sleep, modules that do not wait long for it, and a daemon that is restarted meanwhile."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.protocol import Request
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import restart, shutdown, suspend
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Error, Hypervisor

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


class Restart:
    """The daemon is killed when it was asked for ``what``, or the agent was. The next connection finds another one."""

    def __init__(self, host: Hypervisor, domain: Domain, what: str) -> None:
        assert domain.guest is not None
        self._host, self._what = host, what
        self.killed = self.over = False
        self._do, self._open, self._exchange = domain._do, host.open, domain.guest.exchange
        domain._do, host.open, domain.guest.exchange = self.do, self.open, self.exchange  # type: ignore[method-assign]

    def exchange(self, request: Request, seconds: int) -> str:
        try:
            return self._exchange(request, seconds)
        finally:
            self._kill(json.loads(request.text)["execute"])

    def do(self, what: str) -> None:
        self._do(what)
        self._kill(what)
        if self.killed and not self.over:
            raise Error(38, "broken pipe")

    def open(self) -> t.Any:
        self.over, self._host.alive = self.killed, True
        return self._open()

    def _kill(self, what: str) -> None:
        if what == self._what and not self.killed:
            self.killed, self._host.alive = True, False
            for handle in self._host.handles:
                handle.closed = True
