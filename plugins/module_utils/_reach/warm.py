# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a guest has a resident, which way leads to it, and when one is started. What a task learns, the next finds in a file."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import time
import typing as t

from .._agent.client import GuestAgent
from .._deadline import Deadline
from .._errors import GuestAgentError
from .._inside import data_lane, resident, resident_task
from .._inside.lanes import Sink
from .._inside.login_shell import Command
from .._inside.resident_link import Link, PipesLink, PortLink
from .._inside.resident_program import wire
from .._inside.shell import Result
from .._libvirt.hypervisor import Domain
from .._task.values import in_range

#: Where the guest keeps the pipes: root's alone, and gone with the next boot.
_PLACE: t.Final = "/run/virtops-"
#: Seconds that a resident has to be there, and those for which it is not tried again in a guest where it was not.
_STARTS_WITHIN: t.Final = 20.0
_NOT_AGAIN: t.Final = 600.0
#: Seconds after which it is looked whether a command has ended, and of how many commands it is known how long they took.
_FIRST_PAUSE: t.Final = 0.01
_REMEMBERED: t.Final = 3
_FORGOTTEN_AFTER: t.Final = 24 * 3600.0


class Port(t.NamedTuple):
    """Our virtio port of a domain, and whether a program in the guest has it open."""

    domain: Domain
    is_open: bool


class Warm:
    """The resident of one guest as one task uses it. Nothing here fails a task: what cannot be had is done without."""

    def __init__(
        self,
        agent: GuestAgent,
        memory: Memory,
        port: Port | None,
        idle: int,
        tell: t.Callable[[str], object] = lambda _text: None,
    ) -> None:
        """:param port: where the domain has it, which is the better way"""
        self._agent = agent
        self._memory = memory
        self._port = port
        self._idle = idle
        self._tell = tell
        self._resident = resident.Resident(agent, self._connect)
        self._usable = True

    def execute(self, command: Command, deadline: Deadline, patience: float, sink: Sink | None) -> Result | None:
        """How ``command`` ended; None where it was not run."""
        if not self._usable or not self._memory.locked():
            return None
        interpreter = command.script_of[0] if command.script_of else ""
        if not self._is_started():
            self._start(interpreter)
            return None
        kind = "module" if command.script_of else "command"
        keeper = str(self._memory.values.get("keeper"))
        self._resident.keeper = keeper if resident.PROCESS.fullmatch(keeper) else ""
        try:
            outcome = resident_task.run(
                self._resident, self._agent, command, deadline, patience, (self._expected(kind), _FIRST_PAUSE), sink
            )
        except resident.Unavailable:
            self._unavailable(interpreter)
            return None
        self._memory.save(used=time.time(), failures=0, keeper=self._resident.keeper)
        self._learn(kind, outcome.seconds)
        self._tell("the resident has run the next command")
        signal = outcome.signal if command.tells_signals and command.answer is None else None
        return Result(outcome.code, signal, outcome.stdout, outcome.stderr, outcome.seconds)

    def _expected(self, kind: str) -> float:
        """Seconds that the like of it took in this guest; 0 where nothing is known."""
        known = self._memory.values.get(kind)
        return min(known) if isinstance(known, list) and known else 0.0

    def _learn(self, kind: str, seconds: float) -> None:
        known = self._memory.values.get(kind)
        self._memory.save(**{kind: [*(known if isinstance(known, list) else []), round(seconds, 3)][-_REMEMBERED:]})

    def close(self) -> None:
        self._resident.close()
        if self._memory.values.get("handles"):
            self._memory.save(handles=[])
        self._memory.close()

    def _connect(self) -> Link:
        if self._by_port():
            return PortLink(t.cast(Port, self._port).domain)
        # Those of a task that was killed; the agent gives none of its numbers twice.
        known = self._memory.values.get("handles")
        for handle in known if isinstance(known, list) else ():
            with contextlib.suppress(GuestAgentError):
                self._agent.call("guest-file-close", {"handle": handle})
        link = PipesLink(self._agent, str(self._memory.values.get("directory", "")))
        self._memory.save(handles=link.handles)
        return link

    def _by_port(self) -> bool:
        return self._port is not None and self._memory.values.get("port") is not False

    def _is_started(self) -> bool:
        """Whether one is there, as far as this is known. A port that is open in the guest may be another controller's resident."""
        if self._by_port():
            return t.cast(Port, self._port).is_open
        known = self._memory.values
        return bool(known.get("directory")) and time.time() - max(known.get("used", 0), known.get("started", 0)) < self._idle

    def _start(self, interpreter: str) -> None:
        self._usable = False
        known = self._memory.values
        waited = time.time() - known.get("started", 0)
        if waited < (_NOT_AGAIN if known.get("failures", 0) > 1 else _STARTS_WITHIN) and not known.get("keeper"):
            return
        directory = _PLACE + secrets.token_hex(16)
        port = data_lane.GUEST_PATH if self._by_port() else ""
        try:
            resident.start(self._agent, interpreter, directory, port, self._idle)
        except GuestAgentError as error:
            self._tell(f"no resident: {error}")
            return
        self._memory.save(directory=directory, started=time.time(), keeper="", failures=known.get("failures", 0) + 1)
        self._memory.forget_others()
        self._tell("a resident is started for the next tasks")

    def _unavailable(self, interpreter: str) -> None:
        """One that was started a moment ago may come yet. Where one has come and is gone, the next tasks shall have another."""
        self._usable = False
        self._tell("the resident is not there")
        known = self._memory.values
        if known.get("keeper"):
            known["started"] = 0
        if time.time() - known.get("started", 0) > _STARTS_WITHIN:
            self._memory.save(directory="", used=0, keeper="", port=not self._by_port())
            self._start(interpreter)


