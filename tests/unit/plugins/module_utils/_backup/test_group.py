# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All guests frozen until all jobs have begun, and nothing left of a group that is not whole. test_backup.py has real guests."""

from __future__ import annotations

import functools
import typing as t
from pathlib import Path

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._backup import group as _group, images, plan
from ansible_collections.virtops.guest_agent.plugins.module_utils._backup.interrupts import Interrupted
from ansible_collections.virtops.guest_agent.plugins.module_utils._backup.notes import Directory
from ansible_collections.virtops.guest_agent.plugins.module_utils._freeze import group as _freezing, moment
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt.hypervisor import connect
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Error, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt_backup import qemu_img
from ansible_collections.virtops.guest_agent.tests.unit.fakes.watchdog import FakeWatchdog

DISK = "<disk type='file'><driver type='qcow2'/><source file='/srv/vda'/><target dev='vda'/></disk>"


@pytest.fixture
def domains() -> list[Domain]:
    found = [Domain(name, number, guest=FakeGuest()) for number, name in enumerate(("web", "db"), 1)]
    for domain in found:
        domain.text = domain.text.replace("</devices>", f"{DISK}</devices>")
    return found


class GroupWatchdog(FakeWatchdog):
    """It learns which guest of the group is its own when it is armed."""

    def __init__(self, domains: t.Sequence[Domain]) -> None:
        assert domains[0].guest
        super().__init__(domains[0].guest)
        self._domains = domains

    def arm(self, order: t.Any) -> int:
        (guest,) = (domain.guest for domain in self._domains if domain.UUIDString() == order.uuid)
        assert guest
        self.watch(guest)
        return super().arm(order)


class Answering(t.NamedTuple):
    guest: FakeGuest

    def require_agent(self) -> t.Any:
        agent = self.guest.agent()
        agent.can("guest-ping")
        return agent


class Scene:
    """``take()``: the backup of both; ``frozen``: of each when its job was begun."""

    def __init__(self, host: Hypervisor, directory: Path) -> None:
        self.domains = host.domains
        self.place = directory
        self.group: list[_group.Subject] = []
        self.frozen: dict[str, list[bool]] = {}
        self.told: list[str] = []
        for domain in self.domains:
            domain.while_begun = functools.partial(self._note, domain.name())

    def _note(self, name: str) -> None:
        self.frozen[name] = self.frozen_now()

    def frozen_now(self) -> list[bool]:
        return [bool(domain.guest and domain.guest.frozen) for domain in self.domains]

    def take(self, required: bool = True, seconds: float = 60) -> _errors.GuestAgentError | None:
        connection = connect(samples.URI, 10)
        try:
            directory = Directory(str(self.place))
            wish = plan.Wish("one", directory.path, "auto", None, 6, True)
            domains = [connection.domain(domain.name()) for domain in self.domains]
            self.group = []
            for domain, found in zip(domains, _group.look_at(domains, directory)):
                planned = plan.plan(found, wish)
                self.group.append(_group.Subject(domain, found, planned, plan.note_of(found, wish, planned, "now")))
            guests = {domain.UUIDString(): t.cast(t.Any, Answering(t.cast(FakeGuest, domain.guest))) for domain in self.domains}
            moment.prepare(self.group, guests, required, "backup")
            terms = _group.Terms(_freezing.Terms(None, 30, 60, 5), required, seconds)
            watchdogs = [t.cast(t.Any, GroupWatchdog(self.domains)) for _domain in self.domains]
            return _group.take(self.group, directory, watchdogs, terms, self.told.append)
        finally:
            connection.close()

    def nothing_left(self) -> bool:
        return not list(self.place.iterdir()) and all(not (each.backup or each.checkpoints) for each in self.domains)


