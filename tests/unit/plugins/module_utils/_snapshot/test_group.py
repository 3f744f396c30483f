# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All guests frozen, all snapshots taken, all thawed; or none left, and nobody frozen. test_snapshot.py has it on real guests."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _deadline, _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._freeze import group, moment
from ansible_collections.virtops.guest_agent.plugins.module_utils._snapshot import group as _group, merge, plan
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.watchdog import FakeWatchdog

BASE = "/srv/base.qcow2"
TERMS = group.Terms(None, 30, 60, 5)
TAKING = _errors.LibvirtFailure("libvirt says: no space left")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock()
    monkeypatch.setattr(_deadline.SYSTEM_CLOCK, "monotonic", fake.monotonic)
    monkeypatch.setattr(_deadline.SYSTEM_CLOCK, "sleep", fake.sleep)
    return fake


class FakeDomain:
    """A running domain with one disk, and its own storage. ``events`` is shared by the group: who did what, in order."""

    def __init__(self, name: str, number: int, events: list[str], guest: FakeGuest) -> None:
        self.name, self.uuid = name, samples.uuid(number)
        self.guest = guest
        self.chain = [BASE]
        self.record: str | None = None
        self.raises: dict[str, _errors.GuestAgentError] = {}
        self.while_taken: t.Callable[[], None] = lambda: None
        #: how many looks at it a job takes until it is ready; None for ever
        self.looks: int | None = 0
        self.job = ""
        #: libvirt before 6.0 does not
        self.deletes = True
        self._events = events

    @property
    def storage(self) -> FakeDomain:
        return self

    def renew(self, seconds: float) -> None:
        self._events.append(f"renew {self.name}")

    def state(self) -> str:
        return "running"

    def xml(self) -> str:
        layers = "<backingStore/>"
        for path in reversed(self.chain[1:]):
            layers = f"<backingStore type='file'><source file='{path}'/>{layers}</backingStore>"
        ready = "ready='yes'" if self.looks == 0 else ""
        mirror = f"<mirror job='{self.job}' {ready}/>" if self.job else ""
        self.looks = self.looks and self.looks - 1
        disk = f"<disk type='file'><source file='{self.chain[0]}'/>{layers}{mirror}<target dev='vda'/></disk>"
        return f"<domain><devices>{disk}</devices></domain>"

    def snapshots(self) -> dict[str, str]:
        return {} if self.record is None else {"s": self.record}

    def _do(self, what: str) -> None:
        self._events.append(f"{what} {self.name}")
        if what in self.raises:
            raise self.raises[what]

    def take(self, xml: str, seconds: float) -> None:
        assert 0 < seconds <= TERMS.max_seconds
        self.while_taken()
        self._do("take" if self.guest.frozen else "take unfrozen")
        base = self.xml()
        self.chain.insert(0, f"/srv/{self.name}-vda.s.qcow2")
        self.record = xml.replace("</domainsnapshot>", f"{base}</domainsnapshot>")

    def forget(self, _name: str) -> None:
        self._do("forget")
        self.record = None

    def commit(self, _target: str, top: str, active: bool, delete: bool) -> None:
        self._do("commit")
        if delete and not self.deletes:
            raise _errors.LibvirtFailure("libvirt says: unsupported flags (0x2) in function qemuDomainBlockCommit")
        assert active == (top == self.chain[0])
        if active:
            self.job = "active-commit"
        else:
            self.chain.remove(top)

    def working(self, _target: str) -> bool:
        return bool(self.job)

    def pivot(self, _target: str) -> None:
        self._do("pivot")
        self.job = ""
        del self.chain[0]

    def abort(self, _target: str) -> None:
        self._do("abort")
        self.job = ""


class GroupWatchdog(FakeWatchdog):
    """It learns which guest of the group is its own when it is armed."""

    def __init__(self, domains: t.Sequence[FakeDomain]) -> None:
        super().__init__(domains[0].guest)
        self._domains = domains

    def arm(self, order: t.Any) -> int:
        (guest,) = (domain.guest for domain in self._domains if domain.uuid == order.uuid)
        self.watch(guest)
        return super().arm(order)


