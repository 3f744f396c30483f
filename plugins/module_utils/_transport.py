# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways for one request to reach an agent and its reply to come back."""

from __future__ import annotations

import itertools
import json
import socket
import typing as t

from ._deadline import Deadline
from ._errors import AgentDisappeared, AgentDisconnected, AgentTimeout, ProtocolError
from ._hypervisor import Domain
from ._protocol import REPLY_MAX, Request

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


class LibvirtTransport:
    """libvirt's own link to the agent (virDomainQemuAgentCommand); it taints the domain ``custom-ga-command`` once a run."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain

    @property
    def name(self) -> str:
        return self._domain.name

    def exchange(self, request: Request, seconds: int) -> str:
        return self._domain.agent_command(request.command, request.text, seconds)


class UnixSocketTransport:
    """An agent on a unix socket, without libvirt: ``qemu-ga -m unix-listen``, or a QEMU socket chardev."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._synchronised = False
        self._buffer = b""
        self._ids = itertools.count(1)

    @property
    def name(self) -> str:
        return self._path

    def exchange(self, request: Request, seconds: int) -> str:
        deadline = Deadline(seconds)
        link = self._connected()
        if not self._synchronised:
            self._synchronise(link, deadline)
        self._synchronised = False
        self._send(link, request.text.encode() + b"\n", deadline)
        line = self._receive(link, b"\n", deadline)
        self._synchronised = True
        return line.decode("utf-8", "replace")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._synchronised = False

    def _connected(self) -> socket.socket:
        if self._socket is None:
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                link.connect(self._path)
            except OSError as error:
                link.close()
                raise AgentDisconnected(f"nobody listens on the socket ({error.strerror})", domain=self._path) from error
            self._socket = link
            self._buffer = b""
        return self._socket

    def _synchronise(self, link: socket.socket, deadline: Deadline) -> None:
        number = next(self._ids)
        sync = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
        self._send(link, _SENTINEL + json.dumps(sync).encode() + b"\n", deadline)
        self._buffer = b""
        while True:
            self._receive(link, _SENTINEL, deadline)
            try:
                reply = json.loads(self._receive(link, b"\n", deadline))
            except ValueError:
                continue
            if isinstance(reply, dict) and reply.get("return") == number:
                return

    def _send(self, link: socket.socket, data: bytes, deadline: Deadline) -> None:
        try:
            link.settimeout(max(deadline.remaining(), 0.001))
            link.sendall(data)
        except OSError as error:
            raise self._lost(error) from error

    def _receive(self, link: socket.socket, end: bytes, deadline: Deadline) -> bytes:
        while end not in self._buffer:
            if len(self._buffer) > REPLY_MAX:
                raise ProtocolError(f"the reply is longer than {REPLY_MAX} bytes", domain=self._path)
            try:
                link.settimeout(max(deadline.remaining(), 0.001))
                data = link.recv(65536)
            except OSError as error:
                raise self._lost(error) from error
            if not data:
                raise self._lost(None)
            self._buffer += data
        found, _end, self._buffer = self._buffer.partition(end)
        return found

    def _lost(self, error: OSError | None) -> AgentTimeout | AgentDisappeared:
        if isinstance(error, socket.timeout):
            return AgentTimeout("the agent did not answer in time", domain=self._path)
        self.close()
        return AgentDisappeared("the agent closed the connection", domain=self._path)
