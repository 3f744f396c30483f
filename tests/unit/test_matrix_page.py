# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of what was tried where is what the runs have left, and nothing else."""

from __future__ import annotations

import json
import re
import shlex
import types
import typing as t

import pytest

from tests.integration import tested
from tests.tools import matrix

ROW = {"hypervisor": "libvirt 9.0.0, QEMU 7.2.22", "uri": "qemu:///system", "guest": "debian12", "agent": "7.2.22", "core": "2.19"}


def row(command: str, passed: int, failed: int = 0, when: str = "2026-11-30", **more: str) -> dict[str, t.Any]:
    return {**ROW, "command": command, "when": when, "passed": passed, "failed": failed, **more}


def test_the_page_is_made_of_the_rows() -> None:
    kept = json.loads(matrix.KEPT.read_text(encoding="utf-8"))
    assert matrix.PAGE.read_text(encoding="utf-8") == matrix.page(kept)
    assert matrix.merged(kept, []) == kept


def test_each_row_has_tests_and_a_command_that_there_is() -> None:
    kept = json.loads(matrix.KEPT.read_text(encoding="utf-8"))
    targets = set(re.findall(r"^([a-z-]+):", (matrix.ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert kept
    for each in kept:
        assert each["passed"] + each["failed"] > 0, each
        assert each["command"].split()[:1] == ["make"], each
        assert each["command"].split()[1] in targets, each


def test_make_takes_each_command_as_it_was_run() -> None:
    kept = json.loads(matrix.KEPT.read_text(encoding="utf-8"))
    for asked in {found for each in kept for found in _asked_for(each["command"])}:
        assert len(shlex.split(asked)) == 2, asked


def test_words_that_pick_tests_stay_one_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR", "ssh")
    option = types.SimpleNamespace(keyword="test_info.py or test_start.py", markexpr="")
    command = tested.command(t.cast("pytest.Config", types.SimpleNamespace(option=option, args=["tests/integration"])))
    assert "DOOR=ssh" in command
    assert [shlex.split(asked) for asked in _asked_for(command)] == [["-k", option.keyword]]


def _asked_for(command: str) -> list[str]:
    return [word.removeprefix("ONLY=") for word in shlex.split(command) if word.startswith("ONLY=")]


def test_a_run_takes_the_place_of_its_elder() -> None:
    old, other = row("make full", 3, 1, "2026-01-01"), row("make full", 5, core="2.21")
    assert matrix.merged([old, other], [row("make full", 4)]) == [row("make full", 4), other]


def test_parts_are_one_row_as_old_as_the_oldest() -> None:
    parts = [row("make integration PART=1/2", 3, 1), row("make integration PART=2/2", 4, when="2026-11-29"), row("make full", 9)]
    assert matrix.folded(parts) == [row("make integration", 7, 1, "2026-11-29"), row("make full", 9)]


def test_what_failed_is_told() -> None:
    line = matrix.page([row("make full", 9, 2)]).splitlines()[-5:]
    assert line[:3] == ["   * - Debian 12, qemu-ga 7.2.22", "     - 2.19", "     - 9, 2 failed"]


def test_a_section_for_each_way_to_a_hypervisor() -> None:
    newer = row("make full", 1, hypervisor="libvirt 11.3.0, QEMU 10.0.2")
    alone = row("make full", 1, hypervisor="", uri="", guest="windows-7.2", agent="7.2")
    lines = matrix.page([newer, row("make full", 1), row("make full", 1, uri="qemu:///session"), alone]).splitlines()
    assert [title for title, below in zip(lines, lines[1:]) if below and set(below) == {"-"}] == [
        "Agents alone, without a hypervisor",
        "libvirt 9.0.0, QEMU 7.2.22: qemu:///system",
        "libvirt 9.0.0, QEMU 7.2.22: qemu:///session",
        "libvirt 11.3.0, QEMU 10.0.2: qemu:///system",
    ]
