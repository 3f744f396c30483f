# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module of ``command: id`` without Ansible and without a connection: what it takes in the guest, and on the controller."""

from __future__ import annotations

import shlex
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.lab import Lab

from .contestants import GUEST_DIR, SSH
from .endings import BenchError
from .playbooks import Playbooks

_SECONDS = 60.0
_TIMES = 3


@dataclass(frozen=True)
class Alone:
    """Seconds that the module itself runs."""

    guest: float
    controller: float


def module_alone(lab: Lab, name: str, playbooks: Playbooks, work: Path, python: Path) -> Alone:
    """Let Ansible leave its module in the guest, and time it there over the serial port, by the guest's own clock."""
    play = {
        "name": SSH,
        "hosts": SSH,
        "gather_facts": False,
        "vars": {"ansible_ssh_pipelining": False, "ansible_remote_tmp": f"{GUEST_DIR}/kept"},
        "tasks": [{"name": "kept", "command": "id"}],
    }
    events = playbooks.events([play], _SECONDS, ANSIBLE_KEEP_REMOTE_FILES="true", ANSIBLE_PIPELINING="false")
    if not any(event.get("result") == "ok" for event in events):
        raise BenchError(f"no module came into the guest over SSH: {events[-1]}")
    found = f"$(ls {GUEST_DIR}/kept/*/AnsiballZ_command.py)"
    module = work / "AnsiballZ_command.py"
    module.write_text(lab.run(name, f"cat {found}", _SECONDS).output, encoding="utf-8")
    timed = f"a=$(date +%s%N); python3 {found} >/dev/null || exit 1; b=$(date +%s%N); echo $((b-a))"
    in_guest = [lab.run(name, timed, _SECONDS) for _time in range(_TIMES)]
    if any(done.returncode for done in in_guest):
        raise BenchError(f"the module does not run in the guest: {in_guest[0].output[-300:]}")
    return Alone(
        statistics.median(int(done.output.split()[-1]) / 1e9 for done in in_guest),
        statistics.median(_timed([str(python), str(module)]) for _time in range(_TIMES)),
    )


def _timed(words: list[str]) -> float:
    began = time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise BenchError(f"{shlex.join(words)} ended with {done.returncode}: {done.stderr[-300:]}")
    return time.monotonic() - began
