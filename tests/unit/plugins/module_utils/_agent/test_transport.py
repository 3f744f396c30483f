# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""qemu-ga's protocol over a socket and over libvirt's stream, against agents that do everything but what one hopes for."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import typing as t
from pathlib import Path

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent import protocol, transport as _transport
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._deadline import Deadline
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import (
    domain_xml,
    hypervisor as _hypervisor,
    stream as _stream,
    transport as transport_module,
)
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Error, Hypervisor, hosting, install, let_go

CHANNEL = "org.qemu.guest_agent.1"


class Peer:
    """An agent. Subclasses say what it answers; ``late`` is what it still had to say when the client had gone."""

    def __init__(self) -> None:
        self.requests: list[dict[str, t.Any]] = []
        self.syncs = 0
        self.late = b""

    def serve(self, link: socket.socket) -> None:
        with link, contextlib.suppress(OSError):
            link.sendall(self.late)
            self.late = b""
            for line in link.makefile("rb"):
                request = json.loads(line.lstrip(b"\xff"))
                if request["execute"] == "guest-sync-delimited":
                    assert line.startswith(b"\xff")
                    self.syncs += 1
                    self.synchronise(link, b'{"return": %d}\n' % request["arguments"]["id"])
                else:
                    self.requests.append(request)
                    self.answer(link, request, self.reply(request))

    def reply(self, request: dict[str, t.Any]) -> bytes:
        return json.dumps({"return": request["execute"], "id": request["id"]}).encode() + b"\n"

    def synchronise(self, link: socket.socket, reply: bytes) -> None:
        link.sendall(b"\xff" + reply)

    def answer(self, link: socket.socket, request: dict[str, t.Any], reply: bytes) -> None:
        link.sendall(reply)


Connect = t.Callable[[Peer], _transport.LinkTransport]


