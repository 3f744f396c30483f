# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hypervisor: connect, list and look up domains, talk to one. The only file that imports libvirt."""

from __future__ import annotations

import contextlib
import copy
import functools
import sys
import threading
import typing as t
import uuid

from .._deadline import Deadline
from .._errors import (
    AgentBusy,
    ConnectionLost,
    DomainNotFound,
    DomainOff,
    GuestAgentError,
    HypervisorUnreachable,
    InvalidInput,
    ProtocolError,
    StillInFlight,
)
from . import errors, rights, stream
from .crowded import default_by_ssh, opened
from .events import LifecycleWatch, serve_events
from .storage import Storage
from .switches import Switches
from .threads import CallTimeout, NoFreeWorker, Workers

if t.TYPE_CHECKING:
    from .._agent.protocol import Request

try:
    import libvirt
    import libvirt_qemu
except ImportError as error:  # reported by connect(), where it matters
    LIBVIRT_IMPORT_ERROR: ImportError | None = error
else:
    LIBVIRT_IMPORT_ERROR = None

T = t.TypeVar("T")

#: What errors call the hypervisor that libvirt itself chooses when it is given no URI.
DEFAULT_HYPERVISOR: t.Final = "libvirt's default hypervisor"
#: virDomainState
STATES: t.Final = dict(
    enumerate(("nostate", "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended")),
)
#: Of a domain that this user may list and not look at, or that has gone meanwhile.
UNTOLD: t.Final = "unknown"
#: virConnectListAllDomainsFlags
_LIST_PERSISTENT: t.Final = 4
_LIST_AUTOSTART: t.Final = 1024
_OFF: t.Final = ("shutoff", "crashed")
#: virDomainInterfaceAddressesSource
_ADDRESS_SOURCES: t.Final = {"lease": 0, "arp": 2}
#: virDomainXMLFlags
_XML_INACTIVE: t.Final = 2
#: virDomainStatsTypes: state needs neither the agent nor QEMU's monitor
_STATS_STATE: t.Final = 1
#: virDomainDeviceModifyFlags
_AFFECT_LIVE: t.Final = 1
_AFFECT_CONFIG: t.Final = 2
#: What is nice to know of QEMU, and not worth a longer wait.
_MONITOR_SECONDS: t.Final = 3.0
#: What a reply may need on its way from the daemon to us, on top of what the daemon waits for the agent.
_GRACE_SECONDS: t.Final = 1.0
#: A daemon that hangs is not waited for when all that is left is to say goodbye.
_CLOSE_SECONDS: t.Final = 2.0


class Address(t.TypedDict):
    address: str
    prefix: int


class DomainSummary(t.NamedTuple):
    """What one listing tells of a domain, without a request of its own."""

    domain: Domain
    state: str
    persistent: bool
    autostart: bool


