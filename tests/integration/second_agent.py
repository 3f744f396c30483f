# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Another qemu-ga in a guest, on a channel that libvirt leaves alone."""

from __future__ import annotations

import time
from xml.etree import ElementTree

from tests.lab import Lab

CHANNEL = "org.qemu.guest_agent.1"
DEVICE = f"<channel type='unix'><target type='virtio' name='{CHANNEL}'/></channel>"
#: Its process in the guest, for the guest's shell.
PROCESS = "$(cat /run/second.pid)"
_START = f"mkdir -p /run/second && qemu-ga -d -m virtio-serial -p /dev/virtio-ports/{CHANNEL} -t /run/second -f /run/second.pid"


def start(lab: Lab, guest: str) -> None:
    assert lab.run(guest, _START).returncode == 0
    await_state(lab, guest, "connected")


def remove(lab: Lab, guest: str) -> None:
    lab.run(guest, f"kill -9 {PROCESS}; rm -rf /run/second /run/second.pid")


def await_state(lab: Lab, guest: str, wanted: str) -> None:
    """QEMU tells libvirt of the port's state at most once in a second, and later on a busy machine."""
    deadline = time.monotonic() + 30
    while (state := device(lab, guest).find("target").get("state")) != wanted:  # type: ignore[union-attr]
        assert time.monotonic() < deadline, f"the channel of {guest} is still {state}"
        time.sleep(0.1)


def device(lab: Lab, guest: str) -> ElementTree.Element:
    """The channel in the domain's XML."""
    domain = ElementTree.fromstring(lab.domain(guest).XMLDesc(0))
    return next(found for found in domain.iterfind("devices/channel") if found.find("target").get("name") == CHANNEL)  # type: ignore[union-attr]