@pytest.fixture
def scene(host: Hypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(images.subprocess, "run", qemu_img)
    return Scene(host, tmp_path)


def test_all_are_frozen_when_the_jobs_begin_and_thawed_while_they_run(scene: Scene) -> None:
    scene.domains[0].looks = 2
    assert scene.take() is None
    assert scene.frozen == {"web": [True, True], "db": [True, True]}
    assert scene.frozen_now() == [False, False]
    assert [(subject.quiesced, subject.note.quiesced, subject.whole) for subject in scene.group] == [(True, True, True)] * 2
    assert [text.split(",")[0] for text in scene.told] == ["50% of 64 MiB copied"]


def test_a_freeze_that_fails_begins_nothing(scene: Scene) -> None:
    guest = scene.domains[1].guest
    assert guest
    guest.raises["guest-fsfreeze-freeze"] = _errors.CommandFailed("EIO")
    failure = scene.take()
    assert isinstance(failure, _errors.CommandFailed)
    assert "no backup was taken" in str(failure)
    assert scene.frozen == {}
    assert scene.nothing_left()
    assert scene.take(required=False) is None
    assert scene.frozen["web"] == [True, False]
    assert [subject.note.quiesced for subject in scene.group] == [True, False]
    assert "EIO" in scene.group[1].note.reason


@pytest.mark.parametrize("required", [True, False])
def test_a_guest_that_was_thawed_meanwhile(scene: Scene, required: bool) -> None:
    guest = scene.domains[0].guest
    scene.domains[0].while_begun = lambda: setattr(guest, "frozen", False)
    failure = scene.take(required)
    assert isinstance(failure, _errors.NotQuiesced) is required
    assert scene.nothing_left() is required
    assert [subject.quiesced for subject in scene.group] == [False, True]


def test_the_guests_are_thawed_where_a_job_cannot_be_begun(scene: Scene) -> None:
    scene.domains[1].raises["backupBegin"] = Error(1, "internal error: no")
    assert "no backup is left" in str(scene.take())
    assert (scene.frozen_now(), scene.nothing_left()) == ([False, False], True)


def test_libvirt_does_not_say_whether_it_has_begun(scene: Scene, host: Hypervisor) -> None:
    """What it may begin yet is found by the next task, for its note stays."""
    begin = scene.domains[1].backupBegin

    def lost(*what: t.Any) -> int:
        host.alive = False
        try:
            begin(*what)
        finally:
            raise Error(38, "Cannot recv data: Connection reset by peer")

    scene.domains[1].backupBegin = lost  # type: ignore[method-assign]
    failure = scene.take()
    host.alive = True
    _close(host)
    assert isinstance(failure, _errors.HypervisorUnreachable)
    assert "the next task of this backup's directory removes what is left of" in str(failure)
    assert "db.one.backup.json.part" in [path.name for path in scene.place.iterdir()]


def _close(host: Hypervisor) -> None:
    """The connections that were lost."""
    for handle in host.handles:
        handle.close()


@pytest.mark.parametrize("step", ["_copied", "_checked", "_begin"])
def test_interrupted_it_leaves_nothing(scene: Scene, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_what: t.Any) -> t.NoReturn:
        raise Interrupted(15)

    scene.domains[0].looks = None
    scene.domains[1].looks = 0 if step == "_checked" else None
    if step == "_checked":
        scene.domains[0].looks = 0
    monkeypatch.setattr(_group, step, interrupted)
    with pytest.raises(Interrupted):
        scene.take()
    assert (scene.frozen_now(), scene.nothing_left()) == ([False, False], True)


def test_what_cannot_be_taken_back_is_named_and_stays_on_note(scene: Scene) -> None:
    web, db = scene.domains
    web.looks, db.end = None, {"type": 4}
    web.raises["abortJob"] = Error(1, "internal error: no")
    failure = scene.take()
    assert f"what is left of web ({scene.place}/web-vda.one.qcow2.part, the checkpoint one)" in str(failure)
    assert sorted(path.name for path in scene.place.iterdir()) == ["web-vda.one.qcow2.part", "web.one.backup.json.part"]
    assert (db.backup, db.checkpoints) == ("", {})


def test_a_job_that_ends_when_it_is_cancelled_is_no_obstacle(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    web, db = scene.domains
    web.looks, db.end = None, {"type": 4}
    cancel = web.abortJob

    def late() -> int:
        web.over(web.end)
        return cancel()

    monkeypatch.setattr(web, "abortJob", late)
    assert "no backup is left" in str(scene.take())
    assert scene.nothing_left()


def test_a_connection_that_is_lost_while_libvirt_copies(scene: Scene, host: Hypervisor) -> None:
    """The job goes on without us."""
    web = scene.domains[0]
    web.looks = 1
    stats, lost = web.jobStats, []

    def once(flags: int) -> dict[str, t.Any]:
        if web.backup and not lost:
            lost.append(True)
            host.alive = False
            raise Error(38, "Cannot recv data: Connection reset by peer")
        host.alive = True
        return stats(flags)

    web.jobStats = once  # type: ignore[method-assign]
    assert scene.take() is None
    _close(host)
    assert (lost, scene.group[0].whole) == ([True], True)


def test_a_domain_that_another_client_occupies_while_libvirt_copies(scene: Scene) -> None:
    web = scene.domains[0]
    web.looks = 1
    stats, held = web.jobStats, []

    def once(flags: int) -> dict[str, t.Any]:
        if web.backup and not held:
            held.append(True)
            raise Error(68, "Timed out during operation: cannot acquire state change lock (held by monitor=remoteDispatch)")
        return stats(flags)

    web.jobStats = once  # type: ignore[method-assign]
    assert scene.take() is None
    assert (held, scene.group[0].whole) == ([True], True)


def test_a_domain_that_goes_off_while_it_is_copied(scene: Scene) -> None:
    web = scene.domains[0]
    web.looks = None
    web.while_begun = lambda: setattr(web, "current", 5)
    failure = scene.take(required=False)
    assert isinstance(failure, _errors.DomainNotRunning)
    assert "what is left of web" in str(failure)  # its checkpoint can be removed when it runs again
    assert (scene.place / "web.one.backup.json.part").exists()
