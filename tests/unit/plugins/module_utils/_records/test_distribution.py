# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of every distribution that ansible-core tries its own on, as the agent of such a guest lets them be known."""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import system
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import domain_xml
from ansible_collections.virtops.guest_agent.plugins.modules import guest_facts
from ansible_collections.virtops.guest_agent.tests.unit.core_fixtures import distributions
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest

#: What guest-get-osinfo takes from os-release.
OSINFO = ("id", "name", "pretty-name", "version", "version-id", "variant", "variant-id")
FACTS = (
    "distribution",
    "distribution_version",
    "distribution_major_version",
    "distribution_minor_version",
    "distribution_release",
    "os_family",
)
NO_OS_RELEASE = "it has no os-release, so that osinfo tells of its kernel only"
NO_AGENT = "qemu-ga does not exist for it"
#: Fixture -> why an agent cannot see what it is.
UNSEEN = {
    **dict.fromkeys(
        (
            "amazon_linux_2_karoo",
            "amazon_linux_release_2",
            "centos_6.7",
            "redhat_6.7",
            "sles_11.3",
            "smgl_na",
            "ubuntu_10.04_guess",
        ),
        NO_OS_RELEASE,
    ),
    **dict.fromkeys(
        (
            "dragonfly_5.2.2",
            "dragonfly_5.6.2",
            "netbsd_8.2",
            "nexenta_3",
            "nexenta_4",
            "omnios",
            "openindiana",
            "smartos_global_zone",
            "smartos_zone",
            "solaris_10",
            "solaris_11",
            "solaris_11.3",
            "solaris_11.4",
        ),
        NO_AGENT,
    ),
}
VERSION, RELEASE = {"distribution_version"}, {"distribution_release"}
VERSIONS = {"distribution_version", "distribution_major_version"}
BY_LSB = "the program lsb_release said it, and no file of the fixture does"
OLD = "an old python-distro took it from another file than it would today"
#: Fixture -> (facts that differ, why), where the agent may read files.
DIFFERENT: dict[str, tuple[set[str], str]] = {
    "debian_10": (
        VERSION,
        "its distro says 10 beside a debian_version of 10.7; of real guests the module and setup say the latter",
    ),
    "debian_7.9": (VERSION, BY_LSB),
    "debian_stretch_sid": (VERSIONS | RELEASE, "its distro says 9.8, which neither its files nor its lsb_release do"),
    "fedora_25": (RELEASE, OLD),
    "osmc": (VERSIONS, "its distro knows no version, and its os-release has a VERSION_ID"),
    "steamos_2.0": (VERSION, OLD),
}
NO_FIELD = "osinfo has no VERSION_CODENAME"
IN_FILES = "only a file that the agent may not read has it"
#: The same where it may not, besides those.
DIFFERENT_WITHOUT_FILES: dict[str, tuple[set[str], str]] = {
    "archlinux_rolling": (VERSIONS | RELEASE, IN_FILES),
    "centos_8_1": (VERSION, IN_FILES),
    "debian_10": ({"distribution_minor_version"}, IN_FILES),
    "deepin_20.4": (RELEASE, NO_FIELD),
    "fedora_31": (RELEASE, NO_FIELD),
    "gentoo": (RELEASE, IN_FILES),
    "kali_2019.1": (RELEASE, IN_FILES),
    "kde_neon_16.04": (RELEASE, NO_FIELD),
    "parrot_4.8": (RELEASE, IN_FILES),
    "pop_os_20.04": (RELEASE, NO_FIELD),
    "univention_corporate_server_5.2": (RELEASE, NO_FIELD),
    "uos_20": (RELEASE, NO_FIELD),
    "virtuozzo_7.3": (VERSION, IN_FILES),
}


def _assignments(text: str) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key.lower().replace("_", "-"): value.strip("\"'") for key, value in pairs}


def _facts(fixture: dict[str, t.Any], reads: bool) -> dict[str, t.Any]:
    files = fixture["input"]
    release = _assignments(files.get("/etc/os-release") or files.get("/usr/lib/os-release") or "")
    guest = FakeGuest(files={path: content.encode() for path, content in files.items()} if reads else {})
    guest.replies["guest-get-osinfo"] = {
        **{key: release[key] for key in OSINFO if key in release},
        "kernel-release": fixture.get("platform.release", ""),
        "kernel-version": fixture.get("platform.version", ""),
        "machine": "x86_64",
    }
    if not reads:
        guest.blocked.add("guest-file-open")
    agent = guest.agent()
    domain = domain_xml.parse("<domain type='kvm'><name>web</name></domain>")
    return guest_facts._setup_facts(agent, domain, {"os": system.os_info(agent)})


def _differences(reads: bool) -> dict[str, dict[str, tuple[t.Any, t.Any]]]:
    """Fixture -> fact -> (ours, setup's)."""
    found = {}
    for name, fixture in distributions().items():
        if name in UNSEEN:
            continue
        ours, theirs = _facts(fixture, reads), fixture["result"]
        differ = {key: (ours.get(key), theirs[key]) for key in FACTS if key in theirs and ours.get(key) != theirs[key]}
        if differ:
            found[name] = differ
    return found


@pytest.mark.parametrize("reads", [True, False], ids=["reads files", "osinfo alone"])
def test_facts_are_setups(reads: bool) -> None:
    found = _differences(reads)
    known = DIFFERENT if reads else {**DIFFERENT, **DIFFERENT_WITHOUT_FILES}
    here = {name: keys for name, (keys, _why) in known.items() if name in distributions()}  # older cores have fewer
    assert {name: set(differ) for name, differ in found.items()} == here, found


def test_what_an_agent_cannot_see_is_what_is_said() -> None:
    """Nothing is left out in silence: each lacks an os-release or an agent."""
    for name, fixture in distributions().items():
        has = any(content for path, content in fixture["input"].items() if path.endswith("/os-release"))
        assert (name in UNSEEN) is not (has and fixture.get("platform.system", "Linux") in ("Linux", "FreeBSD")), name
