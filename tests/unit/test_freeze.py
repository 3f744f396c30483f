# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest is frozen as asked or not at all, and the watchdog ends thawed whatever it is told or not told."""

from __future__ import annotations

import contextlib
import json
import socket
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _deadline, _errors, _guarded_freeze, _watchdog
from ansible_collections.virtops.guest_agent.plugins.module_utils._client import GuestAgent
from ansible_collections.virtops.guest_agent.tests.unit.fake_clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.fake_guest import VERSIONS, FakeGuest


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The clock of everything that does not ask for one of its own."""
    fake = FakeClock()
    monkeypatch.setattr(_deadline.SYSTEM_CLOCK, "monotonic", fake.monotonic)
    monkeypatch.setattr(_deadline.SYSTEM_CLOCK, "sleep", fake.sleep)
    return fake


class Told:
    """The task's end of a watchdog that writes down what it is told, and whether the guest was frozen then."""

    def __init__(self, guest: FakeGuest, dies_at: str = "") -> None:
        self._guest = guest
        self._dies_at = dies_at
        self.told: list[tuple[str, bool]] = []

    def tell(self, order: str) -> None:
        if order == self._dies_at:
            raise _errors.LibvirtFailure("the watchdog is gone", command="watchdog")
        self.told.append((order, self._guest.frozen))

    def hold(self) -> None:
        self.tell("frozen")


def _freeze(guest: FakeGuest, mountpoints: t.Any = None, dies_at: str = "") -> tuple[t.Any, list[tuple[str, bool]]]:
    watchdog = Told(guest, dies_at)
    try:
        found: t.Any = _guarded_freeze.guarded_freeze(guest.agent(), mountpoints, 30, t.cast(_watchdog.Watchdog, watchdog))
    except _errors.GuestAgentError as error:
        found = error
    return found, watchdog.told


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("mountpoints", "count"), [(None, 2), (["/data"], 1), (["/", "/data"], 2)])
def test_a_freeze(version: str, mountpoints: t.Any, count: int, clock: FakeClock) -> None:
    guest = FakeGuest(version)
    assert _freeze(guest, mountpoints) == (count, [("freezing", False), ("frozen", True)])
    assert guest.frozen


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
    # what happens, mount points, the error, what the watchdog is told last, whether the guest is frozen in the end
    (_raising(_errors.CommandFailed("EIO")), None, _errors.CommandFailed, "release", False),
    (_raising(_errors.ProtocolError("garbage")), None, _errors.ProtocolError, "release", False),
    (_raising(_errors.AgentDisappeared("gone")), None, _errors.AgentDisappeared, "release", False),
    (_raising(_errors.HypervisorUnreachable("gone")), None, _errors.HypervisorUnreachable, "failed", False),
    (_late(0), None, _errors.AgentTimeout, "release", False),
    (_late(7), None, _errors.AgentTimeout, "release", False),
    (_late(7), ["/"], _errors.AgentTimeout, "release", False),
    # libvirt may not have sent it yet: it can come later than every thaw
    (_raising(_errors.StillInFlight("late")), None, _errors.StillInFlight, "failed", False),
    (_raising(_errors.ConnectionLost("lost")), None, _errors.ConnectionLost, "failed", False),
    (_no_filesystems, None, _errors.CommandFailed, "release", False),
    (_nothing, ["/", "/none"], _errors.CommandFailed, "release", False),
    (_nothing, ["/none"], _errors.CommandFailed, "release", False),
    # not ours to thaw
    (_frozen_by_another, None, _errors.GuestFrozen, "release", True),
    (_blocked, None, _errors.CommandBlocked, "release", False),
    (_raising(_errors.CommandUnknown("what")), None, _errors.CommandUnknown, "release", False),
    (_raising(_errors.AgentBusy("another freeze")), None, _errors.AgentBusy, "release", False),
    (_raising(_errors.PermissionDenied("no")), None, _errors.PermissionDenied, "release", False),
]
NOTHING_SENT = (_errors.CommandBlocked, _errors.CommandUnknown, _errors.AgentBusy, _errors.PermissionDenied)


@pytest.mark.parametrize(("happens", "mountpoints", "kind", "last", "frozen"), FAILURES, ids=range(len(FAILURES)))
@pytest.mark.parametrize("version", VERSIONS)
def test_a_freeze_that_fails(
    version: str, happens: t.Any, mountpoints: t.Any, kind: type, last: str, frozen: bool, clock: FakeClock
) -> None:
    guest = FakeGuest(version)
    happens(guest)
    error, told = _freeze(guest, mountpoints)
    assert error.__class__ is kind
    assert told == [("freezing", frozen), (last, frozen)]
    assert guest.frozen is frozen
    if kind in NOTHING_SENT or frozen:
        assert "guest-fsfreeze-thaw" not in guest.sent
    else:
        assert "the guest is thawed" in str(error)


