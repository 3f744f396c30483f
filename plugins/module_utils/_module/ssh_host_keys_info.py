# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lines of known_hosts (sshd(8)), made of nothing but checked names and keys. Pure but for the salt of hashed names."""

from __future__ import annotations

import base64
import hmac
import ipaddress
import re
import secrets
import typing as t

from .._commands.ssh_host_keys import HostKey
from .._errors import InvalidInput

_NAME: t.Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_LOCAL: t.Final = re.compile(r"localhost(?:[46]|\..*)?")
_SALT_BYTES: t.Final = 20


def checked(host: str) -> str:
    """A host as ssh looks it up: an address in its canonical form, a name in small letters.

    :raise InvalidInput: it is neither, but a pattern, for example.
    """
    try:
        return str(ipaddress.ip_address(host)) if "%" not in host else _refuse(host)
    except ValueError:
        return host.lower() if _NAME.fullmatch(host) else _refuse(host)


def claimed(hostname: str) -> list[str]:
    """What a guest calls itself, if that may be the name of one host among others."""
    is_name = _NAME.fullmatch(hostname) and not _LOCAL.fullmatch(hostname.lower()) and not hostname.replace(".", "").isdigit()
    return [hostname.lower()] if is_name else []


def lines(hosts: t.Iterable[str], port: int, keys: t.Sequence[HostKey], hashed: bool) -> list[str]:
    names = [host if port == 22 else f"[{host}]:{port}" for host in hosts]
    return [f"{_hashed(name) if hashed else name} {key['type']} {key['key']}" for name in names for key in keys]


def _hashed(name: str) -> str:
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = hmac.digest(salt, name.encode(), "sha1")
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def _refuse(host: str) -> t.NoReturn:
    raise InvalidInput(f"hosts: {host!r} is neither the name nor the address of a host", hint="a port goes into port")
