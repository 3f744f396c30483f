# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Large files over the agent connection: whole, in bounded memory, and without a trace when they are stopped."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ansible_cli import FULL, Ansible
from tests.integration.guests_by_agent import variables
from tests.lab import Lab

MIB = 1024 * 1024
SIZES = {"attach": 200, "never": 200} if FULL else {"attach": 64, "never": 12}
#: What the controller may take over what it has at the start.
GROWTH_MIB = 150 if FULL else 50
REMOTE = "/var/tmp/transferred"
PORT = "org.virtops.guest_agent.0"


def write_random(path: Path, mib: int) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _mib in range(mib):
            data = os.urandom(MIB)
            digest.update(data)
            file.write(data)
    return digest.hexdigest()


def start(ansible: Ansible, options: dict[str, Any], local: Path, back: Path | str) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).with_name("transfer.py")), json.dumps(options), str(local), REMOTE, str(back)]
    return subprocess.Popen(command, env=ansible.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("lane", SIZES)
def test_a_large_file_there_and_back(lab: Lab, ansible: Ansible, debian: str, tmp_path: Path, lane: str) -> None:
    local, back = tmp_path / "local", tmp_path / "back"
    digest = write_random(local, SIZES[lane])
    process = start(ansible, variables(lab, debian, data_lane=lane), local, back)
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    measured = json.loads(out)
    there = lab.run(debian, f"sha256sum {REMOTE}; stat -c '%a %U' {REMOTE}; rm {REMOTE}", timeout=300).output.split()
    assert there[0] == digest
    assert there[2:] == ["644", "root"]
    assert hashlib.sha256(back.read_bytes()).hexdigest() == digest
    assert measured["grown_mib"] < GROWTH_MIB, measured
    sys.stderr.write(f"\n{SIZES[lane]} MiB, data lane {lane}: {measured}\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.full), signal.SIGKILL])
@pytest.mark.parametrize("lane", SIZES)
def test_a_transfer_that_is_stopped_leaves_nothing(
    lab: Lab, ansible: Ansible, debian: str, tmp_path: Path, lane: str, number: int
) -> None:
    local = tmp_path / "local"
    with local.open("wb") as file:
        # The data lane takes a hundred MiB in the time that it takes to look.
        file.writelines(itertools.repeat(os.urandom(MIB), 700 if lane == "attach" else 200))
    # A controller that was killed in an earlier test has left what its command had begun.
    before = set(lab.run(debian, "ls -a /var/tmp").output.split())
    process = start(ansible, variables(lab, debian, data_lane=lane), local, "")
    look = "stat -c %s /var/tmp/.virtops-*/new 2>/dev/null | sort -n | tail -n 1"
    for _attempt in range(600):
        if int(lab.run(debian, look).output.strip() or 0) > MIB:
            break
        time.sleep(0.2)
    else:
        raise AssertionError("the transfer does not begin")
    process.send_signal(number)
    process.communicate(timeout=60)
    none = [Path(REMOTE).name]
    if number != signal.SIGKILL or lane == "attach":
        none.append("var/tmp")  # a handle that the agent keeps open
    if number != signal.SIGKILL:
        none.append(".virtops-")
    time.sleep(3)
    for _attempt in range(60):
        left = lab.run(debian, f"ls -a /var/tmp | grep -e virtops -e {Path(REMOTE).name}; ls -l /proc/$(pidof qemu-ga)/fd").output
        left = "\n".join(line for line in left.splitlines() if line not in before)
        if not any(word in left for word in none):
            break
        time.sleep(1)
    else:
        raise AssertionError(left)
    lab.run(debian, "rm -rf /var/tmp/.virtops-*; systemctl restart qemu-guest-agent")
    lab.wait_agents()
    _unplug(lab, debian)


def _unplug(lab: Lab, name: str) -> None:
    """A controller that was killed leaves the port. A resident of a later test would take it."""
    domain = lab.domain(name)
    for device in ET.fromstring(domain.XMLDesc(0)).iterfind("devices/channel"):
        target = device.find("target")
        if target is not None and target.get("name") == PORT:
            domain.detachDevice(ET.tostring(device, encoding="unicode"))
            assert lab.run(name, f"timeout 30 sh -c 'while [ -e /dev/virtio-ports/{PORT} ]; do sleep 0.1; done'").returncode == 0
