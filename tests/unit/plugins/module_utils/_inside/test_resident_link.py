# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each way to a resident makes of its troubles. The ways themselves are tried by test_resident.py and on real guests."""

from __future__ import annotations

import base64
import struct
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import HypervisorUnreachable, ProtocolError
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import data_lane, lanes
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.resident_link import PipesLink, PortLink


class Stream:
    """libvirt's stream as ``_libvirt.stream`` has it: bytes, or the trouble that is next."""

    def __init__(self, *next_ones: bytes | Exception) -> None:
        self.next = list(next_ones)
        self.sent = b""
        self.closed = False

    def send(self, data: bytes, _deadline: t.Any) -> None:
        if self.next and isinstance(self.next[0], Exception):
            raise self.next.pop(0)
        self.sent += data

    def receive(self, _deadline: t.Any) -> bytes:
        found = self.next.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        self.closed = True


class Domain:
    name = "web1"

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.opened: list[str] = []

    def open_channel(self, name: str) -> Stream:
        self.opened.append(name)
        return self.stream


def link(*next_ones: bytes | Exception) -> tuple[PortLink, Stream]:
    domain = Domain(Stream(*next_ones))
    found = PortLink(t.cast("t.Any", domain))
    assert domain.opened == [data_lane.PORT]
    return found, domain.stream


def test_bytes_go_there_and_back() -> None:
    found, stream = link(b"answer", TimeoutError())
    found.send(b"question")
    assert found.receive(1) == b"answer"
    assert found.receive(1) == b""
    found.close()
    assert (stream.sent, stream.closed) == (b"question", True)


@pytest.mark.parametrize("trouble", [TimeoutError(), ConnectionResetError("the other end is gone")])
def test_what_breaks_it_is_told_by_its_domain(trouble: Exception) -> None:
    found, _stream = link(trouble)
    with pytest.raises(HypervisorUnreachable, match=r"^Domain web1: (nothing moved for 15 s|the other end is gone)"):
        found.send(b"question")


def test_a_link_that_breaks_while_it_is_read() -> None:
    found, _stream = link(ConnectionResetError("the other end is gone"))
    with pytest.raises(HypervisorUnreachable):
        found.receive(1)


def test_the_last_words_fail_silently() -> None:
    found, stream = link(TimeoutError())
    found.send_last(b"over")
    assert stream.sent == b""


class Agent:
    """One that has opened both pipes, reads ``pieces`` from one, and writes as many bytes as it likes."""

    name = "web1"

    def __init__(self, *pieces: bytes, writes: int = 0) -> None:
        self._pieces = list(pieces)
        self._writes = writes

    def call(self, command: str, _arguments: object) -> t.Any:
        if command == "guest-file-open":
            return 7
        if command == "guest-file-write":
            return {"count": self._writes, "eof": False}
        if command == "guest-file-flush":
            return {}
        piece = self._pieces.pop(0)
        return {"count": len(piece), "buf-b64": base64.b64encode(piece).decode(), "eof": False}


def pipes(*pieces: bytes, writes: int = 0) -> PipesLink:
    return PipesLink(t.cast("t.Any", Agent(*pieces, writes=writes)), "/run/x")


def block(length: int) -> bytes:
    return struct.pack(">I", length).ljust(4096, b"x")


def test_an_answer_of_several_pieces() -> None:
    assert pipes(block(5000), b"y" * 908).receive(1) == b"x" * 4092 + b"y" * 908


@pytest.mark.parametrize(
    ("pieces", "what"),
    [
        ([block(5000)[:-1]], "has no beginning"),
        ([block(lanes.READ_MAX + 1), b"y" * (lanes.READ_MAX + 1 - 4092)], "is too long"),
        ([block(5000), b"y" * 907], "has no end"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_answer_that_makes_no_sense(pieces: list[bytes], what: str) -> None:
    with pytest.raises(ProtocolError, match=f"the resident's answer {what}"):
        pipes(*pieces).receive(1)


def test_less_was_written_than_was_given() -> None:
    with pytest.raises(ProtocolError, match="wrote less than it was given"):
        pipes(writes=7).send(b"question")
    pipes(writes=8).send(b"question")
