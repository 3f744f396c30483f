# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where faults are played: a guest on a libvirtd of its own, a task that is at work in it, and what both look like afterwards."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import libvirt
import libvirt_qemu

from tests.integration.ansible_cli import Ansible
from tests.lab import Lab
from tests.lab.errors import LabError
from tests.lab.processes import Process
from tests.lab.second import SecondHypervisor
from tests.lab.wire import Wire

FILES, HANDLES, PROCESSES = "temporary files", "open files of the agent", "processes of the guest"
#: Where nothing listens.
NO_SSH = {"ansible_host": "127.0.0.1", "ansible_port": 1}
#: No other process has these words: what a command left is found by them.
SLEEP = "sleep 31313"
#: A file of the guest that takes a while to read.
LARGE = "/run/large"
STATUS = '{"execute": "guest-fsfreeze-status"}'
_MARK = "VIRTOPS_FAULT"
_LEFT = "find /data /var/tmp /tmp /run -name '.virtops*' 2>/dev/null"
_HANDLES = "ls -l /proc/$(pidof qemu-ga)/fd 2>/dev/null | grep -E '/data/|/var/tmp/|/run/large|\\.virtops'"
_PROCESSES = f"ps | grep '{SLEEP[:-1]}[{SLEEP[-1]}]'"


class Work(NamedTuple):
    """A task. begun: what holds, in the guest's shell, as soon as it is in the middle of its work; "" when it is over by then. A
    module of Ansible's own runs in the guest, over the ``connection``; the others on localhost.
    """

    module: str
    args: Mapping[str, Any]
    begun: str = ""
    #: seconds that all data takes on the wire, each way: what is over in a moment has a middle then, in which the guest is frozen
    slow: float = 0.0
    connection: str = "agent"
    #: the domain is off before, and the task has begun when it is on
    off: bool = False


class Running:
    """A task in processes of its own, all of which are known by a mark."""

    def __init__(self, ansible: Ansible, words: list[str]) -> None:
        self._ansible = ansible
        self.mark = f"{_MARK}={secrets.token_hex(8)}"
        name, _sign, value = self.mark.partition("=")
        self.process = subprocess.Popen(
            ansible.command(*words),
            env={**ansible.env, **ansible.TELLING, name: value},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def processes(self) -> list[int]:
        """All that carry the mark, watchdogs too."""
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark.encode() in environ.read_bytes().split(b"\0"):
                    found.append(int(environ.parent.name))
            except OSError:
                continue
        return found

    def result(self, timeout: float) -> dict[str, Any]:
        stdout, stderr = self.process.communicate(timeout=timeout)
        return self._ansible.result(subprocess.CompletedProcess(self.process.args, self.process.returncode, stdout, stderr))

    def end(self) -> None:
        """For a test that failed: nothing of it stays."""
        for pid in self.processes():
            Process.of(pid).end(signal.SIGKILL)
        self.process.communicate(timeout=10)


class Stage:
    def __init__(self, hypervisor: SecondHypervisor, lab: Lab, wire: Wire, uri: str, ansible: Ansible) -> None:
        self.hypervisor = hypervisor
        self.lab = lab
        self.wire = wire
        self.uri = uri
        self.ansible = ansible
        self.guest = ""
        self.running: Running | None = None

    def sh(self, command: str, timeout: float = 30) -> str:
        """What a command in the guest prints, without agent and network."""
        return self.lab.run(self.guest, command, timeout).output

    def begin(self, work: Work) -> None:
        guest = {"domain": self.guest, "uri": self.uri, "agent_timeout": 5}
        self.wire.delay = work.slow or self.wire.delay
        if work.off:
            self.domain().destroy()
        words = self.ansible.of_module(work.module, **work.args, **guest)
        if work.module.startswith("ansible."):
            options = {"domain": self.guest, "uri": self.uri, "timeout": 5, "command_timeout": 20}
            variables = {f"ansible_guest_agent_{key}": value for key, value in options.items()}
            connection = {"ansible_connection": f"virtops.guest_agent.{work.connection}", **variables, **NO_SSH}
            words = ["ansible", "all", "-i", f"{self.guest},", "-m", work.module, "-a", work.args["cmd"]]
            words += ["-e", json.dumps(connection)]
        self.running = Running(self.ansible, words)
        if work.off:
            until(lambda: bool(self.domain().isActive()), 60, "the domain is on")
        elif work.slow:
            until(lambda: self.freeze_status() == "frozen", 60, "the guest is frozen")
        if work.begun:
            until(lambda: self.lab.run(self.guest, work.begun).returncode == 0, 150, "the work has begun")

    def domain(self) -> Any:
        """By a connection of this moment: the daemon may have been another a moment ago."""
        connection = libvirt.open(self.hypervisor.uri)
        return next(domain for domain in connection.listAllDomains(0) if domain.name().startswith(self.guest))

    def left(self) -> dict[str, str]:
        """What is not as it was, by name; nothing where all is well."""
        running = self.running
        found = {
            FILES: self.sh(_LEFT),
            HANDLES: self.sh(_HANDLES),
            PROCESSES: self.sh(_PROCESSES),
            "processes of the controller": " ".join(map(str, running.processes())) if running else "",
            "no tick, so frozen": "" if self._ticks() else "yes",
            "half a snapshot": self._half_a_snapshot(),
        }
        return {name: text.strip() for name, text in found.items() if text.strip()}

    def _half_a_snapshot(self) -> str:
        """An image without its snapshot, or the other way round."""
        domain = self.domain()
        images = domain.XMLDesc(0).split("<disk ")[1].split("</disk>")[0].count("<source file=") - 2
        return "" if images == domain.snapshotNum() else f"{images} images, {domain.snapshotNum()} snapshots"

    def freeze_status(self) -> str:
        """Asked directly, not over the wire."""
        return str(json.loads(libvirt_qemu.qemuAgentCommand(self.domain(), STATUS, 10, 0))["return"])

    def ruined(self) -> bool:
        """Whether the guest has to be another one for the next fault."""
        try:
            return bool(self.left()) or self.agent_status() != "connected"
        except (LabError, OSError, libvirt.libvirtError, AssertionError):
            return True

    def agent_status(self) -> str:
        found = self.ansible.module("agent_info", domain=self.guest, uri=self.hypervisor.uri, agent_timeout=10)
        return str(found.get("agent", {}).get("status", found.get("msg")))

    def _ticks(self) -> bool:
        before = self.lab.ticks(self.guest)
        return reached(lambda: self.lab.ticks(self.guest) > before, 30)


def reached(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    assert reached(condition, seconds), f"not within {seconds:g} s: {what}"


def signalled(number: signal.Signals) -> Callable[[Stage], None]:
    """To the whole of ansible, as Ctrl-C and a cancelled job do it. A watchdog has a session of its own and is not meant."""

    def strike(stage: Stage) -> None:
        assert stage.running is not None
        os.killpg(stage.running.process.pid, number)

    return strike
