# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The distributions on which ansible-core tries its own facts. They are in its sdist only, and stay out of this repository."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import typing as t
from pathlib import Path

import pytest
from ansible.release import __version__ as VERSION

_PLACE: t.Final = "test/units/module_utils/facts/system/distribution/fixtures/"
_SECONDS: t.Final = 300


def distributions() -> dict[str, dict[str, t.Any]]:
    """Name -> files of the guest and the facts that setup makes of them, of exactly the ansible-core that runs the test."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    cache = Path(base).expanduser() / "virtops-guest-agent-core" / VERSION
    cache.mkdir(parents=True, exist_ok=True)
    found = cache / "distributions.json"
    with (cache / "lock").open("w") as lock:  # several tests at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            new = found.with_suffix(".new")
            new.write_text(json.dumps(_fetched()), encoding="utf-8")
            new.rename(found)
    return t.cast("dict[str, dict[str, t.Any]]", json.loads(found.read_text(encoding="utf-8")))


def _fetched() -> dict[str, t.Any]:
    with tempfile.TemporaryDirectory() as directory:
        options = ["-qq", "--disable-pip-version-check", "--no-deps", "--no-binary", "ansible-core", "--dest", directory]
        command = [sys.executable, "-m", "pip", "download", *options, f"ansible-core=={VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        if done.returncode:
            why = f"no sdist of ansible-core {VERSION} can be had: {done.stderr[-300:]}"
            pytest.skip(f"SKIPPED OUT LOUD: guest_facts is not held against setup's own distribution fixtures, for {why}")
        (archive,) = Path(directory).glob("*.tar.gz")
        with tarfile.open(archive) as packed:
            members = [member for member in packed if _PLACE in member.name and member.name.endswith(".json")]
            return {Path(member.name).stem: json.load(t.cast(t.Any, packed.extractfile(member))) for member in members}