def test_a_partial_freeze_counts_what_it_got(clock: FakeClock) -> None:
    assert "only 1 of 2 filesystems" in str(_freeze(FakeGuest(), ["/", "/none"])[0])


def test_an_agent_that_never_thaws_is_left_to_the_watchdog(clock: FakeClock) -> None:
    guest = FakeGuest()
    _late(10**6)(guest)
    error, told = _freeze(guest)
    assert "the watchdog goes on" in str(error)
    assert told[-1][0] == "failed"


def test_a_watchdog_that_died_means_no_freeze(clock: FakeClock) -> None:
    guest = FakeGuest()
    error, told = _freeze(guest, dies_at="freezing")
    assert error.__class__ is _errors.LibvirtFailure
    assert guest.sent == told == []
    error, told = _freeze(guest, dies_at="frozen")
    assert error.__class__ is _errors.LibvirtFailure
    assert not guest.frozen
    guest = FakeGuest()
    _no_filesystems(guest)
    assert _freeze(guest, dies_at="release")[0].__class__ is _errors.CommandFailed


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
        _guarded_freeze.check_freezable(agent, mountpoints)
    except _errors.GuestAgentError as error:
        said = str(error)
        found: type | None = error.__class__
    else:
        found = None
    assert found is kind
    assert words in said
    assert not any(command.startswith("guest-fsfreeze") for command in guest.sent)


class Link:
    """What the watchdog asks; ``happens`` is called with the number of each question before it is asked."""

    name = "web"

    def __init__(self, guest: FakeGuest, happens: t.Callable[[int], None] = lambda number: None) -> None:
        self._guest = guest
        self._happens = happens
        self.questions = 0

    def ask(self, question: t.Callable[[GuestAgent], t.Any]) -> t.Any:
        self.questions += 1
        self._happens(self.questions)
        return question(self._guest.agent())


class Orders:
    """Lines from a task; after them it is gone, as seen from a watchdog whose time passes."""

    def __init__(self, clock: FakeClock, *lines: str) -> None:
        self._clock = clock
        self._lines = list(lines)
        self.answers: list[dict[str, t.Any]] = []

    def next(self, seconds: float | None) -> str:
        if self._lines:
            return self._lines.pop(0)
        return ""

    def answer(self, **what: t.Any) -> None:
        self.answers.append(what)


class Ear:
    """Dismissals that come at a time of the test's choice."""

    def __init__(self, clock: FakeClock, comes: float | None) -> None:
        self._clock = clock
        self._comes = None if comes is None else clock.monotonic() + comes

    def wait(self, seconds: float) -> bool:
        self._clock.sleep(seconds)
        return self._comes is not None and self._clock.monotonic() >= self._comes

    def forget(self) -> None:
        if self._comes is not None and self._clock.monotonic() >= self._comes:
            self._comes = None


