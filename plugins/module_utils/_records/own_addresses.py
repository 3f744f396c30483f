# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Addresses of a hypervisor and of the computer that asks it: a guest that has one of them is not reached there."""

from __future__ import annotations

import functools
import glob
import ipaddress
import socket
import threading
import typing as t
import urllib.parse

from .._deadline import Deadline
from .addresses import OWN, Candidate, canonical

#: What the resolver may take; a name that only ssh's configuration knows is none to it.
_RESOLVE_SECONDS: t.Final = 1.0
#: Any port will do: nothing is sent.
_PORT: t.Final = 9


class OwnAddresses:
    """Of one hypervisor and of this computer. The hypervisor's name is resolved in the background."""

    def __init__(self, uri: str) -> None:
        self._resolved: frozenset[str] = frozenset()
        self._resolver: threading.Thread | None = None
        self._patience = Deadline(_RESOLVE_SECONDS)
        host = host_of(uri)
        if host is not None:
            self._resolver = threading.Thread(target=self._resolve, args=(host,), name="virtops-resolve", daemon=True)
            self._resolver.start()

    def mark(self, candidates: t.Iterable[Candidate]) -> None:
        """Give those that are no guest's the source ``OWN``, which no policy uses."""
        if self._resolver is not None:
            self._resolver.join(self._patience.remaining())
        for candidate in candidates:
            address = canonical(candidate["address"])
            # A controller may well be a guest of the hypervisor that it asks.
            if address in self._resolved or (_is_ours(address) and candidate["mac"] not in _our_macs()):
                candidate["source"] = OWN

    def _resolve(self, host: str) -> None:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError):
            return
        self._resolved = frozenset(canonical(str(place[0]).partition("%")[0]) for *_kind, place in found)


def host_of(uri: str) -> str | None:
    """The host in a libvirt URI; None for the hypervisor of this computer."""
    try:
        return urllib.parse.urlsplit(uri).hostname or None
    except ValueError:
        return None


@functools.lru_cache(maxsize=4096)
def _is_ours(text: str) -> bool:
    """To one of its own addresses a kernel sends from that address itself."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast:
        return False
    try:
        with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect((text, _PORT))
            return canonical(probe.getsockname()[0]) == text
    except OSError:
        return False


@functools.cache
def _our_macs() -> frozenset[str]:
    found = set()
    for path in glob.glob("/sys/class/net/*/address"):
        try:
            with open(path, encoding="ascii") as file:
                found.add(file.read().strip().lower())
        except OSError:
            continue
    return frozenset(found - {"", "00:00:00:00:00:00"})
