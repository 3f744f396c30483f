# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""For how long a program in the guest cannot write while a snapshot is taken: the module, libvirt itself, three tasks.

python -m tests.bench.freeze_window [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import libvirt

from tests.lab import Guest, Lab

from .contestants import ROOT
from .endings import BenchError, told

_NAME = "bench-frozen"
#: Writes the time (ms) again and again, each safe on the disk before the next.
_WRITER = """
import os, time
file = os.open("/root/times", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
while True:
    os.write(file, b"%d\\n" % (time.monotonic() * 1000))
    os.fsync(file)
"""
_LARGEST_GAP = """
times = [int(line) for line in open("/root/times")]
print("gap", max([b - a for a, b in zip(times, times[1:])], default=0))
open("/root/times", "r+").truncate(0)
"""
_PAUSE = 3.0
NOTHING, LIBVIRT, OURS, TASKS = "nothing", "libvirt", "snapshot", "three tasks"
_MEANING = {
    NOTHING: "the guest is left alone: its own longest pause",
    LIBVIRT: "virDomainSnapshotCreateXML with QUIESCE, from a program that is connected",
    OURS: "virtops.guest_agent.snapshot: watchdog, freeze, snapshot, check, thaw",
    TASKS: "fsfreeze, virsh snapshot-create-as and fsfreeze in one play",
}


@told
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.freeze_window", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything that was measured as JSON")
    options = parser.parse_args(arguments)
    with Lab() as lab, tempfile.TemporaryDirectory(prefix="bench-") as work:
        lab.start_all([Guest(name=_NAME, kind="debian12")])
        begin = 'systemd-run --quiet --unit times python3 -c "$(cat /run/writer)"'
        _in_guest(lab, f"cat >/run/writer <<'END'\n{_WRITER}END\n{begin}\nuntil [ -s /root/times ]; do sleep 0.2; done")
        milliseconds = measure(lab, options.rounds, Path(work))
    print(as_text(milliseconds))
    if options.json:
        options.json.write_text(json.dumps(milliseconds, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(lab: Lab, rounds: int, work: Path) -> dict[str, list[int]]:
    """The guest's longest pause (ms) around each snapshot, one after the other in every round."""
    turns: dict[str, Callable[[], None]] = {
        NOTHING: lambda: time.sleep(_PAUSE),
        LIBVIRT: lambda: _by_libvirt(lab.domain(_NAME)),
        OURS: lambda: _by_module(lab.uri, work),
        TASKS: lambda: _by_tasks(lab.domain(_NAME), lab.uri, work),
    }
    found: dict[str, list[int]] = {name: [] for name in turns}
    for _round in range(rounds):
        for name, turn in turns.items():
            _largest_gap(lab)
            turn()
            time.sleep(1)
            found[name].append(_largest_gap(lab))
            _merge(lab.domain(_NAME))
    return found


def as_text(milliseconds: dict[str, list[int]]) -> str:
    lines = ["No write got through for so many milliseconds: median (min-max)"]
    for name, values in milliseconds.items():
        lines.append(f"  {name:12}{statistics.median(values):8.0f} ({min(values)}-{max(values)})  {_MEANING[name]}")
    ours = statistics.median(milliseconds[OURS])
    lines += [f"  {name} to snapshot: {statistics.median(milliseconds[name]) / ours:.2f}" for name in (LIBVIRT, TASKS)]
    return "\n".join(lines)


def _in_guest(lab: Lab, command: str) -> str:
    done = lab.run(_NAME, command, timeout=60)
    if done.returncode:
        raise BenchError(f"{_NAME}: {command.splitlines()[0]} ended with {done.returncode}: {done.output[-300:]}")
    return str(done.output)


def _largest_gap(lab: Lab) -> int:
    printed = _in_guest(lab, f"python3 - <<'END'\n{_LARGEST_GAP}END")
    found = re.search(r"gap (\d+)", printed)
    if found is None:
        raise BenchError(f"{_NAME} did not say when it wrote: {printed[-300:]}")
    return int(found[1])


def _images(domain: Any) -> dict[str, str]:
    disks = re.findall(r"<disk .*?</disk>", domain.XMLDesc(0), re.DOTALL)
    return {
        re.findall(r"<target dev='(\w+)'", disk)[0]: re.findall(r"<source file='([^']+)'", disk)[0]
        for disk in disks
        if "<source file=" in disk
    }


def _specification(domain: Any) -> str:
    disks = "".join(f"<disk name='{disk}'><source file='{image}.bench'/></disk>" for disk, image in _images(domain).items())
    return f"<domainsnapshot><name>bench</name><disks>{disks}</disks></domainsnapshot>"


def _by_libvirt(domain: Any) -> None:
    flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
    domain.snapshotCreateXML(_specification(domain), flags | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE)


def _by_module(uri: str, work: Path) -> None:
    _play([{"virtops.guest_agent.snapshot": {"name": "bench", "domains": [_NAME], "uri": uri}}], work)


def _by_tasks(domain: Any, uri: str, work: Path) -> None:
    disks = [f"--diskspec={disk},file={image}.bench" for disk, image in _images(domain).items()]
    create = ["virsh", "-c", uri, "snapshot-create-as", _NAME, "bench", "--disk-only", "--no-metadata", *disks]
    freeze = {"domain": _NAME, "uri": uri}
    _play(
        [
            {"virtops.guest_agent.fsfreeze": {**freeze, "state": "frozen"}},
            {"ansible.builtin.command": {"argv": create}},
            {"virtops.guest_agent.fsfreeze": {**freeze, "state": "thawed"}},
        ],
        work,
    )


def _play(tasks: list[dict[str, Any]], work: Path) -> None:
    playbook = work / "play.json"
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), str(playbook)],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"), "ANSIBLE_HOME": str(work)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"the snapshot was not taken: {done.stdout[-1500:]}{done.stderr[-500:]}")


def _merge(domain: Any) -> None:
    """Take every image that a snapshot has put on top away again."""
    for disk, image in _images(domain).items():
        if not image.endswith(".bench") and ".bench." not in image:
            continue
        domain.blockCommit(disk, None, None, 0, libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE)
        deadline = time.monotonic() + 60
        while "ready='yes'" not in domain.XMLDesc(0):
            if time.monotonic() > deadline:
                raise BenchError(f"{_NAME}: {image} was not merged in a minute")
            time.sleep(0.1)
        domain.blockJobAbort(disk, libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
        Path(image).unlink()
    for snapshot in domain.listAllSnapshots():
        snapshot.delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)


if __name__ == "__main__":
    sys.exit(main())