class Scene:
    def __init__(self, windows: t.Sequence[str] = ()) -> None:
        self.events: list[str] = []
        self.domains = [FakeDomain(name, number, self.events, FakeGuest()) for number, name in enumerate(("a", "b"), 1)]
        self.watchdogs = [GroupWatchdog(self.domains) for _domain in self.domains]
        self.group: list[_group.Subject] = []
        for domain in self.domains:
            if domain.name in windows:
                domain.guest.replies["guest-get-osinfo"] = {"id": "mswindows", "name": "Microsoft Windows"}
            self._note_freezes(domain)

    def _note_freezes(self, domain: FakeDomain) -> None:
        exchange = domain.guest.exchange

        def noting(request: t.Any, seconds: int) -> str:
            before = domain.guest.frozen
            try:
                return exchange(request, seconds)
            finally:
                if domain.guest.frozen != before:
                    self.events.append(f"{'thaw' if before else 'freeze'} {domain.name}")

        domain.guest.exchange = noting  # type: ignore[method-assign]

    def take(self, required: bool = True, terms: group.Terms = TERMS) -> _errors.GuestAgentError | None:
        domains = t.cast("list[t.Any]", self.domains)
        found = _group.look_at(domains, "s")
        self.group = [_group.Subject(domain, each, plan.overlays(each, "s", None, None)) for domain, each in zip(domains, found)]
        guests = {domain.uuid: t.cast(t.Any, Answering(domain.guest)) for domain in self.domains}
        moment.prepare(self.group, guests, required, "snapshot")
        return _group.take(self.group, _group.Wish("s", "", required), t.cast(t.Any, self.watchdogs), terms)

    @property
    def frozen(self) -> list[bool]:
        return [domain.guest.frozen for domain in self.domains]

    @property
    def chains(self) -> list[int]:
        return [len(domain.chain) for domain in self.domains]


class Answering(t.NamedTuple):
    guest: FakeGuest

    def require_agent(self) -> t.Any:
        agent = self.guest.agent()
        agent.can("guest-ping")
        return agent


def test_all_are_frozen_when_the_first_snapshot_is_taken_and_thawed_after_the_last() -> None:
    scene = Scene()
    assert scene.take() is None
    order = [event.split()[0] for event in scene.events]
    assert order == ["freeze", "freeze", "take", "take", "thaw", "thaw"]
    assert [(subject.quiesced, subject.reason, subject.seconds) for subject in scene.group] == [(True, "", 0.0)] * 2
    assert [watchdog.told[1:] for watchdog in scene.watchdogs] == [["freeze", "thaw"]] * 2
    assert all(watchdog.told[0][2:] == (60, 5) for watchdog in scene.watchdogs)
    assert (scene.frozen, scene.chains) == ([False, False], [2, 2])


def test_windows_is_frozen_last_and_thawed_first() -> None:
    scene = Scene(windows="a")
    assert scene.take() is None
    assert [event for event in scene.events if "take" not in event] == ["freeze b", "freeze a", "thaw a", "thaw b"]


def test_windows_holds_writes_for_ten_seconds_only(clock: FakeClock) -> None:
    scene = Scene(windows="a")
    scene.domains[1].while_taken = lambda: clock.sleep(11)
    failure = scene.take()
    assert isinstance(failure, _errors.NotQuiesced)
    assert "Domain fake: guest-fsfreeze-thaw: the guest did not stay frozen for the 11 s" in str(failure)
    assert scene.chains == [1, 1]