def _watch(guest: FakeGuest, clock: FakeClock, lines: t.Sequence[str], seconds: float = 60, **options: t.Any) -> float:
    """How long it watched."""
    started = clock.monotonic()
    link = t.cast(t.Any, Link(guest, options.get("happens", lambda number: None)))
    orders = t.cast(t.Any, Orders(clock, *lines))
    ear = t.cast(t.Any, Ear(clock, options.get("dismissed")))
    vigil = _watchdog._Vigil(link, ear)
    _watchdog._watch(orders, vigil, _deadline.Deadline(seconds), forever=options.get("forever", False))
    assert orders.answers == ([{"holding": True}] if "frozen" in lines else [])
    return clock.monotonic() - started


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day of seconds is long even on a clock of ours."""
    monkeypatch.setattr(_watchdog, "_PERSISTENCE", 600.0)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(_watchdog.syslog, "syslog", lambda _level, line: lines.append(line))
    return lines


@pytest.mark.parametrize(
    ("lines", "forever", "frozen", "sent"),
    [
        (["release"], False, False, 0),
        (["release"], True, False, 0),
        (["frozen"], True, True, 0),  # max_seconds 0: only until the freeze has succeeded
    ],
)
def test_when_it_ends_at_once(lines: list, forever: bool, frozen: bool, sent: int, clock: FakeClock) -> None:
    guest = FakeGuest()
    guest.frozen = frozen
    assert _watch(guest, clock, lines, forever=forever) == 0
    assert (guest.frozen, len(guest.sent)) == (frozen, sent)


@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("lines", [["failed"], []], ids=["failed", "task killed"])
def test_an_unknown_freeze_ends_thawed(lines: list, forever: bool, clock: FakeClock, said: list) -> None:
    guest = FakeGuest()
    guest.frozen = True
    _watch(guest, clock, lines, 35 if forever else 60, forever=forever)
    assert not guest.frozen
    assert said == ["virtops.guest_agent: the watchdog thawed domain web"]


def test_frozen_ends_thawed_when_the_time_is_over(clock: FakeClock, said: list) -> None:
    guest = FakeGuest()
    guest.frozen = True
    assert 60 <= _watch(guest, clock, ["frozen"], 60) <= 62
    assert not guest.frozen
    assert len(said) == 1


def test_it_ends_when_somebody_else_has_thawed(clock: FakeClock, said: list) -> None:
    guest = FakeGuest()
    guest.frozen = True
    took = _watch(guest, clock, ["frozen"], 60, happens=lambda number: setattr(guest, "frozen", number < 4))
    assert took < 10
    assert said == []
    assert "guest-fsfreeze-thaw" not in guest.sent


@pytest.mark.parametrize(("dismissed", "frozen"), [(3, True), (0, False)], ids=["after the freeze", "before it"])
def test_it_ends_when_it_is_dismissed(dismissed: float, frozen: bool, clock: FakeClock, said: list) -> None:
    """The guest is somebody else's now. What came before its own freeze was not meant for it."""
    guest = FakeGuest()
    guest.frozen = True
    _watch(guest, clock, ["frozen"], 60, dismissed=dismissed)
    assert guest.frozen is frozen


@pytest.mark.parametrize(("appears", "ends"), [(5, 36), (20, 36), (33, 40)])
def test_a_late_freeze_is_thawed(appears: int, ends: int, clock: FakeClock, said: list) -> None:
    """Its sender was told that it failed; libvirt held it back, and it comes true ``appears`` seconds later."""
    guest = FakeGuest()
    done = []

    def happens(_number: int) -> None:
        if clock.monotonic() - 1000 >= appears and not done:
            done.append(True)
            guest.frozen = True

    took = _watch(guest, clock, ["failed"], happens=happens)
    assert done
    assert not guest.frozen
    assert took <= ends


def test_a_task_killed_before_its_freeze_came_true(clock: FakeClock, said: list) -> None:
    """Nothing was said after ``freezing``: it must have been seen frozen before thawed means the end."""
    guest = FakeGuest()
    froze = []

    def happens(number: int) -> None:
        if number == 5:
            froze.append(number)
            guest.frozen = True

    took = _watch(guest, clock, [], 60, happens=happens)
    assert froze
    assert not guest.frozen
    assert took >= 60


@pytest.mark.parametrize(
    "error", [_errors.AgentTimeout("x"), _errors.HypervisorUnreachable("x"), _errors.AgentDisconnected("x"), _errors.AgentBusy("x")]
)
def test_it_tries_again_after_a_failure(error: _errors.GuestAgentError, clock: FakeClock, said: list) -> None:
    guest = FakeGuest()
    guest.frozen = True

    def happens(number: int) -> None:
        if number < 100:
            raise error

    _watch(guest, clock, ["frozen"], 30, happens=happens)
    assert not guest.frozen


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
@pytest.mark.parametrize("lines", [["frozen"], ["failed"]])
def test_a_domain_that_is_off_needs_no_thaw(error: _errors.GuestAgentError, gone: bool, lines: list, clock: FakeClock) -> None:
    def happens(_number: int) -> None:
        raise error

    took = _watch(FakeGuest(), clock, lines, 60, happens=happens)
    assert (took <= 1) is gone
    assert took <= 60 + _watchdog._PERSISTENCE + 1


