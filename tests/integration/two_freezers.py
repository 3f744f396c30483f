# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rounds of two freezers of one guest, at random moments and with kills: two_freezers.py ROUNDS SEED COLLECTIONS, guest on stdin.

Each round has a task of ours, as a process that stands for a playbook and starts a module for the freeze and one for the thaw, and
another freezer: a second one of ours, on this host or as if on another, or a client that knows nothing of us. A module or a whole
playbook may be killed. A third process looks at the freeze status all the time. What was seen is printed as JSON, a round a line.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

PACKAGE = "ansible_collections.virtops.guest_agent.plugins."
MAX_SECONDS = 2
#: Within this time a freezer tries again when the other one was faster.
TRIES_SECONDS = 2.5
LOOK_SECONDS = 0.02
#: How long after the last word of anybody a watchdog may be at it.
SETTLES_SECONDS = MAX_SECONDS + 4
Note = Callable[..., None]


class Plan(NamedTuple):
    """What one freezer does. kills: "" for nobody, "module" or "playbook", after so many seconds."""

    kind: str
    begins: float
    holds: float
    kills: str = ""
    after: float = 0.0


class Log:
    """Events of several processes, in one pipe; a line is written whole."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()

    def note(self, who: str, what: str, **more: Any) -> None:
        os.write(self._writer, json.dumps({"at": time.monotonic(), "who": who, "what": what, **more}).encode() + b"\n")

    def read(self) -> list[dict[str, Any]]:
        data = b""
        while select.select([self.reader], [], [], 0)[0]:
            data += os.read(self.reader, 65536)
        return sorted((json.loads(line) for line in data.splitlines()), key=lambda event: float(event["at"]))


def forked(action: Callable[[], Any], group: bool = False) -> int:
    """A process whose status is 0 when the action gives nothing."""
    child = os.fork()
    if child:
        return child
    if group:
        os.setpgid(0, 0)
    status = 3
    with contextlib.suppress(BaseException):
        status = 1 if action() else 0
    os._exit(status)


def ensure(guest: dict[str, Any], **options: Any) -> str:
    """The module fsfreeze in this process: how it failed, "" for success."""
    module = importlib.import_module(f"{PACKAGE}modules.fsfreeze")
    task = importlib.import_module(f"{PACKAGE}module_utils._task.run")
    params = {
        **{name: guest[name] for name in ("uri", "domain")},
        "mountpoints": None,
        "max_seconds": MAX_SECONDS,
        "timeout": 10,
        "force": False,
        "agent_timeout": 5,
        **options,
    }
    result = task.perform(module.ensure, task.Task(params, False, False, lambda _text: None))
    return str(result["failure"]["kind"]) if "failure" in result else ""


def playbook(guest: dict[str, Any], plan: Plan, note: Note) -> None:
    """Freeze, hold, thaw, each in a module of its own."""
    deadline = time.monotonic() + TRIES_SECONDS
    while time.monotonic() < deadline:
        note("begins")
        ended = module(guest, plan, note, "frozen")
        if ended == 0:
            time.sleep(plan.holds)
            note("thaws")
            module(guest, plan, note, "thawed")
        if ended <= 0:
            return  # frozen and thawed, or killed: a playbook ends there
        time.sleep(0.1)


def module(guest: dict[str, Any], plan: Plan, note: Note, state: str) -> int:
    """The status of its process, below zero when it was killed."""

    def run() -> str:
        failure = ensure(guest, state=state)
        note(f"is {state}", failure=failure)
        return failure

    child = forked(run)
    if plan.kills == "module":
        deadline = time.monotonic() + plan.after
        while time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        note("killed")
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def ask(domain: Any, command: str) -> Any:
    import libvirt_qemu

    return json.loads(libvirt_qemu.qemuAgentCommand(domain, json.dumps({"execute": command}), 10, 0))["return"]


def domain_of(guest: dict[str, Any]) -> Any:
    import libvirt

    libvirt.registerErrorHandler(lambda *_details: None, None)
    return libvirt.open(guest["uri"]).lookupByName(guest["domain"])


def another_client(guest: dict[str, Any], plan: Plan, note: Note) -> None:
    """Freezes when it can, looks whether that is left alone, and thaws."""
    domain, deadline = domain_of(guest), time.monotonic() + TRIES_SECONDS
    while time.monotonic() < deadline:
        note("begins")
        with contextlib.suppress(Exception):
            ask(domain, "guest-fsfreeze-freeze")
            break
        time.sleep(0.03)
    else:
        return
    note("is frozen", failure="")
    held = time.monotonic() + plan.holds
    while time.monotonic() < held:
        if ask(domain, "guest-fsfreeze-status") != "frozen":
            note("robbed")
            return
        time.sleep(LOOK_SECONDS)
    note("thaws")
    ask(domain, "guest-fsfreeze-thaw")
    note("is thawed", failure="")


def watch(guest: dict[str, Any], note: Note) -> None:
    domain, before = domain_of(guest), None
    while True:
        with contextlib.suppress(Exception):
            now = ask(domain, "guest-fsfreeze-status")
            if now != before:
                note(now)
            before = now
        time.sleep(LOOK_SECONDS)


def plans(dice: random.Random) -> list[Plan]:
    kind = dice.choice(("another client", "another client", "ours", "ours elsewhere"))

    def ours(name: str) -> Plan:
        kills = dice.choice(("", "", "module", "playbook"))
        return Plan(name, dice.uniform(0, 0.8), dice.uniform(0, 1.2), kills, dice.uniform(0.02, 1.6))

    return [ours("ours"), ours(kind) if kind != "another client" else Plan(kind, dice.uniform(0, 1.2), dice.uniform(0.1, 1.2))]


def freezer(guest: dict[str, Any], plan: Plan, note: Note) -> int:
    def act() -> None:
        time.sleep(plan.begins)
        if plan.kind == "ours elsewhere":
            registry = importlib.import_module(f"{PACKAGE}module_utils._freeze.registry")
            registry._PREFIX = "virtops.guest_agent/elsewhere"
        if plan.kind == "another client":
            another_client(guest, plan, note)
        else:
            playbook(guest, plan, note)

    return forked(act, group=True)


def one_round(guest: dict[str, Any], seed: int) -> dict[str, Any]:
    dice, log = random.Random(seed), Log()
    chosen = plans(dice)
    looker = forked(lambda: watch(guest, lambda what, **more: log.note("looker", what, **more)))
    running = {}
    for number, plan in enumerate(chosen):
        name = f"{plan.kind} {number}"
        running[freezer(guest, plan, lambda what, name=name, **more: log.note(name, what, **more))] = (name, plan)
    began, events, quiet_since = time.monotonic(), [], time.monotonic()
    while time.monotonic() - quiet_since < SETTLES_SECONDS:
        for child, (name, plan) in list(running.items()):
            if plan.kills == "playbook" and time.monotonic() - began > plan.begins + plan.after:
                log.note(name, "killed")
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child, signal.SIGKILL)
            if os.waitpid(child, os.WNOHANG)[0]:
                del running[child]
        new = log.read()
        events += new
        if running or new:
            quiet_since = time.monotonic()
        status = [event["what"] for event in events if event["who"] == "looker"]
        if not running and status[-1:] == ["thawed"] and time.monotonic() - quiet_since > 0.3 and not watchdogs(guest["uuid"]):
            break
        time.sleep(0.03)
    log.note("driver", "ends", thawed=status[-1:] == ["thawed"])
    os.kill(looker, signal.SIGKILL)
    os.waitpid(looker, 0)
    return {"seed": seed, "plans": [plan._asdict() for plan in chosen], "events": events + log.read()}


def watchdogs(uuid: str) -> list[str]:
    with open("/proc/net/unix", encoding="utf-8") as table:
        return [line for line in table if "@virtops.guest_agent/" in line and uuid in line]


def main() -> None:
    sys.path.insert(0, sys.argv[3])
    guest = json.load(sys.stdin)
    importlib.import_module(f"{PACKAGE}modules.fsfreeze")
    for number in range(int(sys.argv[1])):
        print(json.dumps(one_round(guest, int(sys.argv[2]) * 1000 + number)), flush=True)  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main()