@pytest.mark.parametrize("error", [_errors.CommandFailed("EIO"), _errors.AgentTimeout("silent")])
def test_a_freeze_that_fails(error: _errors.GuestAgentError) -> None:
    scene = Scene()
    scene.domains[1].guest.raises["guest-fsfreeze-freeze"] = error
    failure = scene.take()
    assert type(failure) is type(error)
    assert "no snapshot was taken" in str(failure)
    assert not [event for event in scene.events if "take" in event]
    assert (scene.frozen, scene.chains) == ([False, False], [1, 1])
    assert [watchdog.frozen.over for watchdog in scene.watchdogs] == [True, True]

    scene = Scene()
    scene.domains[1].guest.raises["guest-fsfreeze-freeze"] = error
    assert scene.take(required=False) is None
    assert [subject.quiesced for subject in scene.group] == [True, False]
    assert error.detail in scene.group[1].reason
    assert sorted(event for event in scene.events if "take" in event) == ["take a", "take unfrozen b"]


def test_selinux_that_denies_a_freeze() -> None:
    scene = Scene()
    guest = scene.domains[1].guest
    guest.replies["guest-get-osinfo"] = {"id": "rhel", "version-id": "9.6"}
    guest.add_file("/sys/fs/selinux/enforce", b"1")
    guest.raises["guest-fsfreeze-freeze"] = _errors.CommandFailed("the agent says: failed to open /mnt: Permission denied")
    assert "SELinux is the reason" in getattr(scene.take(), "hint", "")


def test_a_guest_that_cannot_be_asked_at_all() -> None:
    scene = Scene()
    scene.domains[0].guest.blocked.add("guest-fsfreeze-thaw")
    with pytest.raises(_errors.CommandBlocked, match="no guest was frozen and no snapshot taken"):
        scene.take()
    assert scene.events == []
    assert scene.take(required=False) is None
    assert [subject.quiesced for subject in scene.group] == [False, True]
    assert "guest-fsfreeze-thaw" in scene.group[0].reason


def test_a_guest_that_somebody_else_has_frozen_is_left_to_him() -> None:
    scene = Scene()
    scene.domains[0].guest.frozen = True
    with pytest.raises(_errors.GuestFrozen, match="frozen already, and not by this task"):
        scene.take()
    assert scene.frozen == [True, False]


def test_what_was_taken_of_others_is_taken_back() -> None:
    scene = Scene()
    scene.domains[1].raises["take"] = TAKING
    failure = scene.take()
    assert "no space left; no snapshot is left" in str(failure)
    assert (scene.frozen, scene.chains) == ([False, False], [1, 1])
    assert scene.events.index("thaw a") < scene.events.index("commit a")  # a guest does not stay frozen for that
    assert [subject.taken for subject in scene.group] == [False, False]


def test_what_cannot_be_taken_back_is_named() -> None:
    scene = Scene()
    scene.domains[1].raises["take"] = TAKING
    scene.domains[0].raises["commit"] = _errors.LibvirtFailure("libvirt says: no")
    assert "what remains is the snapshot of a (/srv/a-vda.s.qcow2)" in str(scene.take())
    assert scene.frozen == [False, False]
    assert [subject.taken for subject in scene.group] == [True, False]


@pytest.mark.parametrize("got_through", [True, False])
def test_a_link_that_breaks_while_a_snapshot_is_taken(got_through: bool) -> None:
    """libvirt took it, and its answer did not come; or it did not, and is asked again."""
    scene = Scene()
    domain = scene.domains[1]
    take, lost = domain.take, []

    def taken(xml: str, seconds: float) -> None:
        if lost:
            return take(xml, seconds)
        if got_through:
            take(xml, seconds)
        lost.append(True)
        raise _errors.HypervisorUnreachable("the connection was lost")

    domain.take = taken  # type: ignore[method-assign]
    assert scene.take() is None
    assert scene.chains == [2, 2]
    assert [subject.quiesced for subject in scene.group] == [True, True]
    assert scene.events.count("take b") == 1
    assert scene.events.index("renew b") < scene.events.index("thaw b")


def test_a_request_that_got_through_after_the_link_broke() -> None:
    """It was still on its way when it was looked for, and stands in the way of the second one."""
    scene = Scene()
    domain = scene.domains[1]
    take, asked = domain.take, []

    def taken(xml: str, seconds: float) -> None:
        asked.append(True)
        if len(asked) == 1:
            raise _errors.HypervisorUnreachable("the connection was lost")
        take(xml, seconds)
        raise _errors.LibvirtFailure("libvirt says: there is one of this name")

    domain.take = taken  # type: ignore[method-assign]
    assert scene.take() is None
    assert scene.chains == [2, 2]


