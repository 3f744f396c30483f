# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Passwords, input and contents of files: neither on the terminal at any verbosity nor in a log of controller, libvirt or guest."""

from __future__ import annotations

import base64
import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ansible_cli import Ansible
from tests.integration.test_every_module import EDGES, guest_variables
from tests.lab import Lab
from tests.lab.records import daemon_dir, daemon_records

SECRET = "correct-horse-battery-staple"
HASH = "$6$saltsaltsaltsalt$" + "s3cr3tH4sh" * 8 + "abcdef"
USER = "keeper"
DEV_LOG = Path("/dev/log")
#: Each task, and whether it must succeed.
TASKS: list[tuple[str, dict[str, Any], bool]] = [
    ("run_command", {"shell": "cat >/dev/null", "stdin": SECRET, "env": {"X": SECRET}}, True),
    ("run_script", {"content": f"#!/bin/sh\n: {SECRET}\n"}, True),
    ("push_file", {"content": SECRET, "dest": "/srv/secret"}, True),
    ("push_file", {"content": SECRET, "dest": "/none/secret"}, False),
    ("user_password", {"user": USER, "password": SECRET}, True),
    ("user_password", {"user": USER, "password_hash": HASH}, True),
    ("user_password", {"user": "nobody-of-this-name", "password": SECRET}, False),
    (
        "agent_command",
        {
            "command": "guest-set-user-password",
            "arguments": {"username": USER, "password": base64.b64encode(SECRET.encode()).decode(), "crypted": False},
        },
        True,
    ),
]


def spellings(secret: str) -> list[str]:
    """As it is, and as it travels to the agent."""
    return [secret, base64.b64encode(secret.encode()).decode()]


@contextmanager
def syslog() -> Iterator[list[bytes]]:
    """What is written to this machine's syslog meanwhile, where it has none."""
    if DEV_LOG.exists():
        pytest.skip("SKIPPED OUT LOUD: what modules write to syslog is not tested, for this machine has a syslog of its own")
    said: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.bind(str(DEV_LOG))
        DEV_LOG.chmod(0o666)
        thread = threading.Thread(target=lambda: said.extend(iter(lambda: link.recv(65536), b"the end")))
        thread.start()
        try:
            yield said
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
                other.sendto(b"the end", str(DEV_LOG))
            thread.join()
            DEV_LOG.unlink()


def libvirt_logs() -> str:
    """Those of the lab's daemons, which have libvirt's own level."""
    places = {place for record in daemon_records() for place in (daemon_dir(record.role), *map(Path, record.remove))}
    logs = sorted({log for place in places for log in place.rglob("*.log")})
    assert logs
    return "".join(path.read_text(encoding="utf-8", errors="replace") for path in logs)


@pytest.mark.parametrize("edge", [pytest.param(edge, marks=pytest.mark.full) if edge == "delegated" else edge for edge in EDGES])
def test_secrets_are_told_to_nobody(lab: Lab, ansible: Ansible, debian: str, tmp_path: Path, edge: str) -> None:
    lab.run(debian, f"id {USER} || useradd -m {USER}")
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {"guest": guest_variables(lab, debian), "localhost": here}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    play = {"hosts": "localhost" if edge == "module" else "guest", "gather_facts": False, "ignore_errors": True}
    (tmp_path / "play.json").write_text(json.dumps([{**play, "tasks": [task(lab, debian, edge, *each[:2]) for each in TASKS]}]))
    try:
        with syslog() as said:
            done = ansible.playbook(tmp_path / "play.json", "-i", str(tmp_path / "hosts.json"), "-vvvvv", check=False)
    finally:
        lab.run(debian, f"rm -f /srv/secret; userdel -rf {USER}")
    terminal = done.stdout + done.stderr
    assert terminal.count("FAILED!") == sum(not succeeds for _name, _args, succeeds in TASKS), terminal
    # What is searched is what it should be.
    assert terminal.count("module_args") >= len(TASKS)
    assert edge == "in-process" or b"Invoked with" in b"".join(said)
    guest_log = lab.run(debian, "journalctl -b --no-pager | cut -c1-2000 | tail -n 3000", timeout=60).output
    assert "guest-exec called" in guest_log
    for where in (terminal, b"".join(said).decode(errors="replace"), libvirt_logs(), guest_log):
        for secret in (*spellings(SECRET), *spellings(HASH)):
            assert secret not in where


def task(lab: Lab, name: str, edge: str, module: str, args: dict[str, Any]) -> dict[str, Any]:
    known = {"domain": name, "uri": lab.uri, "agent_timeout": 20} if edge == "module" else {}
    found = {f"virtops.guest_agent.{module}": {**args, **known}}
    return {**found, "delegate_to": "localhost"} if edge == "delegated" else found