class Domain(Switches):
    """One libvirt domain on one connection, and the way to its agent. Every method is one request and ends within its time.

    All raise a subclass of GuestAgentError: DomainNotFound when the domain is gone, HypervisorUnreachable when libvirt did not
    answer in time, and what ``errors.translate`` says for the rest.
    """

    def __init__(self, connection: Connection, handle: t.Any) -> None:
        self._connection = connection
        self._handle = handle
        self._deaf = False
        self._patience = 0.0
        self.name: str = handle.name()
        self.uuid: str = handle.UUIDString()

    @property
    def uri(self) -> str:
        """Its hypervisor's."""
        return self._connection.uri

    def xml(self) -> str:
        """The live domain XML (virDomainGetXMLDesc)."""
        return t.cast(str, self._call(lambda: self._handle.XMLDesc(0)))

    def definition(self) -> str:
        """The XML that the domain's next start will use (virDomainGetXMLDesc, VIR_DOMAIN_XML_INACTIVE)."""
        return t.cast(str, self._call(lambda: self._handle.XMLDesc(_XML_INACTIVE)))

    def state(self, seconds: float | None = None) -> str:
        """One of ``STATES`` (virDomainGetState; served even when libvirtd's workers are all busy)."""
        return STATES.get(self._call(lambda: self._handle.state(0), seconds)[0], "nostate")

    def persistent(self) -> bool:
        return bool(self._call(self._handle.isPersistent))

    def patient(self, seconds: float) -> Domain:
        """The same domain, whose agent's replies are waited for so much longer: where it must be known what became of a command."""
        patient = copy.copy(self)
        patient._patience = seconds
        return patient

    def exchange(self, request: Request, seconds: int) -> str:
        """The agent's reply line (virDomainQemuAgentCommand, libvirt 0.10.0), which libvirt waits ``seconds`` for. First it may
        wait 30 s for another command and, until 10.2, 5 s for its own synchronisation: a ``patient`` domain waits for that too.
        The domain is tainted ``custom-ga-command`` once a run.
        """

        def send() -> str:
            try:
                return t.cast(str, libvirt_qemu.qemuAgentCommand(self._handle, request.text, seconds, 0))
            except (SystemError, UnicodeDecodeError):
                # What libvirt-python makes of an error's text that is not UTF-8: the guest's own.
                hint = "a name in the guest is not UTF-8, which libvirt's Python binding does not accept"
                raise ProtocolError("the reply is not UTF-8", domain=self.name, command=request.command, hint=hint) from None

        return self._call(send, seconds + _GRACE_SECONDS + self._patience, request.command)

    def addresses(self, source: str) -> dict[str, list[Address]]:
        """MAC -> addresses as the hypervisor knows them: ``lease`` or ``arp`` (virDomainInterfaceAddresses, 1.2.14)."""
        raw = self._call(lambda: self._handle.interfaceAddresses(_ADDRESS_SOURCES[source], 0)) or {}
        return {
            (nic.get("hwaddr") or "").lower(): [
                {"address": entry["addr"], "prefix": entry["prefix"]} for entry in nic.get("addrs") or []
            ]
            for nic in raw.values()
        }

    def balloon_bytes(self) -> int | None:
        """The memory that the domain has now (virDomainMemoryStats, 0.7.5); QEMU's monitor is asked, which may be busy."""
        kib = self._call(self._handle.memoryStats, _MONITOR_SECONDS).get("actual")
        return None if kib is None else kib * 1024

    def attach(self, device: str, definition: bool = False) -> None:
        """Plug ``device`` (XML) into the running domain, or into its definition instead (virDomainAttachDeviceFlags, 0.7.7)."""
        self._call(lambda: self._handle.attachDeviceFlags(device, _AFFECT_CONFIG if definition else _AFFECT_LIVE))

    def detach(self, device: str, definition: bool = False) -> None:
        """Unplug ``device`` (as its XML has it) likewise; of a running domain the guest says when (virDomainDetachDeviceFlags)."""
        self._call(lambda: self._handle.detachDeviceFlags(device, _AFFECT_CONFIG if definition else _AFFECT_LIVE))

    def change_in_definition(self, device: str) -> None:
        """Give a device of the definition what ``device`` (XML) says, such as a drive its medium (virDomainUpdateDeviceFlags)."""
        self._call(lambda: self._handle.updateDeviceFlags(device, _AFFECT_CONFIG))

    def open_channel(self, name: str, force: bool = False) -> stream.ChannelStream:
        """The host's end of the virtio channel ``name`` (virDomainOpenChannel, 1.0.2); ``force`` takes it from another client.

        :raise AgentNotConfigured: there is no such channel.
        :raise ChannelBusy: another client of libvirt holds it.
        """
        connection = self._connection.again()  # libvirt before 10.0 loses wakeups between threads that share a connection
        opening = stream.Opening(libvirt.libvirtError, self.name, name)
        try:
            connection.call(lambda: opening.open(connection.handle, self.uuid, force), None, self.name)
        except BaseException:
            opening.give_up()
            connection.close()
            raise
        return opening.stream(connection.close, lambda: self.open_channel(name, force=True).close())

    def lifecycle(self, restarts: bool = False) -> LifecycleWatch:
        """The domain's lifecycle events from now on; the connection must have been made with ``events``."""
        handle = self._connection.handle
        return LifecycleWatch(
            lambda event, receive: self._call(lambda: handle.domainEventRegisterAny(self._handle, event, receive, None)),
            lambda number: self._call(lambda: handle.domainEventDeregisterAny(number)),
            restarts,
        )

    @property
    def storage(self) -> Storage:
        """Its snapshots, block jobs and backups."""
        return Storage(self._handle, self._call)

    def renew(self, seconds: float) -> None:
        """Take another connection to the hypervisor, within ``seconds`` for each step, where this one is lost or deaf.

        :raise HypervisorUnreachable: there is none yet.
        :raise DomainNotFound: the domain went with it.
        :raise DomainOff: it is off, or has crashed.
        """
        self._connection.renew(seconds, self._deaf)
        self._deaf = True
        self._handle = self._call(lambda: self._connection.handle.lookupByUUIDString(self.uuid), seconds)
        self._deaf = False
        if (state := self.state()) in _OFF:
            raise DomainOff(f"the domain is {state}", domain=self.name)

    def _call(self, function: t.Callable[[], T], seconds: float | None = None, command: str = "") -> T:
        return self._connection.call(function, seconds, self.name, command)


