# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""python -m tests.fuzz [-only NAME] [-runs=N] [-seconds=N] [libFuzzer's options]: each target in turn, in a process of its own.

What is found is written to .cache/fuzz/; "python -m tests.fuzz.target NAME FILE" runs it again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import seeds

ROOT = Path(__file__).resolve().parents[2]
FINDINGS = ROOT / ".cache/fuzz"
#: Inputs for each target: about two minutes in all.
RUNS = {"reply": 50_000, "record": 25_000, "domain_xml": 20_000}
#: Each target ends then on a slow machine, where nobody said how many inputs it shall be.
SECONDS = 90


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("-only", choices=RUNS)
    parser.add_argument("-runs", type=int, help="inputs for each target")
    parser.add_argument("-seconds", type=int, help="and no longer than this for each")
    options, others = parser.parse_known_args(arguments)
    seconds = options.seconds or (0 if options.runs else SECONDS)
    FINDINGS.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in [options.only] if options.only else RUNS:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
            seeds.write(seeds.SEEDS[name](), Path(place))
            limits = [f"-runs={options.runs or RUNS[name]}", f"-max_total_time={seconds}", f"-max_len={seeds.MAX_LENGTH}"]
            where = [f"-artifact_prefix={FINDINGS}/{name}-", "-timeout=20", "-print_final_stats=1", *others, place]
            print(f"== {name}", flush=True)
            if subprocess.run([sys.executable, "-m", "tests.fuzz.target", name, *limits, *where], cwd=ROOT, check=False).returncode:
                failed.append(name)
    if failed:
        print(f"found something: {', '.join(failed)}; the inputs are in {FINDINGS.relative_to(ROOT)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    raise SystemExit(main())
