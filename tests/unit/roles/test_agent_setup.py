# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role puts into a guest: the script that runs the hooks of a freeze."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

ROLE = Path(__file__).parents[3] / "roles" / "agent_setup"


def _rendered(text: str, **variables: object) -> str:
    try:
        from ansible.template import trust_as_template
    except ImportError:  # ansible-core before 2.19
        pass
    else:
        text = trust_as_template(text)
    return str(Templar(loader=DataLoader(), variables=variables).template(text, convert_data=False))


@pytest.mark.parametrize(
    ("word", "fails", "ran", "status"),
    [
        ("freeze", "", ["10", "20", "30"], 0),
        ("freeze", "20", ["10", "20"], 1),
        ("thaw", "", ["10", "20", "30"], 0),
        ("thaw", "20", ["10", "20", "30"], 1),
        ("thaw", "10", ["10", "20", "30"], 1),
    ],
)
def test_each_hook_hears_of_the_thaw(tmp_path: Path, word: str, fails: str, ran: list[str], status: int) -> None:
    """What was stopped for a freeze goes on, whatever another hook's trouble is. A freeze ends with the first that fails."""
    hooks = tmp_path / "hooks of a guest"
    hooks.mkdir()
    for name in ("10", "20", "30"):
        (hooks / name).write_text(f'#!/bin/sh\necho "{name} $1"\n[ {name} != "{fails}" ]\n', encoding="utf-8")
        (hooks / name).chmod(0o755)
    (hooks / "40").write_text("#!/bin/sh\necho no program\n", encoding="utf-8")
    text = (ROLE / "templates" / "fsfreeze-hook.j2").read_text(encoding="utf-8")
    script = _rendered(text, agent_setup_hook_directory=str(hooks))
    done = subprocess.run(["sh", "-c", script, "fsfreeze-hook", word], capture_output=True, text=True, check=False)
    assert (done.stdout.splitlines(), done.returncode) == ([f"{name} {word}" for name in ran], status)