def test_a_request_that_got_through_neither_time() -> None:
    scene = Scene()
    domain, asked = scene.domains[1], []

    def taken(_xml: str, _seconds: float) -> None:
        asked.append(True)
        raise _errors.HypervisorUnreachable("the connection was lost")

    domain.take = taken  # type: ignore[method-assign]
    assert "the connection was lost" in str(scene.take())
    assert (len(asked), scene.chains) == (2, [1, 1])


def test_a_libvirt_that_does_not_come_back_in_time(clock: FakeClock) -> None:
    scene = Scene()
    domain = scene.domains[1]
    domain.raises["take"] = _errors.HypervisorUnreachable("the connection was lost")

    def renew(_seconds: float) -> None:
        if clock.monotonic() < 1070:
            raise _errors.HypervisorUnreachable("nobody there")

    domain.renew = renew  # type: ignore[method-assign]
    assert "no snapshot is left" in str(scene.take())
    assert (scene.frozen, scene.chains) == ([False, False], [1, 1])


@pytest.mark.parametrize("required", [True, False])
def test_a_guest_that_was_thawed_meanwhile(required: bool) -> None:
    scene = Scene()
    scene.domains[0].while_taken = lambda: setattr(scene.domains[0].guest, "frozen", False)
    failure = scene.take(required)
    assert isinstance(failure, _errors.NotQuiesced) is required
    assert scene.chains == ([1, 1] if required else [2, 2])
    assert [subject.quiesced for subject in scene.group] == [False, True]
    assert "did not stay frozen" in scene.group[0].reason


@pytest.mark.parametrize("required", [True, False])
def test_a_guest_that_cannot_be_thawed(required: bool) -> None:
    """Its watchdog goes on."""
    scene = Scene()
    guest = scene.domains[0].guest
    scene.domains[0].while_taken = lambda: guest.silent.update({"guest-fsfreeze-thaw", "guest-fsfreeze-status"})
    failure = scene.take(required)
    assert isinstance(failure, _errors.AgentTimeout)
    assert "the watchdog keeps trying to thaw the guest" in str(failure)
    assert [watchdog.frozen.over for watchdog in scene.watchdogs] == [False, True]
    assert scene.chains == ([1, 1] if required else [2, 2])


def test_a_thaw_that_thaws_nothing_is_not_believed() -> None:
    scene = Scene()
    scene.domains[0].guest.replies["guest-fsfreeze-thaw"] = 0
    failure = scene.take()
    assert isinstance(failure, _errors.CommandFailed)
    assert "the guest is still frozen; the watchdog keeps trying to thaw the guest" in str(failure)
    assert scene.frozen == [True, False]
    assert [watchdog.frozen.over for watchdog in scene.watchdogs] == [False, True]


def test_a_group_that_takes_too_long_to_freeze(clock: FakeClock) -> None:
    scene = Scene(windows="b")
    exchange = scene.domains[0].guest.exchange

    def slow(request: t.Any, seconds: int) -> str:
        if "fsfreeze-freeze" in request.text:
            clock.sleep(30)
        return exchange(request, seconds)

    scene.domains[0].guest.exchange = slow  # type: ignore[method-assign]
    assert "the other guests took all the time" in str(scene.take())
    assert scene.frozen == [False, False]


def _merge_job(domain: FakeDomain, seconds: float = 10) -> list[str]:
    found = _group.look(t.cast(t.Any, domain), "s")
    return merge.merge(t.cast(t.Any, domain), "s", plan.removal(found), _deadline.Deadline(seconds))


@pytest.fixture
def taken() -> FakeDomain:
    scene = Scene()
    assert scene.take() is None
    scene.events.clear()
    return scene.domains[0]


