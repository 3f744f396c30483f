# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the core uses of libvirt-python, over domains in memory: no mock, so that what it does not use is not there.

``Hypervisor`` is the daemon, ``handle`` what libvirt.open() gives. An agent's error comes as libvirt gives it: as text.
"""

from __future__ import annotations

import contextlib
import threading
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import hypervisor as _hypervisor
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt_domain import (
    AUTOSTART,
    NOT_FOUND,
    OFF,
    PERSISTENT,
    Domain,
    Error,
    Snapshot,
    Stream,
)

__all__ = (
    "AUTOSTART",
    "NOT_FOUND",
    "OFF",
    "PERSISTENT",
    "Domain",
    "Error",
    "Hypervisor",
    "Snapshot",
    "Stream",
    "hosting",
    "install",
    "let_go",
)


class Hypervisor:
    def __init__(self, *domains: Domain) -> None:
        self.domains = list(domains)
        self.handles: list[Handle] = []
        #: XML -> the transient domain that is created from it
        self.creates: dict[str, Domain] = {}
        self.raises: dict[str, Exception] = {}
        self.hangs: set[str] = set()
        self.alive = True
        self.version = 11_003_000
        self.gate = threading.Event()
        self.lock = threading.Lock()
        self.opens = 0
        #: domains that this user may list, and no more: their state is not told
        self.unread: set[str] = set()

    def tell(self, domain: Domain, event: int, *what: int) -> None:
        """Those who listen to all domains hear of ``event``."""
        for handle in self.handles:
            for number, callback in list(handle.of_all.values()):
                if number == event:
                    callback(handle, _OnConnection(domain, handle), *what, None)

    def lose(self) -> None:
        """The daemon ends, and with it every connection."""
        self.alive = False
        for handle in self.handles:
            handle.of_all.clear()
            if handle.on_close:
                handle.on_close(handle, 1, None)

    def open(self) -> Handle:
        self.opens += 1
        self.happen(f"open {self.opens}")
        self.happen("open")
        handle = Handle(self)
        self.handles.append(handle)
        return handle

    def happen(self, what: str) -> None:
        if what in self.hangs:
            self.gate.wait(20)
        if what in self.raises:
            raise self.raises[what]

    @property
    def agent_commands(self) -> int:
        return sum(domain.did.count("agent") for domain in self.domains)


class Handle:
    """A connection; counts how many requests are in flight on it."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor
        self.closed = False
        self.flying = self.most = 0
        #: what takes each callback away again
        self.callbacks: dict[int, t.Callable[[], None]] = {}
        self.numbers = 0
        #: number -> the event and the callback, of those for all domains
        self.of_all: dict[int, tuple[int, t.Callable[..., None]]] = {}
        self.on_close: t.Callable[..., None] | None = None
        #: number -> the domain and the event of each callback
        self.tracked: dict[int, tuple[str, int]] = {}

    @contextlib.contextmanager
    def flight(self) -> t.Iterator[None]:
        with self._hypervisor.lock:
            self.flying += 1
            self.most = max(self.most, self.flying)
        try:
            yield
        finally:
            with self._hypervisor.lock:
                self.flying -= 1

    def getURI(self) -> str:
        return samples.URI

    def getHostname(self) -> str:
        self._hypervisor.happen("getHostname")
        return "kvm1"

    def listAllDomains(self, flags: int) -> list[t.Any]:
        self._hypervisor.happen(f"listAllDomains {flags}")
        self._hypervisor.happen("listAllDomains")
        return [_OnConnection(d, self) for d in self._domains() if not flags or d.flags & flags]

    def getAllDomainStats(self, stats: int, _flags: int) -> list[tuple[t.Any, dict[str, int]]]:
        self._hypervisor.happen("getAllDomainStats")
        assert stats == 1
        known = [domain for domain in self._domains() if domain.name() not in self._hypervisor.unread]
        return [(_OnConnection(d, self), {"state.state": d.current, "state.reason": d.reason}) for d in known]

    def _domains(self) -> list[Domain]:
        return [domain for domain in self._hypervisor.domains if not domain.gone]

    def createXML(self, xml: str, flags: int) -> t.Any:
        """What libvirt makes of it is the domain that ``creates`` has by this XML."""
        self._hypervisor.happen("createXML")
        assert flags == 0
        domain = self._hypervisor.creates[xml]
        domain.flags = 0
        self._hypervisor.domains.append(domain)
        return _OnConnection(domain, self)

    def getDomainCapabilities(self, _emulator: None, _arch: str | None, _machine: None, kind: str, flags: int) -> str:
        self._hypervisor.happen(f"getDomainCapabilities {kind}")
        assert flags == 0
        return "<domainCapabilities/>"

    def getLibVersion(self) -> int:
        return self._hypervisor.version

    def getCapabilities(self) -> str:
        features = "<externalSnapshot/>" if self._hypervisor.version >= 9_009_000 else "<disksnapshot default='on' toggle='no'/>"
        return f"<capabilities><guest><features>{features}</features></guest></capabilities>"

    def newStream(self, flags: int) -> Stream:
        assert flags == 1
        return Stream()

    def lookupByName(self, name: str) -> t.Any:
        return self._lookup(lambda domain: domain.name() == name)

    def lookupByUUIDString(self, uuid: str) -> t.Any:
        return self._lookup(lambda domain: domain.UUIDString() == uuid)

    def _lookup(self, matches: t.Callable[[Domain], bool]) -> t.Any:
        self._hypervisor.happen("lookup")
        for domain in self._domains():
            if matches(domain):
                return _OnConnection(domain, self)
        raise NOT_FOUND

    def isAlive(self) -> int:
        self._hypervisor.happen("isAlive")
        return int(self._hypervisor.alive)

    def domainEventRegisterAny(self, domain: t.Any, event: int, callback: t.Callable[..., None], _opaque: t.Any) -> int:
        assert event in (0, 1, 18)
        if domain is None:
            self._hypervisor.happen("domainEventRegisterAny")
            self.numbers += 1
            self.of_all[self.numbers] = event, callback
            return self.numbers
        if (domain.UUIDString(), event) in self.tracked.values():
            raise Error(8, "invalid argument: event callback already tracked")
        listener = event, callback
        domain.listeners.append(listener)
        self.numbers += 1
        self.callbacks[self.numbers] = lambda: domain.listeners.remove(listener)
        self.tracked[self.numbers] = domain.UUIDString(), event
        return self.numbers

    def domainEventDeregisterAny(self, number: int) -> None:
        if self.closed:
            raise Error(1, "internal error: client socket is closed")
        if number not in self.callbacks:
            self.of_all.pop(number, None)
            return
        del self.tracked[number]
        self.callbacks.pop(number)()

    def registerCloseCallback(self, callback: t.Callable[..., None], _opaque: t.Any) -> None:
        self.on_close = callback

    def unregisterCloseCallback(self) -> None:
        self.on_close = None

    def setKeepAlive(self, interval: int, count: int) -> int:
        self._hypervisor.happen("setKeepAlive")
        assert interval * count > 0
        return 0

    def close(self) -> None:
        self.closed = True


