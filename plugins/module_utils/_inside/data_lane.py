# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The data lane: the content of files as raw bytes through a virtio port of our own, without JSON and base64.

The host's end is opened first, then guest-exec starts the guest's end, which opens the port once. It does nothing before it has
read this transfer's number there, and it ends when the host's end is closed: a transfer that was given up, or whose start got no
answer, touches no file later on. What an earlier transfer left behind on the port carries another number and is skipped.
"""

from __future__ import annotations

import contextlib
import secrets
import typing as t

from .._agent.client import GuestAgent
from .._deadline import SYSTEM_CLOCK, Clock, Deadline
from .._errors import (
    AgentUnavailable,
    CommandRefused,
    GuestAgentError,
    HypervisorUnreachable,
    InvalidInput,
    LaneFailed,
    LibvirtFailure,
    PermissionDenied,
)
from .._libvirt import domain_xml
from .._libvirt.hypervisor import Domain
from .._libvirt.stream import ChannelStream
from . import exec as _exec

PORT: t.Final = domain_xml.DATA_CHANNEL
GUEST_PATH: t.Final = f"/dev/virtio-ports/{PORT}"
#: How long nothing may move in a transfer before it is given up.
STALL_SECONDS: t.Final = 15.0

_PATH: t.Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: What is read of the source, and given to the stream, at a time.
_CHUNK: t.Final = 64 * 1024
#: The guest reads whole blocks of a file; it is the unit of dd's skip and count.
_BLOCK: t.Final = 64 * 1024
#: Bytes of an earlier transfer that may stand before ours on the port.
_STALE_MAX: t.Final = 8 * 1024 * 1024
#: A call on the stream that takes longer is reason to ask the agent whether the guest's end still runs.
_QUIET_SECONDS: t.Final = 0.5
#: How long the guest's end has to go by itself once the host's end is closed; then it is killed, and has as long again.
_END_SECONDS: t.Final = 3.0
_FIRST_PAUSE: t.Final = 0.005
_LONGEST_PAUSE: t.Final = 0.2

#: $PORT, $LANE (the transfer's number), $FILE are in the environment, for qemu-ga logs arguments. `command` keeps a redirection
#: that fails from ending the shell. A write to a port without a host blocks for ever: only children that are killed then do it.
_OPEN: t.Final = """
end() {
    read -r pid name state parent rest <"/proc/$1/stat" && [ "$parent" = $$ ] && kill -KILL "$1"
}
[ -c "$PORT" ] || exit 41
command exec 3<>"$PORT" || exit 42
while IFS= read -r line <&3 || exit 43; do [ "$line" = "$LANE go" ] && break; done
"""
#: The place in the file is the number of bytes written. At last it waits for the host's end to be closed.
_WRITE: t.Final = (
    _OPEN
    + """
[ -f "$FILE" ] && command exec 4>"$FILE" || exit 44
printf '%s ready\n' "$LANE" >&3 &
dd bs=64k iflag=fullblock,count_bytes count="$SIZE" <&3 >&4
code=$?
end $!
[ $code = 0 ] || exit 45
read -r key place <"/proc/$$/fdinfo/4"
[ "$place" = "$SIZE" ] || exit 46
printf '%s done\n' "$LANE" >&3 &
read -r line <&3
end $!
"""
)
#: The second child reads the end of the file when the host's end is closed.
_READ: t.Final = (
    _OPEN
    + """
