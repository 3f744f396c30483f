# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest is frozen as asked or not at all, ends thawed whatever is told or killed, and no other client's freeze is thawed."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import socket
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _deadline, _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._freeze import group, guarded, watchdog as _watchdog
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import VERSIONS, FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.watchdog import Link

UUID = samples.uuid(1)
LATE = guarded.LATE_SECONDS


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The clock of everything that does not ask for one of its own."""
    fake = FakeClock()
    monkeypatch.setattr(_deadline.SYSTEM_CLOCK, "monotonic", fake.monotonic)
    monkeypatch.setattr(_deadline.SYSTEM_CLOCK, "sleep", fake.sleep)
    return fake


@pytest.fixture(autouse=True)
def dismissals(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times for which other watchdogs were dismissed. A day of seconds is long even on a clock of ours."""
    found: list[float] = []
    monkeypatch.setattr(guarded.registry, "dismiss", lambda _uuid, since, but: found.append(since))
    monkeypatch.setattr(guarded, "_PERSISTENCE", 600.0)
    return found


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(guarded.syslog, "syslog", lambda _level, line: lines.append(line))
    return lines


class Said:
    """A word of another task."""

    def __init__(self, thaw: bool, since: float) -> None:
        self.thaw, self.since = thaw, since
        self.answers: list[t.Any] = []

    def answer(self, **what: t.Any) -> None:
        self.answers.append(what)

    def close(self) -> None:
        self.answers.append("closed")