class _OnConnection:
    """A domain as seen through one connection."""

    def __init__(self, domain: Domain, handle: Handle) -> None:
        self._domain = domain
        self._handle = handle

    def __getattr__(self, name: str) -> t.Any:
        method = getattr(self._domain, name)
        if name in ("name", "UUIDString", "ID", "listeners"):
            return method

        def call(*arguments: t.Any) -> t.Any:
            if self._domain.gone:
                raise NOT_FOUND
            with self._handle.flight():
                return method(*arguments)

        return call


def install(monkeypatch: pytest.MonkeyPatch, **hypervisors: Hypervisor) -> None:
    """``hypervisors``: by the name that stands in their URI, test:///NAME; no URI is ``default``."""

    class Qemu:
        @staticmethod
        def qemuAgentCommand(domain: t.Any, text: str, seconds: int, flags: int) -> str:
            assert seconds > 0
            assert flags == 0
            return t.cast(str, domain.agent_command(text, seconds))

    def opened(uri: str) -> Handle:
        return hypervisors[uri.rsplit("/", 1)[-1] or "default"].open()

    monkeypatch.setattr(_hypervisor, "libvirt_qemu", Qemu)
    monkeypatch.setattr(_hypervisor, "_open", opened)
    monkeypatch.setattr(_hypervisor, "serve_events", lambda _libvirt: None)
    # What is closed is closed in another thread, which a busy machine may let wait.
    monkeypatch.setattr(_hypervisor, "_CLOSE_SECONDS", 30.0)


@contextlib.contextmanager
def hosting(monkeypatch: pytest.MonkeyPatch, *domains: Domain) -> t.Iterator[Hypervisor]:
    """One hypervisor with these, at the default URI."""
    hypervisor = Hypervisor(*domains)
    install(monkeypatch, default=hypervisor)
    try:
        yield hypervisor
    finally:
        let_go(hypervisor)


def let_go(*hypervisors: Hypervisor) -> None:
    """Whatever hangs goes on, so that no thread outlives its test for long."""
    for hypervisor in hypervisors:
        hypervisor.gate.set()
        for domain in hypervisor.domains:
            domain.gate.set()
