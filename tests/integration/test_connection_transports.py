# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The same tasks over each of the ways to an agent."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import second_agent
from tests.integration.ansible_cli import Ansible
from tests.integration.guests_by_agent import Plays, ok, variables
from tests.lab import Lab

BLOCKED = (
    "guest-shutdown,guest-fsfreeze-freeze,guest-fsfreeze-freeze-list,guest-suspend-ram,guest-suspend-disk,"
    "guest-suspend-hybrid,guest-set-time,guest-set-user-password"
)


@pytest.fixture
def by_channel(lab: Lab, debian: str) -> Iterator[str]:
    """A guest with a second agent on a channel of its own."""
    second_agent.start(lab, debian)
    yield debian
    second_agent.remove(lab, debian)


def socket_of(lab: Lab, guest: str, place: Path) -> Path:
    """QEMU's socket for the channel, as the guest's process sees it, by a name that is short enough for a socket."""
    path = second_agent.device(lab, guest).find("source").get("path")  # type: ignore[union-attr]
    process = next(found for found in Path("/proc").glob("[0-9]*") if f"guest={guest},".encode() in _command_line(found))
    link = place / "socket"
    link.symlink_to(f"{process}/root{path}")
    return link


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def everything(plays: Plays, tmp_path: Path, place: str) -> None:
    """Commands, input and output of all sizes, files there and back, and an error, in the guest's directory ``place``."""
    content = os.urandom(700 * 1024)
    (tmp_path / "content").write_bytes(content)
    word, rc, copied, again, fetched, large, missing = plays.play(
        {"ansible.builtin.raw": "echo ü | cat"},
        {"ansible.builtin.command": "sh -c 'cat; exit 3'", "args": {"stdin": "to stdin"}, "failed_when": False},
        {"ansible.builtin.copy": {"src": str(tmp_path / "content"), "dest": f"{place}/content", "mode": "0600"}},
        {"ansible.builtin.copy": {"src": str(tmp_path / "content"), "dest": f"{place}/content", "mode": "0600"}},
        {"ansible.builtin.fetch": {"src": f"{place}/content", "dest": f"{tmp_path}/back", "flat": True}},
        {"ansible.builtin.raw": f"base64 {place}/content; rm {place}/content"},
        {"ansible.builtin.fetch": {"src": f"{place}/none", "dest": f"{tmp_path}/none", "flat": True}, "ignore_errors": True},
    )
    assert ok(word)["stdout"].strip() == "ü"
    assert (rc["rc"], rc["stdout"]) == (3, "to stdin")
    assert ok(copied)["changed"]
    assert not ok(again)["changed"]
    assert ok(fetched)["changed"]
    assert (tmp_path / "back").read_bytes() == content
    assert len(ok(large)["stdout"].split()) == -(-len(content) * 4 // 3 // 76)
    assert missing["failed"]
    assert not missing.get("unreachable")


# The other tests of the connection go by libvirt.
@pytest.mark.full  # an agent without a guest gets the same tasks, and test_transports.py has the channel
@pytest.mark.parametrize("transport", ["libvirt", "unix", "channel"])
def test_a_guest(lab: Lab, ansible: Ansible, by_channel: str, tmp_path: Path, transport: str) -> None:
    more = {"socket": str(socket_of(lab, by_channel, tmp_path))} if transport == "unix" else {}
    options = variables(lab, by_channel, transport=transport, **more)
    everything(Plays(ansible, tmp_path, {by_channel: options}), tmp_path, "/var/tmp")


def test_an_agent_without_a_guest(lab: Lab, ansible: Ansible, tmp_path: Path) -> None:
    """qemu-ga on this machine, which may not harm it; what it runs stays in a directory of the test."""
    path = tmp_path / "agent"
    words = ["qemu-ga", "-m", "unix-listen", "-p", str(path), "-t", str(tmp_path), f"--block-rpcs={BLOCKED}"]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _attempt in range(1200):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as link:
                link.connect(str(path))  # the file is there a moment before
                break
            time.sleep(0.05)
        place = tmp_path / "guest"
        place.mkdir()
        options = variables(lab, "here", transport="unix", socket=str(path))
        options["ansible_remote_tmp"] = str(place / "remote")
        everything(Plays(ansible, tmp_path, {"here": options}), tmp_path, str(place))
    finally:
        process.kill()
        process.wait()