class Ear:
    """Dismissals that come at a time of the test's choice."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        #: when it comes, and what is said
        self.comes: tuple[float, Said] | None = None

    def wait(self, seconds: float) -> Said | None:
        self._clock.sleep(seconds)
        if self.comes is not None and self._clock.monotonic() >= self.comes[0]:
            said, self.comes = self.comes[1], None
            return said
        return None


class Scene:
    """A freeze of a fake guest, as its watchdog has it in hand."""

    def __init__(self, guest: FakeGuest, clock: FakeClock, happens: t.Callable[[int], None] = lambda number: None) -> None:
        self.guest = guest
        self.link = Link(guest, happens)
        self.ear = Ear(clock)
        self.frozen = guarded.GuardedFreeze(self.link, UUID, t.cast(t.Any, self.ear))

    def freeze(self, mountpoints: t.Any = None, wanted: int = 1) -> t.Any:
        try:
            count = self.frozen.freeze(guarded.Wish(mountpoints, wanted, 30))
            self.frozen.dismiss_others()
            return count
        except _errors.GuestAgentError as error:
            return error


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("mountpoints", "count"), [(None, 2), (["/data"], 1), (["/", "/data"], 2)])
def test_a_freeze(version: str, mountpoints: t.Any, count: int, clock: FakeClock, dismissals: list) -> None:
    guest = FakeGuest(version)
    scene = Scene(guest, clock)
    assert scene.freeze(mountpoints, count) == count
    assert guest.frozen
    assert dismissals == [clock.monotonic()]
    assert scene.frozen.thaw(5) == (2, "")
    assert not guest.frozen
    assert scene.frozen.over


def _late(requests: int) -> t.Callable[[FakeGuest], None]:
    return lambda guest: setattr(guest, "freezes_late", requests)


def _raising(error: _errors.GuestAgentError) -> t.Callable[[FakeGuest], None]:
    return lambda guest: guest.raises.update({"guest-fsfreeze-freeze": error, "guest-fsfreeze-freeze-list": error})


def _no_filesystems(guest: FakeGuest) -> None:
    guest.mountpoints = []


def _frozen_by_another(guest: FakeGuest) -> None:
    guest.frozen = True


def _blocked(guest: FakeGuest) -> None:
    guest.blocked |= {"guest-fsfreeze-freeze", "guest-fsfreeze-freeze-list"}


def _nothing(guest: FakeGuest) -> None:
    pass


FAILURES = [
    # what happens, mount points, the error, whether the freeze may come yet, whether the guest is frozen in the end
    (_raising(_errors.CommandFailed("EIO")), None, _errors.CommandFailed, False, False),
    (_raising(_errors.ProtocolError("garbage")), None, _errors.ProtocolError, False, False),
    (_raising(_errors.AgentDisappeared("gone")), None, _errors.AgentDisappeared, False, False),
    (_raising(_errors.HypervisorUnreachable("gone")), None, _errors.HypervisorUnreachable, True, False),
    (_late(0), None, _errors.AgentTimeout, False, False),
    (_late(7), None, _errors.AgentTimeout, False, False),
    (_late(7), ["/"], _errors.AgentTimeout, False, False),
    # libvirt may not have sent it yet: it can come later than every thaw
    (_raising(_errors.StillInFlight("late")), None, _errors.StillInFlight, True, False),
    (_raising(_errors.ConnectionLost("lost")), None, _errors.ConnectionLost, True, False),
    (_no_filesystems, None, _errors.CommandFailed, False, False),
    (_nothing, ["/", "/none"], _errors.CommandFailed, False, False),
    (_nothing, ["/none"], _errors.CommandFailed, False, False),
    # not ours to thaw
    (_frozen_by_another, None, _errors.GuestFrozen, False, True),
    (_blocked, None, _errors.CommandBlocked, False, False),
    (_raising(_errors.CommandUnknown("what")), None, _errors.CommandUnknown, False, False),
    (_raising(_errors.AgentBusy("another freeze")), None, _errors.AgentBusy, False, False),
    (_raising(_errors.PermissionDenied("no")), None, _errors.PermissionDenied, False, False),
    (_raising(_errors.DomainNotRunning("paused")), None, _errors.DomainNotRunning, False, False),
]
NOTHING_SENT = (
    _errors.CommandBlocked,
    _errors.CommandUnknown,
    _errors.AgentBusy,
    _errors.PermissionDenied,
    _errors.DomainNotRunning,
)


@pytest.mark.parametrize(("happens", "mountpoints", "kind", "doubt", "frozen"), FAILURES)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_freeze_that_fails(
    version: str, happens: t.Any, mountpoints: t.Any, kind: type, doubt: bool, frozen: bool, clock: FakeClock, dismissals: list
) -> None:
    guest = FakeGuest(version)
    happens(guest)
    scene = Scene(guest, clock)
    error = scene.freeze(mountpoints, len(mountpoints or "x"))
    assert error.__class__ is kind
    assert scene.frozen.over is not doubt
    assert guest.frozen is frozen
    assert dismissals == []  # who watches over another freeze goes on
    if kind in NOTHING_SENT or frozen:
        assert "guest-fsfreeze-thaw" not in guest.sent
    else:
        assert "the guest is thawed" in str(error)
    began = clock.monotonic()
    scene.frozen.settle()
    assert (clock.monotonic() - began >= LATE) is doubt
    assert guest.frozen is frozen


def test_a_partial_freeze_counts_what_it_got(clock: FakeClock) -> None:
    assert "only 1 of 2 filesystems" in str(Scene(FakeGuest(), clock).freeze(["/", "/none"], 2))
    scene = Scene(FakeGuest(), clock)
    wish = guarded.Wish(None, 3, 30, ("/x (exfat)",))
    with pytest.raises(_errors.CommandFailed, match=r"only 2 of 3 .* perhaps not /x \(exfat\); the guest is thawed"):
        scene.frozen.freeze(wish)
    assert not scene.guest.frozen


def test_an_agent_that_never_thaws_is_left_to_the_watchdog(clock: FakeClock) -> None:
    guest = FakeGuest()
    _late(10**6)(guest)
    scene = Scene(guest, clock)
    assert "the watchdog keeps trying" in str(scene.freeze())
    assert not scene.frozen.over


def test_an_agent_that_another_client_holds_is_asked_again(clock: FakeClock) -> None:
    guest = FakeGuest()
    guest.raises["guest-fsfreeze-freeze"] = _errors.AgentBusy("another command occupies the domain")
    sleep = clock.sleep

    def freed(seconds: float) -> None:
        sleep(seconds)
        if clock.monotonic() > 1005:
            guest.raises.clear()

    clock.sleep = freed  # type: ignore[method-assign]
    _deadline.SYSTEM_CLOCK.sleep = freed  # type: ignore[method-assign]
    assert Scene(guest, clock).freeze() == 2


def test_a_freeze_of_another_client_that_has_just_ended_is_no_block_list(clock: FakeClock) -> None:
    """The agent refused because it was frozen, and is not any more when it is asked about that."""
    guest = FakeGuest()
    guest.frozen = True
    guest.after["guest-fsfreeze-freeze"] = lambda: setattr(guest, "frozen", "guest-fsfreeze-status" in guest.sent)
    scene = Scene(guest, clock)
    assert scene.freeze() == 2
    assert guest.sent[:2] == ["guest-fsfreeze-freeze", "guest-fsfreeze-status"]


def test_the_guest_is_thawed_when_the_time_is_over(clock: FakeClock, said: list) -> None:
    scene = Scene(FakeGuest(), clock)
    scene.freeze()
    scene.frozen.guard(_deadline.Deadline(60))
    assert 1060 <= clock.monotonic() <= 1062
    assert not scene.guest.frozen
    assert said == ["virtops.guest_agent: the watchdog thawed domain web"]


def test_what_is_frozen_after_its_own_thaw_is_not_touched(clock: FakeClock) -> None:
    """Another client waits for its turn, and gets it when the watchdog has thawed."""
    scene = Scene(FakeGuest(), clock)
    scene.freeze()
    scene.guest.after["guest-fsfreeze-thaw"] = lambda: setattr(scene.guest, "frozen", True)
    scene.frozen.guard(_deadline.Deadline(60))
    scene.frozen.settle()
    assert scene.frozen.thaw(5) is None
    assert scene.guest.frozen
    assert scene.guest.sent.count("guest-fsfreeze-thaw") == 1


def test_it_ends_when_another_client_has_thawed(clock: FakeClock, said: list) -> None:
    guest = FakeGuest()
    scene = Scene(guest, clock, lambda number: setattr(guest, "frozen", number < 4))
    scene.freeze()
    scene.frozen.guard(_deadline.Deadline(60))
    assert clock.monotonic() < 1010
    assert said == []
    assert "guest-fsfreeze-thaw" not in guest.sent


@pytest.mark.parametrize(("about", "frozen"), [(1001, True), (999, False)], ids=["after the freeze", "before it"])
def test_it_ends_when_it_is_dismissed(about: float, frozen: bool, clock: FakeClock) -> None:
    """The guest is another task's now. A task that began to thaw before this freeze held did not thaw this one."""
    scene = Scene(FakeGuest(), clock)
    scene.freeze()
    said = Said(False, about)
    scene.ear.comes = (1003.0, said)
    scene.frozen.guard(_deadline.Deadline(60))
    assert scene.guest.frozen is frozen
    assert said.answers == ["closed"]


