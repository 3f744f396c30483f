# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a program and turn its failure into a sentence."""

from __future__ import annotations

import pwd
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import LabError


def run(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    timeout: float = 60,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
) -> str:
    """Return the program's standard output; raise LabError when it is missing or fails."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            timeout=timeout,
            env=environment,
            user=user,
            group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            errors="replace",
        )
    except FileNotFoundError:
        raise LabError(f"{command[0]} is not installed: run tests/lab/install.sh") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{command[0]} did not end within {timeout:g} seconds") from None
    if done.returncode:
        raise LabError(f"{command[0]} failed ({done.returncode}): {done.stderr.strip()[-2000:]}")
    return done.stdout
