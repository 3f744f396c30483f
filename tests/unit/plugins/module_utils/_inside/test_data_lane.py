# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's half of the data lane, against a guest's end that is late, short, dead, stuck or a liar."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import data_lane
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.data_lane import PORT, DataLane, LaneFailed
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import hypervisor as _hypervisor
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Error, Hypervisor, hosting

CONTENT = bytes(range(256)) * 1024


def heard_of(link: socket.socket, size: int) -> bytes:
    """A host that has hung up says nothing more, for ever: a thread that went on asking would outlive its test."""
    if data := link.recv(size):
        return data
    raise ConnectionError


class Guest:
    """A port and an agent that knows guest-exec only. ``file`` is the guest's file, ``code`` how the shell ended."""

    name = "web"

    def __init__(self) -> None:
        self.file = b""
        self.started: list[dict[str, t.Any]] = []
        self.stale = b""
        self.code: int | None = None
        self.ended = threading.Event()
        self.refuses: _errors.GuestAgentError | None = None
        self.behaves: t.Callable[[Guest, socket.socket], int] = Guest.honest
        self._link: socket.socket | None = None

    @property
    def env(self) -> dict[str, str]:
        return dict(entry.split("=", 1) for entry in self.started[0]["env"])

    def plugged(self, link: socket.socket) -> None:
        """The host has opened its end."""
        self._link = link

    def call(self, command: str, arguments: t.Mapping[str, t.Any]) -> t.Any:
        if self.refuses is not None:
            raise self.refuses
        if command == "guest-exec-status":
            code = {} if self.code is None else {"exitcode": self.code}
            return {"exited": True, **code} if self.ended.is_set() else {"exited": False}
        self.started.append(dict(arguments))
        if "LANE=$TRANSFER" in arguments["arg"][1]:
            self.ended.set()
        else:
            threading.Thread(target=self._run, daemon=True).start()
        return {"pid": len(self.started)}

    def _run(self) -> None:
        link = self._link
        assert link is not None
        with contextlib.suppress(OSError):
            link.sendall(self.stale)
            self.code = self.behaves(self, link)
        if self.code is not None and self.code >= 0:
            self.ended.set()

    def greet(self, link: socket.socket) -> None:
        lane = self.env["LANE"].encode()
        heard = b""
        while not heard.endswith(b"\n" + lane + b" go\n"):
            heard += heard_of(link, 1)
        link.sendall(lane + b" ready\n")

    def honest(self, link: socket.socket) -> int:
        self.greet(link)
        return self.take(link) if "SIZE" in self.env else self.give(link)

    def take(self, link: socket.socket) -> int:
        self.file = b""
        while len(self.file) < int(self.env["SIZE"]):
            self.file += heard_of(link, 65536)
        link.sendall(self.env["LANE"].encode() + b" done\n")
        return int(link.recv(1) != b"")

    def give(self, link: socket.socket) -> int:
        first = int(self.env["SKIP"]) * 65536
        link.sendall(self.file[first : first + int(self.env["COUNT"]) * 65536])
        return 0


@pytest.fixture
def guest() -> Guest:
    return Guest()


@pytest.fixture
def host(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Hypervisor]:
    domain = Domain(channel=None)
    domain.channels[PORT] = guest.plugged
    monkeypatch.setattr(data_lane, "_QUIET_SECONDS", 0.1)
    with hosting(monkeypatch, domain) as hypervisor:
        yield hypervisor


@pytest.fixture
def lane(host: Hypervisor, guest: Guest) -> DataLane:
    domain = _hypervisor.connect(samples.URI, 30).domain("web")
    return DataLane(domain, t.cast(GuestAgent, guest), stall=30)


@pytest.fixture
def impatient(lane: DataLane, monkeypatch: pytest.MonkeyPatch) -> DataLane:
    """For a guest's end that stands still."""
    monkeypatch.setattr(data_lane, "_END_SECONDS", 0.3)
    monkeypatch.setattr(lane, "_stall", 0.8)
    return lane


def _read(lane: DataLane, size: int, offset: int = 0) -> bytes:
    found = bytearray()
    lane.read("/data/file", size, found.extend, offset)
    return bytes(found)


def _write(lane: DataLane, size: int = len(CONTENT)) -> None:
    lane.write("/data/file", io.BytesIO(CONTENT), size, lambda count: None)


def test_writing(lane: DataLane, guest: Guest, host: Hypervisor) -> None:
    moved: list[int] = []
    lane.write("/data/file", io.BytesIO(CONTENT + b"more"), len(CONTENT), moved.append)
    assert guest.file == CONTENT
    assert sum(moved) == len(CONTENT)
    (started,) = guest.started
    assert guest.env["FILE"] == "/data/file"
    # The agent logs arguments: they hold nothing of this transfer.
    assert not [value for value in ("/data/file", guest.env["LANE"], PORT) if value in str(started["arg"])]
    assert host.domains[0].streams[PORT].aborted
    assert [handle.closed for handle in host.handles] == [False, True]


