# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The environments of tests/tools/cores, one for each ansible-core of the matrix that this machine has a Python for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ansible.release import __version__ as running_version

from tests.integration.ansible_cli import ROOT

CORES = ("2.16", "2.19", "2.21")
#: For parametrize: the others belong to the full form.
NEWEST = [*(pytest.param(core, marks=pytest.mark.full) for core in CORES[:-1]), CORES[-1]]
OLDEST_AND_NEWEST = [CORES[0], *NEWEST[1:]]


def bin_dir(core: str, what: str) -> Path:
    """Its commands; ``what``, the test, is skipped where there are none. The one the tests run in is always there."""
    found = ROOT / f".venv-core{core}" / "bin"
    if (found / "ansible-playbook").exists():
        return found
    if running_version.startswith(f"{core}."):
        return Path(sys.executable).parent
    pytest.skip(f"SKIPPED OUT LOUD: {what} is not tried on ansible-core {core}, for this machine has no environment with that")
