# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An agent that is a Python object: it answers for a guest with agent="relay", well or as badly as a test wants."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

Request = dict[str, Any]
# bytes go out as they are, None is silence, anything else is the value of "return".
Reply = Any
Handler = Callable[[Request], Reply]
# Command -> Reply or Handler.
Table = Mapping[str, Any]

_SYNC_MARK = b"\xff"
_POLL_SECONDS = 0.2


class AgentError(Exception):
    """Raised by a handler to answer with an agent's error object."""

    def __init__(self, desc: str, error_class: str = "GenericError") -> None:
        super().__init__(desc)
        self.reply = {"error": {"class": error_class, "desc": desc}}


def delayed(seconds: float, reply: Reply) -> Handler:
    """Return a handler that answers late."""

    def handler(request: Request) -> Reply:
        time.sleep(seconds)
        return reply

    return handler


def default_replies() -> dict[str, Any]:
    """Return the table of a healthy agent."""
    table: dict[str, Any] = {
        "guest-sync": _echo_id,
        "guest-sync-delimited": lambda request: _SYNC_MARK + _line({"return": _echo_id(request)}),
        "guest-ping": {},
        "guest-get-host-name": {"host-name": "scripted"},
        "guest-get-osinfo": {
            "id": "scripted",
            "name": "Scripted",
            "pretty-name": "Scripted 1",
            "version": "1",
            "version-id": "1",
            "kernel-release": "6.1.0",
            "kernel-version": "#1 SMP",
            "machine": "x86_64",
        },
        "guest-get-timezone": {"zone": "UTC", "offset": 0},
        "guest-get-time": lambda request: time.time_ns(),
        "guest-get-users": [],
        "guest-get-fsinfo": [],
        "guest-get-disks": [],
        "guest-get-vcpus": [{"logical-id": 0, "online": True, "can-offline": False}],
        "guest-network-get-interfaces": [
            {
                "name": "eth0",
                "hardware-address": "52:54:00:00:00:01",
                "ip-addresses": [{"ip-address": "10.0.2.15", "ip-address-type": "ipv4", "prefix": 24}],
            }
        ],
        "guest-fsfreeze-status": "thawed",
    }
    table["guest-info"] = lambda request: agent_info([*table, "guest-info"])
    return table


def agent_info(commands: Iterable[str], version: str = "7.2.22", disabled: Iterable[str] = ()) -> dict[str, Any]:
    """Return what guest-info returns for these commands."""
    off = set(disabled)
    return {
        "version": version,
        "supported_commands": [
            {"name": name, "enabled": name not in off, "success-response": True} for name in sorted({*commands, *off})
        ],
    }


class Script:
    """What an agent answers, on whatever way it is asked.

    replies: command -> value for "return", bytes to send as they are, None for silence, or a callable that is given
    the request and returns one of these or raises AgentError.
    numbers: what becomes of the "id" of a request: returned, dropped (qemu-ga before 4.0) or refused (before 2.12).
    """

    def __init__(self, replies: Table, numbers: str = "returned") -> None:
        self.requests: list[Request] = []
        self.replies: dict[str, Any] = dict(replies)
        self._numbers = numbers

    def answer(self, request: Request) -> bytes | None:
        """Return the reply, with its end of line if it is to have one; None is silence."""
        self.requests.append(request)
        name = str(request.get("execute") or request.get("exec"))
        try:
            if "id" in request and self._numbers == "refused":
                raise AgentError("QMP input object member 'id' is unexpected")
            reply = self._reply(name, request)
        except AgentError as error:
            message: dict[str, Any] = dict(error.reply)
        else:
            if reply is None or isinstance(reply, bytes):
                return reply
            message = {"return": reply}
        if self._numbers == "returned" and "id" in request:
            message["id"] = request["id"]
        return _line(message)

    def _reply(self, name: str, request: Request) -> Reply:
        if name not in self.replies:
            raise AgentError(f"The command {name} has not been found", "CommandNotFound")
        reply = self.replies[name]
        return reply(request) if callable(reply) else reply


class ScriptedAgent:
    """Answer on a socket from a table, in a thread, until stopped.

    replies: as those of a Script; they are laid over the table of a healthy agent, unless ``alone``.
    """

    def __init__(self, path: Path, replies: Table | None = None, *, numbers: str = "returned", alone: bool = False) -> None:
        self._script = Script({**({} if alone else default_replies()), **(replies or {})}, numbers)
        self._stop = threading.Event()
        self._sending = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(str(path))
        self._thread = threading.Thread(target=self._serve, name="lab-scripted-agent", daemon=True)
        self._thread.start()

    def __enter__(self) -> ScriptedAgent:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering."""
        self._stop.set()
        self._thread.join(timeout=10)
        self._socket.close()

    @property
    def requests(self) -> list[Request]:
        """The requests received so far, in order."""
        return self._script.requests

    @property
    def replies(self) -> dict[str, Any]:
        """The table, which may be changed."""
        return self._script.replies

    def send(self, data: bytes) -> None:
        """Send bytes nobody asked for."""
        with self._sending:
            self._socket.sendall(data)

    def commands(self) -> list[str]:
        """Return the commands received so far, in order."""
        return [str(request.get("execute")) for request in list(self.requests)]

    def _serve(self) -> None:
        waiting = b""
        while not self._stop.is_set():
            if not select.select([self._socket], [], [], _POLL_SECONDS)[0]:
                continue
            with contextlib.suppress(OSError):
                if data := self._socket.recv(65536):
                    waiting = self._take(waiting + data)
                    continue
            return

    def _take(self, data: bytes) -> bytes:
        """Answer every complete line; return the rest."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            # What precedes the mark of guest-sync-delimited is left from before, and not for us.
            text = line.rpartition(_SYNC_MARK)[2].strip()
            if text:
                self._answer(json.loads(text))
        return rest

    def _answer(self, request: Request) -> None:
        reply = self._script.answer(request)
        if reply is not None:
            self.send(reply)


def _echo_id(request: Request) -> Any:
    return request.get("arguments", {}).get("id")


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