def test_a_merge_waits_until_it_is_ready(taken: FakeDomain, clock: FakeClock) -> None:
    taken.looks = 6
    _merge_job(taken)
    assert (taken.chain, taken.record) == ([BASE], None)
    assert clock.slept[:3] == [0.05, 0.1, 0.2]


def test_a_merge_that_was_begun_before_is_ended(taken: FakeDomain) -> None:
    taken.job = "active-commit"
    taken.raises["commit"] = _errors.LibvirtFailure("there is one already")
    _merge_job(taken)
    assert (taken.chain, taken.record) == ([BASE], None)


def test_a_merge_under_a_newer_image(taken: FakeDomain) -> None:
    taken.chain.insert(0, "/srv/newer")
    _merge_job(taken)
    assert (taken.chain, taken.record) == (["/srv/newer", BASE], None)


def test_a_merge_that_takes_too_long_is_ended_and_can_be_tried_again(taken: FakeDomain) -> None:
    taken.looks = None
    with pytest.raises(_errors.NotMerged, match="disk vda was not merged within 10 s"):
        _merge_job(taken)
    assert (len(taken.chain), taken.job, taken.record is None) == (2, "", False)
    taken.looks = 0
    _merge_job(taken)
    assert taken.chain == [BASE]


def test_a_merge_that_libvirt_gives_up(taken: FakeDomain) -> None:
    taken.looks = None
    taken.working = lambda _target: False  # type: ignore[method-assign]
    with pytest.raises(_errors.LibvirtFailure, match="could not be merged"):
        _merge_job(taken)
    assert taken.record is not None


def test_a_merge_that_is_ready_and_not_yet(taken: FakeDomain, clock: FakeClock) -> None:
    taken.raises["pivot"] = _errors.DiskBusy("libvirt says: block job 'x' not ready for pivot yet")

    def slept(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.monotonic() - begun > 3:
            taken.raises.clear()

    begun = clock.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_deadline.SYSTEM_CLOCK, "sleep", slept)
        assert _merge_job(taken) == []
    assert (taken.chain, taken.record) == ([BASE], None)


def test_a_merge_that_is_never_quite_ready(taken: FakeDomain) -> None:
    taken.raises["pivot"] = _errors.DiskBusy("libvirt says: block job 'x' not ready for pivot yet")
    with pytest.raises(_errors.NotMerged, match=r"within 10 s \(libvirt says: block job 'x' not ready for pivot yet\)"):
        _merge_job(taken)
    assert (len(taken.chain), taken.job) == (2, "")


@pytest.mark.parametrize("newer", [[], ["/srv/newer"]])
def test_a_libvirt_that_removes_no_files(taken: FakeDomain, newer: list[str]) -> None:
    taken.chain[:0] = newer
    taken.deletes = False
    assert _merge_job(taken) == ["/srv/a-vda.s.qcow2"]
    assert (taken.chain, taken.record) == ([*newer, BASE], None)


def test_what_a_libvirt_that_removes_no_files_leaves_is_told() -> None:
    scene = Scene()
    scene.domains[0].deletes = False
    scene.domains[1].raises["take"] = TAKING
    assert "no snapshot is left, and /srv/a-vda.s.qcow2 can be removed" in str(scene.take())


def test_a_merge_that_the_domains_profile_refuses(taken: FakeDomain) -> None:
    taken.chain.insert(0, "/srv/newer")
    taken.raises["commit"] = _errors.LibvirtFailure("libvirt says: Could not reopen file: Permission denied")
    with pytest.raises(_errors.LibvirtFailure, match="AppArmor"):
        _merge_job(taken)


def test_a_disk_that_is_taken_out_while_it_is_merged(taken: FakeDomain) -> None:
    def unplugged(*_what: t.Any, **_how: t.Any) -> None:
        taken.xml = lambda: "<domain><devices/></domain>"  # type: ignore[method-assign]

    taken.commit = unplugged  # type: ignore[method-assign]
    with pytest.raises(_errors.LibvirtFailure, match="disk vda is gone"):
        _merge_job(taken)
    assert taken.record is not None
