# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a guest says of its distribution -> what ansible.builtin.setup says of it there. Pure.

setup looks into more files than the agent's osinfo tells of. Where the agent may read files, ``wanted`` names those that matter.
"""

from __future__ import annotations

import re
import typing as t

from ansible.module_utils.facts.system.distribution import Distribution

from .._agent import untrusted
from .._commands import system as _commands
from .._commands.system import OsInfo
from .._windows import facts as windows

OS_RELEASE: t.Final = "/etc/os-release"
DEBIAN_VERSION: t.Final = "/etc/debian_version"
LSB_RELEASE: t.Final = "/etc/lsb-release"
REDHAT_RELEASE: t.Final = "/etc/redhat-release"

#: os-release ID -> distribution, where that is not os-release's NAME.
_NAMES: t.Final = {
    "almalinux": "AlmaLinux",
    "alpine": "Alpine",
    "altlinux": "Altlinux",
    "amzn": "Amazon",
    "arch": "Archlinux",
    "centos": "CentOS",
    "cloudlinux": "CloudLinux",
    "cumulus-linux": "Cumulus Linux",
    "debian": "Debian",
    "deepin": "Deepin",
    "devuan": "Devuan",
    "eurolinux": "EuroLinux",
    "fedora": "Fedora",
    "flatcar": "Flatcar",
    "freebsd": "FreeBSD",
    "gentoo": "Gentoo",
    "kali": "Kali",
    "manjaro": "Archlinux",
    "miraclelinux": "MIRACLE",
    "ol": "OracleLinux",
    "openwrt": "OpenWrt",
    "parrot": "Parrot",
    "raspbian": "Debian",
    "rhel": "RedHat",
    "rocky": "Rocky",
    "scientific": "Scientific",
    "sled": "SLED",
    "sles": "SLES",
    "slackware": "Slackware",
    "steamos": "SteamOS",
    "tencentos": "TencentOS",
    "ubuntu": "Ubuntu",
    "uos": "Uos",
    "virtuozzo": "Virtuozzo",
}
#: ID and NAME -> distribution, and VARIANT_ID of a SUSE -> distribution.
_EDITIONS: t.Final = {
    ("linuxmint", "LMDE"): "Linux Mint Debian Edition",
    ("coreos", "Container Linux by CoreOS"): "Coreos",
}
_SUSE_VARIANTS: t.Final = {"server-sap": "SLES_SAP", "sles-sap": "SLES_SAP", "transactional": "SL-Micro"}
#: IDs of which osinfo tells all that os-release has.
_TOLD: t.Final = frozenset(
    (
        "almalinux",
        "alpine",
        "amzn",
        "arch",
        "centos",
        "debian",
        "freebsd",
        "gentoo",
        "ol",
        "opensuse",
        "opensuse-leap",
        "opensuse-tumbleweed",
        "rhel",
        "rocky",
        "sles",
        "ubuntu",
        "virtuozzo",
    )
)
#: Further files, by ID: what osinfo lacks is the point release, or the code name of a rolling one.
_FILES: t.Final = {
    "arch": (LSB_RELEASE,),
    "centos": (REDHAT_RELEASE,),
    "debian": (DEBIAN_VERSION,),
    "gentoo": (LSB_RELEASE,),
    "kali": (LSB_RELEASE,),
    "parrot": (LSB_RELEASE,),
    "virtuozzo": (REDHAT_RELEASE,),
}
#: Their code names are one small word; osinfo has them as Bionic Beaver.
_SHORT_CODENAMES: t.Final = frozenset({"linuxmint", "neon", "pardus", "pop", "ubuntu"})
#: What setup calls a system by another name than the core does; a guest that does not tell is most likely a Linux.
_SYSTEMS: t.Final = {"Windows": "Win32NT", "": "Linux"}

Texts = t.Mapping[str, str]


def wanted(os: OsInfo) -> tuple[str, ...]:
    """The files to read, besides what osinfo tells."""
    os_id = (os["id"] or "").lower()
    if not os_id or os_id == "mswindows":
        return ()
    told = os_id in _TOLD and not (os_id == "debian" and not os["version"])
    return (*(() if told else (OS_RELEASE,)), *_FILES.get(os_id, ()))


def system(os: OsInfo) -> str:
    found = _commands.system(os)
    return _SYSTEMS.get(found, found)


def facts(os: OsInfo, texts: Texts) -> dict[str, t.Any]:
    """``texts``: path -> content of those of the wanted files that could be read."""
    if os["id"] == "mswindows":
        return windows.system(os)
    if system(os) != "Linux":
        return _of_bsd(os)
    release = _release(os, texts)
    name = _name(release)
    version = _version(release, texts)
    found = _with_versions(name, Distribution.OS_FAMILY.get(name or "") or name, version, _codename(release, texts, version))
    minor = _minor(release["ID"], version)
    return {**found, "distribution_minor_version": minor} if minor else found


def _with_versions(name: str | None, family: str | None, version: str, codename: str | None) -> dict[str, t.Any]:
    return {
        "distribution": name,
        "os_family": family,
        "distribution_version": version,
        "distribution_major_version": version.split(".")[0],
        "distribution_release": "NA" if codename is None else codename,
    }


def _of_bsd(os: OsInfo) -> dict[str, t.Any]:
    name, kernel = system(os), os["kernel_release"]
    number = re.match(r"\d+\.\d+", os["version_id"] or kernel or "")
    return _with_versions(name, Distribution.OS_FAMILY.get(name) or name, number.group() if number else "NA", kernel)


def _release(os: OsInfo, texts: Texts) -> dict[str, str]:
    """os-release as far as it is known; of what osinfo has, its words count."""
    told = {key.upper(): value for key, value in os.items() if isinstance(value, str)}
    release = {"ID": "", "NAME": "", **_assignments(texts.get(OS_RELEASE, "")), **told}
    return {**release, "ID": release["ID"].lower()}


def _assignments(text: str) -> dict[str, str]:
    pairs = (line.strip().partition("=") for line in text.splitlines() if "=" in line and not line.lstrip().startswith("#"))
    return {key: untrusted.clean(value.strip().strip("\"'"), 255) for key, _equals, value in pairs}


def _name(release: dict[str, str]) -> str | None:
    os_id, name = release["ID"], release["NAME"]
    if _is_suse(release) and release.get("VARIANT_ID") in _SUSE_VARIANTS:
        return _SUSE_VARIANTS[release["VARIANT_ID"]]
    if "arch" in release.get("ID_LIKE", "").split():
        return "Archlinux"
    return _EDITIONS.get((os_id, name)) or _NAMES.get(os_id) or name or None


def _is_suse(release: dict[str, str]) -> bool:
    return any("suse" in release.get(key, "").lower() for key in ("ID_LIKE", "NAME", "PRETTY_NAME")) or release["ID"] == "sles"


def _version(release: dict[str, str], texts: Texts) -> str:
    version = release.get("VERSION_ID") or _assignments(texts.get(LSB_RELEASE, "")).get("DISTRIB_RELEASE") or "NA"
    if release["ID"] == "debian":
        point = re.fullmatch(r"\d+\.\d+", texts.get(DEBIAN_VERSION, ""))
        return point.group() if point else version
    point = re.search(r" release (\d+(?:\.\d+)?)", texts.get(REDHAT_RELEASE, ""))
    return point.group(1) if point else version


def _minor(os_id: str, version: str) -> str | None:
    _major, _dot, minor = version.partition(".")
    if os_id == "amzn":
        return minor or "NA"
    return minor or None if os_id == "debian" else None


def _codename(release: dict[str, str], texts: Texts, version: str) -> str | None:
    os_id, pretty = release["ID"], release.get("PRETTY_NAME", "")
    if _is_suse(release):
        return _service_pack(os_id, pretty, version)
    if os_id == "centos" and "Stream" in release["NAME"]:
        return "Stream"
    if os_id == "cumulus-linux":
        return release.get("VERSION")
    if os_id == "clear-linux-os":
        return os_id
    if os_id == "devuan" and pretty:
        return pretty.split()[-1].strip("()")
    for key in ("VERSION_CODENAME", "UBUNTU_CODENAME"):
        if key in release:
            return release[key]
    named = _in_brackets(release.get("VERSION", ""))
    if named is None and LSB_RELEASE in texts:  # n/a is the word of the program lsb_release
        return _assignments(texts[LSB_RELEASE]).get("DISTRIB_CODENAME", "n/a")
    return named.split()[0].lower() if named and os_id in _SHORT_CODENAMES else named


def _service_pack(os_id: str, pretty: str, version: str) -> str | None:
    minor = version.partition(".")[2]
    if "open" in (os_id + pretty).lower():
        return minor
    return minor or "0" if os_id == "sles" or "enterprise" in pretty.lower() else None


def _in_brackets(version: str) -> str | None:
    """12 (bookworm), or 14.04.4 LTS, Trusty Tahr"""
    found = re.search(r"\(([^()\d]+)\)|, ([^()\d]+)$", version)
    return (found.group(1) or found.group(2)) if found else None
