# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The packages that are installed in the guest, by a program in it (guest-exec, qemu-ga 2.5)."""

from __future__ import annotations

import typing as t
import zlib

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._errors import CommandFailed, ProtocolError
from .._inside import exec as _exec, shell

#: What the list may be long on its way, packed, and unpacked here.
_REPLY_MAX: t.Final = 190 * 1024
#: More than any distribution has, and no more than a controller can hold of many guests.
_PACKAGES_MAX: t.Final = 50_000
_LIST_MAX: t.Final = 8 * 1024 * 1024
_SECONDS: t.Final = 20.0
_PACKED: t.Final = b"\x1f\x8b"
#: The manager's name; a line for each package: status (of dpkg), name, version, architecture; and how it ended.
_SCRIPT: t.Final = r"""
export LC_ALL=C
list() {
  for db in /lib/apk/db/installed /usr/lib/apk/db/installed; do [ -s "$db" ] && break; done
  if [ -s /var/lib/dpkg/status ] && command -v dpkg-query >/dev/null; then
    echo dpkg
    dpkg-query -W -f='${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\n'
  elif [ -s "$db" ]; then
    echo apk
    awk '/^P:/ {p = substr($0, 3)} /^V:/ {v = substr($0, 3)} /^A:/ {a = substr($0, 3)}
         /^$/ {if (p != "") print "ii\t" p "\t" v "\t" a; p = ""}
         END {if (p != "") print "ii\t" p "\t" v "\t" a}' "$db"
  elif { [ -d /var/lib/rpm ] || [ -d /usr/lib/sysimage/rpm ]; } && command -v rpm >/dev/null; then
    echo rpm
    rpm -qa --qf 'ii\t%{NAME}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\t%{ARCH}\n'
  else
    echo none
  fi
  printf 'end\t%s\n' "$?"
}
if command -v gzip >/dev/null; then list | gzip -c; else list; fi
"""
#: What the "Apps" of the settings show. Not tested on a real Windows.
_WINDOWS_SCRIPT: t.Final = r"""
$keys = 'HKLM:\Software\Microsoft\Windows\CurrentVersion\Uninstall\*',
        'HKLM:\Software\WOW6432Node\Microsoft\Windows\CurrentVersion\Uninstall\*'
'windows'
Get-ItemProperty $keys -ErrorAction SilentlyContinue | Where-Object DisplayName | Select-Object -First 1500 | ForEach-Object {
  $arch = if ($_.PSPath -match 'WOW6432Node') { 'x86' } else { '' }
  "ii`t$($_.DisplayName)`t$($_.DisplayVersion)`t$arch"
}
"end`t0"
"""


class Package(t.TypedDict):
    name: str
    #: as the manager writes it, with epoch and release
    version: str
    arch: str | None
    #: dpkg, rpm, apk or windows
    manager: str


def packages(agent: GuestAgent) -> list[Package]:
    """By the guest's dpkg, apk or rpm, whichever has packages; on Windows from the registry. Sorted by name.

    :raise CommandFailed: it has none of them, or the one it has failed.
    """
    words = ["/bin/sh", "-c", _SCRIPT] if agent.windows is None else shell.by_shell(agent, _WINDOWS_SCRIPT, "powershell.exe")
    output = _exec.run_limited(agent, words, _SECONDS, _REPLY_MAX)[1]
    return _parse(agent, _unpacked(agent, output))


def _unpacked(agent: GuestAgent, output: bytes) -> str:
    """Never more than the list may be long, however well it was packed."""
    if output.startswith(_PACKED):
        try:
            output = zlib.decompressobj(wbits=31).decompress(output, _LIST_MAX)
        except zlib.error as error:
            raise _wrong(agent) from error
    return output[:_LIST_MAX].decode("utf-8", "replace")


def _parse(agent: GuestAgent, text: str) -> list[Package]:
    if not text:
        raise _failed(agent, f"the guest's packages were not listed within {_SECONDS:g} s")
    if text.count("\n") > _PACKAGES_MAX:
        raise ProtocolError(f"the guest lists more than {_PACKAGES_MAX} packages", domain=agent.name, command="guest-exec")
    manager, *lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    if manager == "none":
        raise _failed(agent, "the guest has none of dpkg, rpm and apk to list its packages with")
    if manager not in ("dpkg", "rpm", "apk", "windows"):
        raise _wrong(agent)
    last = lines.pop().split("\t") if lines else []
    if last[:1] != ["end"]:
        raise _failed(agent, f"the list of packages is longer than {_REPLY_MAX} bytes, or took {manager} too long")
    if last[1:] != ["0"]:
        raise _failed(agent, f"{manager} failed to list the packages")
    entries = [{"fields": line.split("\t")} for line in lines]
    found = agent.each(entries, "the packages", lambda entry: _package(agent, manager, entry["fields"]), _PACKAGES_MAX)
    return sorted((package for package in found if package), key=lambda package: package["name"])


def _package(agent: GuestAgent, manager: str, fields: list[str]) -> Package | None:
    """None for what dpkg remembers only, since its configuration is still there."""
    if len(fields) != 4:
        raise _wrong(agent)
    status, name, version, arch = (untrusted.clean(field, 255) for field in fields)
    if status[1:2] != "i":
        return None
    return {"name": name, "version": version, "arch": None if arch in ("", "(none)") else arch, "manager": manager}


def _failed(agent: GuestAgent, detail: str) -> CommandFailed:
    return CommandFailed(detail, domain=agent.name, command="guest-exec")


def _wrong(agent: GuestAgent) -> ProtocolError:
    return ProtocolError("the guest's list of packages cannot be read", domain=agent.name, command="guest-exec")
