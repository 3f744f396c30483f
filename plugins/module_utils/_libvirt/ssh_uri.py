# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A URI of libvirt's ssh transport -> how libvirt starts ssh for it, and which sockets of the hypervisor it wants. Pure."""

from __future__ import annotations

import typing as t
import urllib.parse

_SOCKETS: t.Final = "/run/libvirt/"
#: By the URI's parameter ``mode``: which socket ``virt-ssh-helper`` takes, the one that it prefers first.
_BY_MODE: t.Final = {
    "auto": ("virtqemud-sock", "libvirt-sock"),
    "direct": ("virtqemud-sock",),
    "legacy": ("libvirt-sock",),
}
#: libvirt's ssh transport does not look at these.
_IGNORED: t.Final = frozenset({"known_hosts", "known_hosts_verify", "sshauth"})
_UNDERSTOOD: t.Final = _IGNORED | {"command", "keyfile", "no_tty", "no_verify", "socket", "mode", "proxy"}


class Remote(t.NamedTuple):
    #: The program that is run as ssh, and libvirt's own options for it.
    ssh: tuple[str, ...]
    host: str
    #: Paths on the hypervisor; the first that leads to a daemon is the right one.
    sockets: tuple[str, ...]


def remote(uri: str) -> Remote | None:
    """None for what only libvirt itself can do: a session's daemon, which it starts, a netcat, a parameter not known here."""
    try:
        parts = urllib.parse.urlsplit(uri)
    except ValueError:  # brackets without an address between them, and from Python 3.13 on with something behind them
        return None
    if parts.scheme.lower() != "qemu+ssh" or parts.path != "/system" or parts.fragment:
        return None
    place = _place(parts.netloc)
    given = _given(parts.query)
    if place is None or given is None:
        return None
    mode = given.get("mode", "auto")
    # The proxy "auto" is a netcat only where there is no virt-ssh-helper.
    if mode not in _BY_MODE or given.get("proxy", "auto") not in ("auto", "native"):
        return None
    user, host, port = place
    ssh = [given.get("command", "ssh")]
    ssh += ["-p", port] if port else []
    ssh += ["-l", user] if user else []
    ssh += ["-i", given["keyfile"]] if "keyfile" in given else []
    ssh += ["-T", "-e", "none"]
    ssh += ["-o", "BatchMode=yes"] if _is_on(given.get("no_tty")) else []
    ssh += ["-o", "StrictHostKeyChecking=no"] if _is_on(given.get("no_verify")) else []
    sockets = [given["socket"]] if "socket" in given else [_SOCKETS + name for name in _BY_MODE[mode]]
    return Remote(tuple(ssh), host, tuple(sockets))


def _place(netloc: str) -> tuple[str, str, str] | None:
    """User, host and port; the last two as they are written, for ssh_config may know a host by that name."""
    user, _at, address = netloc.rpartition("@")
    if address.startswith("["):
        host, _bracket, rest = address[1:].partition("]")
    else:
        host, colon, port = address.partition(":")
        rest = colon + port
    port = rest[1:]
    if (rest and rest[0] != ":") or (port and not port.isdigit()) or ":" in user:
        return None
    return urllib.parse.unquote(user), urllib.parse.unquote(host) or "localhost", port


def _given(query: str) -> dict[str, str] | None:
    """The URI's parameters; None where one is not known here, is given twice or has no value that libvirt would take."""
    given: dict[str, str] = {}
    for word in filter(None, query.replace(";", "&").split("&")):
        name, _equals, value = word.partition("=")
        name = urllib.parse.unquote(name).lower()
        value = urllib.parse.unquote(value)
        is_wrong_flag = name in ("no_tty", "no_verify") and not value.isdigit()
        if name not in _UNDERSTOOD or name in given or not value or is_wrong_flag:
            return None
        given[name] = value
    return given


def _is_on(flag: str | None) -> bool:
    return flag is not None and int(flag) != 0
