# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which managers of packages and of services a guest has, by the words of ansible.builtin.setup.

setup looks for many files. Here the family of the distribution says which few of them can be there.
"""

from __future__ import annotations

import contextlib
import typing as t

from .._agent.client import GuestAgent
from .._errors import GuestAgentError
from .._inside import small_files

Facts = t.Mapping[str, t.Any]

_DNF5_SINCE: t.Final = 41
_DNF: t.Final = "dnf"
#: family -> file or directory -> manager. The first that is there counts; "" is there always.
_PACKAGES: t.Final[dict[str, dict[str, str]]] = {
    "Alpine": {"/sbin/apk": "apk"},
    "Altlinux": {"/usr/bin/apt-get": "apt_rpm"},
    "Archlinux": {"/usr/bin/pacman": "pacman"},
    "Debian": {"": "apt"},
    "FreeBSD": {"/usr/local/sbin/pkg": "pkgng", "/usr/sbin/pkg": "pkgng"},
    "Gentoo": {"/usr/bin/emerge": "portage"},
    "NetBSD": {"/usr/pkg/bin/pkgin": "pkgin"},
    "OpenBSD": {"": "openbsd_pkg"},
    "OpenWrt": {"/bin/opkg": "opkg"},
    "RedHat": {"/run/ostree-booted": "atomic_container", "/usr/bin/dnf": _DNF, "/usr/bin/microdnf": _DNF},
    "Suse": {"/usr/bin/zypper": "zypper"},
    "Void": {"/usr/bin/xbps-install": "xbps"},
}
_INIT: t.Final = "/proc/1/comm"
#: The name of the first process -> manager. "init" is the name of several.
_SERVICES: t.Final = {"procd": "openwrt_init", "runit-init": "runit", "svscan": "svc", "openrc-init": "openrc"}
#: The same as _PACKAGES where the first process is called init, in setup's order.
_BY_FILES: t.Final = {
    "/run/systemd/system": "systemd",
    "/sbin/openrc": "openrc",
    "/etc/init.d": "sysvinit",
    "/etc/dinit.d": "dinit",
}


def facts(agent: GuestAgent, os: Facts) -> dict[str, str]:
    """``os``: the facts of the operating system, ``_module/guest_facts.os_facts``. What the guest does not tell is left out."""
    found: dict[str, str | None] = {}
    with contextlib.suppress(GuestAgentError):  # the other facts are none the worse
        found["pkg_mgr"] = _packages(agent, os)
        found["service_mgr"] = _services(agent, os)
    return {name: manager for name, manager in found.items() if manager is not None}


def _packages(agent: GuestAgent, os: Facts) -> str | None:
    known = _PACKAGES.get(os.get("os_family") or "")
    manager = None if known is None else _first(agent, known, "unknown")
    return "dnf5" if manager == _DNF and _has_dnf5(os) else manager


def _has_dnf5(os: Facts) -> bool:
    major = str(os.get("distribution_major_version"))
    return os.get("distribution") == "Fedora" and major.isdigit() and int(major) >= _DNF5_SINCE


def _services(agent: GuestAgent, os: Facts) -> str | None:
    system = os["system"]
    if "BSD" in system:
        return "bsdinit"
    if system != "Linux":
        return None
    init = small_files.told(agent, _INIT)
    if init == "init" or (init or "").endswith("sh"):  # a shell is no init, but that of a container
        return _first(agent, _BY_FILES, "service")
    return None if init is None else _SERVICES.get(init, init)


def _first(agent: GuestAgent, known: t.Mapping[str, str], otherwise: str) -> str | None:
    """The manager of the first path that is there; None where the agent does not tell what is there."""
    try:
        return next((manager for path, manager in known.items() if not path or small_files.exists(agent, path)), otherwise)
    except small_files.UNTOLD:
        return None