def test_a_thaw_that_does_nothing_is_tried_again(clock: FakeClock, said: list, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = FakeGuest()
    guest.frozen = True
    guest.raises["guest-fsfreeze-thaw"] = _errors.CommandFailed("couldn't hold writes")

    def happens(number: int) -> None:
        if number > 20:
            guest.raises.clear()

    _watch(guest, clock, ["failed"], happens=happens)
    assert not guest.frozen


@pytest.fixture
def pair() -> t.Iterator[tuple[socket.socket, socket.socket]]:
    ours, its = socket.socketpair()
    yield ours, its
    ours.close()
    its.close()


ORDER = _watchdog.Order("test:///x", "some-uuid", 60, 30, 1)


@pytest.mark.parametrize(
    ("answer", "pid", "words"),
    [
        (b'{"pid": 77}\n', 77, ""),
        (b'{"error": "no such domain"}\n', None, r"could not be armed \(no such domain\), so nothing was frozen"),
        (b"garbage\n", None, "did not answer"),
        (b"{}\n", None, "did not answer"),
        (b"", None, "did not answer"),
    ],
)
def test_arming(pair: tuple[socket.socket, socket.socket], answer: bytes, pid: int | None, words: str) -> None:
    ours, its = pair
    its.sendall(answer)
    its.shutdown(socket.SHUT_WR)
    watchdog = _watchdog.Watchdog(ours)
    if pid is None:
        with pytest.raises(_errors.LibvirtFailure, match=words):
            watchdog.arm(ORDER)
    else:
        assert watchdog.arm(ORDER) == pid
    order = _watchdog.Order(**json.loads(_watchdog._Orders(its).next(1)))
    assert order == ORDER


@pytest.mark.parametrize(
    ("answer", "holds"), [(b'{"holding": true}\n', True), (b"", False), (b"garbage\n", False), (b"[]\n", False)]
)
def test_a_freeze_holds_only_when_the_watchdog_says_so(
    pair: tuple[socket.socket, socket.socket], answer: bytes, holds: bool
) -> None:
    ours, its = pair
    its.sendall(answer)
    its.shutdown(socket.SHUT_WR)
    if holds:
        _watchdog.Watchdog(ours).hold()
    else:
        with pytest.raises(_errors.LibvirtFailure, match="the watchdog ended it"):
            _watchdog.Watchdog(ours).hold()
    assert its.recv(100) == b"frozen\n"


def test_orders_arrive_one_by_one_and_then_the_task_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, its = pair
    watchdog, orders = _watchdog.Watchdog(ours), _watchdog._Orders(its)
    assert orders.next(0.01) == ""
    for order in ("freezing", "frozen", "release"):
        watchdog.tell(order)
    assert [orders.next(1) for _time in range(3)] == ["freezing", "frozen", "release"]
    watchdog.leave()
    assert orders.next(None) == ""


def test_a_watchdog_that_is_gone_is_noticed(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, its = pair
    its.close()
    with pytest.raises(_errors.LibvirtFailure, match="watchdog is gone"):
        _watchdog.Watchdog(ours).tell("freezing")


LIVES = [
    # what the task says after the order, what the guest answers first, what it is answered, thawed in the end
    ([], {}, "pid", True),
    (["release"], {}, "pid", True),
    (["freezing", "release"], {}, "pid", True),
    ([], {"guest-fsfreeze-status": _errors.CommandBlocked("blocked")}, "error", True),
    ([], {"guest-fsfreeze-status": _errors.AgentTimeout("too late")}, "error", True),
]


@pytest.mark.parametrize(("lines", "raises", "answer", "untouched"), LIVES)
def test_its_life(
    pair: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    lines: list,
    raises: dict,
    answer: str,
    untouched: bool,
) -> None:
    ours, its = pair
    guest = FakeGuest()
    guest.raises.update(raises)
    monkeypatch.setattr(_watchdog, "_GuestLink", lambda order: Link(guest))
    monkeypatch.setattr(_watchdog.signal, "signal", lambda number, handler: None)
    ours.sendall(b"".join(line.encode() + b"\n" for line in [json.dumps(ORDER._asdict()), *lines]))
    ours.shutdown(socket.SHUT_WR)
    _watchdog._live(its)
    its.close()
    assert answer in json.loads(ours.makefile("r").readline())
    assert ("guest-fsfreeze-thaw" not in guest.sent) is untouched


@pytest.mark.parametrize("terminated", [False, True], ids=["the task dies", "SIGTERM"])
def test_its_life_with_a_freeze(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, clock: FakeClock, said: list, terminated: bool
) -> None:
    ours, its = pair
    guest = FakeGuest()
    handlers = []

    def happens(number: int) -> None:
        if number == 2:
            guest.frozen = True
        if number == 4 and terminated:
            handlers[0](15, None)

    monkeypatch.setattr(_watchdog, "_GuestLink", lambda order: Link(guest, happens))
    monkeypatch.setattr(_watchdog.registry, "registered", lambda uuid: contextlib.nullcontext(Ear(clock, None)))
    monkeypatch.setattr(_watchdog.signal, "signal", lambda number, handler: handlers.append(handler))
    ours.sendall(json.dumps(ORDER._asdict()).encode() + b"\nfreezing\nfrozen\n")
    ours.shutdown(socket.SHUT_WR)
    _watchdog._live(its)
    assert not guest.frozen
    assert said


def test_a_task_that_never_armed_it_costs_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, its = pair
    ours.close()
    _watchdog._live(its)