def test_nothing_to_move(lane: DataLane, guest: Guest) -> None:
    _write(lane, 0)
    assert _read(lane, 0) == b""
    assert guest.started == []


@pytest.mark.parametrize("offset", [0, 1, 65535, 65536, 65537, len(CONTENT) - 1])
@pytest.mark.parametrize("size", [1, 65536, len(CONTENT)])
def test_reading_from_anywhere(lane: DataLane, guest: Guest, offset: int, size: int) -> None:
    guest.file = CONTENT
    size = min(size, len(CONTENT) - offset)
    assert _read(lane, size, offset) == CONTENT[offset : offset + size]


@pytest.mark.parametrize("stale", [b"0123456789abcdef ready\nforged", b"\x00" * 300_000, b" ready\n" * 10])
def test_what_is_not_of_this_transfer_is_skipped(lane: DataLane, guest: Guest, stale: bytes) -> None:
    guest.file, guest.stale = CONTENT, stale
    assert _read(lane, len(CONTENT)) == CONTENT
    guest.started.clear()
    guest.ended.clear()
    _write(lane)
    assert guest.file == CONTENT


def test_too_much_that_is_not_of_this_transfer(lane: DataLane, guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_lane, "_STALE_MAX", 100_000)
    guest.stale = b"x" * 400_000
    with pytest.raises(LaneFailed, match="another program than the guest's end"):
        _read(lane, 5)


def test_what_comes_a_byte_at_a_time_is_searched_once(lane: DataLane, monkeypatch: pytest.MonkeyPatch) -> None:
    transfer = data_lane._Transfer(t.cast(t.Any, None), t.cast(t.Any, None), 9, t.cast(t.Any, None))
    come = iter([*(bytes([number]) for number in b"x" * 100_000 + f"{transfer._number} ready\nab".encode()), b"cd"])
    monkeypatch.setattr(transfer, "receive", lambda: next(come))
    began = time.process_time()
    transfer.skip_to("ready")
    assert (transfer._received, next(come)) == (b"", b"a")
    assert time.process_time() - began < 2


def test_numbers_differ(lane: DataLane, guest: Guest) -> None:
    guest.file = CONTENT
    seen = set()
    for _time in range(2):
        _read(lane, 5)
        seen.add(guest.env["LANE"])
        guest.started.clear()
        guest.ended.clear()
    assert len(seen) == 2
    assert all(len(number) == 32 for number in seen)


def _exits(code: int) -> t.Callable[[Guest, socket.socket], int]:
    return lambda guest, link: code


@pytest.mark.parametrize("code", sorted(data_lane._REASONS))
@pytest.mark.parametrize("move", [_write, lambda lane: _read(lane, 5)])
def test_a_guests_end_that_ends_at_once(lane: DataLane, guest: Guest, code: int, move: t.Callable[[DataLane], None]) -> None:
    guest.behaves = _exits(code)
    with pytest.raises(LaneFailed) as raised:
        move(lane)
    assert raised.value.detail.endswith(data_lane._REASONS[code])
    assert raised.value.domain == "web"
    assert raised.value.moved == 0


def _dies_writing(guest: Guest, link: socket.socket) -> int:
    guest.greet(link)
    link.recv(100)
    return 45