class Connection:
    """One connection to a hypervisor; at most five requests are in flight on it."""

    def __init__(self, uri: str, timeout: float, events: bool, deadline: Deadline | None, ssh_persist: int) -> None:
        """``timeout`` is for each request that is given no time of its own; ``deadline`` ends all of them but agent commands."""
        self.uri = uri or DEFAULT_HYPERVISOR
        self._timeout = timeout
        self._deadline = deadline
        self._ssh_persist = ssh_persist
        self._workers = Workers()
        self._renewing = threading.Lock()
        if events:
            serve_events(libvirt)
        self.handle: t.Any = self._opened(uri, timeout)
        if not uri:
            self.uri = t.cast(str, self.call(self.handle.getURI))

    def again(self) -> Connection:
        """Another connection to the same hypervisor."""
        return connect(self.uri, self._timeout, ssh_persist=self._ssh_persist)

    def renew(self, seconds: float, deaf: bool = False) -> None:
        """Connect once more, within ``seconds``, where the connection is lost or ``deaf``; one that is half open looks alive."""
        with self._renewing:
            if deaf:
                self._give_back(0)
                self._workers = Workers()
            if not _alive(self.handle):
                self.handle = self._opened(self.uri, seconds)

    def _opened(self, uri: str, seconds: float) -> t.Any:
        limit = seconds if self._deadline is None else min(seconds, self._deadline.remaining())
        return opened(lambda at, left: self.call(lambda: _open(at), left), uri, self._ssh_persist, Deadline(limit))

    def hostname(self) -> str:
        return t.cast(str, self.call(self.handle.getHostname))

    def list_domains(self) -> list[DomainSummary]:
        """All domains, in four requests whatever their number is."""
        handles = self.call(lambda: self.handle.listAllDomains(0))
        states = {
            handle.UUIDString(): STATES.get(stats.get("state.state"), "nostate")
            for handle, stats in self.call(lambda: self.handle.getAllDomainStats(_STATS_STATE, 0))
        }
        persistent = self._uuids(_LIST_PERSISTENT)
        autostart = self._uuids(_LIST_AUTOSTART)
        domains = [Domain(self, handle) for handle in handles]
        return [
            DomainSummary(domain, states.get(domain.uuid, UNTOLD), domain.uuid in persistent, domain.uuid in autostart)
            for domain in domains
        ]

    def domains(self) -> dict[str, Domain]:
        """UUID -> domain, in one request."""
        return {d.uuid: d for d in (Domain(self, h) for h in self.call(lambda: self.handle.listAllDomains(0)))}

    def domain(self, name_or_uuid: str) -> Domain:
        """The domain of that name, or else of that UUID.

        :raise DomainNotFound: this hypervisor has neither.
        """
        lookups = [self.handle.lookupByName]
        if _is_uuid(name_or_uuid):
            lookups.append(self.handle.lookupByUUIDString)
        for lookup in lookups:
            try:
                return Domain(self, self.call(functools.partial(lookup, name_or_uuid), None, name_or_uuid))
            except DomainNotFound:
                continue
        raise DomainNotFound(f"no domain of this name or UUID on {self.uri}", domain=name_or_uuid)

    def create(self, name: str, xml: str, seconds: float) -> None:
        """Start a transient domain (virDomainCreateXML); ``name`` is for the error."""
        self.call(lambda: self.handle.createXML(xml, 0), seconds, name)

    def require_kind(self, name: str, kind: str, arch: str | None) -> None:
        """Raise that the hypervisor runs no domains of this kind, such as ``kvm`` (virConnectGetDomainCapabilities, 1.2.7)."""
        self.call(lambda: self.handle.getDomainCapabilities(None, arch, None, kind, 0), None, name)

    def version(self) -> str:
        """Such as 9.9.0 (virConnectGetLibVersion)."""
        number = self.call(self.handle.getLibVersion)
        return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"

    def reverts_external_snapshots(self) -> bool:
        """Whether libvirt says it can, which it does since 9.9 (virConnectGetCapabilities)."""
        return "<externalSnapshot/>" in self.call(self.handle.getCapabilities)

    def close(self) -> None:
        """Give the connection back. One with a request that has not returned yet is given back when it does."""
        self._give_back(_CLOSE_SECONDS)

    def _give_back(self, seconds: float) -> None:
        handle, self.handle = self.handle, None
        with contextlib.suppress(libvirt.libvirtError):
            self._workers.close(handle.close if handle else lambda: None, seconds)

    def call(self, function: t.Callable[[], T], seconds: float | None = None, domain: str = "", command: str = "") -> T:
        """``function()`` within ``seconds`` (the connection's own timeout when not given), its errors translated."""
        limit = self._timeout if seconds is None else seconds
        if self._deadline is not None and not command:
            limit = min(limit, self._deadline.remaining())
        try:
            return self._workers.call(function, limit)
        except NoFreeWorker:
            detail = f"all requests that libvirt at {self.uri} accepts at a time wait for other guests"
            raise (AgentBusy if command else HypervisorUnreachable)(detail, domain=domain, command=command) from None
        except CallTimeout:
            if command:
                raise StillInFlight("the agent did not answer in time", domain=domain, command=command) from None
            raise HypervisorUnreachable(f"libvirt at {self.uri} did not answer within {limit:g} s", domain=domain) from None
        except libvirt.libvirtError as error:
            raise self._translated(error, domain, command) from error
        except UnicodeDecodeError as error:
            # libvirt-python cannot decode a lone surrogate that older libvirt lets through
            code = errors.INTERNAL_ERROR
            raise errors.translate(code, "the reply is not UTF-8", domain, command or "reply") from error

    def _translated(self, error: t.Any, domain: str, command: str) -> GuestAgentError:
        if not domain:
            return rights.of_connection(error, self.uri)
        if not _alive(self.handle):
            lost = ConnectionLost if command else HypervisorUnreachable
            return lost(f"the connection to {self.uri} was lost", domain=domain, command=command)
        return rights.of_domain(error, domain, command)

    def _uuids(self, flag: int) -> set[str]:
        return {handle.UUIDString() for handle in self.call(lambda: self.handle.listAllDomains(flag))}


