# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real agent whose thaw hook fails: it has thawed, and the hook has run once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import freeze
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import listening, watched


def test_a_thaw_hook_that_exits_with_1(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("SKIPPED OUT LOUD: a thaw hook is not tried with a real agent, for it is root and this user is not")
    hook, runs = tmp_path / "hook", tmp_path / "runs"
    hook.write_text(f'#!/bin/sh\necho "$1" >> {runs}\nexit 1\n', encoding="utf-8")
    hook.chmod(0o700)
    with listening(tmp_path, f"--fsfreeze-hook={hook}") as path, watched(path) as transport:
        thawed = freeze.thaw_until_thawed(transport.agent(), 5)
    assert thawed.filesystems is None
    assert "hook" in thawed.warning
    assert runs.read_text(encoding="utf-8") == "thaw\n"
