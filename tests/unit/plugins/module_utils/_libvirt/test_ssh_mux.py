# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A conversation with a master that is here, is not, says no, or says nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import ssh_mux
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt.ssh_mux import SUFFIX, Master, Refused
from ansible_collections.virtops.guest_agent.tests.unit.fakes.ssh_master import (
    CLOSE,
    GREETING,
    HELLO,
    OPEN,
    STOP,
    FakeMaster,
    Listener,
    daemon,
)

SECONDS = 30.0


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    # A short path: a socket's may have 107 bytes.
    monkeypatch.chdir(tmp_path)
    return "control"


@contextlib.contextmanager
def _master(control: str, **options: t.Any) -> t.Iterator[FakeMaster]:
    with contextlib.closing(FakeMaster(control, **options)) as fake:
        yield fake


def _heard(path: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        client.connect(path)
        return client.recv(100)


def test_a_forward_is_there_while_it_is_needed(control: str) -> None:
    with _master(control) as fake, contextlib.closing(daemon("daemon")), contextlib.closing(Master(control, SECONDS)) as master:
        with master.forwarded("daemon") as first, master.forwarded("daemon") as second:
            assert first != second
            assert len(first) == len(control) + SUFFIX
            assert _heard(first) == _heard(second) == GREETING
        assert fake.forwards == {}
        assert fake.said == [OPEN, OPEN, CLOSE, CLOSE]
    assert sorted(os.listdir()) == ["daemon"]


def test_a_forward_goes_with_a_failure(control: str) -> None:
    with _master(control) as fake, contextlib.closing(Master(control, SECONDS)) as master:
        with pytest.raises(KeyboardInterrupt), master.forwarded("daemon"):
            raise KeyboardInterrupt
        assert fake.forwards == {}
        assert os.listdir() == ["control"]


def test_a_master_that_goes_meanwhile(control: str) -> None:
    with _master(control) as fake, contextlib.closing(Master(control, SECONDS)) as master, master.forwarded("daemon") as local:
        fake.close()
        master._socket.shutdown(socket.SHUT_RDWR)
    assert not os.path.exists(local)


def test_it_is_told_to_stop(control: str) -> None:
    with _master(control) as fake, contextlib.closing(Master(control, SECONDS)) as master:
        master.stop()
        assert fake.said == [STOP]
        with pytest.raises(FileNotFoundError):
            Master(control, SECONDS)


def test_it_may_not_forward(control: str) -> None:
    with _master(control, refuses=True), contextlib.closing(Master(control, SECONDS)) as master:
        with pytest.raises(Refused, match="no"), master.forwarded("daemon"):
            pass
        assert os.listdir() == ["control"]


def test_it_speaks_another_version(control: str) -> None:
    with _master(control, version=5), pytest.raises(Refused, match="another version"):
        Master(control, SECONDS)


def test_it_is_silent(control: str) -> None:
    with _master(control, silent={HELLO}), pytest.raises(TimeoutError):
        Master(control, 0.2)


@pytest.mark.parametrize(
    ("says", "why"),
    [(b"", "is gone"), (b"\0\0", "is gone"), (b"\xff\xff\xff\xff", "no answer"), (b"HTTP/1.1 400 Bad Request", "no answer")],
)
def test_what_says_something_else(control: str, says: bytes, why: str) -> None:
    def serve(client: socket.socket) -> None:
        client.recv(100)
        client.sendall(says)

    with contextlib.closing(Listener(control, serve)), pytest.raises(Refused, match=why):
        Master(control, SECONDS)


def test_nobody_is_there(control: str) -> None:
    with pytest.raises(FileNotFoundError):
        Master(control, SECONDS)
    Listener(control, lambda client: None).close()
    with pytest.raises(ConnectionError):
        Master(control, SECONDS)


def test_a_crowd_is_no_reason_to_call_it_gone(control: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket with no room for one more refuses at once who has a timeout; here there is room after the first refusal."""
    with socket.socket(socket.AF_UNIX) as slow, contextlib.ExitStack() as crowd:
        slow.bind(control)
        slow.listen(0)
        crowd.enter_context(socket.socket(socket.AF_UNIX)).connect(control)
        with pytest.raises(BlockingIOError):
            Master(control, 0.05)

        class MakesRoom(ssh_mux.Deadline):
            def sleep(self, _seconds: float) -> None:
                crowd.enter_context(slow.accept()[0])

        monkeypatch.setattr(ssh_mux, "Deadline", MakesRoom)
        with pytest.raises(TimeoutError):
            Master(control, 0.2)
