# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who the guest is: operating system, host name, time zone, users. All read-only, all since qemu-ga 2.10."""

from __future__ import annotations

import re
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent

_OS_KEYS: t.Final = (
    "id",
    "name",
    "pretty-name",
    "version",
    "version-id",
    "variant",
    "variant-id",
    "kernel-release",
    "kernel-version",
    "machine",
)


#: Systems without os-release, by the first word of uname's version: ID, and the name.
_NAMED_BY_KERNEL: t.Final = {name: name.lower() for name in ("FreeBSD", "OpenBSD", "NetBSD", "DragonFly")}
_VERSION: t.Final = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}")


class OsInfo(t.TypedDict):
    """The guest's os-release and uname, None where it has no such line."""

    id: str | None
    name: str | None
    pretty_name: str | None
    version: str | None
    version_id: str | None
    variant: str | None
    variant_id: str | None
    kernel_release: str | None
    kernel_version: str | None
    machine: str | None


class Timezone(t.TypedDict):
    name: str | None
    offset_seconds: int
    text: str


class User(t.TypedDict):
    user_name: str
    domain: str | None
    login_time: float


def os_info(agent: GuestAgent) -> OsInfo:
    """guest-get-osinfo. A system that has no os-release, or does not show the agent one, is named by its kernel."""
    reply = untrusted.mapping(agent.call("guest-get-osinfo"))
    entries = [{"key": key, "text": reply[key]} for key in _OS_KEYS if reply.get(key) is not None]
    values = dict.fromkeys((key.replace("-", "_") for key in _OS_KEYS), None)
    found = t.cast(OsInfo, {**values, **dict(agent.each_part(entries, "what it says of its system", _os_text))})
    return found if found["id"] else _named_by_kernel(found)


def _os_text(entry: dict[str, t.Any]) -> tuple[str, str]:
    return entry["key"].replace("-", "_"), untrusted.text(entry["text"], entry["key"], 255)


def system(os: OsInfo) -> str:
    """Linux, Windows, FreeBSD, ...; "" where nothing tells. The kernel of a BSD says what it is, whatever is built upon it."""
    if os["id"] == "mswindows":
        return "Windows"
    kernel = (os["kernel_version"] or "").partition(" ")[0]
    if kernel in _NAMED_BY_KERNEL:
        return kernel
    for name, os_id in _NAMED_BY_KERNEL.items():
        if os_id == os["id"]:
            return name
    return "Linux" if os["id"] or (os["kernel_version"] or "").startswith("#") else ""


def _named_by_kernel(os: OsInfo) -> OsInfo:
    release = os["kernel_release"] or ""
    name = (os["kernel_version"] or "").split(" ")[0]
    os_id = _NAMED_BY_KERNEL.get(name)
    if release.endswith("-talos"):
        return {**os, "id": "talos", "name": "Talos", "pretty_name": os["pretty_name"] or "Talos"}
    if os_id is None:
        return os
    version = _VERSION.match(release)
    known: OsInfo = {**os, "id": os_id, "name": os["name"] or name, "pretty_name": os["pretty_name"] or f"{name} {release}".strip()}
    return {**known, "version_id": os["version_id"] or (version.group() if version else None)}


def hostname(agent: GuestAgent) -> str:
    """guest-get-host-name: the name as the guest has it, short or with a domain."""
    reply = untrusted.mapping(agent.call("guest-get-host-name"))
    return untrusted.text(reply.get("host-name"), "the host name", 255)


def timezone(agent: GuestAgent) -> Timezone:
    """guest-get-timezone. The offset is in seconds, positive east of Greenwich."""
    reply = untrusted.mapping(agent.call("guest-get-timezone"))
    name = untrusted.optional_text(reply, "zone", 64)
    offset = untrusted.integer(reply.get("offset"), "the time zone's offset", -86400, 86400)
    return {"name": name, "offset_seconds": offset, "text": f"{name or 'unknown'}, {offset}"}


def users(agent: GuestAgent) -> list[User]:
    """guest-get-users: who is logged in. The login time is in seconds since the epoch, with a fraction."""
    return agent.each(agent.call("guest-get-users"), "the users", _user)


def _user(entry: dict[str, t.Any]) -> User:
    return {
        "user_name": untrusted.text(entry.get("user"), "a user's name", 255),
        "domain": untrusted.optional_text(entry, "domain", 255),
        "login_time": untrusted.number(entry.get("login-time"), "a login time"),
    }
