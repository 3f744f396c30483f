# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Start real guests, wait for their agents, look into them, and take them down again."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import libvirt
import libvirt_qemu

from .daemons import default_hypervisor, kill_daemon, open_connection
from .domain_xml import Files, domain_xml
from .errors import LabError
from .events import AgentEvents, ensure_event_loop, wait_answer
from .guest import Guest
from .images import image_files, ssh_key
from .paths import state_dir
from .records import GuestRecord, guest_dir, guest_records, mark_in_use, state_lock
from .serial_shell import Completed, run_on_socket
from .shell import run
from .teardown import release, remove_guest, remove_guests
from .touched import AGENTS, TOUCHED, Touched, hypervisor_of, plain_uri

START_SECONDS = 300.0
_SSH_PORT = 22
_SSH_FAILED = 255
_NO_SERVER = re.compile(r"kex_exchange_identification|Connection (refused|reset)")
_TICK = re.compile(rb"tick (\d+)\r?\n")


class Lab:
    """A set of guests on one hypervisor.

    Without a URI: qemu:///system for root, qemu:///session for others, with a daemon of the lab's own if none runs.
    As a context manager it removes the guests it started, and the lab's daemon when nobody else needs it.
    """

    def __init__(self, uri: str | None = None, owner: tuple[int, int] | None = None) -> None:
        ensure_event_loop()
        with state_lock():
            self._in_use = mark_in_use()
            self._uri = uri or default_hypervisor()
        #: By which clients are to reach it; another one may lead there too.
        self.uri = self._uri
        self._owner = owner
        self._lock = threading.Lock()
        self._guests: dict[str, Guest] = {}
        self._forwards: dict[tuple[str, int], int] = {}
        self.connection: Any = open_connection(self._uri)
        self._events = AgentEvents(self.connection)
        self._hypervisor = hypervisor_of(self.connection)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Remove the guests this object started, and the lab's daemon when nobody else needs it."""
        self._remove_started()
        self._disconnect()
        release()

    def _remove_started(self) -> None:
        remove_guests([record for record in self._records() if record.name in self._guests], self.connection)
        self._guests.clear()

    def leave(self) -> None:
        """Disconnect and leave everything running, for `down` to remove."""
        self._disconnect()

    def _disconnect(self) -> None:
        with contextlib.suppress(libvirt.libvirtError):
            self._events.close()
            self.connection.close()
        self._in_use.close()

    def kill_libvirt(self, seconds: float) -> bool:
        """Kill the lab's daemon and start it again after a while. False where it is not the lab's own, and nothing is done."""
        if not kill_daemon(self._uri):
            return False
        time.sleep(seconds)
        with state_lock():
            default_hypervisor()
        with contextlib.suppress(libvirt.libvirtError):
            self._events.close()
            self.connection.close()
        self.connection = open_connection(self._uri)
        self._events = AgentEvents(self.connection)
        return True

    def start(self, guest: Guest) -> str:
        """Start one guest without waiting for its agent; return its name."""
        with self._lock:
            guest = guest if guest.name else replace(guest, name=self._free_name(guest.kind))
            record = self._prepare(guest)
            self._guests[guest.name] = guest
        try:
            base = image_files(guest.kind)
            disk = record.directory / "disk.qcow2"
            backing = ["-b", str(base.disk), "-F", "raw"]
            run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(disk)])
            self.give_away(record.directory, disk)
            files = Files(base.kernel, base.initrd, disk, record.directory)
            self._create(guest, domain_xml(guest, record.uuid, files, state_dir()))
        except BaseException:
            self.destroy(guest.name)
            raise
        return guest.name

    def start_all(self, guests: Iterable[Guest], parallel: int = 4, timeout: float = START_SECONDS) -> list[str]:
        """Start guests, at most `parallel` booting at a time, and wait for their agents; return their names."""

        def start_and_wait(guest: Guest) -> str:
            name = self.start(guest)
            self._wait_agent(name, time.monotonic() + timeout)
            return name

        pool = ThreadPoolExecutor(max_workers=parallel)
        try:
            return list(pool.map(start_and_wait, guests))
        except KeyboardInterrupt:
            # The end of their domains wakes those who wait for agents.
            pool.shutdown(wait=False, cancel_futures=True)
            self._remove_started()
            raise
        finally:
            # After a failure or an interrupt, what has not begun never begins.
            pool.shutdown(wait=True, cancel_futures=True)

    def wait_agents(self, timeout: float = START_SECONDS) -> None:
        """Wait for the agents of all guests this object started; LabError names the first that does not come."""
        deadline = time.monotonic() + timeout
        for name in list(self._guests):
            self._wait_agent(name, deadline)

    def _wait_agent(self, name: str, deadline: float) -> None:
        guest = self._guests[name]
        domain = self.domain(name)
        if guest.opens_channel:
            self._events.wait_connected(domain, deadline)
        if guest.answers:
            wait_answer(domain, deadline)
            touched = self.touch(name)
            if touched not in AGENTS:
                said = libvirt_qemu.qemuAgentCommand(domain, '{"execute": "guest-info"}', 30, 0)
                AGENTS[touched] = json.loads(said)["return"]["version"]

    def touch(self, name: str) -> Touched:
        """Note that a test has had a hand on this guest."""
        started = self._guests.get(name)
        kind = "scripted" if started and started.agent == "relay" else self._record(name).kind
        touched = Touched(self._hypervisor, plain_uri(self.uri), kind)
        TOUCHED.add(touched)
        return touched

    def domain(self, name: str) -> Any:
        """Return libvirt's object for a guest."""
        self.touch(name)
        return self.connection.lookupByUUIDString(self._record(name).uuid)

    def names(self) -> list[str]:
        """Return the names of the lab's guests on this hypervisor."""
        return [record.name for record in self._records()]

    def destroy(self, name: str) -> None:
        """Stop and remove one guest, whatever state it is in."""
        remove_guest(self._record(name), self.connection)
        self._guests.pop(name, None)
        self._forwards = {key: port for key, port in self._forwards.items() if key[0] != name}

    def pause(self, name: str) -> None:
        """Pause a guest's CPUs."""
        self.domain(name).suspend()

    def resume(self, name: str) -> None:
        """Let a paused guest go on."""
        self.domain(name).resume()

    def console(self, name: str) -> Path:
        """Return the file with everything the guest wrote on its first serial port."""
        return self._record(name).directory / "console.log"

    def relay(self, name: str) -> Path:
        """Return the socket for the ScriptedAgent of a guest with agent="relay"."""
        return self._record(name).directory / "relay.sock"

    def ticks(self, name: str) -> int:
        """Return the last number a tiny guest said it had written to /data/ticks; 0 before the first."""
        self.touch(name)
        with self.console(name).open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(0, size - 4096))
            found = _TICK.findall(log.read())
        return int(found[-1]) if found else 0

    def run(self, name: str, command: str, timeout: float = 120) -> Completed:
        """Run a shell command in the guest through its second serial port: no agent and no network involved."""
        self.touch(name)
        return run_on_socket(self._record(name).directory / "shell.sock", command, timeout)

    def forward(self, name: str, guest_port: int) -> int:
        """Return a port of 127.0.0.1 that leads to a TCP port of the guest."""
        with self._lock:
            if known := self._forwards.get((name, guest_port)):
                return known
            port = free_port()
            command = f"hostfwd_add hostnet0 tcp:127.0.0.1:{port}-:{guest_port}"
            flags = libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
            if answer := libvirt_qemu.qemuMonitorCommand(self.domain(name), command, flags).strip():
                raise LabError(f"domain {name}: QEMU refuses to forward port {guest_port}: {answer}")
            self._forwards[name, guest_port] = port
            return port

    def ssh(self, name: str, command: str, user: str = "root", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command in a Debian guest over SSH, as root or as the user ansible, once its server is up."""
        options = ("BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null")
        words = ["ssh", "-i", str(self.key(name)), "-p", str(self.forward(name, _SSH_PORT)), "-o", "LogLevel=ERROR"]
        for option in options:
            words += ["-o", option]
        words += [f"{user}@127.0.0.1", command]
        deadline = time.monotonic() + timeout
        while True:
            left = max(1.0, deadline - time.monotonic())
            done = subprocess.run(words, capture_output=True, text=True, timeout=left, check=False)
            if done.returncode != _SSH_FAILED or not _NO_SERVER.search(done.stderr) or left <= 1:
                return done
            # QEMU accepts the connection for the guest: nothing tells when the server begins to listen.
            time.sleep(1)

    def key(self, name: str) -> Path:
        """Return the private SSH key of a Debian guest's root and ansible users."""
        return ssh_key(self._record(name).kind)

    def _record(self, name: str) -> GuestRecord:
        for record in self._records():
            if record.name == name:
                return record
        raise LabError(f"the lab has no guest {name!r} on {self._uri}")

    def _records(self) -> list[GuestRecord]:
        return [record for record in guest_records() if record.uri == self._uri]

    def _free_name(self, kind: str) -> str:
        taken = {*self.names(), *(domain.name() for domain in self.connection.listAllDomains())}
        number = 1
        while f"{kind}-{number}" in taken:
            number += 1
        return f"{kind}-{number}"

    def _prepare(self, guest: Guest) -> GuestRecord:
        """Make the guest's directory and put the guest on record, before there is anything to clean up."""
        if guest.name in self.names():
            raise LabError(f"the lab already has a guest {guest.name!r}")
        identity = str(uuid.uuid4())
        directory = guest_dir(identity)
        directory.mkdir(parents=True)
        record = GuestRecord(identity, guest.name, guest.kind, self._uri, directory)
        record.save()
        return record

    def give_away(self, *paths: Path) -> None:
        """Give these to the user whose QEMU has the guests, where that is another one."""
        if self._owner:
            for path in paths:
                shutil.chown(path, *self._owner)

    def _create(self, guest: Guest, xml: str) -> None:
        try:
            if guest.persistent:
                self.connection.defineXML(xml).create()
            else:
                self.connection.createXML(xml, 0)
        except libvirt.libvirtError as error:
            raise LabError(f"domain {guest.name}: cannot start: {error}") from None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
