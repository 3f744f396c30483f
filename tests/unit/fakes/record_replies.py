# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a real qemu-ga everything that FakeGuest answers, and print the replies as JSON: python3 record_replies.py > replies/X.json

It starts an agent of its own on a unix socket. It needs nothing but Python, so that it also runs in a guest of the lab. Nothing
is frozen: the agent believes that it is because its state directory says so. What would tell whose computer it was is replaced.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

BLOCKED = [
    "guest-shutdown",
    "guest-fsfreeze-freeze",
    "guest-fsfreeze-freeze-list",
    "guest-suspend-ram",
    "guest-suspend-disk",
    "guest-suspend-hybrid",
    "guest-set-time",
    "guest-set-user-password",
]
DATA = [
    "guest-ping",
    "guest-info",
    "guest-get-osinfo",
    "guest-get-host-name",
    "guest-get-timezone",
    "guest-get-users",
    "guest-get-vcpus",
    "guest-get-time",
    "guest-get-load",
    "guest-get-cpustats",
    "guest-get-diskstats",
    "guest-get-disks",
    "guest-get-memory-blocks",
    "guest-get-memory-block-info",
    "guest-network-get-interfaces",
    "guest-network-get-route",
    "guest-get-fsinfo",
    "guest-fsfreeze-status",
]
ERRORS = {
    "unknown": ("guest-no-such-command", {}),
    "blocked": ("guest-set-time", {}),
    "exec_no_program": ("guest-exec", {"path": "/nonexistent/program"}),
    "exec_status_unknown_pid": ("guest-exec-status", {"pid": 999999}),
    "file_open_missing": ("guest-file-open", {"path": "/nonexistent/file"}),
    "file_handle_unknown": ("guest-file-read", {"handle": 999999}),
    "argument_missing": ("guest-file-open", {}),
    "argument_unexpected": ("guest-ping", {"nonsense": 1}),
    "argument_type": ("guest-exec-status", {"pid": "one"}),
}
FROZEN = ["guest-ping", "guest-info", "guest-fsfreeze-status", "guest-get-osinfo", "guest-exec", "guest-fsfreeze-thaw"]


class Agent:
    """A qemu-ga on a socket, ended with its own ``close``."""

    def __init__(self, directory: Path, block: list[str]) -> None:
        path = directory / "socket"
        words = [_program(), "-m", "unix-listen", "-p", str(path), "-t", str(directory), f"--block-rpcs={','.join(block)}"]
        self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._link.settimeout(30)
        for _attempt in range(1200):
            try:
                self._link.connect(str(path))
                break
            except OSError:
                time.sleep(0.05)
        self._replies = self._link.makefile("rb")

    def ask(self, command: str, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        request = {"execute": command, "id": 1, **({"arguments": arguments} if arguments else {})}
        self._link.sendall(json.dumps(request).encode() + b"\n")
        reply = json.loads(self._replies.readline())
        if reply.pop("id") != 1:
            raise SystemExit(f"{command}: the agent did not echo the id")
        return reply

    def close(self) -> None:
        self._link.close()
        self._process.kill()
        self._process.wait()


def _program() -> str:
    return shutil.which("qemu-ga") or "/usr/sbin/qemu-ga"


def _session(
    directory: Path, frozen: bool, block: list[str], questions: dict[str, tuple[str, dict[str, t.Any]]]
) -> dict[str, t.Any]:
    directory.mkdir()
    if frozen:
        (directory / "qga.state.isfrozen").touch()
    agent = Agent(directory, block)
    try:
        return {name: agent.ask(command, arguments) for name, (command, arguments) in questions.items()}
    finally:
        agent.close()


def _anonymous(replies: dict[str, t.Any]) -> None:
    replies["guest-get-host-name"]["return"]["host-name"] = "guest.example.com"
    replies["guest-get-osinfo"]["return"].update({"kernel-release": "6.1.0-42-amd64", "kernel-version": "#1 SMP"})
    interfaces = replies["guest-network-get-interfaces"]["return"]
    for number, interface in enumerate(interfaces[1:], 1):
        interface["hardware-address"] = f"52:54:00:00:00:{number:02x}"


def _pretty(found: dict[str, dict[str, t.Any]]) -> str:
    """A line for each reply: short enough to keep, long enough to review."""
    sections = []
    for section, replies in found.items():
        lines = [f"  {json.dumps(name)}: {json.dumps(reply, sort_keys=True)}" for name, reply in sorted(replies.items())]
        sections.append(f" {json.dumps(section)}: {{\n" + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(sections) + "\n}\n"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="qga-") as scratch:
        data = _session(Path(scratch, "a"), False, [], {command: (command, {}) for command in DATA})
        _anonymous(data)
        found = {
            "replies": data,
            "errors": _session(Path(scratch, "b"), False, BLOCKED, dict(ERRORS)),
            "frozen": _session(Path(scratch, "c"), True, BLOCKED, {command: (command, {}) for command in FROZEN}),
        }
    sys.stdout.write(_pretty(found))


if __name__ == "__main__":
    main()
