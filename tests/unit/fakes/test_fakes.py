# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""FakeGuest and a real qemu-ga on a unix socket get the same questions; what the fake gets wrong, fails here."""

from __future__ import annotations

import contextlib
import json
import socket
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent import protocol
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import FREEZE_ALLOWED, GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.transport import Transport, UnixSocketTransport
from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import (
    filesystems,
    hardware,
    network,
    ssh_keys,
    statistics,
    system,
    vcpus,
)
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import exec as exec_, files, small_files
from ansible_collections.virtops.guest_agent.tests.unit import real_agent
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import VERSIONS, FakeGuest, Program
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import BLOCKED

BOOT_ID = "/proc/sys/kernel/random/boot_id"
PROGRAMS = {
    ("/bin/echo", "hello"): Program(0, b"hello\n"),
    ("/bin/sh", "-c", "echo x; echo y >&2; exit 3"): Program(3, b"x\n", b"y\n"),
    ("/bin/sh", "-c", "kill -9 $$"): Program(None, signal=9),
    ("/bin/true",): Program(),
}


@contextlib.contextmanager
def _real(directory: Path, frozen: bool) -> t.Iterator[Transport]:
    if frozen:
        # It reads this when it starts: an agent that believes it is frozen, and no filesystem that is.
        (directory / "qga.state.isfrozen").touch()
    with real_agent.listening(directory) as path:
        transport = UnixSocketTransport(str(path))
        try:
            yield transport
        finally:
            transport.close()


@contextlib.contextmanager
def _guest(kind: str, directory: Path, frozen: bool = False) -> t.Iterator[Transport]:
    if kind == "real":
        with _real(directory, frozen) as transport:
            yield transport
        return
    fake = FakeGuest(kind, BLOCKED, PROGRAMS, {BOOT_ID: b"0b5bca5e-8a3c-4a77-8e0f-2b7a0f9e8f10\n"})
    fake.frozen = frozen
    fake.authorized = {"nobody": None}
    yield fake


@pytest.fixture(scope="module", params=[*VERSIONS, "real"])
def transport(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Transport]:
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(_guest(request.param, tmp_path_factory.mktemp("agent")))


@pytest.fixture(scope="module", params=[*VERSIONS, "real"])
def frozen_transport(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Transport]:
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(_guest(request.param, tmp_path_factory.mktemp("agent"), frozen=True))


@pytest.fixture
def agent(transport: Transport) -> GuestAgent:
    return GuestAgent(transport)


REFUSALS = [
    ("guest-no-such-command", {}, _errors.CommandUnknown),
    ("guest-set-time", {}, _errors.CommandBlocked),
    ("guest-fsfreeze-freeze", {}, _errors.CommandBlocked),
    ("guest-exec", {"path": "/nonexistent/program"}, _errors.CommandFailed),
    ("guest-exec-status", {"pid": 999999}, _errors.CommandFailed),
    ("guest-exec-status", {"pid": "one"}, _errors.CommandFailed),
    ("guest-file-open", {"path": "/nonexistent/other"}, _errors.CommandFailed),
    ("guest-file-open", {}, _errors.CommandFailed),
    ("guest-ping", {"nonsense": 1}, _errors.CommandFailed),
    ("guest-set-user-password", {}, _errors.CommandBlocked),
    ("guest-ssh-get-authorized-keys", {}, _errors.CommandFailed),
    ("guest-ssh-add-authorized-keys", {"username": "no-such-user", "keys": ["# x"]}, _errors.CommandFailed),
    ("guest-ssh-remove-authorized-keys", {"username": "no-such-user", "keys": "x"}, _errors.CommandFailed),
]


@pytest.mark.parametrize(("command", "arguments", "kind"), REFUSALS)
@pytest.mark.parametrize("knows", [False, True], ids=["unasked", "after guest-info"])
def test_refusals_have_their_class(agent: GuestAgent, command: str, arguments: t.Any, kind: type, knows: bool) -> None:
    if knows:
        agent.capabilities()
    with pytest.raises(_errors.CommandRefused) as caught:
        agent.call(command, arguments)
    assert caught.value.__class__ is kind
    assert (caught.value.command, caught.value.domain) == (command, agent.name)


@pytest.mark.parametrize("command", ["guest-ping", "guest-no-such-command", "guest-set-time"])
def test_the_number_of_the_request_comes_back(transport: Transport, command: str) -> None:
    request = protocol.build(command)
    reply = json.loads(transport.exchange(request, 5))
    assert reply["id"] == request.id
    assert len(reply) == 2


def test_what_it_can_do(agent: GuestAgent) -> None:
    capabilities = agent.capabilities()
    assert capabilities.version[0].isdigit()
    assert set(BLOCKED) <= set(capabilities.blocked)
    assert not capabilities.looks_frozen()
    assert not agent.frozen()
    assert agent.can("guest-exec")
    assert not agent.can("guest-set-time")


