# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who watches over which guest on this host, so that a watchdog can be asked to thaw, or dismissed when the guest is another's.

Each watchdog listens on an abstract unix socket that is named after the domain's UUID and its own process id: it needs no file,
and ends with the process. Both ends accept only their own user and root.

What it hears says since when that is so (CLOCK_MONOTONIC, which all processes of a host share): the freeze of a watchdog that
holds since later is another one, and is watched on.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import typing as t
from pathlib import Path

from .._deadline import Deadline

_PREFIX: t.Final = "virtops.guest_agent/watchdog"
_DISMISSED, _THAW = "dismissed", "thaw"
_HEARD: t.Final = b"."
_MESSAGE_MAX: t.Final = 64
_ANSWER_MAX: t.Final = 4096
_ANSWER_SECONDS: t.Final = 2.0
#: A watchdog that holds a freeze looks at its socket once a second at least.
_HEARD_SECONDS: t.Final = 3.0
_SOCKETS: t.Final = Path("/proc/net/unix")


class Word(t.NamedTuple):
    """What a watchdog hears: that its freeze from before ``since`` is over, or is to be thawed and the sender told."""

    thaw: bool
    since: float
    link: socket.socket

    def answer(self, **what: t.Any) -> None:
        with contextlib.suppress(OSError):
            self.link.sendall(json.dumps(what).encode())

    def close(self) -> None:
        self.link.close()


class Ear:
    """Where a watchdog is spoken to."""

    def __init__(self, listener: socket.socket | None) -> None:
        self._listener = listener

    def wait(self, seconds: float) -> Word | None:
        """What came within ``seconds``; None for nothing."""
        listener = [] if self._listener is None else [self._listener]
        readable, _writable, _failed = select.select(listener, [], [], seconds)
        return self._accept() if readable else None

    def _accept(self) -> Word | None:
        if self._listener is None:
            return None
        with contextlib.suppress(OSError, ValueError):
            link, _address = self._listener.accept()
            link.settimeout(_ANSWER_SECONDS)
            word, _blank, since = link.recv(_MESSAGE_MAX).decode("ascii", "replace").partition(" ")
            if word in (_DISMISSED, _THAW) and _may(link):
                with contextlib.suppress(OSError):  # it need not wait for an answer
                    link.sendall(_HEARD)
                return Word(word == _THAW, float(since), link)
            link.close()
        return None


@contextlib.contextmanager
def registered(uuid: str) -> t.Iterator[Ear]:
    """This process watches over the domain. Where there is no such socket to be had it cannot be dismissed, and watches on."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with listener:
        try:
            listener.bind(f"\0{_PREFIX}/{uuid}/{os.getpid()}")
            listener.listen(8)
        except OSError:
            yield Ear(None)
        else:
            yield Ear(listener)


def dismiss(uuid: str, since: float, but: int = 0) -> None:
    """End the watchdogs of this user over freezes of the domain from before ``since``, but for the process ``but``."""
    for link in _told(uuid, _DISMISSED, since, but):
        link.close()


def ask_to_thaw(uuid: str, since: float, seconds: float) -> dict[str, t.Any]:
    """The answer of a watchdog of this user that has thawed its freeze, from before ``since``; empty where none has."""
    links = _told(uuid, _THAW, since, 0)
    deadline, heard = Deadline(_HEARD_SECONDS), False
    try:
        while links and not deadline.expired():
            for link in select.select(links, [], [], deadline.remaining())[0]:
                data = _received(link)
                if not data:
                    links.remove(link)
                elif data != _HEARD:
                    return t.cast("dict[str, t.Any]", json.loads(data.lstrip(_HEARD)))
                elif not heard:
                    deadline, heard = Deadline(seconds), True
    finally:
        for link in links:
            link.close()
    return {}


def _received(link: socket.socket) -> bytes:
    try:
        return link.recv(_ANSWER_MAX)
    except OSError:
        return b""


def _told(uuid: str, word: str, since: float, but: int) -> list[socket.socket]:
    links = []
    for name in _names(f"{_PREFIX}/{uuid}/"):
        if name.rpartition("/")[2] == str(but):
            continue
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.settimeout(_ANSWER_SECONDS)
            link.connect(f"\0{name}")
            if _may(link):
                link.sendall(f"{word} {since!r}".encode())
                links.append(link)
                continue
        except OSError:
            pass
        link.close()
    return links


def _names(prefix: str) -> list[str]:
    """Abstract sockets in use whose names start so."""
    try:
        lines = _SOCKETS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = (line.split(maxsplit=7)[-1] for line in lines[1:])
    return sorted({name[1:] for name in found if name.startswith(f"@{prefix}")})


def _may(link: socket.socket) -> bool:
    credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", credentials)
    return uid in (os.geteuid(), 0)
