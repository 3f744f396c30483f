# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is done around a round: contents made before it, and compared after it."""

from __future__ import annotations

import hashlib
import os
import random
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tests.lab import Lab

from .contestants import GUEST_DIR, Contestant
from .endings import BenchError
from .playbooks import Sample
from .rows import Content, Row, fetched, source

_SECONDS = 60.0
_DIGEST = 64


class Contents:
    """Fresh for every round, so that no task finds its work done; the guest is reached over its serial port."""

    def __init__(self, lab: Lab, name: str, work: Path, everybody: Sequence[Contestant]) -> None:
        self._lab = lab
        self._name = name
        self._work = work
        self._everybody = everybody

    def prepare(self, row: Row) -> dict[str, str]:
        """Make what is transferred; return the digest that must arrive, by contestant."""
        shutil.rmtree(self._work / "fetched", ignore_errors=True)
        places = {each.directory for each in self._everybody}
        for place in places:
            self._sh(place, f"mkdir -p {shlex.quote(place)} && rm -rf {shlex.quote(place)}/*")
        if row.direction == "copy":
            data = _DATA[row.content](row.size)
            source(self._work).write_bytes(data)
            return {each.key: hashlib.sha256(data).hexdigest() for each in self._everybody}
        if row.direction == "fetch":
            found = {place: self._source(row, place) for place in places}
            return {each.key: found[each.directory] for each in self._everybody}
        return {}

    def check(self, row: Row, samples: list[Sample], wanted: dict[str, str]) -> list[Sample]:
        """The samples, with a fault in those whose content did not arrive as it was sent."""
        if not row.direction:
            return samples
        arrived = {each.key: self._arrived(row, each) for each in self._everybody}
        return [
            sample
            if sample.fault or arrived[sample.contestant] == wanted[sample.contestant]
            else replace(sample, fault=f"WRONG CONTENT: sha256 {arrived[sample.contestant][:12] or 'of nothing'}")
            for sample in samples
        ]

    def clean(self) -> None:
        self._sh(GUEST_DIR, f"rm -rf {GUEST_DIR}")

    def _arrived(self, row: Row, contestant: Contestant) -> str:
        if row.direction == "fetch":
            path = fetched(self._work, contestant)
            return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
        path_there = shlex.quote(f"{contestant.directory}/{contestant.key}")
        output = self._sh(contestant.directory, f"test ! -e {path_there} || sha256sum < {path_there}")
        return output.strip()[:_DIGEST]

    def _source(self, row: Row, place: str) -> str:
        path = shlex.quote(f"{place}/source")
        make = {"random": "cat /dev/urandom", "text": f"seq -f 'line %.0f: the quick brown fox' {random.randrange(10**6)} 99999999"}
        script = f"{make[row.content]} 2>/dev/null | head -c {row.size} > {path}; sync; sha256sum < {path}"
        return self._sh(place, script).strip()[:_DIGEST]

    def _sh(self, place: str, script: str) -> str:
        """Run it where the place is: in the guest, or on the controller."""
        if place == GUEST_DIR:
            done = self._lab.run(self._name, script, _SECONDS)
            status, output = done.returncode, done.output
        else:
            here = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=_SECONDS, check=False)
            status, output = here.returncode, here.stdout
        if status:
            raise BenchError(f"{script!r} ended with {status}: {output[-300:]}")
        return output


def _text(size: int) -> bytes:
    """A log that nobody wrote: it compresses about as logs do."""
    numbers = random.Random()
    line = "Nov {:02d} {:02d}:{:02d}:{:02d} host{:d} sshd[{:d}]: Accepted publickey for user{:d} from 10.0.{:d}.{:d} port {:d}\n"
    highest = (28, 23, 59, 59, 40, 32000, 500, 255, 255, 65000)
    block = "".join(line.format(*(int(numbers.random() * most) for most in highest)) for _line in range(12000)).encode()
    salt = os.urandom(16).hex().encode() + b"\n"
    return (salt + block * (size // len(block) + 1))[:size]


_DATA: dict[Content, Callable[[int], bytes]] = {"random": os.urandom, "text": _text}
