# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one process learns of a guest's pace, the next one expects; nothing that is found in its place does harm."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import exec as exec_
from ansible_collections.virtops.guest_agent.plugins.plugin_utils._pace import Pace


def pace(directory: Path, guest: str = "web1", kind: str = "command") -> Pace:
    return Pace(guest, kind, str(directory))


def test_nothing_is_expected_of_a_stranger(tmp_path: Path) -> None:
    assert pace(tmp_path).expected() == 0.0
    assert pace(tmp_path / "none").expected() == 0.0


def test_the_fastest_of_the_last_three_counts(tmp_path: Path) -> None:
    for seconds in (0.1, 0.5, 0.4, 0.6):
        pace(tmp_path).learn(seconds)
    assert pace(tmp_path).expected() == pytest.approx(0.4, rel=0.1)


@pytest.mark.parametrize("expected", [0.0, 0.01, 0.3, 2.0, 17.0, 60.0, 3600.0])
def test_an_end_is_seen_soon_whatever_was_expected(expected: float) -> None:
    pauses = list(itertools.islice(exec_.pauses(expected), 40))
    assert 0 < max(pauses) <= max(1.25, expected / 2)
    asked = list(itertools.accumulate(pauses))
    assert min(abs(at - expected) for at in [0.0, *asked]) <= 0.01
    assert len([at for at in asked if at <= expected]) <= 4


def test_guests_and_kinds_are_told_apart(tmp_path: Path) -> None:
    pace(tmp_path).learn(0.3)
    assert pace(tmp_path, guest="web2").expected() == 0.0
    assert pace(tmp_path, kind="module").expected() == pace(tmp_path / "none", kind="module").expected()


def test_a_name_is_no_path(tmp_path: Path) -> None:
    for guest in ("../../x", "/etc/passwd", "a\0b", "\ud800"):
        pace(tmp_path, guest=guest).learn(0.2)
        assert pace(tmp_path, guest=guest).expected() > 0
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("text", ["", "[", "7", "{}", '["x"]', "[[1]]", "null", "[null]", "é"])
def test_what_is_not_readable_is_not_known(tmp_path: Path, text: str) -> None:
    pace(tmp_path).learn(0.2)
    for path in tmp_path.iterdir():
        path.write_text(text, encoding="utf-8")
    assert pace(tmp_path).expected() == 0.0
    pace(tmp_path).learn(0.2)
    assert pace(tmp_path).expected() > 0


def test_a_directory_that_is_gone_is_no_error(tmp_path: Path) -> None:
    pace(tmp_path / "none").learn(0.2)
    assert list(tmp_path.iterdir()) == []