@pytest.mark.parametrize("meanwhile", ["frozen", "thawed"])
def test_it_thaws_when_it_is_asked_to(meanwhile: str, clock: FakeClock) -> None:
    scene = Scene(FakeGuest(), clock)
    scene.freeze()
    said = Said(True, 1001)
    scene.ear.comes = (1003.0, said)
    scene.guest.after["guest-fsfreeze-thaw"] = lambda: setattr(scene.guest, "frozen", meanwhile == "frozen")
    scene.frozen.guard(_deadline.Deadline(60))
    assert clock.monotonic() < 1010
    assert said.answers == [{"filesystems": 2, "warning": ""}, "closed"]
    assert scene.guest.frozen is (meanwhile == "frozen")


def test_it_says_nothing_when_it_cannot_thaw(clock: FakeClock) -> None:
    scene = Scene(FakeGuest(), clock)
    scene.freeze()
    scene.guest.raises["guest-fsfreeze-thaw"] = _errors.CommandFailed("couldn't hold writes")
    said = Said(True, 1001)
    scene.ear.comes = (1003.0, said)
    scene.frozen.guard(_deadline.Deadline(60))
    assert said.answers == ["closed"]
    assert not scene.frozen.over


def test_the_task_hears_that_its_freeze_is_lost(clock: FakeClock) -> None:
    scene = Scene(FakeGuest(), clock)
    scene.freeze()
    assert not scene.frozen.lost()
    scene.link._happens = lambda _number: _raise(_errors.AgentTimeout("silent"))
    assert not scene.frozen.lost()
    scene.link._happens = lambda _number: None
    scene.guest.frozen = False
    assert scene.frozen.lost()
    scene.guest.frozen = True  # another client's
    assert scene.frozen.thaw(5) is None
    assert scene.guest.frozen