def connect(
    uri: str | None, timeout: float, events: bool = False, deadline: Deadline | None = None, ssh_persist: int = 0
) -> Connection:
    """Connect to ``uri`` (libvirt's own default when empty) within ``timeout`` seconds, over SSH as ``crowded.opened`` does it.

    With ``events`` a thread of this process serves libvirt's events; it must be asked for before the first connection.

    :raise HypervisorUnreachable: there is no answer, or not in time.
    :raise InvalidInput: libvirt-python is not installed here.
    """
    if LIBVIRT_IMPORT_ERROR is not None:
        raise InvalidInput(
            f"the Python that runs this ({sys.executable}) has no libvirt-python",
            hint="install libvirt-python for it (Debian: python3-libvirt, Fedora: python3-libvirt, or pip install libvirt-python)",
        )
    return Connection(uri or default_by_ssh(), timeout, events, deadline, ssh_persist)


def _open(uri: str) -> t.Any:
    # libvirt prints every error to stderr unless told otherwise; ours are raised.
    libvirt.registerErrorHandler(lambda *_details: None, None)
    return libvirt.open(uri or None)


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _alive(handle: t.Any) -> bool:
    if handle is None:
        return False
    try:
        return bool(handle.isAlive())
    except libvirt.libvirtError:
        return False
