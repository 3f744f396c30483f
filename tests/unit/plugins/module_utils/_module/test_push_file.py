# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What push_file does about a file that is there, or is not; with real agents it is in test_guest_files.py."""

from __future__ import annotations

import os
import subprocess
import tempfile
import types
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import files
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import push_file
from ansible_collections.virtops.guest_agent.plugins.module_utils._module.push_file import Place
from ansible_collections.virtops.guest_agent.plugins.modules import push_file as module
from ansible_collections.virtops.guest_agent.tests.unit import real_agent
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import run_module

#: Names of root and its group, and of nobody else, in the guest of ``aliased``.
USERS = "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\ndaemon:x:1:1::/:/bin/sh\n"
GROUPS = "root:x:0:\nwheel\nwheel:x:0:toor\ndaemon:x:1:\n"
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


def test_no_name_is_asked_for_that_is_told() -> None:
    guest = t.cast(t.Any, types.SimpleNamespace(agent=types.SimpleNamespace(windows=None)))  # it can run nothing
    place = Place(guest, files.Where("/x"), SAME)
    before = place.state()
    for owner, group in (("root", "root"), ("0", "0"), ("", "")):
        assert place.planned(files.Attributes("", owner, group), before, None) == before


@pytest.fixture(params=["getent", "no getent"])
def aliased(request: pytest.FixtureRequest) -> t.Iterator[Path]:
    """The socket of a real agent whose guest has two names for root and for its group."""
    alone = ["unshare", "--mount", "--propagation", "private"]
    if os.geteuid() != 0 or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("SKIPPED OUT LOUD: an owner with two names is not tried, for this user may not mount any file over another")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        state = Path(name)
        (state / "passwd").write_text(USERS, encoding="utf-8")
        (state / "group").write_text(GROUPS, encoding="utf-8")
        mounts = [f"mount --bind {state}/{file} /etc/{file}" for file in ("passwd", "group")]
        if request.param == "no getent":
            mounts.append("mount --bind /dev/null /usr/bin/getent")
        script = " && ".join([*mounts, 'exec "$@"'])
        with real_agent.listening(state, before=[*alone, "sh", "-c", script, "sh"]) as socket:
            yield socket


@pytest.mark.parametrize(
    ("owner", "group", "changed"),
    [
        ("toor", None, False),
        (None, "wheel", False),
        ("toor", "wheel", False),
        ("0", "0", False),
        ("daemon", None, True),
        ("toor", "daemon", True),
        ("daemon", "wheel", True),
    ],
)
def test_check_mode_knows_an_owner_by_another_name(
    aliased: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], owner: str | None, group: str | None, changed: bool
) -> None:
    dest = tmp_path / "file"
    dest.write_text("new", encoding="utf-8")
    given: dict[str, t.Any] = {"transport": "unix", "socket": str(aliased), "domain": "guest", "resident": "never"}
    given.update({"content": "new", "dest": str(dest), "owner": owner, "group": group})
    told = run_module(module.main, capsys, check=True, **given)
    done = run_module(module.main, capsys, **given)
    assert told["changed"] == done["changed"] == changed
    names = ("owner", "group", "mode", "sha256", "size")
    assert [told[name] for name in names] == [done[name] for name in names]