def _raise(error: _errors.GuestAgentError) -> None:
    raise error


class Slow(Link):
    """A freeze whose reply comes when the test says so."""

    def __init__(self, guest: FakeGuest, happens: t.Callable[[int], None] = lambda number: None) -> None:
        super().__init__(guest, happens)
        self.reply: concurrent.futures.Future[t.Any] = concurrent.futures.Future()

    def send(self, question: t.Callable[[GuestAgent], t.Any]) -> guarded.Sent:
        return guarded.Sent(self.reply, lambda: self.lost)


@pytest.fixture
def slow(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene(FakeGuest(), clock)
    scene.link = Slow(scene.guest)
    scene.frozen = guarded.GuardedFreeze(scene.link, UUID, t.cast(t.Any, scene.ear))
    monkeypatch.setattr(guarded, "_PAUSE", 0.01)
    monkeypatch.setattr(guarded, "_GRACE_SECONDS", -29.99)
    assert scene.freeze().__class__ is _errors.StillInFlight
    return scene


def test_a_late_freeze_is_thawed(slow: Scene) -> None:
    """Its task was told that it failed; libvirt held it back for another command, and it comes true."""

    def happens(number: int) -> None:
        if number == 3:
            slow.guest.frozen = True
            t.cast(Slow, slow.link).reply.set_result(2)

    slow.link._happens = happens
    slow.frozen.settle()
    assert not slow.guest.frozen


@pytest.mark.parametrize("error", [_errors.GuestFrozen("frozen"), _errors.AgentBusy("busy")])
def test_a_late_freeze_that_is_refused_thaws_nobody(slow: Scene, error: _errors.GuestAgentError) -> None:
    """What held it back was another client's freeze."""

    def happens(number: int) -> None:
        slow.guest.frozen = True
        if number == 3:
            t.cast(Slow, slow.link).reply.set_exception(error)

    slow.link._happens = happens
    slow.frozen.settle()
    assert slow.guest.frozen
    assert "guest-fsfreeze-thaw" not in slow.guest.sent


@pytest.mark.parametrize(("appears", "ends"), [(5, 36), (20, 36), (33, 40)])
def test_a_freeze_that_was_lost_with_its_connection_is_thawed(slow: Scene, appears: int, ends: int, clock: FakeClock) -> None:
    done = []

    def happens(_number: int) -> None:
        if clock.monotonic() - 1000 >= appears and not done:
            done.append(True)
            slow.guest.frozen = True

    slow.link.lost = True
    slow.link._happens = happens
    slow.frozen.settle()
    assert done
    assert not slow.guest.frozen
    assert clock.monotonic() - 1000 <= ends


@pytest.mark.parametrize(
    "error", [_errors.AgentTimeout("x"), _errors.HypervisorUnreachable("x"), _errors.AgentDisconnected("x"), _errors.AgentBusy("x")]
)
def test_it_tries_again_after_a_failure(error: _errors.GuestAgentError, clock: FakeClock) -> None:
    scene = Scene(FakeGuest(), clock)
    scene.freeze()
    scene.link._happens = lambda _number: _raise(error) if clock.monotonic() < 1150 else None
    scene.frozen.guard(_deadline.Deadline(30))
    assert not scene.guest.frozen
    assert clock.monotonic() < 1150 + 61


def test_a_silent_agent_is_left_to_others_most_of_the_time(clock: FakeClock) -> None:
    """Each question to it holds it for its whole time."""
    scene = Scene(FakeGuest(), clock)
    scene.freeze()
    scene.link._happens = lambda _number: _raise(_errors.AgentTimeout("silent"))
    scene.frozen.guard(_deadline.Deadline(60))
    assert scene.link.questions < 40  # in 660 seconds
    assert not scene.frozen.over


@pytest.mark.parametrize(
    ("error", "gone"),
    [
        (_errors.DomainNotFound("no such domain"), True),
        (_errors.DomainNotRunning("the domain is shutoff"), True),
        (_errors.DomainNotRunning("the domain is crashed"), True),
        (_errors.DomainNotRunning("the domain is paused"), False),
        (_errors.DomainNotRunning("the domain is not running"), False),  # libvirt's own words for a paused one too
        (_errors.DomainNotRunning("the domain is pmsuspended"), False),
        (_errors.AgentTimeout("paused"), False),
    ],
)
def test_a_domain_that_is_off_needs_no_thaw(error: _errors.GuestAgentError, gone: bool, clock: FakeClock) -> None:
    scene = Scene(FakeGuest(), clock)
    scene.freeze()
    scene.link._happens = lambda _number: _raise(error)
    scene.frozen.guard(_deadline.Deadline(60))
    assert (clock.monotonic() <= 1001) is gone
    assert clock.monotonic() <= 1060 + 600 + 1


def test_a_thaw_that_does_nothing_is_tried_again(clock: FakeClock) -> None:
    scene = Scene(FakeGuest(), clock)
    scene.freeze()
    scene.guest.raises["guest-fsfreeze-thaw"] = _errors.CommandFailed("couldn't hold writes")
    scene.link._happens = lambda number: scene.guest.raises.clear() if number > 20 else None
    scene.frozen.settle()
    assert not scene.guest.frozen


def test_a_thaw_hook_that_fails_has_run_once(clock: FakeClock) -> None:
    scene = Scene(FakeGuest(), clock)
    scene.freeze()
    scene.guest.thaw_hook = "hook exit 1"
    assert scene.frozen.thaw(30) == (None, "the agent says: hook exit 1")
    assert scene.guest.sent.count("guest-fsfreeze-thaw") == 1
    assert scene.frozen.over


def test_a_pause_in_the_middle_of_a_thaw(clock: FakeClock) -> None:
    """The domain is paused, or another client holds the agent, for a moment: it is thawed when that is over, and was held."""
    scene = Scene(FakeGuest(), clock)
    scene.freeze()
    scene.link._happens = lambda number: _raise(_errors.DomainNotRunning("the domain is paused")) if number < 6 else None
    assert scene.frozen.thaw(30) == (2, "")


def _with_fsinfo(*mountpoints: str, block: t.Iterable[str] = ()) -> FakeGuest:
    guest = FakeGuest(block=block)
    guest.replies["guest-get-fsinfo"] = [{"name": "x", "mountpoint": path, "type": "ext4", "disk": []} for path in mountpoints]
    return guest


@pytest.mark.parametrize(
    ("block", "mountpoints", "kind", "words"),
    [
        ((), None, None, ""),
        ((), ["/data"], None, ""),
        (("guest-fsfreeze-freeze",), ["/data"], None, ""),
        (("guest-fsfreeze-freeze-list",), None, None, ""),
        (("guest-fsfreeze-thaw",), None, _errors.CommandBlocked, "guest-fsfreeze-thaw"),
        (("guest-fsfreeze-thaw",), ["/data"], _errors.CommandBlocked, "guest-fsfreeze-thaw"),
        (("guest-fsfreeze-freeze",), None, _errors.CommandBlocked, "guest-fsfreeze-freeze"),
        (("guest-fsfreeze-freeze-list",), ["/"], _errors.CommandBlocked, "guest-fsfreeze-freeze-list"),
        ((), ["/data", "/data/"], _errors.InvalidInput, "mounted at /data/; the guest has /, /data"),
        ((), ["/nowhere"], _errors.InvalidInput, "mounted at /nowhere"),
    ],
)
def test_what_can_be_known_before_a_freeze(block: t.Any, mountpoints: t.Any, kind: type | None, words: str) -> None:
    guest = _with_fsinfo("/", "/data", block=block)
    agent = guest.agent()
    said = ""
    try:
        group.check_freezable(agent, mountpoints)
    except _errors.GuestAgentError as error:
        said = str(error)
        found: type | None = error.__class__
    else:
        found = None
    assert found is kind
    assert words in said
    assert not any(command.startswith("guest-fsfreeze") for command in guest.sent)


@pytest.fixture
def pair() -> t.Iterator[tuple[socket.socket, socket.socket]]:
    ours, its = socket.socketpair()
    yield ours, its
    ours.close()
    its.close()


ORDER = _watchdog.Order("test:///x", UUID, 60, 1)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (b'{"pid": 77}\n', None, ""),
        (
            b'{"error": {"kind": "DomainNotFound", "detail": "no such domain", "domain": "x", "command": "", "hint": ""}}\n',
            "domain_not_found",
            "could not be armed (no such domain), so nothing was frozen",
        ),
        (b"garbage\n", "watchdog_failed", "could not be armed (the watchdog has ended)"),
        (b"{}\n", "watchdog_failed", "has ended"),
        (b"[]\n", "watchdog_failed", "has ended"),
        (b"", "watchdog_failed", "has ended"),
    ],
)
def test_arming(pair: tuple[socket.socket, socket.socket], answer: bytes, kind: str | None, words: str) -> None:
    ours, its = pair
    its.sendall(answer)
    its.shutdown(socket.SHUT_WR)
    watchdog = _watchdog.Watchdog(ours)
    if kind is None:
        assert watchdog.arm(ORDER) == 77
    else:
        with pytest.raises(_errors.GuestAgentError) as failed:
            watchdog.arm(ORDER)
        assert failed.value.kind == kind
        assert words in failed.value.detail
    assert _watchdog.Order(**json.loads(_watchdog._Lines(its).next(1) or "")) == ORDER


