# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two ways to the resident of a guest: a virtio port of the domain, and named pipes that the agent opens like files."""

from __future__ import annotations

import base64
import contextlib
import re
import struct
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._deadline import SYSTEM_CLOCK, Clock, Deadline
from .._errors import CommandFailed, GuestAgentError, HypervisorUnreachable, ProtocolError
from .._libvirt.hypervisor import Domain
from .._libvirt.stream import ChannelStream
from . import data_lane
from .lanes import READ_MAX, WRITE_MAX, decoded
from .resident_program import wire

#: What is read of a pipe first is a block with the length of an answer and its beginning, as ``resident_program.links`` writes it.
_LENGTH: t.Final = struct.Struct(">I")
_NOTHING: t.Final = re.compile("temporarily unavailable")
#: How long the guest may leave what is sent to it unread.
_STALL: t.Final = 15.0


class Link(t.Protocol):
    """A stream of bytes to and from the resident. What breaks it raises GuestAgentError; then it is of no use any more."""

    @property
    def polls(self) -> bool:
        """Whether each look for bytes is a request of its own, so that one looks seldom."""

    def send(self, data: bytes) -> None:
        """All of ``data``."""

    def receive(self, seconds: float) -> bytes:
        """What has arrived; nothing when ``seconds`` are over. One that polls looks once and does not wait."""

    def send_last(self, data: bytes) -> None:
        """``data`` as the last bytes before ``close``."""

    def close(self) -> None:
        """Whatever has happened; it raises nothing."""


class PortLink:
    """libvirt's stream to the virtio port."""

    polls = False

    def __init__(self, domain: Domain, clock: Clock = SYSTEM_CLOCK) -> None:
        """
        :raise ChannelBusy: another client of libvirt holds the port.
        """
        self._name = domain.name
        self._clock = clock
        self._stream: ChannelStream = domain.open_channel(data_lane.PORT)

    def send(self, data: bytes) -> None:
        with self._errors():
            try:
                self._stream.send(data, Deadline(_STALL, self._clock))
            except TimeoutError:
                raise ConnectionError(f"nothing moved for {_STALL:g} s") from None

    def receive(self, seconds: float) -> bytes:
        with self._errors():
            try:
                return self._stream.receive(Deadline(seconds, self._clock))
            except TimeoutError:
                return b""

    def send_last(self, data: bytes) -> None:
        with contextlib.suppress(GuestAgentError):
            self.send(data)

    def close(self) -> None:
        self._stream.close()

    @contextlib.contextmanager
    def _errors(self) -> t.Iterator[None]:
        try:
            yield
        except ConnectionError as error:
            raise HypervisorUnreachable(str(error), domain=self._name) from error


class PipesLink:
    """guest-file-read and guest-file-write on named pipes (qemu-ga opens files so that these do not block it)."""

    polls = True

    def __init__(self, agent: GuestAgent, directory: str) -> None:
        """
        :raise CommandFailed: they are not there.
        """
        self._agent = agent
        #: the agent's numbers of its open files
        self.handles = [self._open(f"{directory}/in")]
        try:
            self.handles.append(self._open(f"{directory}/out"))
        except BaseException:
            self.close()
            raise

    def send(self, data: bytes) -> None:
        handle = self.handles[0]
        for start in range(0, len(data), WRITE_MAX):
            self._write(handle, data[start : start + WRITE_MAX])
        self._agent.call("guest-file-flush", {"handle": handle})

    def send_last(self, data: bytes) -> None:
        """The same, with what ``close`` sends."""
        with contextlib.suppress(GuestAgentError):
            self._write(self.handles[0], data)

    def _write(self, handle: int, piece: bytes) -> None:
        arguments = {"handle": handle, "buf-b64": base64.b64encode(piece).decode("ascii")}
        reply = untrusted.mapping(self._agent.call("guest-file-write", arguments))
        if untrusted.integer(reply.get("count"), "the number of written bytes", 0, len(piece)) != len(piece):
            raise ProtocolError("the agent wrote less than it was given", domain=self._agent.name)

    def receive(self, seconds: float) -> bytes:
        block = self._read(wire.BLOCK)
        if not block:
            return b""
        if len(block) != wire.BLOCK:
            raise ProtocolError("the resident's answer has no beginning", domain=self._agent.name)
        (length,) = _LENGTH.unpack_from(block)
        if length > READ_MAX:
            raise ProtocolError("the resident's answer is too long", domain=self._agent.name)
        data = block[_LENGTH.size :][:length]
        rest = length - len(data)
        if rest > 0:
            data += self._read(rest)
        if len(data) != length:
            raise ProtocolError("the resident's answer has no end", domain=self._agent.name)
        return data

    def close(self) -> None:
        handles, self.handles = self.handles, []
        for handle in handles:
            with contextlib.suppress(GuestAgentError):
                self._agent.call("guest-file-close", {"handle": handle})

    def _open(self, path: str) -> int:
        # For reading and writing, or the agent would wait for another program at the pipe, and answer nothing else.
        return untrusted.integer(self._agent.call("guest-file-open", {"path": path, "mode": "r+"}), "a file handle")

    def _read(self, count: int) -> bytes:
        try:
            reply = untrusted.mapping(self._agent.call("guest-file-read", {"handle": self.handles[1], "count": count}))
        except CommandFailed as error:
            if _NOTHING.search(error.detail):
                return b""
            raise
        return decoded(reply.get("buf-b64"))
