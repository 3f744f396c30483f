# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation's table of the agent's commands, held against what real agents say they have."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import VERSIONS

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "docsite" / "rst" / "commands.rst"


class Row(t.NamedTuple):
    command: str
    since: tuple[int, ...]
    reached_with: list[str]


def rows() -> list[Row]:
    found = []
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if re.match("``guest-[a-z-]+`` {2,}", line):
            command, since, _systems, reached = re.split(r" {2,}", line)
            found.append(Row(command.strip("`"), _version(since), re.findall("``([a-z_]+)``", reached)))
    return found


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split("."))


def _commands(version: str) -> set[str]:
    """Those that a real agent of the version listed (record_replies.py)."""
    replies = json.loads((Path(__file__).parent / "fakes" / "replies" / f"qemu-ga-{version}.json").read_text(encoding="utf-8"))[
        "replies"
    ]
    return {command["name"] for command in replies["guest-info"]["return"]["supported_commands"]}


@pytest.mark.parametrize("version", VERSIONS)
def test_it_has_what_an_agent_has(version: str) -> None:
    had = {row.command for row in rows() if row.since <= _version(version)}
    assert _commands(version) - had == set()
    # What Windows alone has, a Linux agent lists only before 9.1, as a command that is blocked.
    assert had - _commands(version) <= {"guest-get-devices"}


def test_each_command_stands_there_once() -> None:
    commands = [row.command for row in rows()]
    assert len(commands) == len(set(commands)) == 44


def test_what_it_is_reached_with_is_there() -> None:
    modules = {path.stem for path in (ROOT / "plugins" / "modules").glob("*.py")}
    for row in rows():
        if not row.command.startswith("guest-sync"):
            assert row.reached_with, row.command
            assert set(row.reached_with) <= modules, row.command
