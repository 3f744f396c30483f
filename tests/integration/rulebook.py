# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ansible-rulebook as a user runs it, from the environment that `make rulebook` makes, and what its rules are given."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.integration.ansible_cli import ROOT, Ansible

BIN = ROOT / ".venv-rulebook" / "bin"
INVENTORY = ROOT / "examples" / "rulebooks" / "inventory.yml"
#: Java and Drools, on a busy machine.
_START_SECONDS = 120.0


class Seen(NamedTuple):
    """An event, and when a rule fired for it (time.time)."""

    at: float
    event: dict[str, Any]


class Rulebook:
    """One that runs; ``output`` is all that it has printed, ``seen`` what its rules have printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.output: list[str] = []
        self.seen: list[Seen] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._more:
                self.output.append(line)
                if line.startswith("{'"):
                    self.seen.append(Seen(time.time(), ast.literal_eval(line)))
                self._more.notify_all()

    def wait(self, condition: Callable[[], bool], seconds: float = 120.0) -> None:
        """Until it holds, which is looked at after each line."""
        deadline = time.monotonic() + seconds
        with self._more:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    raise AssertionError(f"not in {seconds:g} s:\n{self.text()[-6000:]}")
                self._more.wait(min(left, 1.0))

    def text(self) -> str:
        return "".join(self.output)

    def of(self, name: str) -> list[Seen]:
        """What was told of a domain."""
        return [seen for seen in self.seen if seen.event.get("domain") == name]

    def types(self, name: str) -> list[str]:
        return [seen.event["type"] for seen in self.of(name)]


@contextmanager
def running(ansible: Ansible, rulebook: Path) -> Iterator[Rulebook]:
    """From the root of the checkout, as the examples say."""
    env = {**ansible.env, "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]), "PYTHONUNBUFFERED": "1"}
    command = [str(BIN / "ansible-rulebook"), "--inventory", str(INVENTORY), "--rulebook", str(rulebook), "--verbose"]
    process = subprocess.Popen(command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    rules = Rulebook(process)
    try:
        rules.wait(lambda: "Waiting for events" in rules.text(), _START_SECONDS)
        yield rules
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def printing(path: Path, uris: list[str], **arguments: object) -> Path:
    """A rulebook that prints every event."""
    source = {"virtops.guest_agent.events": {"uri": uris, **arguments}}
    rule = {"name": "all", "condition": "event.type is defined", "action": {"print_event": {}}}
    path.write_text(json.dumps([{"name": "t", "hosts": "localhost", "sources": [source], "rules": [rule]}]), encoding="utf-8")
    return path
