# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What push_file does about a file that is there, or is not; with real agents it is in test_guest_files.py."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import files
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import push_file
from ansible_collections.virtops.guest_agent.plugins.module_utils._module.push_file import Place

NEW = {"sha256": "1" * 64, "size": 7}
SAME = files.FileState("file", False, "0644", 0, 0, "root", "root", 7, "1" * 64)
NONE = t.cast(t.Any, None)


@pytest.mark.parametrize(
    ("old", "force", "there"),
    [
        pytest.param(None, True, "missing", id="nothing"),
        pytest.param(None, False, "missing", id="nothing, not forced"),
        pytest.param(SAME, True, "same", id="the same"),
        pytest.param(SAME, False, "any", id="the same, not forced"),
        pytest.param(SAME._replace(sha256="2" * 64), True, "other", id="other content"),
        pytest.param(SAME._replace(sha256="2" * 64), False, "any", id="other content, not forced"),
        pytest.param(SAME._replace(size=8), True, "other", id="another size"),
        pytest.param(SAME._replace(kind="link"), True, "other", id="a link"),
    ],
)
def test_what_is_there(old: files.FileState | None, force: bool, there: str) -> None:
    assert Place(NONE, files.Where("/x"), old).compared(NEW, force) == there


@pytest.mark.parametrize(
    ("there", "settled", "step"),
    [
        ("missing", False, "replace"),
        ("missing", True, "replace"),
        ("other", False, "replace"),
        ("other", True, "replace"),
        ("same", False, "attributes"),
        ("same", True, "nothing"),
        ("any", False, "attributes"),
        ("any", True, "nothing"),
    ],
)
def test_what_is_done(there: push_file.There, settled: bool, step: str) -> None:
    assert push_file.step(there, settled) == step
