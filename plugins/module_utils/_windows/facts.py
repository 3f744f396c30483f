# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a Windows guest says of itself -> the facts that ansible.windows.setup would give, by the same names. Pure.

setup asks Windows for much more. What the agent does not tell is left out.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t

_VERSION: t.Final = re.compile(r"[0-9]{1,5}\.[0-9]{1,5}")
_BUILD: t.Final = re.compile("[0-9]{1,10}")
#: qemu-ga's word -> setup's two.
_MACHINES: t.Final = {
    "x86_64": ("64-bit", "x86_64"),
    "x86": ("32-bit", "i386"),
    "aarch64": ("ARM 64-bit Processor", "arm64"),
    "arm": ("ARM 32-bit Processor", "arm"),
}
#: A domain controller is a server too, and the agent does not tell them apart.
_PRODUCTS: t.Final = {"server": "server", "client": "workstation"}

_Interfaces = t.Sequence[t.Mapping[str, t.Any]]


def system(os: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """:param os: what guest-get-osinfo says"""
    name = os["pretty_name"] or "Windows"
    caption = name if name.startswith("Microsoft ") else f"Microsoft {name}"
    number = _number(os["kernel_version"] or "", os["kernel_release"] or "")
    architecture, other = _MACHINES.get(os["machine"] or "", (None, "unknown"))
    return {
        "distribution": caption,
        "distribution_version": number,
        "distribution_major_version": number.split(".", maxsplit=1)[0],
        "os_family": "Windows",
        "os_name": caption,
        "os_product_type": _PRODUCTS.get(os["variant_id"] or "", "unknown"),
        "system": "Win32NT",
        "kernel": number,
        "architecture": architecture,
        "architecture2": other,
    }


def _number(version: str, build: str) -> str:
    """As [Environment]::OSVersion has it, whose last part is always 0."""
    return f"{version}.{build}.0" if _VERSION.fullmatch(version) and _BUILD.fullmatch(build) else "NA"


def interfaces(found: _Interfaces) -> list[dict[str, t.Any]]:
    """Those that have a MAC and may lead out. Windows' name of an adapter is not told, its connection's is."""
    return [_interface(each) for each in found if each["mac"] and each["mac"] != "00:00:00:00:00:00"]


def _interface(found: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    addresses = [ipaddress.ip_interface(text) for text in found["ip_addresses"]]
    facts: dict[str, t.Any] = {"connection_name": found["interface_name"], "macaddress": found["mac"].upper()}
    for version in (4, 6):
        known = [{"address": str(each.ip), "prefix": str(each.network.prefixlen)} for each in addresses if each.version == version]
        # One is no list: so PowerShell has it.
        facts[f"ipv{version}"] = known[0] if len(known) == 1 else known or None
    return facts
