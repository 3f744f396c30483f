# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor that comes and goes, and what is told of it."""

from __future__ import annotations

import queue
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import InvalidInput
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import hypervisor as _hypervisor, watch as _watch
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt.ledger import Change
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt.watch import HypervisorWatch, Place
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import OFF, Domain, Error, Hypervisor

SECONDS = 30
#: What happens to "web" to see whether that is told.
OF_SERVED = {"domain_paused", "domain_resumed"}


class Watched:
    """A watch, and what it told."""

    def __init__(self) -> None:
        self.told: queue.Queue[tuple[Change, Place]] = queue.Queue()
        self.failures: queue.Queue[BaseException] = queue.Queue()
        self.watch = HypervisorWatch(samples.URI, SECONDS, lambda change, place: self.told.put((change, place)), self.failures.put)

    def change(self) -> tuple[Change, Place]:
        """The next that is told, but for those of ``is_served``."""
        while True:
            change, place = self.told.get(timeout=SECONDS)
            if change.type not in OF_SERVED:
                return change, place

    def next(self) -> str:
        change, _place = self.change()
        return " ".join(filter(None, (change.name, change.type, "missed" * change.missed)))

    def rest(self) -> set[str]:
        """The types of what else was told."""
        return {self.told.get_nowait()[0].type for _number in range(self.told.qsize())} - OF_SERVED


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_watch, "_SOON", ())
    monkeypatch.setattr(_watch, "_LATER", 0.01)
    monkeypatch.setattr(_watch, "_SETTLING_SECONDS", 0.0)


@pytest.fixture
def domains() -> list[Domain]:
    return [Domain("web", 1), Domain("db", 2, state=OFF)]


@pytest.fixture
def watched(host: Hypervisor) -> t.Iterator[Watched]:
    watched = Watched()
    watched.watch.start()
    yield watched
    host.gate.set()
    watched.watch.close(SECONDS)
    assert not watched.watch._thread.is_alive()
    assert watched.failures.empty()


def is_served(host: Hypervisor, watched: Watched) -> None:
    """The watch has come to its reports."""
    while True:
        host.tell(host.domains[0], 0, 3, 0)
        host.tell(host.domains[0], 0, 4, 0)
        try:
            change, place = watched.told.get(timeout=0.05)
        except queue.Empty:
            continue
        assert change.type in OF_SERVED
        assert place == Place(samples.URI, "kvm1")
        return


def boot(host: Hypervisor, number: int = 1) -> None:
    domain = host.domains[number]
    domain.current, domain.run = 1, domain.run + 10
    host.tell(domain, 0, 2, 0)


def test_what_is_reported_is_told(host: Hypervisor, watched: Watched) -> None:
    is_served(host, watched)
    boot(host)
    host.tell(host.domains[1], 18, 1, 2)
    host.tell(host.domains[0], 18, 2, 2)
    assert [watched.next() for _time in range(3)] == ["db domain_started", "db agent_connected", "web agent_disconnected"]


def test_a_daemon_that_restarts(host: Hypervisor, watched: Watched) -> None:
    is_served(host, watched)
    host.raises["open"] = Error(38, "no daemon")
    host.lose()
    assert watched.next() == "hypervisor_lost"
    host.domains[0].text = samples.domain_xml("web", 1, "disconnected")
    host.domains[1].current = 1
    host.alive = True
    del host.raises["open"]
    missed = [watched.next() for _time in range(4)]
    assert missed == [
        "hypervisor_connected",
        "web agent_disconnected missed",
        "db domain_started missed",
        "db agent_connected missed",
    ]
    is_served(host, watched)
    host.tell(host.domains[0], 18, 2, 2)  # libvirt says again what is so
    boot(host)
    assert watched.next() == "db domain_stopped missed"
    assert watched.next() == "db domain_started"


def test_a_hypervisor_that_cannot_be_reached_is_told_once(host: Hypervisor, watched: Watched) -> None:
    is_served(host, watched)
    host.raises["open"] = Error(38, "no daemon")
    host.lose()
    change, _place = watched.change()
    assert (change.type, change.reason) == ("hypervisor_lost", "the connection was lost")
    opens = host.opens
    while host.opens < opens + 3:
        assert watched.rest() == set()


def test_a_hypervisor_that_was_never_there(host: Hypervisor) -> None:
    host.raises["open"] = Error(38, "no daemon")
    watched = Watched()
    watched.watch.start()
    change, place = watched.told.get(timeout=SECONDS)
    assert change.type == "hypervisor_lost"
    assert "no daemon" in change.reason
    assert place == Place(samples.URI, "")
    del host.raises["open"]
    assert watched.next() == "hypervisor_connected"
    watched.watch.close(SECONDS)


