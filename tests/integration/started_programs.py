# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which programs a guest's agent starts, and what it starts starts, as the guest's kernel sees it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator

from tests.lab import Lab

_TRACING = "/sys/kernel/tracing"
_EVENTS = "events/sched/sched_process_fork/enable events/sched/sched_process_exec/enable"
_BEGIN = f"""mountpoint -q {_TRACING} || mount -t tracefs tracefs {_TRACING}
cd {_TRACING} && for x in {_EVENTS} tracing_on; do echo 1 >$x; done && echo >trace && pidof qemu-ga"""
_READ = f"grep -v '^#' {_TRACING}/trace"
_END = f"cd {_TRACING} && for x in {_EVENTS}; do echo 0 >$x; done; echo >trace"
_FORK = re.compile(r"sched_process_fork: .*\bpid=(\d+) .*child_pid=(\d+)")
_EXEC = re.compile(r"sched_process_exec: filename=(\S+) pid=(\d+)")


@contextlib.contextmanager
def watched(lab: Lab, guest: str) -> Iterator[Callable[[], list[str]]]:
    """Yields what gives their names until now, in order."""
    begun = lab.run(guest, _BEGIN)
    assert begun.returncode == 0, begun.output
    agents = [int(word) for word in begun.output.split()]
    try:
        yield lambda: started_by(agents, lab.run(guest, _READ).output.splitlines())
    finally:
        lab.run(guest, _END)


def started_by(agents: Iterable[int], trace: Iterable[str]) -> list[str]:
    family, names = set(agents), []
    for line in trace:
        if (fork := _FORK.search(line)) and int(fork[1]) in family:
            family.add(int(fork[2]))
        elif (begun := _EXEC.search(line)) and int(begun[2]) in family:
            names.append(begun[1].rpartition("/")[2])
    return names