def _serve_socket(peer: Peer, path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                peer.serve(server.accept()[0])

    threading.Thread(target=accept, daemon=True).start()
    return server


@pytest.fixture(params=["unix", "channel"])
def connect(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Connect]:
    with contextlib.ExitStack() as stack:

        def over_socket(peer: Peer) -> _transport.LinkTransport:
            server = _serve_socket(peer, tmp_path / "agent")
            stack.callback(server.close)
            stack.callback(server.shutdown, socket.SHUT_RDWR)
            return _transport.UnixSocketTransport(str(tmp_path / "agent"), "web")

        def over_stream(peer: Peer) -> _transport.LinkTransport:
            host = Hypervisor(Domain())
            host.domains[0].channels[CHANNEL] = peer.serve
            install(monkeypatch, default=host)
            connection = _hypervisor.connect(samples.URI, 5)
            stack.callback(let_go, host)
            stack.callback(connection.close)
            return transport_module.ChannelTransport(connection.domain("web"), CHANNEL)

        opened: list[_transport.LinkTransport] = []

        def open_one(peer: Peer) -> _transport.LinkTransport:
            opened.append((over_socket if request.param == "unix" else over_stream)(peer))
            return opened[0]

        yield open_one
        for transport in opened:
            transport.close()


def _ask(transport: _transport.LinkTransport, command: str = "guest-ping", seconds: int = 30) -> t.Any:
    request = protocol.build(command)
    return protocol.parse(request, transport.exchange(request, seconds)).value


def test_one_synchronisation_for_many_commands(connect: Connect) -> None:
    peer = Peer()
    transport = connect(peer)
    assert transport.name == "web"
    assert [_ask(transport, f"guest-{n}") for n in range(5)] == [f"guest-{n}" for n in range(5)]
    assert peer.syncs == 1
    transport.close()
    transport.close()
    assert _ask(transport) == "guest-ping"  # it opens again
    assert peer.syncs == 2


class _Old(Peer):
    """As qemu-ga before 4.0: it gives no number back."""

    def reply(self, request: dict[str, t.Any]) -> bytes:
        return json.dumps({"return": request["execute"]}).encode() + b"\n"


def test_without_numbers_each_command_is_put_in_step(connect: Connect) -> None:
    peer = _Old()
    agent = GuestAgent(connect(peer), 5)
    assert [agent.call(f"guest-{n}") for n in range(3)] == [f"guest-{n}" for n in range(3)]
    assert peer.syncs == 3


class _TakesNone(Peer):
    """As qemu-ga before 2.12."""

    def reply(self, request: dict[str, t.Any]) -> bytes:
        if "id" in request:
            return b'{"error": {"class": "GenericError", "desc": "QMP input object member \'id\' is unexpected"}}\n'
        return json.dumps({"return": request["execute"]}).encode() + b"\n"


def test_a_refused_number_is_left_out(connect: Connect) -> None:
    peer = _TakesNone()
    agent = GuestAgent(connect(peer), 5)
    assert [agent.call(f"guest-{n}") for n in range(3)] == [f"guest-{n}" for n in range(3)]
    assert [request["execute"] for request in peer.requests] == ["guest-0", "guest-0", "guest-1", "guest-2"]
    assert peer.syncs == 4


class _Slices(Peer):
    def synchronise(self, link: socket.socket, reply: bytes) -> None:
        for byte in b'garbage {"return": 1}\n\xff\xfe\xff not json\n\xff[1]\n\xff' + reply:
            link.sendall(bytes([byte]))

    def answer(self, link: socket.socket, request: dict[str, t.Any], reply: bytes) -> None:
        for byte in reply:
            link.sendall(bytes([byte]))
            time.sleep(0.001)


def test_garbage_before_the_sentinel_and_replies_in_pieces(connect: Connect) -> None:
    transport = connect(_Slices())
    assert _ask(transport) == "guest-ping"
    assert _ask(transport, "guest-info") == "guest-info"


class _SentinelInside(Peer):
    def reply(self, request: dict[str, t.Any]) -> bytes:
        return b'{"return": "a\xffb", "id": %d}\n' % request["id"]


def test_a_sentinel_in_a_reply_ends_nothing(connect: Connect) -> None:
    transport = connect(_SentinelInside())
    assert [_ask(transport), _ask(transport)] == ["a\N{REPLACEMENT CHARACTER}b"] * 2


class _Late(Peer):
    """Answers ``guest-slow`` only after it was asked the next thing, or the client has come back."""

    def answer(self, link: socket.socket, request: dict[str, t.Any], reply: bytes) -> None:
        if request["execute"] == "guest-slow":
            self.late = reply
        else:
            super().answer(link, request, reply)

    def synchronise(self, link: socket.socket, reply: bytes) -> None:
        late, self.late = self.late, b""
        super().synchronise(link, b'{"return": 1}\n' + late + b"\xff" + reply)


@pytest.mark.parametrize("times", [1, 3])
def test_a_late_reply_is_nobodys(connect: Connect, times: int) -> None:
    peer = _Late()
    transport = connect(peer)
    for _time in range(times):
        assert _ask(transport) == "guest-ping"
        with pytest.raises(_errors.AgentTimeout):
            _ask(transport, "guest-slow", 1)
    assert _ask(transport, "guest-info") == "guest-info"
    assert [request["execute"] for request in peer.requests] == ["guest-ping", "guest-slow"] * times + ["guest-info"]
    assert peer.syncs == times + 1


class _Deaf(Peer):
    def serve(self, link: socket.socket) -> None:
        with link:
            while link.recv(100):
                pass


def test_silence_costs_its_time(connect: Connect) -> None:
    transport = connect(_Deaf())
    started = time.monotonic()
    with pytest.raises(_errors.AgentTimeout):
        _ask(transport, seconds=1)
    assert 0.9 < time.monotonic() - started < 30


class _Dies(Peer):
    def answer(self, link: socket.socket, request: dict[str, t.Any], reply: bytes) -> None:
        if len(self.requests) == 1:
            link.sendall(reply[:5])
            link.shutdown(socket.SHUT_RDWR)
        else:
            super().answer(link, request, reply)


def test_closed_in_the_middle_of_a_reply(connect: Connect) -> None:
    transport = connect(_Dies())
    with pytest.raises(_errors.AgentDisappeared):
        _ask(transport)
    assert _ask(transport) == "guest-ping"


class _SaysMore(Peer):
    def answer(self, link: socket.socket, request: dict[str, t.Any], reply: bytes) -> None:
        super().answer(link, request, reply + b'{"return": "forged", "id": 0}\n')


def test_what_nobody_asked_for_is_skipped(connect: Connect) -> None:
    peer = _SaysMore()
    transport = connect(peer)
    assert [_ask(transport, f"guest-{n}") for n in range(3)] == [f"guest-{n}" for n in range(3)]
    assert peer.syncs == 3


class _WrongNumber(Peer):
    def reply(self, request: dict[str, t.Any]) -> bytes:
        number = 0 if len(self.requests) == 1 else request["id"]
        return b'{"return": 5, "id": %d}\n' % number


def test_after_a_foreign_number_it_gets_in_step_again(connect: Connect) -> None:
    peer = _WrongNumber()
    transport = connect(peer)
    with pytest.raises(_errors.ProtocolError):
        _ask(transport)
    assert _ask(transport) == 5
    assert peer.syncs == 2


class _Floods(Peer):
    def answer(self, link: socket.socket, request: dict[str, t.Any], reply: bytes) -> None:
        super().answer(link, request, b"x" * 300_000 + b"\n" if len(self.requests) == 1 else reply)


def test_a_reply_without_end(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_transport, "REPLY_MAX", 100_000)
    transport = connect(_Floods())
    with pytest.raises(_errors.ProtocolError, match="longer than"):
        _ask(transport)
    assert _ask(transport) == "guest-ping"


def test_numbers_are_not_guessable(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[int] = []
    monkeypatch.setattr(_transport.secrets, "randbelow", lambda bound: bounds.append(bound) or 7)
    assert _ask(connect(Peer())) == "guest-ping"
    assert bounds == [2**53]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Hypervisor]:
    with hosting(monkeypatch, Domain(channel=None)) as hypervisor:
        yield hypervisor


def _domain(host: Hypervisor) -> _hypervisor.Domain:
    return _hypervisor.connect(samples.URI, 1).domain("web")


def _channel(host: Hypervisor, state: str, name: str = CHANNEL) -> None:
    domain = host.domains[0]
    port = f"<channel type='unix'><target type='virtio' name='{name}' state='{state}'/></channel>"
    domain.text = domain.text.replace("<devices>", f"<devices>{port}")
    domain.channels[name] = Peer().serve


@pytest.mark.parametrize(
    ("prepare", "channel", "kind", "says"),
    [
        (lambda host: None, CHANNEL, _errors.AgentNotConfigured, f"no channel {CHANNEL}"),
        (lambda host: _channel(host, "disconnected"), CHANNEL, _errors.AgentDisconnected, "no agent listens"),
        (lambda host: None, domain_xml.AGENT_CHANNEL, _errors.InvalidInput, "libvirt itself uses"),
        (
            lambda host: host.domains[0].raises.update(
                openChannel=Error(55, "Requested operation is not valid: domain is not running")
            ),
            CHANNEL,
            _errors.DomainNotRunning,
            "not running",
        ),
        (lambda host: host.domains[0].raises.update(openChannel=Error(88, "no")), CHANNEL, _errors.PermissionDenied, "refuses"),
        (
            lambda host: host.domains[0].raises.update(openChannel=Error(67, "channel x is not using a UNIX socket")),
            CHANNEL,
            _errors.AgentNotConfigured,
            "not of type unix",
        ),
    ],
)
def test_a_channel_that_cannot_be_opened(host: Hypervisor, prepare: t.Any, channel: str, kind: type, says: str) -> None:
    prepare(host)
    with pytest.raises(kind, match=says) as raised:
        GuestAgent(transport_module.ChannelTransport(_domain(host), channel)).call("guest-ping")
    assert raised.value.domain == "web"
    assert raised.value.hint
    assert all(handle.closed for handle in host.handles[1:])


def test_a_channel_has_one_client_unless_it_is_taken(host: Hypervisor) -> None:
    _channel(host, "connected")
    domain = _domain(host)
    first = domain.open_channel(CHANNEL)
    with pytest.raises(_errors.ChannelBusy):
        domain.open_channel(CHANNEL)
    second = domain.open_channel(CHANNEL, force=True)
    with pytest.raises(ConnectionError):
        first.receive(Deadline(30))
    first.close()
    second.close()
    domain.open_channel(CHANNEL).close()
    assert [handle.closed for handle in host.handles] == [False, True, True, True, True]


def test_what_comes_too_late_is_the_next_calls(host: Hypervisor) -> None:
    ends: list[socket.socket] = []
    _channel(host, "connected")
    host.domains[0].channels[CHANNEL] = ends.append
    stream = _domain(host).open_channel(CHANNEL)
    with pytest.raises(TimeoutError):
        stream.receive(Deadline(0.05))
    ends[0].sendall(b"late")
    assert stream.receive(Deadline(30)) == b"late"
    ends[0].close()
    with pytest.raises(ConnectionError):
        stream.receive(Deadline(30))
    stream.close()


def test_when_the_time_is_over_nothing_is_looked_for_any_more(host: Hypervisor) -> None:
    """A look that began then would be what the next call waits for first."""
    ends: list[socket.socket] = []
    _channel(host, "connected")
    host.domains[0].channels[CHANNEL] = ends.append
    stream = _domain(host).open_channel(CHANNEL)
    clock = FakeClock()
    looks: list[float] = []

    def slow() -> None:
        looks.append(clock.monotonic())
        clock.sleep(5)

    host.domains[0].streams[CHANNEL].fetch = slow  # type: ignore[method-assign]
    with pytest.raises(TimeoutError):
        stream.receive(Deadline(5, clock))
    stream.send(b"more", Deadline(5))
    assert len(looks) == 1
    stream.close()


def test_what_came_too_late_to_be_sent_is_not_sent_later_on(host: Hypervisor) -> None:
    ends: list[socket.socket] = []
    _channel(host, "connected")
    host.domains[0].channels[CHANNEL] = ends.append
    stream = _domain(host).open_channel(CHANNEL)
    for data in (b"x" * 5_000_000, b"lost"):
        with pytest.raises(TimeoutError):
            stream.send(data, Deadline(0.1))
    ends[0].settimeout(30)
    read = bytearray()
    while len(read) < 5_000_000:
        read += ends[0].recv(65536)
    assert read == b"x" * 5_000_000
    stream.send(b"more", Deadline(30))
    assert ends[0].recv(100) == b"more"
    stream.close()


def test_a_send_that_nobody_reads_is_freed_by_force(host: Hypervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stream, "_ABORT_SECONDS", 0.1)
    ends: list[socket.socket] = []
    _channel(host, "connected")
    host.domains[0].channels[CHANNEL] = ends.append
    before = set(threading.enumerate())
    stream = _domain(host).open_channel(CHANNEL)
    stuck = host.domains[0].streams[CHANNEL]
    with pytest.raises(TimeoutError):
        stream.send(b"x" * 5_000_000, Deadline(0.2))
    with pytest.raises(TimeoutError):
        stream.send(b"more", Deadline(0.1))
    # libvirtd reads nothing of that connection, so neither its abort
    freed = threading.Event()
    abort = stuck.abort
    monkeypatch.setattr(stuck, "abort", lambda: freed.wait(60) if threading.current_thread().name == "virtops-abort" else abort())
    started = time.monotonic()
    stream.close()
    assert time.monotonic() - started < 30
    assert stuck.aborted
    freed.set()
    ours = [thread for thread in set(threading.enumerate()) - before if thread.name in ("virtops-send", "virtops-abort")]
    for thread in ours:
        thread.join(30)
    assert not any(thread.is_alive() for thread in ours)


def test_one_that_opens_too_late_is_closed(host: Hypervisor) -> None:
    _channel(host, "connected")
    host.domains[0].hangs.add("openChannel")
    domain = _hypervisor.connect(samples.URI, 0.2).domain("web")
    with pytest.raises(_errors.HypervisorUnreachable):
        domain.open_channel(CHANNEL)
    let_go(host)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (CHANNEL in host.domains[0].streams and host.domains[0].streams[CHANNEL].aborted):
        time.sleep(0.01)
    assert host.domains[0].streams[CHANNEL].aborted


def test_the_channels_of_a_domain(host: Hypervisor) -> None:
    assert domain_xml.channels(host.domains[0].text) == {}
    _channel(host, "connected")
    _channel(host, "disconnected", "org.virtops.guest_agent.0")
    assert domain_xml.channels(host.domains[0].text) == {CHANNEL: "connected", "org.virtops.guest_agent.0": "disconnected"}
    off = f"<domain><devices><channel type='unix'><target type='virtio' name='{CHANNEL}'/></channel></devices></domain>"
    assert domain_xml.channels(off) == {CHANNEL: None}
    device = domain_xml.channel_device("a'<&\"b")
    assert domain_xml.channels(f"<domain><devices>{device}</devices></domain>") == {"a'<&\"b": None}