def test_reports_while_the_domains_are_listed(host: Hypervisor, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is older than they are, or newer; they are told, and what they say nothing of is compared."""
    is_served(host, watched)
    host.raises["open"] = Error(38, "no daemon")
    host.lose()
    assert watched.next() == "hypervisor_lost"
    looks: list[object] = []

    def look(connection: t.Any, wanted: t.Any) -> t.Any:
        found = _real_look(connection, wanted)
        looks.append(wanted)
        if len(looks) == 1:
            host.domains[0].current = OFF
            host.tell(host.domains[0], 0, 5, 1)
            host.domains[0].current = 1
            host.domains[0].run = 99
            host.tell(host.domains[0], 0, 2, 0)
        return found

    _real_look = _watch._look
    monkeypatch.setattr(_watch, "_look", look)
    host.domains[1].current = 1
    host.alive = True
    del host.raises["open"]
    said = [watched.next() for _time in range(6)]
    assert said == [
        "hypervisor_connected", "db domain_started missed", "db agent_connected missed",
        "web domain_stopped", "web domain_started", "web agent_connected missed",
    ]  # fmt: skip
    assert looks == [None, {samples.uuid(1)}]


def test_a_daemon_that_ends_while_the_domains_are_listed(
    host: Hypervisor, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was seen of it is not told: it is looked at again."""
    is_served(host, watched)
    looks: list[object] = []

    def look(connection: t.Any, wanted: t.Any) -> t.Any:
        found = _real_look(connection, wanted)
        looks.append(wanted)
        if len(looks) == 1:
            host.domains[1].current = OFF
            host.lose()
            host.alive = True
        return found

    _real_look = _watch._look
    monkeypatch.setattr(_watch, "_look", look)
    host.raises["open"] = Error(38, "no daemon")
    host.lose()
    assert watched.next() == "hypervisor_lost"
    host.domains[1].current = 1
    host.alive = True
    del host.raises["open"]
    assert watched.next() == "hypervisor_connected"
    is_served(host, watched)
    assert watched.rest() == set()
    assert looks == [None, None]


def test_more_reports_than_there_is_room_for(host: Hypervisor, watched: Watched) -> None:
    """The domains are compared instead."""
    is_served(host, watched)
    inbox = watched.watch._inbox
    host.domains[1].current = 1
    inbox.is_behind = True
    host.tell(host.domains[0], 1)
    assert [watched.next() for _time in range(3)] == ["web guest_rebooted", "db domain_started missed", "db agent_connected missed"]


def test_an_inbox_that_is_full() -> None:
    inbox = _watch._Inbox()
    for _number in range(_watch._WAITING_MAX):
        inbox.put(None)
    assert not inbox.is_behind
    inbox.put(None)
    assert inbox.is_behind
    assert len(inbox.waiting()) == _watch._WAITING_MAX


def test_a_daemon_without_keepalive(host: Hypervisor) -> None:
    host.raises["setKeepAlive"] = Error(3, "not supported")
    watched = Watched()
    watched.watch.start()
    is_served(host, watched)
    watched.watch.close(SECONDS)


def test_a_link_that_died_in_silence(host: Hypervisor, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_watch, "_LOOK_SECONDS", 0.01)
    is_served(host, watched)
    host.raises["open"] = Error(38, "no daemon")
    host.alive = False
    assert watched.next() == "hypervisor_lost"


def test_one_domain_that_does_not_tell_costs_itself(host: Hypervisor) -> None:
    host.domains[0].raises["XMLDesc"] = Error(1, "monitor")
    watched = Watched()
    watched.watch.start()
    is_served(host, watched)
    boot(host)
    assert watched.next() == "db domain_started"
    watched.watch.close(SECONDS)


def test_nothing_is_told_after_the_end(host: Hypervisor, watched: Watched) -> None:
    is_served(host, watched)
    handles = list(host.handles)
    watched.watch.close(SECONDS)
    assert watched.rest() == set()
    assert not any(handle.of_all or handle.on_close for handle in handles)


def test_what_is_no_trouble_of_a_hypervisor(host: Hypervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hypervisor, "LIBVIRT_IMPORT_ERROR", ImportError("no libvirt"))
    watched = Watched()
    watched.watch.start()
    assert isinstance(watched.failures.get(timeout=SECONDS), InvalidInput)
    assert watched.told.empty()


def test_pauses_are_short_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    pauses = _watch._pauses()
    assert sum(next(pauses) for _number in range(62)) > 60
    assert next(pauses) == 30
