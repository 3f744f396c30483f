# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A reader who follows a guide: its files are written and its commands are run as they stand, from the top of the page to its end.

guide_table.py says what is run elsewhere.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.integration.ansible_cli import ROOT, Ansible
from tests.integration.guide_table import ELSEWHERE
from tests.unit.guide_pages import commands, pages

#: Where a page puts what it makes; a test has a directory of its own.
BACKUPS = "/var/backups"
#: In the checkout.
INSTALL = "$ ansible-galaxy collection install ."
#: What each of these prints where it has reached a guest, and where it has not.
REACHED = {"ansible-playbook": "ok=", "ansible-inventory": "db1"}


class Reader:
    """Follows pages in ``place``, which has the checkout's examples in it; the guests are called ``guests``."""

    def __init__(self, home: Path, place: Path, guests: Sequence[str]) -> None:
        self._place = place
        self._guests = guests
        place.chmod(0o711)  # QEMU writes to it
        (place / "examples").symlink_to(ROOT / "examples")
        self._ansible = Ansible(home, collections=place / "collections")

    def follow(self, page: str) -> str:
        """All that the commands of a page print."""
        found = pages()[page]
        told = [] if any(INSTALL in commands(part) for part in found) else [self._install()]
        for part in found:
            if part.file and (page, part.head) not in ELSEWHERE:
                (self._place / part.file).write_text(part.text.replace(BACKUPS, str(self._place)), encoding="utf-8")
            told += [self._run(line) for line in commands(part) if (page, line) not in ELSEWHERE]
        return "\n".join(told)

    def _run(self, line: str) -> str:
        if line == INSTALL:
            return self._install()
        words = shlex.split(line.removeprefix("$ "))
        if words[0] == "ansible-playbook" and "-i" in words:
            words += ["--limit", ",".join([*self._guests, "localhost"])]  # other tests have guests, too
        command = words if words[0] in ("cp", "mkdir") else self._ansible.command(*words)
        env = {**self._ansible.env, "HOME": str(self._place)}
        done = subprocess.run(command, env=env, cwd=self._place, capture_output=True, text=True, timeout=300, check=False)
        text = f"{line} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, text
        assert REACHED.get(words[0], "") in done.stdout, text
        return text

    def _install(self) -> str:
        """The collection is the one that a reader has, and not the checkout."""
        place = str(self._place / "collections")
        return self._ansible.run("ansible-galaxy", "collection", "install", str(ROOT), "-p", place).stdout