@pytest.mark.parametrize("answer", [b"", b"garbage\n", b"[]\n", b'{"holding": false}\n'])
def test_a_freeze_is_kept_only_when_the_watchdog_says_so(pair: tuple[socket.socket, socket.socket], answer: bytes) -> None:
    ours, its = pair
    its.sendall(answer)
    its.shutdown(socket.SHUT_WR)
    with pytest.raises(_errors.WatchdogFailed):
        _watchdog.Watchdog(ours).keep()


def test_lines_arrive_one_by_one_and_then_the_other_end_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, its = _watchdog._Lines(pair[0]), _watchdog._Lines(pair[1])
    assert its.next(0) is None
    for word in ("freeze", "keep"):
        ours.say({"do": word})
    assert [its.next(1) for _time in range(2)] == ['{"do": "freeze"}', '{"do": "keep"}']
    ours.close()
    assert its.next(None) == ""
    its.answer(holding=True)


def test_a_watchdog_that_is_gone_or_silent_is_noticed(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, its = pair
    watchdog = _watchdog.Watchdog(ours)
    monkeypatch.setattr(watchdog._lines, "next", lambda seconds: None)
    with pytest.raises(_errors.AgentTimeout, match="keeps trying"):
        watchdog.thaw(1)
    its.close()
    with pytest.raises(_errors.WatchdogFailed, match="watchdog has ended"):
        watchdog.take_over()


FREEZE = {"do": "freeze", "mountpoints": None, "wanted": 1, "seconds": 30}
LIVES = [
    # what the task says after the order, before it is gone; the answers' keys; whether the guest is frozen in the end
    ([], ["pid"], False),
    ([FREEZE], ["pid", "count"], False),
    ([FREEZE, {"do": "keep"}], ["pid", "count", "holding"], False),
    ([FREEZE, {"do": "thaw", "seconds": 5}], ["pid", "count", "held"], False),
    ([{"do": "take over"}, {"do": "keep"}], ["pid", "holding", "holding"], False),
]


def _live(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, scene: Scene, lines: list, order: t.Any = ORDER
) -> list[dict[str, t.Any]]:
    ours, its = pair
    monkeypatch.setattr(_watchdog, "_GuestLink", lambda order: scene.link)
    monkeypatch.setattr(_watchdog.registry, "registered", lambda uuid: contextlib.nullcontext(scene.ear))
    ours.sendall(b"".join(json.dumps(line).encode() + b"\n" for line in [order._asdict(), *lines]))
    ours.shutdown(socket.SHUT_WR)
    _watchdog._live(its)
    its.close()
    return [json.loads(line) for line in ours.makefile("r").read().splitlines()]


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> list[t.Any]:
    found: list[t.Any] = []
    monkeypatch.setattr(_watchdog.signal, "signal", lambda number, handler: found.append(handler))
    return found


@pytest.mark.parametrize(("lines", "answers", "frozen"), LIVES)
def test_its_life(
    pair: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    clock: FakeClock,
    handlers: list,
    lines: list,
    answers: list,
    frozen: bool,
) -> None:
    scene = Scene(FakeGuest(), clock)
    scene.guest.frozen = lines[:1] == [{"do": "take over"}]
    said = _live(pair, monkeypatch, scene, lines)
    assert [next(iter(answer)) for answer in said] == answers
    assert scene.guest.frozen is frozen
    assert (clock.monotonic() >= 1060) is ({"do": "keep"} in lines)  # the freeze of a task that was killed ends at once


def test_a_freeze_without_end_is_let_go(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, clock: FakeClock, handlers: list
) -> None:
    scene = Scene(FakeGuest(), clock)
    said = _live(pair, monkeypatch, scene, [FREEZE, {"do": "keep"}], ORDER._replace(max_seconds=0))
    assert said[-1] == {"holding": True}
    assert scene.guest.frozen


@pytest.mark.parametrize("error", [_errors.CommandBlocked("blocked"), _errors.AgentTimeout("too late")])
def test_a_watchdog_that_cannot_reach_the_agent_says_why(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, clock: FakeClock, error: _errors.GuestAgentError
) -> None:
    scene = Scene(FakeGuest(), clock)
    scene.guest.raises["guest-fsfreeze-status"] = error
    (answer,) = _live(pair, monkeypatch, scene, [])
    assert _watchdog._error_of(answer["error"]).kind == error.kind


def test_a_failed_freeze_is_told(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, clock: FakeClock, handlers: list, dismissals: list
) -> None:
    scene = Scene(FakeGuest(), clock)
    scene.guest.raises["guest-fsfreeze-freeze"] = _errors.CommandFailed("EIO")
    answer = _live(pair, monkeypatch, scene, [FREEZE])[-1]
    assert answer["error"]["detail"] == "EIO; the guest is thawed"
    assert dismissals == []  # nobody else would watch over what another one has frozen


def test_told_to_end_it_thaws(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, clock: FakeClock, handlers: list
) -> None:
    scene = Scene(FakeGuest(), clock)
    scene.link._happens = lambda number: handlers[0](15, None) if number == 3 else None
    _live(pair, monkeypatch, scene, [FREEZE, {"do": "keep"}])
    assert not scene.guest.frozen
    assert clock.monotonic() < 1010


def test_a_task_that_never_armed_it_costs_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, its = pair
    ours.close()
    _watchdog._live(its)
