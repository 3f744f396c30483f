# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was tried where: each run leaves its rows in tests/output/tested, of which ``make matrix`` makes the page.

A row is one hypervisor, one guest and one ansible-core, with the number of tests that had a hand on that guest.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.release import __version__ as running

from tests.integration.ansible_cli import FULL, ROOT
from tests.lab.touched import AGENTS, TOUCHED, Touched

PLACE = ROOT / "tests/output/tested"
NAME = "tested"


def record(config: pytest.Config) -> None:
    """Have this run leave its rows. A test that was named is no run of a form that others can repeat."""
    named = any("::" in argument for argument in config.args)
    if not named and not config.option.collectonly and not config.pluginmanager.has_plugin(NAME):
        config.pluginmanager.register(Recorder(), NAME)


class Recorder:
    def __init__(self) -> None:
        self._counts: Counter[tuple[Touched, str, str]] = Counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[Any]:
        TOUCHED.clear()
        self._outcome = ""
        result = yield
        params = item.callspec.params if hasattr(item, "callspec") else {}
        core = params.get("core", ".".join(running.split(".")[:2]))
        for touched in TOUCHED:
            if self._outcome in ("passed", "failed") and isinstance(core, str):
                self._counts[touched, core, self._outcome] += 1
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or (report.when == "call" and self._outcome != "failed"):
            self._outcome = report.outcome

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        rows = [
            {
                **touched._asdict(),
                "agent": AGENTS.get(touched, ""),
                "core": core,
                "command": command(session.config),
                "when": time.strftime("%Y-%m-%d", time.gmtime()),
                **{outcome: self._counts[touched, core, outcome] for outcome in ("passed", "failed")},
            }
            for touched, core in sorted({key[:2] for key in self._counts})
        ]
        if rows:
            PLACE.mkdir(parents=True, exist_ok=True)
            (PLACE / f"{time.time_ns()}.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def command(config: pytest.Config) -> str:
    """By which somebody else can run the same."""
    short, long = "hypervisor-short" if config.option.markexpr else "integration", "full"
    if any(Path(argument).name == "faults" for argument in config.args):
        short, long = "faults-short", "faults"
    words, asked = ["make", long if FULL else short], config.option.keyword
    variables = {"PART": "INTEGRATION_PART", "HYPERVISOR": "HYPERVISOR", "DOOR": "DOOR"}
    words += [f"{name}={os.environ[given]}" for name, given in variables.items() if os.environ.get(given)]
    words += [f'ONLY="-k {shlex.quote(asked)}"'] if asked else []
    return " ".join(words)