@pytest.mark.parametrize(("argv", "program"), PROGRAMS.items())
def test_exec(agent: GuestAgent, argv: tuple[str, ...], program: Program) -> None:
    result = exec_.run(agent, argv, 10)
    assert result == exec_.ExecResult(program.rc, program.signal, program.out, program.err)


def test_an_ended_process_is_told_once(agent: GuestAgent) -> None:
    pid = agent.call("guest-exec", {"path": "/bin/true"})["pid"]
    deadline = time.monotonic() + 10
    while not (status := agent.call("guest-exec-status", {"pid": pid}))["exited"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert status == {"exited": True, "exitcode": 0}
    with pytest.raises(_errors.CommandFailed):
        agent.call("guest-exec-status", {"pid": pid})


def test_files(agent: GuestAgent) -> None:
    assert len(files.read_small(agent, BOOT_ID)) == 37
    assert len(files.read_small(agent, BOOT_ID, 8)) == 8
    handle = agent.call("guest-file-open", {"path": BOOT_ID, "mode": "r"})
    first = agent.call("guest-file-read", {"handle": handle, "count": 4096})
    assert (first["count"], first["eof"]) == (37, True)
    assert agent.call("guest-file-read", {"handle": handle}) == {"count": 0, "buf-b64": "", "eof": True}
    assert agent.call("guest-file-close", {"handle": handle}) == {}
    with pytest.raises(_errors.CommandRefused):
        agent.call("guest-file-read", {"handle": handle})


def test_the_typed_commands_can_read_it(agent: GuestAgent) -> None:
    assert system.os_info(agent)["id"]
    assert system.hostname(agent)
    assert -86400 <= system.timezone(agent)["offset_seconds"] <= 86400
    assert isinstance(system.users(agent), list)
    assert "127.0.0.1/8" in [text for found in network.interfaces(agent) for text in found["ip_addresses"]]
    assert all(found["mount_point"].startswith("/") for found in filesystems.filesystems(agent))


def test_the_typed_statistics_can_read_it(agent: GuestAgent) -> None:
    assert vcpus.vcpus(agent)[0]["id"] == 0
    assert statistics.cpu_stats(agent)[0]["idle"] >= 0
    assert all({"read_ios", "write_ios"} <= set(disk["statistics"]) for disk in statistics.disk_stats(agent))
    assert all(disk["name"].startswith("/dev/") for disk in hardware.disks(agent))
    assert statistics.blocks_of_memory(agent)["online_bytes"] > 0
    assert len(small_files.boot_id(agent)) == 36


def test_keys_of_users_that_have_none(agent: GuestAgent) -> None:
    """Nothing is written: what an agent does to the file has been compared with the fake on real guests."""
    assert ssh_keys.authorized_keys(agent, "nobody") == []
    ssh_keys.remove(agent, "nobody", ["ssh-ed25519 x"])
    for command in (
        ssh_keys.authorized_keys,
        lambda *given: ssh_keys.add(*given, ["x"]),
        lambda *given: ssh_keys.remove(*given, ["x"]),
    ):
        with pytest.raises(_errors.UserNotFound):
            command(agent, "no-such-user")


def test_frozen(frozen_transport: Transport) -> None:
    agent = GuestAgent(frozen_transport)
    assert agent.frozen()
    for knows in (False, True):
        if knows:
            assert agent.capabilities().looks_frozen()
            assert {name for name, enabled in agent.capabilities().commands.items() if enabled} >= FREEZE_ALLOWED
        for command in ("guest-exec", "guest-get-osinfo", "guest-fsfreeze-freeze", "guest-shutdown"):
            with pytest.raises(_errors.GuestFrozen):
                agent.call(command)
        with pytest.raises(_errors.CommandUnknown):
            agent.call("guest-no-such-command")
    assert agent.call("guest-ping") == {}


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(_errors.AgentDisconnected):
        GuestAgent(UnixSocketTransport(str(tmp_path / "none"))).call("guest-ping")


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [("silent", _errors.AgentTimeout), ("closes", _errors.AgentDisappeared), ("floods", _errors.ProtocolError)],
)
def test_a_socket_that_is_no_agent(tmp_path: Path, behaviour: str, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from ansible_collections.virtops.guest_agent.plugins.module_utils._agent import transport as _transport

    monkeypatch.setattr(_transport, "REPLY_MAX", 100_000)
    path = str(tmp_path / "socket")
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(path)
    server.listen()
    accepted = []

    def serve() -> None:
        link = server.accept()[0]
        accepted.append(link)
        link.recv(4096)
        if behaviour == "closes":
            link.close()
        elif behaviour == "floods":
            with contextlib.suppress(OSError):
                link.sendall(b"x" * 400_000)

    thread = threading.Thread(target=serve)
    thread.start()
    transport = UnixSocketTransport(path)
    try:
        with pytest.raises(kind):
            transport.exchange(protocol.build("guest-ping"), 1)
    finally:
        transport.close()
        thread.join()
        for link in [server, *accepted]:
            link.close()
