# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks in a guest that stays warm, over both ways to its resident."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.integration.ansible_cli import Ansible
from tests.integration.guests_by_agent import RESIDENTS, RUN_BY_IT, Plays, variables
from tests.lab import Lab

PORT = "<channel type='unix'><target type='virtio' name='org.virtops.guest_agent.0'/></channel>"
STARTED = "a resident is started for the next tasks"


@pytest.fixture(params=["pipes", "port"])
def data_lane(request: pytest.FixtureRequest, lab: Lab, debian: str) -> Iterator[str]:
    domain = lab.domain(debian)
    if request.param == "port":
        domain.attachDevice(PORT)
        time.sleep(3)
    yield "never" if request.param == "pipes" else "auto"
    for process in residents(lab, debian):
        lab.run(debian, f"kill -KILL {process}")
    if request.param == "port":
        devices = ElementTree.fromstring(domain.XMLDesc()).iterfind("devices/channel")
        (port,) = [device for device in devices if device.find("target[@name='org.virtops.guest_agent.0']") is not None]
        domain.detachDevice(ElementTree.tostring(port, encoding="unicode"))
        time.sleep(3)


def residents(lab: Lab, name: str) -> list[str]:
    return lab.run(name, RESIDENTS).output.split()


def test_tasks_of_a_warm_guest(lab: Lab, ansible: Ansible, debian: str, tmp_path: Path, data_lane: str) -> None:
    def plays(**more: Any) -> Plays:
        host = variables(lab, debian, resident="auto", **more) | {"ansible_guest_agent_data_lane": data_lane}
        return Plays(ansible, tmp_path, {debian: host})

    warm = plays(resident_idle=300)
    first = warm.told({"ansible.builtin.raw": "id"})
    assert STARTED in first
    assert RUN_BY_IT not in first
    deadline = time.monotonic() + 120
    while RUN_BY_IT not in warm.told({"ansible.builtin.raw": "id"}):
        assert time.monotonic() < deadline, "the resident does not come"
    tasks = [
        {"ansible.builtin.raw": "echo out; echo err >&2; exit 3", "register": "r", "failed_when": "r.rc != 3"},
        {"ansible.builtin.command": "id -un", "register": "c", "failed_when": "c.stdout != 'root'"},
        {"ansible.builtin.stat": {"path": "/etc/passwd"}, "register": "s", "failed_when": "not s.stat.exists"},
        {"ansible.builtin.copy": {"content": "x" * 200000, "dest": "/run/warm"}},
        {
            "ansible.builtin.command": "id -un",
            "become": True,
            "become_user": "nobody",
            "register": "b",
            "failed_when": "b.stdout != 'nobody'",
        },
    ]
    told = warm.told(*tasks)
    assert told.count(RUN_BY_IT) >= len(tasks)
    assert STARTED not in told
    for process in residents(lab, debian):
        lab.run(debian, f"kill -KILL {process}")
    without = warm.told({"ansible.builtin.command": "id -un", "register": "c", "failed_when": "c.stdout != 'root'"})
    assert RUN_BY_IT not in without
