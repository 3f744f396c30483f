# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Takes each guard out in turn, and says which of them no unit test misses: python tests/tools/guards.py [FILE...]

A guard is an ``if`` that raises. The tests that are asked are those that trip it, which a first run of all of them finds out. It
works in a copy of the checkout. The exit status is 1 where a guard is not missed.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from coverage import CoverageData

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("plugins/module_utils", "plugins/modules", "plugins/plugin_utils")
#: A guard that is out may let a test wait for ever.
SECONDS = 90
TESTS_AT_MOST = 100


class Guard(NamedTuple):
    path: str
    line: int
    raises: int
    condition: str
    without: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} if {self.condition}"


class Verdict(NamedTuple):
    guard: Guard
    missed: bool
    why: str


def guards_of(path: str, source: str) -> Iterator[Guard]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.If):
            continue
        raises = [statement for statement in node.body if isinstance(statement, ast.Raise)]
        if raises:
            condition = ast.get_source_segment(source, node.test) or ""
            yield Guard(path, node.lineno, raises[0].lineno, " ".join(condition.split()), _without(source, node.test))


def _without(source: str, test: ast.expr) -> str:
    """The same number of lines, so that the others keep theirs."""
    lines = source.splitlines(keepends=True)
    assert test.end_lineno is not None
    first, last = lines[test.lineno - 1].encode(), lines[test.end_lineno - 1].encode()
    replaced = first[: test.col_offset] + b"False" + b" \\\n" * (test.end_lineno - test.lineno) + last[test.end_col_offset :]
    return "".join([*lines[: test.lineno - 1], replaced.decode(), *lines[test.end_lineno :]])


class Workshop:
    """Copies of the checkout, each for one guard at a time."""

    def __init__(self, place: Path, copies: int) -> None:
        self._copies = [_copy(place / str(number)) for number in range(copies)]

    def tripping(self) -> CoverageData:
        """Which tests reach which lines."""
        words = [
            "tests/unit",
            "-q",
            "-n",
            str(len(self._copies)),
            *(f"--cov={folder}" for folder in SOURCES),
            "--cov-context=test",
            "--cov-report=",
        ]
        done = _pytest(self._copies[0], words, timeout=3600)
        if done.returncode == 1:  # Some wait for real time, and a machine that is busy has none.
            done = _pytest(self._copies[0], [*words, "--last-failed", "--cov-append"], timeout=3600)
        if done.returncode:
            raise SystemExit(f"the tests fail already:\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
        data = CoverageData(str(self._copies[0] / ".coverage"))
        data.read()
        return data

    def verdict(self, guard: Guard, data: CoverageData) -> Verdict:
        measured = next((name for name in data.measured_files() if name.endswith(f"/{guard.path}")), "")
        contexts = data.contexts_by_lineno(measured).get(guard.raises, []) if measured else []
        tests = sorted({context.partition("|")[0] for context in contexts if "::" in context}, key=lambda name: (len(name), name))
        if not tests:
            return Verdict(guard, False, "no test trips it")
        copy = self._copies.pop()
        file = copy / guard.path
        kept = file.read_text(encoding="utf-8")
        try:
            file.write_text(guard.without, encoding="utf-8")
            done = _pytest(copy, [*tests[:TESTS_AT_MOST], "-q", "-x", "-p", "no:cacheprovider"], timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return Verdict(guard, True, "a test does not end")
        finally:
            file.write_text(kept, encoding="utf-8")
            self._copies.append(copy)
        if done.returncode not in (0, 1):
            return Verdict(guard, False, f"pytest ended with {done.returncode}: {done.stdout[-500:]}")
        return Verdict(guard, done.returncode == 1, f"the {len(tests)} tests that trip it pass without it")


def _copy(place: Path) -> Path:
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in filter(None, subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")):
        target = place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    return place


def _pytest(directory: Path, words: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", *words]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, timeout=timeout, check=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="files to look at; all of the core and the modules without any")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="how many guards at a time")
    options = parser.parse_args()
    files = options.files or [str(path.relative_to(ROOT)) for folder in SOURCES for path in sorted((ROOT / folder).rglob("*.py"))]
    guards = [guard for path in files for guard in guards_of(path, (ROOT / path).read_text(encoding="utf-8"))]
    with tempfile.TemporaryDirectory() as place:
        workshop = Workshop(Path(place), options.workers)
        data = workshop.tripping()
        survivors = 0
        with ThreadPoolExecutor(options.workers) as pool:
            for verdict in pool.map(lambda guard: workshop.verdict(guard, data), guards):
                if not verdict.missed:
                    survivors += 1
                    print(f"NOT MISSED {verdict.guard}: {verdict.why}", flush=True)
    print(f"{len(guards)} guards, {survivors} of them not missed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