def of_task(agent: GuestAgent, port: Port | None, params: t.Mapping[str, t.Any], tell: t.Callable[[str], object]) -> Warm:
    """``params`` are those of ``open_guest``; ``ansible_home`` among them is where the memory is, else Ansible's default."""
    home = params.get("ansible_home") or os.environ.get("ANSIBLE_HOME") or os.path.expanduser("~/.ansible")
    names = [str(params.get(name) or "") for name in ("uri", "domain", "transport", "channel", "socket", "data_lane")]
    idle = in_range(params["resident_idle"], "resident_idle", 1)
    return Warm(agent, Memory(os.path.join(home, "virtops"), *names), port, idle, tell)


class Memory:
    """A small file of the controller's user, which one task at a time has."""

    def __init__(self, directory: str, *guest: str) -> None:
        name = hashlib.sha256("\0".join((*guest, str(wire.VERSION))).encode("utf-8", "replace")).hexdigest()[:32]
        self._path = os.path.join(directory, name)
        self._file: int | None = None
        self.values: dict[str, t.Any] = {}

    def locked(self) -> bool:
        """Whether it is this task's now."""
        if self._file is not None:
            return True
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            values = json.loads(os.read(file, 65536) or b"{}")
        except OSError:
            os.close(file)
            return False
        except ValueError:
            values = {}
        self._file, self.values = file, values if isinstance(values, dict) else {}
        return True

    def save(self, **values: object) -> None:
        self.values.update(values)
        if self._file is not None:
            with contextlib.suppress(OSError):
                text = json.dumps(self.values).encode()
                os.pwrite(self._file, text, 0)
                os.ftruncate(self._file, len(text))

    def forget_others(self) -> None:
        """Those of guests that no task has had for a day."""
        with contextlib.suppress(OSError):
            for found in os.scandir(os.path.dirname(self._path)):
                if found.is_file(follow_symlinks=False) and time.time() - found.stat().st_mtime > _FORGOTTEN_AFTER:
                    os.unlink(found.path)

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
