# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One ansible-playbook in which every contestant does the same task in turn, and what the callback saw of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .contestants import OVER_AGENT, ROOT, WARM, Contestant
from .endings import BenchError
from .rows import Row

CALLBACKS = Path(__file__).parent / "callback_plugins"
_WARM, _MEASURED, _AFTER = "warm", "measured", "after"
_CONNECTION = ("_connect", "exec_command", "put_file", "fetch_file")
_AGENT = ("guest-", "other")


@dataclass(frozen=True)
class Meter:
    """How often something was called, and for how many seconds in all."""

    calls: int
    seconds: float


@dataclass(frozen=True)
class Sample:
    """One task, from its start to the start of the next, so that nothing Ansible does for it is left out.

    busy: seconds that the guest's processors worked meanwhile. starved: that they waited for a processor of this machine.
    fault: why it does not count.
    """

    row: str
    contestant: str
    seconds: float
    busy: float
    starved: float
    meters: dict[str, Meter]
    fault: str = ""

    def spent(self, names: Sequence[str]) -> Meter:
        """The sum over the meters whose names begin so."""
        found = [meter for name, meter in self.meters.items() if name.startswith(tuple(names))]
        return Meter(sum(meter.calls for meter in found), sum(meter.seconds for meter in found))

    @property
    def connection(self) -> Meter:
        return self.spent(_CONNECTION)

    @property
    def transfer(self) -> Meter:
        return self.spent(("put_file", "fetch_file"))


def round_trips(sample: Sample) -> Meter | None:
    """The commands sent to the agent for this task; None where they cannot be counted."""
    return sample.spent(_AGENT) if sample.contestant in OVER_AGENT else None


class Playbooks:
    """Runs rounds; ``bin_dir`` is that of the venv with community.libvirt."""

    def __init__(self, work: Path, bin_dir: Path, inventory: Path, vcpus: Iterable[Path]) -> None:
        self._work = work
        self._bin = bin_dir
        self._inventory = inventory
        home = work / "home"
        home.mkdir()
        (home / "ansible.cfg").touch()
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHONDONTWRITEBYTECODE"))},
            "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
            "ANSIBLE_CONFIG": str(home / "ansible.cfg"),
            "ANSIBLE_HOME": str(home),
            "ANSIBLE_HOST_KEY_CHECKING": "false",
            "ANSIBLE_LOCAL_TEMP": str(home / "tmp"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(work / "ssh"),
            "XDG_RUNTIME_DIR": str(work),
            "ANSIBLE_STDOUT_CALLBACK": "bench_events",
            "BENCH_VCPUS": ":".join(str(path) for path in vcpus),
            "PYTHONPATH": "",
        }

    def close(self) -> None:
        """End the SSH connections that were kept open."""
        for path in (self._work / "ssh").glob("*"):
            subprocess.run(
                ["ssh", "-O", "exit", "-o", f"ControlPath={path}", "guest"], capture_output=True, timeout=10, check=False
            )

    def round(self, row: Row, order: Sequence[Contestant], timeout: float) -> list[Sample]:
        """One round of a row; each contestant has a task before it that is not measured, to open what it keeps open."""
        plays = [_play(each, row.task(each, self._work), row.tasks, row.direction != "") for each in order]
        return list(_samples(row, self.events(plays, timeout)))

    def events(self, plays: list[dict[str, Any]], timeout: float, **env: str) -> list[dict[str, Any]]:
        """What the callback told, up to the end or to the timeout."""
        path, output = self._work / "plays.json", self._work / "events"
        path.write_text(json.dumps(plays), encoding="utf-8")
        words = [str(self._bin / "ansible-playbook"), "-i", str(self._inventory), str(path)]
        with output.open("wb") as out:
            status = _run(words, {**self._env, **env}, out, timeout)
        lines = output.read_text(encoding="utf-8").splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        if status and not events:
            raise BenchError(f"ansible-playbook ended with {status}: {' '.join(lines)[-2000:]}")
        return events


def _run(words: list[str], env: dict[str, str], out: IO[bytes], timeout: float) -> int | None:
    """The exit status; None after a timeout."""
    # Its workers and their ssh are its process group: after a timeout none of them goes on in the guest.
    process = subprocess.Popen(words, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _play(contestant: Contestant, task: dict[str, Any], tasks: int, writes: bool) -> dict[str, Any]:
    # What was written is flushed before the next one's turn. The last task's start is the end of the one before it.
    after = {"name": _AFTER, "raw": "sync" if writes else "true"}
    # It opens what is kept open. A resident begins beside the task that starts it.
    steps = [
        {"name": _WARM, "raw": "sleep 5" if contestant.key == WARM else "true"},
        *({"name": _MEASURED, **task} for _number in range(tasks)),
        after,
    ]
    return {
        "name": contestant.key,
        "hosts": contestant.key,
        "gather_facts": False,
        "tasks": [{**step, "ignore_errors": True, "ignore_unreachable": True} for step in steps],
    }


def _samples(row: Row, events: Iterable[dict[str, Any]]) -> Iterator[Sample]:
    contestant, began, result = "", None, None
    for event in events:
        if "play" in event:
            contestant, began = event["play"], None
        elif "result" in event:
            result = event
        elif "task" in event:
            if began is not None and began["task"] == _MEASURED:
                yield _sample(row, contestant, began, event, result)
            began, result = event, None


def _sample(row: Row, contestant: str, began: dict[str, Any], ended: dict[str, Any], result: dict[str, Any] | None) -> Sample:
    meters = {}
    for name, (calls, seconds) in ended["meters"].items():
        calls_before, seconds_before = began["meters"][name]
        if calls > calls_before:
            meters[name] = Meter(int(calls - calls_before), seconds - seconds_before)
    busy, starved = (after - before for after, before in zip(ended["vcpu"], began["vcpu"]))
    return Sample(row.key, contestant, ended["at"] - began["at"], busy, starved, meters, _fault(row, result or {}))


def _fault(row: Row, result: dict[str, Any]) -> str:
    if result.get("result") != "ok":
        told = result.get("msg") or result.get("stderr") or "it gave no result"
        return f"{result.get('result', 'lost')}: {' '.join(str(told).split())[:300]}"
    if row.key == "command" and "uid=" not in result.get("stdout", ""):
        return f"wrong output: {result.get('stdout', '')[:80]!r}"
    if row.direction and not result.get("changed"):
        return "nothing was transferred"
    return ""
