# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways for one request to reach an agent and its reply to come back."""

from __future__ import annotations

import json
import re
import secrets
import socket
import typing as t

from .._deadline import Deadline
from .._errors import AgentDisappeared, AgentDisconnected, AgentTimeout, ProtocolError
from .protocol import REPLY_MAX, Request

#: Sent by the agent before the reply to guest-sync-delimited, and to the agent to end whatever half a request it holds.
_SENTINEL: t.Final = b"\xff"


class Transport(t.Protocol):
    """Carries one request at a time."""

    @property
    def name(self) -> str:
        """The domain, or whatever else errors should call the guest."""

    def exchange(self, request: Request, seconds: int) -> str:
        """The reply line to ``request``.

        :raise AgentUnavailable: nothing was sent.
        :raise UnknownOutcome: it was sent, and no reply came within ``seconds``.
        :raise CommandRefused: the transport itself reports the agent's error (libvirt does).
        """

    def renew(self, seconds: float) -> None:
        """Find another way to the guest, within ``seconds``, where the one that was is lost.

        :raise HypervisorUnreachable: there is none yet.
        :raise DomainNotFound: the domain went with it.
        :raise DomainOff: there is no way any more.
        """


class Link(t.Protocol):
    """Bytes to an agent and back. Both calls raise TimeoutError at the deadline, and ConnectionError when the link is broken."""

    def send(self, data: bytes, deadline: Deadline) -> None:
        """All of ``data``."""

    def receive(self, deadline: Deadline) -> bytes:
        """At least one byte, or none where the other end has closed the link."""

    def close(self) -> None:
        """Without an error, also twice."""


class LinkTransport:
    """qemu-ga's protocol over a link of our own: one line there, one line back, put in step by guest-sync-delimited (1.1)."""

    def __init__(self, name: str, open_link: t.Callable[[Deadline], Link]) -> None:
        self._name = name
        self._open_link = open_link
        self._link: Link | None = None
        self._in_step = False
        self._buffer = bytearray()

    @property
    def name(self) -> str:
        return self._name

    def exchange(self, request: Request, seconds: int) -> str:
        deadline = Deadline(seconds)
        if self._link is None:
            self._link = self._open_link(deadline)
            self._buffer.clear()
        try:
            if not self._in_step:
                self._synchronise(self._link, deadline)
            self._in_step = False
            self._link.send(request.text.encode() + b"\n", deadline)
            line = self._receive(self._link, b"\n", deadline)
        except TimeoutError as error:
            raise AgentTimeout("the agent did not answer in time", domain=self.name) from error
        except ConnectionError as error:
            self.close()
            raise AgentDisappeared("the agent closed the connection", domain=self.name) from error
        except ProtocolError:
            self.close()
            raise
        # Whatever else came may be an answer out of turn, and so may one without a number: the next request starts afresh.
        self._in_step = not self._buffer and request.id is not None and bool(re.search(rb'"id":\s*%d\b' % request.id, line))
        return line.decode("utf-8", "replace")

    def renew(self, seconds: float) -> None:
        """Nothing: a link that broke is opened anew by the next request."""

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = None
        self._in_step = False

    def _synchronise(self, link: Link, deadline: Deadline) -> None:
        # Another client's number, or that of a process before this one, must not be taken for ours.
        number = secrets.randbelow(2**53)
        sync = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
        link.send(_SENTINEL + json.dumps(sync).encode() + b"\n", deadline)
        self._buffer.clear()
        while True:
            self._receive(link, _SENTINEL, deadline)
            try:
                reply = json.loads(self._receive(link, b"\n", deadline))
            except (ValueError, RecursionError):
                continue
            if isinstance(reply, dict) and reply.get("return") == number:
                return

    def _receive(self, link: Link, end: bytes, deadline: Deadline) -> bytes:
        searched = 0
        while (found := self._buffer.find(end, searched)) < 0:
            searched = len(self._buffer)
            if searched > REPLY_MAX:
                raise ProtocolError(f"the reply is longer than {REPLY_MAX} bytes", domain=self.name)
            self._buffer += link.receive(deadline)
        line = bytes(self._buffer[:found])
        del self._buffer[: found + len(end)]
        return line


class UnixSocketTransport(LinkTransport):
    """An agent on a unix socket, without libvirt: ``qemu-ga -m unix-listen``, or a QEMU socket chardev."""

    def __init__(self, path: str, name: str = "") -> None:
        """``name``: what errors call the guest, if not the path."""
        super().__init__(name or path, lambda deadline: _SocketLink(path, name or path, deadline))


class _SocketLink:
    def __init__(self, path: str, name: str, deadline: Deadline) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._wait_until(deadline)
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise AgentDisconnected(f"no agent listens on the socket ({error.strerror or error})", domain=name) from error

    def send(self, data: bytes, deadline: Deadline) -> None:
        self._wait_until(deadline)
        try:
            self._socket.sendall(data)
        except socket.timeout:
            raise TimeoutError from None
        except OSError as error:
            raise ConnectionError from error

    def receive(self, deadline: Deadline) -> bytes:
        self._wait_until(deadline)
        try:
            data = self._socket.recv(65536)
        except socket.timeout:
            raise TimeoutError from None
        except OSError as error:
            raise ConnectionError from error
        if not data:
            raise ConnectionError
        return data

    def close(self) -> None:
        self._socket.close()

    def _wait_until(self, deadline: Deadline) -> None:
        self._socket.settimeout(max(deadline.remaining(), 0.001))
