# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who watches over which guest on this host, so that a watchdog can be dismissed when the guest is somebody else's.

Each watchdog listens on an abstract unix socket that is named after the domain's UUID and its own process id: it needs no file,
and ends with the process. Both ends accept nobody but their own user and root.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import typing as t
from pathlib import Path

_PREFIX: t.Final = "virtops.guest_agent/watchdog"
_WORD: t.Final = b"dismissed"
_ANSWER_SECONDS: t.Final = 2.0
_SOCKETS: t.Final = Path("/proc/net/unix")


class Dismissal:
    """A watchdog's ear."""

    def __init__(self, listener: socket.socket | None) -> None:
        self._listener = listener

    def wait(self, seconds: float) -> bool:
        """Whether a dismissal came within ``seconds``."""
        listener = [] if self._listener is None else [self._listener]
        readable, _writable, _failed = select.select(listener, [], [], seconds)
        return bool(readable) and self._accept()

    def forget(self) -> None:
        """Whatever has come until now does not count."""
        while self._listener is not None and select.select([self._listener], [], [], 0)[0]:
            self._accept()

    def _accept(self) -> bool:
        if self._listener is None:
            return False
        with contextlib.suppress(OSError):
            link, _address = self._listener.accept()
            with link:
                link.settimeout(_ANSWER_SECONDS)
                return _may(link) and link.recv(len(_WORD)) == _WORD
        return False


@contextlib.contextmanager
def registered(uuid: str) -> t.Iterator[Dismissal]:
    """This process watches over the domain. Where there is no such socket to be had it cannot be dismissed, and watches on."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with listener:
        try:
            listener.bind(f"\0{_PREFIX}/{uuid}/{os.getpid()}")
            listener.listen(8)
        except OSError:
            yield Dismissal(None)
        else:
            yield Dismissal(listener)


def dismiss(uuid: str, but: int = 0) -> None:
    """End the watchdogs of this user over the domain, but for the process ``but``. They do not thaw any more."""
    for name in _names(f"{_PREFIX}/{uuid}/"):
        if name.rpartition("/")[2] == str(but):
            continue
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(_ANSWER_SECONDS)
            link.connect(f"\0{name}")
            if _may(link):
                link.sendall(_WORD)


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
