# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of files over a real agent whose replies get lost, come short, or are lies; and the first of two lanes failing."""

from __future__ import annotations

import base64
import functools
import io
import json
import os
import random
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.protocol import Request
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import lanes
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.lanes import AgentLane, Preferred, Progress, Sink
from ansible_collections.virtops.guest_agent.tests.unit import real_agent
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import Fault, Message, Watched

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

DATA = random.Random(2).randbytes(600 * 1024 + 7)


def read(guest: Watched, path: Path, size: int = len(DATA), offset: int = 0) -> bytes:
    found: list[bytes] = []
    AgentLane(guest.agent(), clock=FakeClock()).read(str(path), size, found.append, offset)
    return b"".join(found)


def write(guest: Watched, path: Path, data: bytes = DATA) -> list[int]:
    path.touch()
    steps: list[int] = []
    AgentLane(guest.agent(), clock=FakeClock()).write(str(path), io.BytesIO(data), len(data), steps.append)
    return steps


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a 'file'"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("offset", [0, 1, lanes.READ_MAX, len(DATA) - 1, len(DATA)])
def test_read_from_a_place(guest: Watched, file: Path, offset: int) -> None:
    assert read(guest, file, len(DATA) - offset, offset) == DATA[offset:]


@pytest.mark.parametrize("size", [0, 1, lanes.WRITE_MAX, lanes.WRITE_MAX + 1])
def test_write(guest: Watched, tmp_path: Path, size: int) -> None:
    steps = write(guest, tmp_path / "x", DATA[:size])
    assert (tmp_path / "x").read_bytes() == DATA[:size]
    assert sum(steps) == size


