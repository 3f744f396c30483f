# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How libvirt would start ssh for a URI, and which sockets it would want there."""

from __future__ import annotations

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt.ssh_uri import Remote, remote

DIRECT, LEGACY = "/run/libvirt/virtqemud-sock", "/run/libvirt/libvirt-sock"
PLAIN = ("-T", "-e", "none")
BATCH = ("-o", "BatchMode=yes")
NO_CHECK = ("-o", "StrictHostKeyChecking=no")

ONES_OWN = [
    ("qemu+ssh://kvm1/system", ("ssh", *PLAIN), "kvm1"),
    ("QEMU+SSH://KVM1/system", ("ssh", *PLAIN), "KVM1"),
    ("qemu+ssh://root@kvm1/system", ("ssh", "-l", "root", *PLAIN), "kvm1"),
    ("qemu+ssh://me%40dom@kvm1/system", ("ssh", "-l", "me@dom", *PLAIN), "kvm1"),
    ("qemu+ssh://me@dom@kvm1/system", ("ssh", "-l", "me@dom", *PLAIN), "kvm1"),
    ("qemu+ssh://kvm1:2222/system", ("ssh", "-p", "2222", *PLAIN), "kvm1"),
    ("qemu+ssh://kvm1:/system", ("ssh", *PLAIN), "kvm1"),
    ("qemu+ssh://root@[fe80::1%25eth0]:22/system", ("ssh", "-p", "22", "-l", "root", *PLAIN), "fe80::1%eth0"),
    ("qemu+ssh://[::1]/system", ("ssh", *PLAIN), "::1"),
    ("qemu+ssh:///system", ("ssh", *PLAIN), "localhost"),
    ("qemu+ssh://kvm1/system?keyfile=/k%20ey", ("ssh", "-i", "/k ey", *PLAIN), "kvm1"),
    ("qemu+ssh://kvm1/system?no_tty=1", ("ssh", *PLAIN, *BATCH), "kvm1"),
    ("qemu+ssh://kvm1/system?no_tty=0", ("ssh", *PLAIN), "kvm1"),
    ("qemu+ssh://kvm1/system?no_verify=1", ("ssh", *PLAIN, *NO_CHECK), "kvm1"),
    ("qemu+ssh://kvm1/system?NO_VERIFY=2;no_tty=1", ("ssh", *PLAIN, *BATCH, *NO_CHECK), "kvm1"),
    ("qemu+ssh://kvm1/system?command=/opt/ssh", ("/opt/ssh", *PLAIN), "kvm1"),
    ("qemu+ssh://kvm1/system?known_hosts=/x&known_hosts_verify=ignore&sshauth=agent", ("ssh", *PLAIN), "kvm1"),
    ("qemu+ssh://kvm1/system?proxy=native", ("ssh", *PLAIN), "kvm1"),
    ("qemu+ssh://kvm1/system?proxy=auto&", ("ssh", *PLAIN), "kvm1"),
]


@pytest.mark.parametrize(("uri", "ssh", "host"), ONES_OWN)
def test_ssh_is_started_as_libvirt_does_it(uri: str, ssh: tuple[str, ...], host: str) -> None:
    assert remote(uri) == Remote(ssh, host, (DIRECT, LEGACY))


@pytest.mark.parametrize(
    ("parameters", "sockets"),
    [
        ("mode=auto", (DIRECT, LEGACY)),
        ("mode=direct", (DIRECT,)),
        ("mode=legacy", (LEGACY,)),
        ("socket=/srv/my%20sock", ("/srv/my sock",)),
        ("mode=legacy&socket=/srv/sock", ("/srv/sock",)),
    ],
)
def test_the_sockets_that_are_tried(parameters: str, sockets: tuple[str, ...]) -> None:
    found = remote(f"qemu+ssh://kvm1/system?{parameters}")
    assert found is not None
    assert found.sockets == sockets


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "qemu:///system",
        "qemu+tls://kvm1/system",
        "qemu+libssh://kvm1/system",
        "qemu+libssh2://kvm1/system",
        "xen+ssh://kvm1/system",
        "qemu+ssh://kvm1/session",
        "qemu+ssh://kvm1/",
        "qemu+ssh://kvm1/embed?root=/x",
        "qemu+ssh://kvm1/system#x",
        "qemu+ssh://kvm1/system?netcat=/opt/nc",
        "qemu+ssh://kvm1/system?proxy=netcat",
        "qemu+ssh://kvm1/system?name=qemu:///system",
        "qemu+ssh://kvm1/system?authfile=/x",
        "qemu+ssh://kvm1/system?mode=other",
        "qemu+ssh://kvm1/system?keyfile=",
        "qemu+ssh://kvm1/system?keyfile=/a&keyfile=/b",
        "qemu+ssh://kvm1/system?no_tty=yes",
        "qemu+ssh://kvm1:port/system",
        "qemu+ssh://root:secret@kvm1/system",
        "qemu+ssh://[::1]x/system",
        "qemu+ssh://[::1/system",
    ],
)
def test_what_is_left_to_libvirt(uri: str) -> None:
    assert remote(uri) is None
