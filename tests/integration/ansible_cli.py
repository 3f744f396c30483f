# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible's own commands, as a user calls them, with an environment that holds nothing of this user's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parents[2]
#: The form of the tests; conftest.py says what it means.
FULL = os.environ.get("INTEGRATION") == "full"
CALLBACKS = Path(__file__).parent / "callback_plugins"


class Ansible:
    """The commands of one environment (``bin`` of a venv), with the collection of this checkout or of ``collections``."""

    def __init__(self, home: Path, bin_dir: Path | None = None, collections: Path = ROOT / ".collections") -> None:
        self._bin = bin_dir or Path(sys.executable).parent
        self._home = home
        home.mkdir(parents=True, exist_ok=True)
        (home / "ansible.cfg").touch()
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "ANSIBLE_CONFIG": str(home / "ansible.cfg"),
            "ANSIBLE_HOME": str(home / "ansible"),
            "ANSIBLE_LOCAL_TEMP": str(home / "tmp"),
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            "ANSIBLE_DEPRECATION_WARNINGS": "false",
            "ANSIBLE_NOCOLOR": "true",
            "PYTHONPATH": "",
        }

    def command(self, *words: str) -> list[str]:
        return [str(self._bin / words[0]), *words[1:]]

    def run(self, *words: str, check: bool = True, timeout: float = 600, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*words), env={**self.env, **env}, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def inventory(self, source: Path, *words: str, **env: str) -> dict[str, Any]:
        """What ``ansible-inventory --list`` says."""
        result: dict[str, Any] = json.loads(self.run("ansible-inventory", "-i", str(source), "--list", *words, **env).stdout)
        return result

    def timed_inventory(self, source: Path) -> tuple[dict[str, Any], float]:
        started = time.monotonic()
        listed = self.inventory(source)
        return listed, time.monotonic() - started

    def module(self, name: str, /, check: bool = False, diff: bool = False, **args: Any) -> dict[str, Any]:
        """The result of one module on localhost, failed or not, through ansible itself.

        In the short form a module that names a domain runs in the controller's process, as on a guest of the inventory: that
        takes half of the time. test_every_module.py holds one against the other.
        """
        here = [] if FULL or "domain" not in args else ["-e", json.dumps({"ansible_guest_agent_domain": args["domain"]})]
        return self.result(self.run(*self.of_module(name, check, diff, **args), *here, check=False, **self.TELLING))

    #: Makes Ansible print each result as a line of JSON.
    TELLING: ClassVar[dict[str, str]] = {
        "ANSIBLE_STDOUT_CALLBACK": "last_result",
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "true",
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
    }

    def of_module(self, name: str, /, check: bool = False, diff: bool = False, **args: Any) -> list[str]:
        words = ["ansible", "localhost", "-m", f"virtops.guest_agent.{name}", "-a", json.dumps(args)]
        words += ["--check"] * check + ["--diff"] * diff
        return [*words, "-e", f"ansible_python_interpreter={self._bin / 'python'}"]

    @staticmethod
    def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
        """The last result that was told."""
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if not lines:
            raise AssertionError(f"no result:\n{done.args}\n{done.stdout}\n{done.stderr}")
        result: dict[str, Any] = json.loads(lines[-1])
        return result

    def playbook(self, path: Path, *words: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        return self.run("ansible-playbook", str(path), *words, **kwargs)


def write_inventory(path: Path, **options: Any) -> Path:
    """An options file for the inventory plugin; YAML is a superset of JSON."""
    path.write_text(json.dumps({"plugin": "virtops.guest_agent.libvirt", **options}), encoding="utf-8")
    return path


def hostvars(listed: dict[str, Any]) -> dict[str, Any]:
    """By host, of what ansible-inventory lists."""
    found: dict[str, Any] = listed["_meta"]["hostvars"]
    return found
