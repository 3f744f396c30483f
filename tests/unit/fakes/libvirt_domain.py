# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the core uses of libvirt's domains, snapshots and streams, in memory. ``fakes.libvirt`` has the daemon and connections."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import typing as t

from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.protocol import Request
from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import AgentDisappeared, AgentTimeout
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt_backup import Backups, Error

PERSISTENT, AUTOSTART = 4, 1024
#: a domain's state
OFF = 5


NOT_FOUND = Error(42, "Domain not found: no domain with matching name")
NOT_RUNNING = Error(55, "Requested operation is not valid: domain is not running")
NO_SNAPSHOT = Error(72, "Domain snapshot not found: no domain snapshot with matching name")


class Stream:
    """One that blocks when it sends, as libvirt's does, and has received only what came along with a request's reply."""

    def __init__(self) -> None:
        self.socket: socket.socket | None = None
        self.aborted = False
        self.received: list[bytes] = []

    def send(self, data: bytes) -> int:
        try:
            return self._open().send(data)
        except OSError:
            raise Error(38, "cannot write to stream") from None

    def recv(self, size: int) -> bytes | int:
        assert size <= 65536
        if self.aborted:
            raise Error(9, "operation failed: stream is closed")
        return self.received.pop(0) if self.received else -2

    def fetch(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while not self.aborted:
                self.received.append(self._open().recv(65536, socket.MSG_DONTWAIT))
                if not self.received[-1]:
                    return

    def abort(self) -> int:
        self.aborted = True
        self._open().shutdown(socket.SHUT_RDWR)
        return 0

    def _open(self) -> socket.socket:
        assert self.socket is not None
        return self.socket


class Domain(Backups):
    """``raises``: what a method raises; ``hangs``: methods that wait for ``gate``."""

    def __init__(self, name: str = "web", number: int = 1, guest: FakeGuest | None = None, state: int = 1, **xml: t.Any) -> None:
        super().__init__()
        self._name, self._uuid = name, samples.uuid(number)
        self.guest = guest
        self.current = state
        #: why it is in that state, by libvirt's number
        self.reason = 0
        #: the number of its run
        self.run = number
        self.text = samples.domain_xml(name, number, **xml)
        self.known: dict[int, dict[str, list[str]]] = {}
        self.memory = {"actual": 524288, "rss": 300000}
        self.flags = PERSISTENT
        self.raises: dict[str, Exception] = {}
        self.hangs: set[str] = set()
        self.did: list[str] = []
        self.gate = threading.Event()
        self.pause = 0.0
        self.obeys = True
        #: name -> what the guest does with its end
        self.channels: dict[str, t.Callable[[socket.socket], None]] = {}
        self.streams: dict[str, Stream] = {}
        self.attached: list[str] = []
        #: what the next start will use; the same as ``text`` where it is not given
        self.defined: str | None = None
        self.listeners: list[tuple[int, t.Callable[..., None]]] = []
        #: name -> XML
        self.snapshots: dict[str, str] = {}
        self.newest = ""
        #: image -> the new one that is written to in its place after a revert
        self.reverts: dict[str, str] = {}
        self.boots = 0
        #: how many calls to wake up come too early
        self.sleepy = 0
        if guest is not None:
            guest.on_shutdown = self._go_off
            guest.on_reboot = self._restart
            guest.on_suspend = self._sleep

    def _do(self, what: str) -> None:
        self.did.append(what)
        if what in self.hangs:
            self.gate.wait(20)
        elif self.pause:
            self.gate.wait(self.pause)
        if what in self.raises:
            raise self.raises[what]

    def _do_running(self, what: str) -> None:
        self._do(what)
        if self.current == OFF:
            raise NOT_RUNNING

    @property
    def gone(self) -> bool:
        """libvirt forgets a transient domain that is off."""
        return self.current == OFF and not self.flags & PERSISTENT

    def asked(self) -> list[str]:
        """What was done to the guest and its domain, of all that was asked of them."""
        words = (
            "guest-shutdown",
            "guest-suspend",
            "reboot",
            "reset",
            "pMWakeup",
            "create",
            "resume",
            "destroy",
            "undefine",
            "shutdownFlags",
        )
        assert self.guest
        return [what for what in [*self.guest.sent, *self.did] if what.startswith(words)]

    def name(self) -> str:
        return self._name

    def UUIDString(self) -> str:
        return self._uuid

    def ID(self) -> int:
        return -1 if self.current == OFF else self.run

    def XMLDesc(self, flags: int) -> str:
        self._do("XMLDesc")
        return self.defined if flags == 2 and self.defined is not None else self.text

    def state(self, _flags: int) -> list[int]:
        self._do("state")
        for stream in self.streams.values():
            stream.fetch()
        return [self.current, self.reason]

    def isPersistent(self) -> int:
        self._do("isPersistent")
        return int(bool(self.flags & PERSISTENT))

    def interfaceAddresses(self, source: int, _flags: int) -> t.Any:
        self._do(f"interfaceAddresses {source}")
        return {
            f"vnet{number}": {"hwaddr": mac.upper(), "addrs": [{"addr": a, "prefix": 24, "type": 0} for a in addresses] or None}
            for number, (mac, addresses) in enumerate(self.known.get(source, {}).items())
        }

    def memoryStats(self) -> dict[str, int]:
        self._do("memoryStats")
        return self.memory

    def shutdownFlags(self, flags: int) -> int:
        self._do_running(f"shutdownFlags {flags}")
        self._go_off()
        return 0

    def _go_off(self) -> None:
        if self.obeys:
            self.current = OFF
            self.tell(0, 5, 0)

    def tell(self, event: int, *what: int) -> None:
        """Those who listen hear of ``event``."""
        for number, callback in self.listeners:
            if number == event:
                callback(None, None, *what, None)

    def boot(self) -> None:
        self.boots += 1
        if self.guest is not None:
            self.guest.boot(samples.uuid(self.boots))
        self.current = 1
        self.tell(1)

    def _restart(self) -> None:
        if self.obeys:
            self.boot()

    def _sleep(self) -> None:
        if self.obeys:
            self.current = 7
            self.tell(0, 7, 0)

    def reboot(self, flags: int) -> int:
        self._do_running(f"reboot {flags}")
        self._restart()
        return 0

    def reset(self, flags: int) -> int:
        self._do_running(f"reset {flags}")
        self.boot()
        return 0

    def pMWakeup(self, flags: int) -> int:
        self._do(f"pMWakeup {flags}")
        if self.sleepy:
            self.sleepy -= 1
            text = "Unable to wake up: guest is not in suspended state"
            raise Error(1, f"internal error: unable to execute QEMU command 'system_wakeup': {text}")
        self.current = 1
        self.tell(0, 2, 4)
        return 0

    def create(self) -> int:
        self._do("create")
        self.current = 1
        self.tell(0, 2, 0)
        return 0

    def createWithFlags(self, flags: int) -> int:
        self._do(f"createWithFlags {flags}")
        self.boot()
        return 0

    def updateDeviceFlags(self, device: str, flags: int) -> int:
        self._do("updateDeviceFlags")
        assert flags == 2
        self.attached.append(device)
        return 0

    def resume(self) -> int:
        self._do_running("resume")
        self.current = 1
        self.tell(0, 4, 0)
        return 0

    def undefineFlags(self, flags: int) -> int:
        self._do(f"undefineFlags {flags}")
        self.flags &= ~PERSISTENT
        return 0

    def destroy(self) -> int:
        self._do_running("destroy")
        self.current = OFF
        self.tell(0, 5, 1)
        return 0

    def openChannel(self, name: str, stream: Stream, flags: int) -> int:
        self._do("openChannel")
        if name not in self.channels:
            raise Error(1, f"internal error: cannot find channel {name}")
        holder = self.streams.get(name)
        if holder is not None and not holder.aborted:
            if not flags & 1:
                raise Error(9, "operation failed: Active channel stream exists for this domain")
            holder.abort()
        stream.socket, end = socket.socketpair()
        self.streams[name] = stream
        threading.Thread(target=self.channels[name], args=(end,), daemon=True).start()
        return 0

    def attachDeviceFlags(self, device: str, flags: int) -> int:
        self._do("attachDeviceFlags")
        assert flags == 1
        self.attached.append(device)
        return 0

    def detachDeviceFlags(self, device: str, flags: int) -> int:
        self._do("detachDeviceFlags")
        assert flags == 1
        self.attached.remove(device)
        return 0

    def listAllSnapshots(self, _flags: int) -> list[Snapshot]:
        self._do("listAllSnapshots")
        return [Snapshot(self, name) for name in self.snapshots]

    def snapshotLookupByName(self, name: str, _flags: int) -> Snapshot:
        if name not in self.snapshots:
            raise NO_SNAPSHOT
        return Snapshot(self, name)

    def snapshotCreateXML(self, xml: str, flags: int) -> Snapshot:
        name = xml.split("<name>")[1].split("</name>")[0]
        if flags == 1 | 2 | 16:
            self._do("redefine")
            assert name in self.snapshots
            self.snapshots[name] = xml
            return Snapshot(self, name)
        self._do("snapshotCreateXML")
        assert flags == 16 | 128
        self.snapshots[name] = xml.replace("</domainsnapshot>", f"{self.text}</domainsnapshot>")
        self.newest = name
        return Snapshot(self, name)

    def hasCurrentSnapshot(self, _flags: int) -> int:
        return int(bool(self.newest))

    def snapshotCurrent(self, _flags: int) -> Snapshot:
        return Snapshot(self, self.newest)

    def revertToSnapshot(self, snapshot: Snapshot, flags: int) -> int:
        self._do(f"revertToSnapshot {flags}")
        self.current = OFF
        self.tell(0, 5, 6)
        if "revert" in self.raises:
            raise self.raises["revert"]
        for old, new in self.reverts.items():
            self.text = self.text.replace(old, new)
            self.snapshots[snapshot.name] = self.snapshots[snapshot.name].replace(old, new)
        if flags & 1:
            self.boot()
        return 0

    def agent_command(self, text: str, seconds: int) -> str:
        self._do("agent")
        body = json.loads(text)
        if self.guest is None:
            raise Error(86, "Guest agent is not responding: QEMU guest agent is not connected")
        try:
            reply = self.guest.exchange(Request(body["execute"], body.get("id"), text), seconds)
        except AgentTimeout:
            raise Error(112, "guest agent command timed out") from None
        except AgentDisappeared:
            raise Error(112, "Guest agent disappeared while executing command") from None
        error = json.loads(reply).get("error")
        if error:
            raise Error(1, f"internal error: unable to execute QEMU agent command '{body['execute']}': {error['desc']}")
        return reply


class Snapshot(t.NamedTuple):
    domain: Domain
    name: str

    def getName(self) -> str:
        return self.name

    def getXMLDesc(self, _flags: int) -> str:
        return self.domain.snapshots[self.name]

    def delete(self, flags: int) -> int:
        assert flags == 2
        del self.domain.snapshots[self.name]
        return 0
