# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One task on many guests: in the controller's process, against a module that is delegated to localhost.

python -m tests.bench.fleet [--guests 40] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab import Guest, Lab
from tests.lab.guest import QUIET

from .contestants import ROOT
from .endings import BenchError, told

_PREFIX = "bench-tiny-"
_SECONDS = 600.0
_TASK = {"virtops.guest_agent.agent_info": {}}
#: What is compared; "nothing" has no task at all, so that what a playbook and its inventory take can be told apart.
_TASKS: dict[str, list[dict[str, Any]]] = {
    "in-process": [_TASK],
    "delegated": [{**_TASK, "delegate_to": "localhost"}],
    "nothing": [],
}


@told
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fleet", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--guests", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything that was measured as JSON")
    options = parser.parse_args(arguments)
    with Lab() as lab, tempfile.TemporaryDirectory(prefix="bench-") as work:
        lab.start_all([Guest(name=f"{_PREFIX}{number}", kernel=QUIET) for number in range(options.guests)])
        seconds = measure(lab.uri, options.guests, options.rounds, Path(work))
    data = {"guests": options.guests, "seconds": seconds, **_ratios(seconds)}
    print(as_text(data))
    if options.json:
        options.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(uri: str, guests: int, rounds: int, work: Path) -> dict[str, list[float]]:
    """Seconds that each playbook took, one after the other in every round."""
    source = work / "fleet.libvirt.yml"
    options = {"plugin": "virtops.guest_agent.libvirt", "uri": uri, "include": [f"starts_with(libvirt.name, '{_PREFIX}')"]}
    source.write_text(json.dumps(options), encoding="utf-8")
    found: dict[str, list[float]] = {name: [] for name in _TASKS}
    for _round in range(rounds):
        for name, tasks in _TASKS.items():
            play = {"hosts": f"{_PREFIX}*", "gather_facts": False, "tasks": tasks}
            path = work / f"{name}.json"
            path.write_text(json.dumps([play]), encoding="utf-8")
            found[name].append(_timed(source, path, guests if tasks else 0))
    return found


def as_text(data: dict[str, Any]) -> str:
    lines = [f"agent_info on {data['guests']} tiny guests, one play: seconds, median (min-max)"]
    for name, seconds in data["seconds"].items():
        lines.append(f"  {name:12}{statistics.median(seconds):8.2f} ({min(seconds):.2f}-{max(seconds):.2f})")
    lines.append(f"  in-process takes {data['ratio']:.3f} of the time of delegated modules")
    lines.append(f"  and {data['ratio_of_the_task']:.3f} without what the playbook and its inventory take")
    return "\n".join(lines)


def _ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
    median = {name: statistics.median(values) for name, values in seconds.items()}
    alone = {name: max(0.001, value - median["nothing"]) for name, value in median.items()}
    return {"ratio": median["in-process"] / median["delegated"], "ratio_of_the_task": alone["in-process"] / alone["delegated"]}


def _timed(source: Path, playbook: Path, hosts: int) -> float:
    config = source.with_name("ansible.cfg")
    config.touch()
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHONDONTWRITEBYTECODE"))},
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
        "ANSIBLE_CONFIG": str(config),
        "ANSIBLE_HOME": str(source.parent),
        "ANSIBLE_STDOUT_CALLBACK": "minimal",
    }
    bin_dir = Path(sys.executable).parent
    words = [str(bin_dir / "ansible-playbook"), "-i", str(source), str(playbook), "-e", f"ansible_playbook_python={sys.executable}"]
    began = time.monotonic()
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=_SECONDS, check=False)
    seconds = time.monotonic() - began
    answered = done.stdout.count('"status": "connected"')
    if done.returncode or answered != hosts:
        raise BenchError(f"{playbook.stem}: {answered} of {hosts} answered\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
