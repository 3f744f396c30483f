# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line: python -m tests.bench [--quick] [--kind debian13] [--json FILE]."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab import Guest, Lab
from tests.lab.daemons import SYSTEM_URI
from tests.lab.records import guest_records
from tests.lab.ssh_server import ssh_server

from .alone import module_alone
from .contents import Contents
from .contestants import DATA_PORT, OUR_PLUGIN, Contestant, contestants, write_inventory
from .endings import VENV, BenchError, machine, told, versions
from .playbooks import Playbooks, Sample
from .report import Results, as_data, as_text
from .rows import COMMAND, COPY_1, COPY_20, RAW, ROWS, Row

_SECONDS, _QUICK_SECONDS = 340.0, 84.0
#: Kept for taking the guest down and printing.
_RESERVE = 6.0
_BEGAN = time.monotonic()
_QUICK_ROWS = (RAW, COMMAND, COPY_1, COPY_20)


@told
def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    deadline = _BEGAN + (options.seconds or (_QUICK_SECONDS if options.quick else _SECONDS))
    about = versions()
    with Lab() as lab, _by_ssh(lab) as by_ssh, _guest(lab, options) as name, tempfile.TemporaryDirectory(prefix="bench-") as work:
        about["machine"] = machine(lab.connection)
        results = _Run(lab, by_ssh, name, Path(work), options, about).results(deadline)
    results.about["seconds"] = time.monotonic() - _BEGAN
    print(as_text(results))
    if options.json:
        options.json.write_text(json.dumps(as_data(results), indent=1) + "\n", encoding="utf-8")
    return 1 if results.faults else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=sys.modules[__package__].__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows, once each, under 90 seconds")
    parser.add_argument("--seconds", type=float, help=f"how long to go on ({_SECONDS:.0f}, quick {_QUICK_SECONDS:.0f})")
    parser.add_argument("--kind", choices=("debian12", "debian13"), default="debian12", help="the guest's system")
    parser.add_argument("--guest", help="a running Debian guest of the lab instead of a fresh one")
    parser.add_argument("--warm", choices=("pipes", "port"), default="pipes", help="the way to the resident")
    parser.add_argument("--rows", default="", help="only these, as raw,command,stat,file,setup; the default is all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything that was measured as JSON")
    return parser


@contextmanager
def _guest(lab: Lab, options: argparse.Namespace) -> Iterator[str]:
    if options.guest:
        yield options.guest
        return
    name = f"bench-{options.kind}"
    port = f"<channel type='unix'><target type='virtio' name='{DATA_PORT}'/></channel>"
    _say(f"booting {name}")
    lab.start_all([Guest(name=name, kind=options.kind, devices=port)])
    try:
        yield name
    finally:
        lab.destroy(name)


@contextmanager
def _by_ssh(lab: Lab) -> Iterator[str]:
    """The URI of the hypervisor over SSH; "" for a user's own."""
    if lab.uri != SYSTEM_URI:
        yield ""
        return
    with ssh_server() as server:
        yield server.uri


class _Run:
    """One guest, its contestants, and rounds until the time is over."""

    def __init__(self, lab: Lab, by_ssh: str, name: str, work: Path, options: argparse.Namespace, about: dict[str, Any]) -> None:
        self._rows = _rows(options)
        if lab.ssh(name, "true").returncode:
            raise BenchError(f"domain {name}: no SSH to it")
        _say("preparing")
        python = VENV / "bin/python"
        self._everybody = contestants(lab, by_ssh, name, work, python, options.warm)
        inventory = write_inventory(work / "inventory", self._everybody, lab.uri, name)
        identity = lab.domain(name).UUIDString()
        vcpus = list(_vcpu_clocks(identity))
        self._playbooks = Playbooks(work, python.parent, inventory, vcpus)
        self._contents = Contents(lab, name, work, self._everybody)
        self._alone = module_alone(lab, name, self._playbooks, work, python) if not options.quick else None
        kind = next(record.kind for record in guest_records() if record.name == name and record.uri == lab.uri)
        self._about = {**about, "guest": name, "kind": kind, "accelerator": _accelerator(vcpus)}
        self._costs: dict[Row, float] = {}

    def results(self, deadline: float) -> Results:
        samples: list[Sample] = []
        rounds = dict.fromkeys(self._rows, 0)
        left_out = [] if OUR_PLUGIN.exists() else ["plugins/connection/agent.py is not there: without ours"]
        while row := self._next(rounds, deadline - _RESERVE - time.monotonic()):
            _say(f"{row.title}, round {rounds[row] + 1}")
            began = time.monotonic()
            found = self._round(row, rounds[row], deadline)
            samples += found
            if len(found) < len(self._everybody) * row.tasks:
                left_out.append(f"the time was over in the middle of {row.title}, round {rounds[row] + 1}")
            rounds[row] += 1
            self._costs[row] = time.monotonic() - began
        self._contents.clean()
        self._playbooks.close()
        left_out += [f"not measured, for want of time: {row.title}" for row, number in rounds.items() if not number]
        return Results(self._everybody, samples, self._alone, {**self._about, "left_out": left_out})

    def _next(self, rounds: dict[Row, int], left: float) -> Row | None:
        """Of the rows that fit into the time, the one with the fewest rounds."""
        fitting = [row for row, number in rounds.items() if number < row.rounds and self._cost(row) <= left]
        return min(fitting, key=lambda row: rounds[row], default=None)

    def _cost(self, row: Row) -> float:
        return self._costs.get(row, row.guess * row.tasks * (len(self._everybody) - 1) + 2)

    def _round(self, row: Row, number: int, deadline: float) -> list[Sample]:
        # Who comes first differs from round to round, so that drift hits all alike.
        start = number % len(self._everybody)
        order: list[Contestant] = [*self._everybody[start:], *self._everybody[:start]]
        wanted = self._contents.prepare(row)
        samples = self._playbooks.round(row, order, max(1.0, deadline - time.monotonic()))
        return self._contents.check(row, samples, wanted)


def _rows(options: argparse.Namespace) -> list[Row]:
    """
    :raise BenchError: there is no such row.
    """
    known = {row.key: row for row in ROWS}
    if unknown := {*filter(None, options.rows.split(","))} - {*known}:
        raise BenchError(f"no row is called {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return [known[key] for key in filter(None, options.rows.split(","))] or [*(_QUICK_ROWS if options.quick else ROWS)]


def _vcpu_clocks(identity: str) -> Iterator[Path]:
    """The files in which Linux keeps the run time of the threads that are the guest's processors."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if identity.encode() in words and b"qemu" in words[0]:
                for thread in (process / "task").iterdir():
                    if (thread / "comm").read_text(encoding="ascii").startswith("CPU "):
                        yield thread / "schedstat"
        except FileNotFoundError:
            continue


def _accelerator(vcpus: Sequence[Path]) -> str:
    return ", ".join(sorted({path.with_name("comm").read_text(encoding="ascii").split("/")[-1].strip() for path in vcpus}))


def _say(what: str) -> None:
    print(f"bench: {time.monotonic() - _BEGAN:4.0f} s: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