def test_a_full_disk(lane: DataLane, guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    guest.behaves = _dies_writing
    with pytest.raises(LaneFailed, match="failed to copy"):
        lane.write("/data/file", io.BytesIO(CONTENT * 40), len(CONTENT) * 40, lambda count: None)
    assert len(guest.started) == 1  # it is known to have gone: nobody is killed


def _loses_some(guest: Guest, link: socket.socket) -> int:
    guest.greet(link)
    guest.file = link.recv(65536)
    return 46


def test_a_guest_that_did_not_get_everything(lane: DataLane, guest: Guest) -> None:
    guest.behaves = _loses_some
    with pytest.raises(LaneFailed, match="did not get all bytes"):
        _write(lane, 1000)


def _is_killed(guest: Guest, link: socket.socket) -> t.Any:
    guest.greet(link)
    guest.ended.set()


def test_the_children_of_a_killed_shell_are_killed(lane: DataLane, guest: Guest) -> None:
    guest.behaves = _is_killed
    with pytest.raises(LaneFailed, match="was killed"):
        _read(lane, 5)
    assert f"TRANSFER={guest.env['LANE']}" in guest.started[1]["env"]


def test_a_file_that_ends_early_counts_what_was_taken(lane: DataLane, guest: Guest) -> None:
    guest.file = CONTENT[:100_000]
    found = bytearray()
    with pytest.raises(LaneFailed, match="ended early") as raised:
        lane.read("/data/file", len(CONTENT), found.extend, 5)
    assert raised.value.moved == len(found) == 100_000 - 5
    assert found == CONTENT[5:100_000]


def test_a_sink_that_fails_is_not_the_lanes_failure(lane: DataLane, guest: Guest, host: Hypervisor) -> None:
    guest.file = CONTENT

    def sink(data: bytes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        lane.read("/data/file", len(CONTENT), sink)
    assert host.domains[0].streams[PORT].aborted


def test_a_source_that_ends_early(lane: DataLane, guest: Guest, host: Hypervisor) -> None:
    with pytest.raises(_errors.InvalidInput, match=f"{len(CONTENT) + 1} bytes long, and ended at {len(CONTENT)}"):
        _write(lane, len(CONTENT) + 1)
    assert host.domains[0].streams[PORT].aborted


def _stuck(guest: Guest, link: socket.socket) -> int:
    guest.greet(link)
    if "SKIP" in guest.env:
        link.sendall(guest.file[:100])
    guest.ended.wait(60)
    return -1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", ["write", "read"])
def test_one_that_stands_still_costs_its_time_and_is_killed(lane: DataLane, guest: Guest, kind: str) -> None:
    guest.behaves, guest.file = _stuck, CONTENT
    moves = {
        "write": lambda: lane.write("/data/file", io.BytesIO(CONTENT * 40), len(CONTENT) * 40, lambda count: None),
        "read": lambda: lane.read("/data/file", len(CONTENT), lambda data: None),
    }
    with pytest.raises(LaneFailed, match=r"nothing moved for 0\.8 s") as raised:
        moves[kind]()
    assert raised.value.moved == (100 if kind == "read" else 0)
    lane_number = guest.env["LANE"]
    assert f"TRANSFER={lane_number}" in guest.started[1]["env"]
    assert lane_number not in str(guest.started[1]["arg"])


def test_interrupted(lane: DataLane, guest: Guest, host: Hypervisor) -> None:
    guest.behaves = _stuck

    class Interrupted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lane.write("/data/file", Interrupted(), 5, lambda count: None)
    assert host.domains[0].streams[PORT].aborted
    assert guest.ended.is_set()


REFUSALS = [
    (Error(1, "internal error: cannot find channel x"), f"no channel {PORT}"),
    (Error(9, "operation failed: Active channel stream exists for this domain"), "another client of libvirt"),
    (Error(38, "cannot connect to socket"), "cannot connect to socket"),
    (Error(88, "access denied"), "refuses this to this user"),
]


@pytest.mark.parametrize(("error", "says"), REFUSALS)
def test_a_port_that_cannot_be_opened(lane: DataLane, guest: Guest, host: Hypervisor, error: Error, says: str) -> None:
    host.domains[0].raises["openChannel"] = error
    with pytest.raises(LaneFailed, match=says):
        _read(lane, 5)
    assert guest.started == []


def test_exec_that_is_refused(lane: DataLane, guest: Guest, host: Hypervisor) -> None:
    guest.refuses = _errors.CommandBlocked("the agent refuses this command")
    with pytest.raises(LaneFailed, match=r"cannot be started: the agent refuses"):
        _write(lane)
    assert host.domains[0].streams[PORT].aborted


@pytest.mark.parametrize("kind", [_errors.AgentTimeout, _errors.AgentDisconnected])
def test_an_agent_that_is_silent_is_not_the_lanes_failure(
    lane: DataLane, guest: Guest, host: Hypervisor, kind: type[_errors.GuestAgentError]
) -> None:
    guest.refuses = kind("silent")
    with pytest.raises(kind):
        _write(lane)
    assert host.domains[0].streams[PORT].aborted


def test_plugging_in(host: Hypervisor) -> None:
    domain, fake = _hypervisor.connect(samples.URI, 1).domain("web"), host.domains[0]
    data_lane.detach(domain)
    data_lane.attach(domain)
    assert len(fake.attached) == 1
    plugged = fake.attached[0].replace("<target", "<source path='/run/port'/><target")
    fake.text = fake.text.replace("<devices>", f"<devices><channel type='pty'/>{plugged}")
    data_lane.attach(domain)
    assert len(fake.attached) == 1
    fake.attached.clear()
    fake.detachDeviceFlags = lambda device, flags: fake.attached.append((device, flags))  # type: ignore[method-assign,func-returns-value,arg-type]
    data_lane.detach(domain)
    # libvirt compares all of it with what it has
    assert "/run/port" in str(fake.attached)


def test_nothing_to_plug_it_into(host: Hypervisor) -> None:
    text = "internal error: no virtio-serial controllers are available"
    host.domains[0].raises["attachDeviceFlags"] = Error(1, text)
    with pytest.raises(LaneFailed, match="no virtio-serial controllers") as raised:
        data_lane.attach(_hypervisor.connect(samples.URI, 1).domain("web"))
    assert "controller" in raised.value.hint
