# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events as rules get them: plain, bounded, and no template, whatever a guest is called or mounts."""

from __future__ import annotations

import json
import queue
import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import InvalidInput
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import hypervisor as _hypervisor, watch as _watch
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.events import Event, EventStream, Options
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.fill import FILESYSTEMS_MAX
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.outbox import WAITING_MAX
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.plan import Gathered
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Error, Hypervisor, install, let_go

A, B = "test:///a", "test:///b"
SECONDS = 30


class Taken:
    def __init__(self, **options: t.Any) -> None:
        self._news: queue.Queue[None] = queue.Queue()
        self.stream = EventStream(Options(**options), lambda: self._news.put(None))
        self.stream.start()

    def next(self) -> Event:
        while (event := self.stream.take()) is None:
            self._news.get(timeout=SECONDS)
        return event


Watch = t.Callable[..., Taken]


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[tuple[Hypervisor, Hypervisor]]:
    monkeypatch.setattr(_watch, "_SOON", ())
    monkeypatch.setattr(_watch, "_LATER", 0.01)
    monkeypatch.setattr(_watch, "_SETTLING_SECONDS", 0.0)
    first, second = Hypervisor(Domain("web", 1)), Hypervisor(Domain("db", 2))
    install(monkeypatch, a=first, b=second)
    yield first, second
    let_go(first, second)


@pytest.fixture
def watch(hosts: tuple[Hypervisor, Hypervisor]) -> t.Iterator[Watch]:
    """Watches with these options, until the test is over."""
    all_taken: list[Taken] = []

    def start(**options: t.Any) -> Taken:
        all_taken.append(Taken(**options))
        return all_taken[-1]

    yield start
    let_go(*hosts)
    for taken in all_taken:
        taken.stream.close(SECONDS)


def full(percent: int, mount_point: str) -> FakeGuest:
    guest = FakeGuest()
    filesystem = {"name": "vda1", "mountpoint": mount_point, "type": "ext4", "used-bytes": percent, "total-bytes": 100, "disk": []}
    guest.replies["guest-get-fsinfo"] = [filesystem]
    return guest


def test_two_hypervisors_and_one_that_is_not_there(hosts: tuple[Hypervisor, Hypervisor], watch: Watch) -> None:
    for host in hosts:
        host.raises["open"] = Error(38, "no daemon")
    taken = watch(uris=(A, B, A))
    lost = [taken.next() for _time in range(2)]
    assert [(event["type"], event["missed"], event["replaced"]) for event in lost] == [("hypervisor_lost", False, 0)] * 2
    assert sorted(event["uri"] for event in lost) == [A, B]
    del hosts[0].raises["open"]
    back = taken.next()
    assert (back["type"], back["uri"], back["hypervisor"]) == ("hypervisor_connected", A, "kvm1")
    hosts[0].tell(hosts[0].domains[0], 1)
    rebooted = taken.next()
    time = rebooted.pop("time")
    assert time.endswith("Z")
    assert len(time) == len("2026-01-01T00:00:00.000Z")
    assert rebooted == {
        "type": "guest_rebooted", "uri": A, "hypervisor": "kvm1", "domain": "web", "uuid": samples.uuid(1), "state": "running",
        "agent_connected": True, "reason": "unknown", "missed": False, "replaced": 0,
    }  # fmt: skip


def test_a_name_is_no_template(hosts: tuple[Hypervisor, Hypervisor], watch: Watch) -> None:
    hosts[0].domains[0]._name = "{{ lookup('pipe', 'id') }}" + "x" * 300
    hosts[0].raises["open 1"] = Error(38, "{{ 7 * 7 }}")
    taken = watch(uris=(A,))
    assert "{{" not in taken.next()["reason"]
    assert taken.next()["type"] == "hypervisor_connected"
    hosts[0].tell(hosts[0].domains[0], 1)
    event = taken.next()
    assert "{{" not in event["domain"]
    assert len(event["domain"]) == 255


def test_filesystems(hosts: tuple[Hypervisor, Hypervisor], watch: Watch) -> None:
    hosts[0].domains[0].guest = full(96, "/srv/{{ 7 * 7 }}\x1b[31m")
    hosts[1].domains[0].guest = full(50, "/")
    taken = watch(uris=(A, B), filesystem_interval=0.05, filesystem_thresholds=(80, 95))
    event = taken.next()
    assert (event["type"], event["domain"], event["uuid"], event["uri"]) == ("filesystem_above", "web", samples.uuid(1), A)
    assert event["mount_point"] == "/srv/\ufffd{ 7 * 7 }}\ufffd[31m"
    assert (event["threshold"], event["used_percent"], event["used_bytes"], event["total_bytes"]) == (95, 96, 96, 100)
    hosts[1].domains[0].guest = full(81, "/")
    event = taken.next()
    assert (event["type"], event["domain"], event["threshold"]) == ("filesystem_above", "db", 80)
    hosts[0].domains[0].guest = None  # silent: nothing is known, and nothing told
    hosts[1].domains[0].guest = full(10, "/")
    event = taken.next()
    assert (event["type"], event["domain"], event["threshold"], event["replaced"]) == ("filesystem_below", "db", 80, 0)
    json.dumps(event)
    hosts[0].domains[0].guest = full(96, "/srv/{{ 7 * 7 }}\x1b[31m")  # as it was: that is no news
    hosts[1].domains[0].guest = full(81, "/")
    event = taken.next()
    assert (event["type"], event["domain"]) == ("filesystem_above", "db")


def test_a_guest_with_other_filesystems_at_each_look_is_bounded() -> None:
    stream = EventStream(Options(uris=(A,)), lambda: None)
    for look in range(3 * WAITING_MAX):
        mounts = [
            {"mount_point": f"/{look}/{number}", "file_system_type": "ext4", "used_bytes": 99, "total_bytes": 100}
            for number in range(FILESYSTEMS_MAX)
        ]
        stream._look(Gathered([samples.record("web", 1, filesystems=mounts)], {}))
    events = list(iter(stream.take, None))
    assert len(events) == FILESYSTEMS_MAX * WAITING_MAX
    assert events[-1]["mount_point"] == f"/{3 * WAITING_MAX - 1}/{FILESYSTEMS_MAX - 1}"
    assert sum(event["replaced"] + 1 for event in events) == FILESYSTEMS_MAX * 3 * WAITING_MAX


def test_no_agent_is_asked_without_an_interval(hosts: tuple[Hypervisor, Hypervisor], watch: Watch) -> None:
    hosts[0].domains[0].guest = full(96, "/")
    taken = watch(uris=(A,))
    hosts[0].raises["open"] = Error(38, "no daemon")
    hosts[0].lose()
    assert taken.next()["type"] in ("hypervisor_lost", "hypervisor_connected")
    assert hosts[0].agent_commands == 0


def test_nothing_wakes_after_the_end(hosts: tuple[Hypervisor, Hypervisor]) -> None:
    hosts[0].raises["open"] = Error(38, "no daemon")
    woken: list[int] = []
    stream = EventStream(Options(uris=(A,)), lambda: woken.append(1))
    stream.start()
    stream.close(SECONDS)
    woken.clear()
    stream._outbox.put("a", {})
    assert woken == []


def test_what_ends_a_thread_is_raised(hosts: tuple[Hypervisor, Hypervisor], watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hypervisor, "LIBVIRT_IMPORT_ERROR", ImportError("no libvirt"))
    for interval in (0, 1):
        taken = watch(uris=(A,), filesystem_interval=interval)
        with pytest.raises(InvalidInput, match="no libvirt-python"):
            taken.next()