@pytest.mark.parametrize("how", [real_agent.lost, real_agent.unheard])
def test_a_lost_reply_is_made_up_for(guest: Watched, file: Path, tmp_path: Path, how: Fault) -> None:
    guest.faults = {"guest-file-read": [None, how, how, None, how], "guest-file-write": [how, None, how, how]}
    assert read(guest, file) == DATA
    write(guest, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA


def struck(error: _errors.GuestAgentError) -> Fault:
    """Nothing is done, and somebody says why."""
    return real_agent.raising(error)


PASSING = [
    _errors.AgentTimeout("no reply"),
    _errors.ConnectionLost("libvirtd is restarted"),
    _errors.AgentBusy("another client"),
    _errors.DomainNotRunning("the domain is paused"),
    _errors.GuestFrozen("by another client"),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: error.kind)
@pytest.mark.parametrize("command", ["guest-file-read", "guest-file-write", "guest-file-flush", "guest-file-close"])
def test_a_trouble_that_passes(guest: Watched, file: Path, tmp_path: Path, command: str, error: _errors.GuestAgentError) -> None:
    guest.faults = {command: [None, *[struck(error)] * 8], "guest-file-seek": [struck(error), None]}
    assert read(guest, file) == DATA
    guest.faults.setdefault(command, [])[:0] = [struck(error)]
    steps = write(guest, tmp_path / "x")
    assert ((tmp_path / "x").read_bytes(), sum(steps)) == (DATA, len(DATA))


@pytest.mark.parametrize("command", ["guest-file-read", "guest-file-write"])
def test_a_silence_that_does_not_pass(guest: Watched, file: Path, command: str) -> None:
    guest.faults = {command: [SILENT] * 1000}
    clock = FakeClock()
    lane = AgentLane(guest.agent(), clock=clock)
    begun = clock.monotonic()
    source: t.Any = io.BytesIO(DATA)
    arguments = (len(DATA), lambda _data: None) if command == "guest-file-read" else (source, len(DATA), lambda _count: None)
    with pytest.raises(_errors.AgentTimeout):
        getattr(lane, command.rpartition("-")[2])(str(file), *arguments)
    assert lanes.PATIENCE <= clock.monotonic() - begun < lanes.PATIENCE + 10


@pytest.mark.parametrize("at", [0, 1, 4])
def test_an_agent_that_is_restarted(guest: Watched, file: Path, tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had open is open no more, and what it had not yet written is lost."""
    monkeypatch.setattr(lanes, "_FLUSHED", 2 * lanes.WRITE_MAX)
    path = tmp_path / "x"

    def restart(arguments: Message, ask: t.Callable[[], Message]) -> Message:
        guest.agent().call("guest-file-close", {"handle": arguments["handle"]})
        if path.exists():
            os.truncate(path, path.stat().st_size // lanes._FLUSHED * lanes._FLUSHED)
        raise _errors.AgentDisappeared("it has ended")

    guest.faults = {"guest-file-read": [*[None] * min(at, 2), restart], "guest-file-write": [*[None] * at, restart]}
    assert read(guest, file) == DATA
    steps = write(guest, path)
    assert (path.read_bytes(), sum(steps)) == (DATA, len(DATA))


@pytest.mark.parametrize("closes", [True, False])
def test_what_is_done_late_changes_nothing(loose_guest: Watched, file: Path, tmp_path: Path, closes: bool) -> None:
    """A request that libvirt still holds when it is asked again is done after that, at the place where its own handle is."""
    guest, held = loose_guest, list[t.Callable[[], Message]]()

    def hold(_arguments: Message, ask: t.Callable[[], Message]) -> Message:
        held.append(ask)
        raise _errors.StillInFlight("no reply")

    def late(_arguments: Message, ask: t.Callable[[], Message]) -> Message:
        while held:
            held.pop()()
        return ask()

    lost = [] if closes else [real_agent.raising(_errors.AgentTimeout("no reply"))]
    guest.faults = {"guest-file-read": [None, hold, late], "guest-file-close": [*lost]}
    assert read(guest, file) == DATA
    guest.faults = {"guest-file-write": [None, hold, late], "guest-file-close": [*lost]}
    steps = write(guest, tmp_path / "x")
    assert ((tmp_path / "x").read_bytes(), sum(steps)) == (DATA, len(DATA))
    assert (held, guest.open_handles) == ([], 0)


SILENT = real_agent.raising(_errors.AgentTimeout("no reply"))


class Hanging:
    """Passes on so many requests, and then answers nothing any more."""

    def __init__(self, guest: Watched, requests: int) -> None:
        self._guest, self._left = guest, requests
        self.name = guest.name
        self.renew = guest.renew
        self.unanswered: list[tuple[str, int]] = []

    def exchange(self, request: Request, seconds: int) -> str:
        self._left -= 1
        if self._left >= 0:
            return self._guest.exchange(request, seconds)
        self.unanswered.append((request.command, seconds))
        raise _errors.AgentTimeout("no reply")


def test_an_agent_that_hangs_costs_its_timeout_once_and_then_little_at_a_time(loose_guest: Watched, file: Path) -> None:
    hanging = Hanging(loose_guest, 2)
    with pytest.raises(_errors.AgentTimeout):
        AgentLane(GuestAgent(hanging, 10), clock=FakeClock()).read(str(file), len(DATA), lambda _data: None)
    assert hanging.unanswered[0] == ("guest-file-read", 10)
    assert hanging.unanswered[-1] == ("guest-file-close", 2)
    assert set(hanging.unanswered[1:-1]) == {("guest-file-seek", 2)}


def test_no_wait_is_longer_than_the_agent_s_timeout(loose_guest: Watched, file: Path) -> None:
    hanging = Hanging(loose_guest, 2)
    with pytest.raises(_errors.AgentTimeout):
        AgentLane(GuestAgent(hanging, 1), clock=FakeClock()).read(str(file), len(DATA), lambda _data: None)
    assert {seconds for _command, seconds in hanging.unanswered} == {1}


@pytest.mark.parametrize("how", [real_agent.lost, real_agent.unheard])
def test_a_lost_close_is_asked_for_again(loose_guest: Watched, tmp_path: Path, how: Fault) -> None:
    """One that is closed already has been flushed before."""
    loose_guest.faults = {"guest-file-close": [how]}
    write(loose_guest, tmp_path / "x", b"x")
    assert (tmp_path / "x").read_bytes() == b"x"
    assert loose_guest.count("guest-file-flush") == 1


def test_a_close_that_fails_is_said(loose_guest: Watched, tmp_path: Path) -> None:
    loose_guest.faults = {"guest-file-close": [real_agent.refusing("failed to close handle: No space left on device")]}
    with pytest.raises(_errors.CommandFailed, match="no space in"):
        write(loose_guest, tmp_path / "x", b"x")


class Halving:
    """Passes on the first half of what is to be written, as a full pipe or disk would take it."""

    def __init__(self, guest: Watched) -> None:
        self._guest = guest
        self.name = guest.name

    def exchange(self, request: Request, seconds: int) -> str:
        message = json.loads(request.text)
        if request.command == "guest-file-write":
            data = base64.b64decode(message["arguments"]["buf-b64"])
            message["arguments"]["buf-b64"] = base64.b64encode(data[: (len(data) + 1) // 2]).decode()
        return self._guest.exchange(request._replace(text=json.dumps(message)), seconds)


def test_short_writes_go_on_where_they_ended(guest: Watched, tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    lane = AgentLane(GuestAgent(Halving(guest), 10))
    lane.write(str(tmp_path / "x"), io.BytesIO(DATA[:200_000]), 200_000, lambda count: None)
    assert (tmp_path / "x").read_bytes() == DATA[:200_000]


LIES: list[tuple[str, Fault, type[Exception]]] = [
    ("guest-file-write", real_agent.answering(count=0), _errors.ProtocolError),
    ("guest-file-write", real_agent.answering(count=-1), _errors.ProtocolError),
    ("guest-file-write", real_agent.answering(count=10**9), _errors.ProtocolError),
    ("guest-file-write", real_agent.answering(count="1"), _errors.ProtocolError),
    ("guest-file-write", real_agent.refusing("No space left on device"), _errors.CommandFailed),
    ("guest-file-read", real_agent.answering(**{"buf-b64": "*"}), _errors.ProtocolError),
    ("guest-file-read", real_agent.answering(**{"buf-b64": "é"}), _errors.ProtocolError),
    ("guest-file-read", real_agent.answering(**{"buf-b64": None}), _errors.ProtocolError),
    ("guest-file-read", real_agent.answering(**{"buf-b64": base64.b64encode(bytes(300_000)).decode()}), _errors.ProtocolError),
    ("guest-file-read", real_agent.answering(**{"buf-b64": "", "count": 0, "eof": True}), _errors.CommandFailed),
    ("guest-file-read", real_agent.raising(KeyboardInterrupt()), KeyboardInterrupt),
    ("guest-file-seek", real_agent.answering(position=5), _errors.ProtocolError),
    ("guest-file-seek", real_agent.answering(position="1"), _errors.ProtocolError),
]


@pytest.mark.parametrize(("command", "lie", "kind"), LIES)
def test_lies_end_the_transfer_and_close_the_file(guest: Watched, file: Path, command: str, lie: Fault, kind: type) -> None:
    guest.faults = {command: [lie]}
    attempt = (
        functools.partial(write, guest, file) if command == "guest-file-write" else functools.partial(read, guest, file, 10, 1)
    )
    with pytest.raises(kind):
        attempt()
    assert guest.open_handles == 0


@pytest.mark.parametrize("command", ["guest-file-read", "guest-file-write"])
def test_an_agent_that_never_finds_the_place_again(
    guest: Watched, file: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opens the file each time, and could do so for ever."""

    def forgotten(arguments: Message, ask: t.Callable[[], Message]) -> Message:
        guest.agent().call("guest-file-close", {"handle": arguments["handle"]})
        return ask()

    monkeypatch.setattr(lanes, "_OPENED_MAX", 9)
    guest.faults = {command: [struck(_errors.AgentTimeout("no reply"))], "guest-file-seek": [forgotten] * 100}
    with pytest.raises(_errors.ProtocolError, match="has lost its place in the file 9 times"):
        read(guest, file) if command == "guest-file-read" else write(guest, file)
    assert guest.count("guest-file-seek") == 9


def test_a_close_that_gets_lost_after_a_failure(guest: Watched, file: Path) -> None:
    guest.faults = {"guest-file-read": [real_agent.refusing("Input/output error")], "guest-file-close": [real_agent.unheard]}
    with pytest.raises(_errors.CommandFailed, match="Input/output error"):
        read(guest, file)
    assert guest.open_handles == 0


def test_a_file_that_ends_early(guest: Watched, file: Path) -> None:
    with pytest.raises(_errors.CommandFailed, match=f"ends at {len(DATA)} bytes"):
        read(guest, file, len(DATA) + 1)


def test_a_source_that_ends_early_closes_the_file(guest: Watched, file: Path) -> None:
    with pytest.raises(_errors.InvalidInput, match="ended at 1000"):
        AgentLane(guest.agent()).write(str(file), io.BytesIO(DATA[:1000]), 1001, lambda count: None)


class Failing:
    """A lane that fails once ``after`` bytes have gone through it."""

    name = "failing"

    def __init__(self, after: int) -> None:
        self._after = after

    def write(self, path: str, source: t.BinaryIO, size: int, progress: Progress) -> None:
        with open(path, "r+b") as file:
            data = source.read(self._after)
            file.write(data[::-1])
        progress(len(data))
        raise _errors.LaneFailed("the port is gone")

    def read(self, path: str, size: int, sink: Sink, offset: int = 0) -> None:
        with open(path, "rb") as file:
            file.seek(offset)
            sink(file.read(min(size, self._after)))
        raise _errors.LaneFailed("the port is gone")


@pytest.fixture
def all_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "_LARGE", 1)


@pytest.mark.parametrize("after", [0, 1000, len(DATA)])
@pytest.mark.usefixtures("all_is_large")
def test_the_second_lane_takes_over(guest: Watched, tmp_path: Path, after: int) -> None:
    lane = Preferred(Failing(after), AgentLane(guest.agent()))
    (tmp_path / "x").touch()
    steps: list[int] = []
    source = io.BytesIO(b"before" + DATA)
    source.seek(6)
    lane.write(str(tmp_path / "x"), source, len(DATA), steps.append)
    assert (tmp_path / "x").read_bytes() == DATA
    assert sum(steps) == len(DATA)
    found: list[bytes] = []
    lane.read(str(tmp_path / "x"), len(DATA) - 5, found.append, 5)
    assert b"".join(found) == DATA[5:]
    assert lane.name == "failing"
    read = min(after, len(DATA) - 5)
    assert lane.carried == {"agent": 2 * len(DATA) - 5 - read, "failing": read}


def test_the_first_lane_is_for_what_is_large(guest: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "_LARGE", 10)
    steps: list[int] = []
    lane = Preferred(Failing(3), AgentLane(guest.agent()))
    for size, expected in ((9, [9]), (10, [3, -3, 10])):
        (tmp_path / "x").write_bytes(b"")
        lane.write(str(tmp_path / "x"), io.BytesIO(DATA[:size]), size, steps.append)
        assert steps == expected
        steps.clear()
        lane.read(str(tmp_path / "x"), size, lambda data: steps.append(len(data)))
        assert steps == [count for count in (3, size - 3, size) if (count != size) == (size == 10)]
        steps.clear()


@pytest.mark.usefixtures("all_is_large")
def test_other_errors_are_not_the_lane_s(guest: Watched, tmp_path: Path) -> None:
    lane = Preferred(AgentLane(guest.agent()), Failing(0))
    with pytest.raises(_errors.CommandFailed):
        lane.read(str(tmp_path / "none"), 1, lambda data: None)