command exec 4<"$FILE" || exit 44
{ printf '%s ready\n' "$LANE"; exec dd bs=64k skip="$SKIP" count="$COUNT"; } <&4 >&3 &
sender=$!
{ read -r line; kill -KILL $sender; } <&3 &
wait $sender
code=$?
end $!
[ $code = 0 ] || exit 45
"""
)
#: Kills what has $LANE of a transfer in its environment; this has it under another name.
_KILL: t.Final = """
for environment in $(grep -ls "LANE=$TRANSFER" /proc/[0-9]*/environ); do
    environment=${environment#/proc/}; kill -KILL "${environment%/environ}"
done
"""
_REASONS: t.Final = {
    0: "the file ended early",
    41: f"the guest has no port {PORT}",
    42: "the port is in use in the guest",
    43: "the guest's end saw the host's end closed",
    44: "the guest's end cannot open the file",
    45: "the guest's end failed to copy",
    46: "the guest's end did not get all bytes",
}
_KILLED: t.Final = "the guest's end was killed"


class DataLane:
    """Both methods raise LaneFailed, and AgentUnavailable or UnknownOutcome when it is the agent that does not answer.

    Whatever ends them, also an interrupt: the host's end is closed and the guest's end is gone before they return, provided
    that the agent still answers; if it does not, the guest's end goes by itself when it sees the port closed.
    """

    name = "data"

    def __init__(self, domain: Domain, agent: GuestAgent, stall: float = STALL_SECONDS, clock: Clock = SYSTEM_CLOCK) -> None:
        """``stall``: seconds that a transfer may stand still."""
        self._domain = domain
        self._agent = agent
        self._stall = stall
        self._clock = clock

    def write(self, path: str, source: t.BinaryIO, size: int, progress: t.Callable[[int], object]) -> None:
        """Fill the existing, private, empty file ``path`` of the guest with the next ``size`` bytes of ``source``.

        ``progress`` gets the size of each piece as it is handed to libvirt.

        :raise InvalidInput: the source ended early.
        """
        if not size:
            return
        with self._transfer(_WRITE, {"FILE": path, "SIZE": str(size)}) as transfer:
            done = 0
            while done < size:
                data = source.read(min(_CHUNK, size - done))
                if not data:
                    raise InvalidInput(f"the source was {size} bytes long, and ended at {done}")
                transfer.send(data)
                progress(len(data))
                done += len(data)
            transfer.skip_to("done")

    def read(self, path: str, size: int, sink: t.Callable[[bytes], object], offset: int = 0) -> None:
        """Hand ``size`` bytes of the guest's file from ``offset`` on to ``sink``, in order.

        A LaneFailed says in ``moved`` how many of them ``sink`` has taken, which is where another lane may go on: each call of
        ``sink`` that returned counts in full.
        """
        if not size:
            return
        first, skipped = divmod(offset, _BLOCK)
        blocks = -(-(skipped + size) // _BLOCK)
        moved = 0
        try:
            with self._transfer(_READ, {"FILE": path, "SKIP": str(first), "COUNT": str(blocks)}) as transfer:
                while moved < size:
                    data = transfer.receive()
                    wanted, skipped = data[skipped : skipped + size - moved], max(0, skipped - len(data))
                    if wanted:
                        sink(wanted)
                        moved += len(wanted)
        except LaneFailed as error:
            error.moved = moved
            raise

    @contextlib.contextmanager
    def _transfer(self, script: str, values: dict[str, str]) -> t.Iterator[_Transfer]:
        stream = self._open()
        transfer = _Transfer(self._agent, stream, self._stall, self._clock)
        try:
            transfer.start(script, values)
            yield transfer
        except (TimeoutError, ConnectionError) as error:
            raise self._failed(str(error) or f"nothing moved for {self._stall:g} s") from error
        finally:
            stream.close()
            transfer.clean_up()

    def _open(self) -> ChannelStream:
        try:
            return self._domain.open_channel(PORT)
        except (AgentUnavailable, LibvirtFailure, HypervisorUnreachable, PermissionDenied) as error:
            raise self._failed(error.detail, error.hint) from error

    def _failed(self, detail: str, hint: str = "") -> LaneFailed:
        return LaneFailed(f"the data lane failed: {detail}", domain=self._domain.name, hint=hint)


class _Transfer:
    """One use of the lane. Raises ConnectionError when the guest's end is not there, TimeoutError when nothing moves."""

    def __init__(self, agent: GuestAgent, stream: ChannelStream, stall: float, clock: Clock) -> None:
        self._agent = agent
        self._stream = stream
        self._stall = stall
        self._clock = clock
        self._number = secrets.token_hex(16)
        self._process: _Process | None = None
        self._received = b""

    def start(self, script: str, values: t.Mapping[str, str]) -> None:
        """The guest's end runs, has opened port and file, and has read our number."""
        try:
            self._process = _Process(self._agent, script, {"PORT": GUEST_PATH, "LANE": self._number, **values})
        except CommandRefused as error:
            raise ConnectionError(f"its guest's end cannot be started: {error.detail}") from error
        self._stream.send(f"\n{self._number} go\n".encode(), self._deadline(self._stall))
        self.skip_to("ready")

    def send(self, data: bytes) -> None:
        stalled = self._deadline(self._stall)
        while True:
            try:
                return self._stream.send(data, self._deadline(min(_QUIET_SECONDS, stalled.remaining())))
            except TimeoutError:
                data = b""  # the stream has it, and sends it before anything else
                if self._process is not None and self._process.ended():
                    raise ConnectionError(self._process.reason()) from None
                if stalled.expired():
                    raise

    def receive(self) -> bytes:
        """Some bytes."""
        if self._received:
            data, self._received = self._received, b""
            return data
        stalled = self._deadline(self._stall)
        ended = False
        while True:
            try:
                return self._stream.receive(self._deadline(min(_QUIET_SECONDS, stalled.remaining())))
            except TimeoutError:
                if self._process is not None and ended:
                    raise ConnectionError(self._process.reason()) from None
                if stalled.expired():
                    raise
                # What it has sent before may still be on its way.
                ended = self._process is not None and self._process.ended()

    def skip_to(self, word: str) -> None:
        """Until the guest's end says ``word``; whatever came before it is not of this transfer."""
        line = f"{self._number} {word}\n".encode()
        found, skipped = b"", 0
        while line not in found:
            if skipped > _STALE_MAX:
                raise ConnectionError("another program than the guest's end writes to the port")
            data = self.receive()
            # It may come a byte at a time: all of it is not searched again for each.
            found, skipped = found[-len(line) :] + data, skipped + len(data)
        self._received = found.partition(line)[2]

    def clean_up(self) -> None:
        """Wait until the guest's end is gone, or kill it; the stream is closed."""
        if self._process is None:
            return
        with contextlib.suppress(GuestAgentError):
            # Where a signal ended the shell, its children may still be there.
            if not self._process.wait(self._deadline(_END_SECONDS)) or self._process.code is None:
                killer = _Process(self._agent, _KILL, {"TRANSFER": self._number})
                for process in (killer, self._process):
                    process.wait(self._deadline(_END_SECONDS))

    def _deadline(self, seconds: float) -> Deadline:
        return Deadline(seconds, self._clock)


class _Process:
    """A shell in the guest, whose record in the agent is freed as soon as its end is known."""

    def __init__(self, agent: GuestAgent, script: str, values: t.Mapping[str, str]) -> None:
        self._agent = agent
        self._pid = _exec.start(agent, ("/bin/sh", "-c", script), {"PATH": _PATH, **values}, captures=False)
        self._ended = False
        #: exit code; None while it runs, and when a signal ended it
        self.code: int | None = None

    def ended(self) -> bool:
        if not self._ended:
            try:
                result = _exec.status(self._agent, self._pid)
            except (CommandRefused, _exec.ProcessForgotten):
                self._ended = True  # another agent, which was started since
            else:
                self._ended = result is not None
                self.code = result and result.rc
        return self._ended

    def reason(self) -> str:
        return _KILLED if self.code is None else _REASONS.get(self.code, _KILLED)

    def wait(self, deadline: Deadline) -> bool:
        return any(self.ended() for _turn in deadline.pauses(_FIRST_PAUSE, _LONGEST_PAUSE))


def attach(domain: Domain) -> None:
    """Plug the port into the running domain, not into its definition. One that is there already is left alone.

    :raise LaneFailed: the domain has nothing to plug it into, or libvirt refuses.
    """
    if PORT in domain_xml.channels(domain.xml()):
        return
    try:
        domain.attach(domain_xml.channel_device(PORT))
    except LibvirtFailure as error:
        missing = "no virtio-serial controllers" in error.detail
        hint = (
            "add <controller type='virtio-serial'/> to its definition, or any virtio channel, and start it again" if missing else ""
        )
        raise LaneFailed(f"the port cannot be plugged in: {error.detail}", domain=domain.name, hint=hint) from error


def detach(domain: Domain) -> None:
    """Unplug the port from the running domain. The guest must let it go, which may come later."""
    device = domain_xml.plugged_channel(domain.xml(), PORT)
    if device:
        domain.detach(device)
