# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Raw bytes through a virtio port of our own: whole or a typed failure, and nothing left behind in the guest."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.integration.ansible_cli import ROOT
from tests.lab import Guest, Lab

PACKAGE = "ansible_collections.virtops.guest_agent.plugins.module_utils."
PORT = "org.virtops.guest_agent.0"
DEVICE = f"<channel type='unix'><target type='virtio' name='{PORT}'/></channel>"
MIB = 1024 * 1024
STALL = 3
FILE = "/data/lane"
#: What of a transfer runs in the guest, told by what is in its environment.
RUNNING = "grep -ls 'LANE=[0-9a-f]' /proc/[0-9]*/environ"
WRITER = """
import sys, time
sys.path.insert(0, {collections!r})
from {package}._inside import data_lane
from {package}._reach import guest as reach
class Slow:
    def read(self, size):
        print(".", flush=True)
        time.sleep(0.05)
        return bytes(size)
with reach.open_guest({{"uri": {uri!r}, "domain": {name!r}, "agent_timeout": 5}}) as guest:
    data_lane.DataLane(guest.domain, guest.agent).write({path!r}, Slow(), 1 << 30, lambda size: None)
"""


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(ROOT / ".collections")
    names = {"data_lane": "_inside", "domain_xml": "_libvirt", "guest": "_reach"}
    found = {name: importlib.import_module(f"{PACKAGE}{room}.{name}") for name, room in names.items()}
    return SimpleNamespace(**found, errors=importlib.import_module(f"{PACKAGE}_errors"))


@pytest.fixture(scope="module")
def tiny(lab: Lab) -> Iterator[str]:
    """A tiny guest that has the port."""
    guest = Guest(name="it-lane", devices=DEVICE)
    lab.start_all([guest])
    yield guest.name
    lab.destroy(guest.name)


@pytest.fixture
def open_lane(lab: Lab, core: SimpleNamespace) -> Iterator[Callable[[str], Any]]:
    """``open_lane(name)``: the guest, with its lane as ``lane``."""
    with contextlib.ExitStack() as stack:

        def open_one(name: str) -> Any:
            lab.touch(name)
            guest = stack.enter_context(core.guest.open_guest({"uri": lab.uri, "domain": name, "agent_timeout": 5}))
            lane = core.data_lane.DataLane(guest.domain, guest.agent, STALL)
            return SimpleNamespace(domain=guest.domain, agent=guest.agent, lane=lane)

        yield open_one


def left(lab: Lab, name: str) -> list[str]:
    """The processes of transfers in the guest."""
    return lab.run(name, RUNNING).output.split()


def put(lab: Lab, guest: Any, data: bytes, path: str = FILE) -> None:
    lab.run(guest.domain.name, f": > {path}")
    guest.lane.write(path, io.BytesIO(data), len(data), lambda size: None)


def got(guest: Any, size: int, offset: int = 0, path: str = FILE) -> bytes:
    found = bytearray()
    guest.lane.read(path, size, found.extend, offset)
    return bytes(found)


def works(lab: Lab, guest: Any) -> bool:
    data = os.urandom(100_000)
    put(lab, guest, data)
    return got(guest, len(data)) == data and not left(lab, guest.domain.name)


def test_twenty_mib_both_ways_over_a_port_plugged_in(
    lab: Lab, debian: str, core: SimpleNamespace, open_lane: Callable[[str], Any]
) -> None:
    guest, path = open_lane(debian), "/root/lane"
    core.data_lane.attach(guest.domain)
    try:
        core.data_lane.attach(guest.domain)  # once is enough
        assert PORT in core.domain_xml.channels(guest.domain.xml())
        lab.run(debian, f"until [ -e /dev/virtio-ports/{PORT} ]; do sleep 0.1; done")
        data = content(20 * MIB)
        before, moved = guest.agent.round_trips, []
        lab.run(debian, f"install -m 600 /dev/null {path}")
        guest.lane.write(path, io.BytesIO(data), len(data), moved.append)
        assert sum(moved) == len(data)
        assert guest.agent.round_trips - before < 12
        assert hashlib.sha256(data).hexdigest() in lab.run(debian, f"sha256sum {path}", timeout=60).output
        assert lab.run(debian, f"stat -c %a {path}").output.split() == ["600"]
        assert got(guest, len(data), path=path) == data
        assert not left(lab, debian)
        lab.run(debian, f"rm {path}")
    finally:
        core.data_lane.detach(guest.domain)
    lab.run(debian, f"while [ -e /dev/virtio-ports/{PORT} ]; do sleep 0.1; done")


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 1_000_003])
def test_every_size_and_offset(lab: Lab, tiny: str, open_lane: Callable[[str], Any], size: int) -> None:
    guest, data = open_lane(tiny), content(size)
    put(lab, guest, data)
    assert got(guest, size) == data
    for offset in {0, 1, size // 2, 65536, 65537} & set(range(size)):
        assert got(guest, size - offset, offset) == data[offset:]
    if size > 2:
        assert got(guest, 2) == data[:2]
        assert got(guest, 1, size - 2) == data[-2:-1]
    assert not left(lab, tiny)


def test_any_name(lab: Lab, tiny: str, open_lane: Callable[[str], Any]) -> None:
    guest, path = open_lane(tiny), "/data/a b'c\"$(id) \n\N{SNOWMAN}"
    lab.run(tiny, ": > /data/plain")
    guest.agent.call("guest-exec", {"path": "/bin/cp", "arg": ["/data/plain", path]})
    time.sleep(0.3)
    guest.lane.write(path, io.BytesIO(b"content"), 7, lambda size: None)
    assert got(guest, 7, path=path) == b"content"


def test_nothing_of_the_transfer_is_in_the_agents_log(lab: Lab, tiny: str, open_lane: Callable[[str], Any]) -> None:
    put(lab, open_lane(tiny), b"confidential", "/data/secret-name")
    log = lab.run(tiny, "cat /run/qemu-ga.log").output
    assert "secret-name" not in log
    assert "LANE=" not in log.replace('LANE="', "")


def fails(core: SimpleNamespace, guest: Any, says: str, path: str = FILE) -> None:
    """Both ways, and not because nothing moved for a while."""
    for transfer in (
        lambda: guest.lane.write(path, io.BytesIO(bytes(2 * MIB)), 2 * MIB, lambda size: None),
        lambda: guest.lane.read(path, 10, lambda data: None),
    ):
        with pytest.raises(core.data_lane.LaneFailed, match=says) as raised:
            transfer()
        assert raised.value.domain == guest.domain.name
        assert raised.value.moved == 0


def test_no_port_in_the_domain(
    a_tiny: str, start: Callable[..., str], core: SimpleNamespace, open_lane: Callable[[str], Any]
) -> None:
    fails(core, open_lane(a_tiny), f"no channel {PORT}")
    bare = open_lane(start(channel=False))
    with pytest.raises(core.data_lane.LaneFailed, match="no virtio-serial controllers") as raised:
        core.data_lane.attach(bare.domain)
    assert "virtio-serial" in raised.value.hint


def test_no_port_in_the_guest(lab: Lab, tiny: str, core: SimpleNamespace, open_lane: Callable[[str], Any]) -> None:
    port = f"/dev/virtio-ports/{PORT}"
    lab.run(tiny, f"mv {port} {port}.away")
    try:
        fails(core, open_lane(tiny), "the guest has no port")
        assert lab.run(tiny, f"ls {port}").returncode != 0
    finally:
        lab.run(tiny, f"mv {port}.away {port}")


def test_no_such_file(tiny: str, core: SimpleNamespace, open_lane: Callable[[str], Any]) -> None:
    fails(core, open_lane(tiny), "cannot open the file", "/data/none/there")


def test_somebody_else_on_the_host(lab: Lab, tiny: str, core: SimpleNamespace, open_lane: Callable[[str], Any]) -> None:
    guest = open_lane(tiny)
    stream = guest.domain.open_channel(PORT)
    try:
        fails(core, guest, "another client of libvirt uses")
    finally:
        stream.close()
    assert works(lab, guest)


def test_somebody_else_in_the_guest(lab: Lab, tiny: str, core: SimpleNamespace, open_lane: Callable[[str], Any]) -> None:
    guest = open_lane(tiny)
    lab.run(tiny, f"sleep 60 3<>/dev/virtio-ports/{PORT} >/dev/null 2>&1 & echo $! > /run/holder")
    lab.run(tiny, "until [ -e /proc/$(cat /run/holder)/fd/3 ]; do sleep 0.1; done")
    try:
        fails(core, guest, "in use in the guest")
    finally:
        lab.run(tiny, "kill $(cat /run/holder); while [ -e /proc/$(cat /run/holder)/fd/3 ]; do sleep 0.1; done")
    time.sleep(0.3)
    assert works(lab, guest)


def test_exec_is_blocked(start: Callable[..., str], core: SimpleNamespace, open_lane: Callable[[str], Any]) -> None:
    fails(core, open_lane(start(block=("guest-exec",), devices=DEVICE)), "cannot be started")


def test_a_full_disk(lab: Lab, tiny: str, core: SimpleNamespace, open_lane: Callable[[str], Any]) -> None:
    guest = open_lane(tiny)
    lab.run(tiny, "mkdir -p /run/small && mount -t tmpfs -o size=1m none /run/small && : > /run/small/file")
    try:
        with pytest.raises(core.data_lane.LaneFailed, match="failed to copy"):
            guest.lane.write("/run/small/file", io.BytesIO(bytes(8 * MIB)), 8 * MIB, lambda size: None)
    finally:
        lab.run(tiny, "umount /run/small")
    assert works(lab, guest)


def test_a_file_that_is_shorter_than_told(lab: Lab, tiny: str, core: SimpleNamespace, open_lane: Callable[[str], Any]) -> None:
    guest, data, found = open_lane(tiny), content(200_000), bytearray()
    put(lab, guest, data)
    with pytest.raises(core.data_lane.LaneFailed, match="ended early") as raised:
        guest.lane.read(FILE, len(data) + 1, found.extend)
    assert raised.value.moved == len(data)
    assert found == data


class Source(io.RawIOBase):
    """Does something once, in the middle."""

    def __init__(self, then: Callable[[], object], at: int = 2 * MIB) -> None:
        self._then = then
        self._at = at
        self._given = 0

    def read(self, size: int = -1) -> bytes:
        self._given += size
        if self._given > self._at:
            self._at = sys.maxsize
            self._then()
        return bytes(size)


class Sink:
    def __init__(self, then: Callable[[], object]) -> None:
        self._then = then
        self.taken = 0

    def __call__(self, data: bytes) -> None:
        if self.taken <= MIB < self.taken + len(data):
            self._then()
        self.taken += len(data)


SHELLS = f"pids=$(for file in $({RUNNING}); do grep -qx dd ${{file%environ}}comm || echo $file | cut -d/ -f3; done)"
KILLS = {
    "copier": "kill -KILL $(pidof dd)",
    "shells": f'{SHELLS}; kill -KILL $pids; [ -n "$pids" ]',
    "copier stopped": "kill -STOP $(pidof dd)",
    "all stopped": f'{SHELLS}; kill -STOP $pids $(pidof dd) && [ -n "$pids" ]',
}


@pytest.mark.parametrize(
    ("how", "direction"), [pair for pair in itertools.product(KILLS, ("write", "read")) if pair != ("shells", "read")]
)
def test_broken_in_the_middle(
    lab: Lab, tiny: str, core: SimpleNamespace, open_lane: Callable[[str], Any], how: str, direction: str
) -> None:
    # The lab's event loop reads on while nobody takes what has come: more than it can read meanwhile.
    guest, size = open_lane(tiny), 512 * MIB

    def harm() -> None:
        assert lab.run(tiny, KILLS[how]).returncode == 0

    sink = Sink(harm)
    lab.run(tiny, f"rm -f {FILE}; truncate -s {size} {FILE}")
    started = time.monotonic()
    transfers = {
        "write": lambda: guest.lane.write(FILE, Source(harm), size, lambda size: None),
        "read": lambda: guest.lane.read(FILE, size, sink),
    }
    with pytest.raises(core.data_lane.LaneFailed) as raised:
        transfers[direction]()
    assert time.monotonic() - started < STALL + 60
    assert raised.value.moved == sink.taken < size
    assert left(lab, tiny) == []
    assert works(lab, guest)


def test_a_copier_without_its_shell_is_killed_in_the_end(lab: Lab, tiny: str, open_lane: Callable[[str], Any]) -> None:
    guest, size = open_lane(tiny), 2 * MIB
    lab.run(tiny, f"rm -f {FILE}; truncate -s 32M {FILE}")
    sink = Sink(lambda: lab.run(tiny, KILLS["shells"]))
    guest.lane.read(FILE, size, sink)
    assert sink.taken == size
    assert left(lab, tiny) == []
    assert works(lab, guest)


def test_interrupted(lab: Lab, tiny: str, core: SimpleNamespace, open_lane: Callable[[str], Any]) -> None:
    guest = open_lane(tiny)

    def interrupt() -> None:
        raise KeyboardInterrupt

    lab.run(tiny, f"rm -f {FILE}; truncate -s 4M {FILE}")
    for transfer in (
        lambda: guest.lane.write(FILE, Source(interrupt), 16 * MIB, lambda size: None),
        lambda: guest.lane.read(FILE, 4 * MIB, Sink(interrupt)),
    ):
        with pytest.raises(KeyboardInterrupt):
            transfer()
        assert left(lab, tiny) == []
        lab.run(tiny, f"truncate -s 4M {FILE}")
    with pytest.raises(core.errors.InvalidInput):
        guest.lane.write(FILE, io.BytesIO(b"short"), 6, lambda size: None)
    assert left(lab, tiny) == []
    assert works(lab, guest)


def test_a_controller_that_is_killed(lab: Lab, tiny: str, open_lane: Callable[[str], Any]) -> None:
    lab.run(tiny, f": > {FILE}")
    program = WRITER.format(collections=str(ROOT / ".collections"), package=PACKAGE.rstrip("."), uri=lab.uri, name=tiny, path=FILE)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    for _number in range(10):
        assert process.stdout.read(1)
    assert left(lab, tiny)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 60
    while left(lab, tiny) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left(lab, tiny) == []
    assert works(lab, open_lane(tiny))


def test_what_an_earlier_one_left_on_the_port_is_skipped(lab: Lab, tiny: str, open_lane: Callable[[str], Any]) -> None:
    guest = open_lane(tiny)
    stream = guest.domain.open_channel(PORT)
    lab.run(tiny, f"timeout 2 dd if=/dev/zero of=/dev/virtio-ports/{PORT} bs=64k count=64 >/dev/null 2>&1 &")
    time.sleep(0.5)
    stream.close()
    time.sleep(2)
    assert works(lab, guest)


def test_an_agent_that_answers_too_late(
    lab: Lab, start: Callable[..., str], core: SimpleNamespace, open_lane: Callable[[str], Any]
) -> None:
    """The guest's end that starts when nobody waits for it any more touches nothing."""
    name = start(devices=DEVICE)
    guest = open_lane(name)
    lab.run(name, f"echo before > {FILE}")
    guest.agent.call("guest-ping")
    lab.run(name, "kill -STOP $(pidof qemu-ga)")
    with pytest.raises(core.errors.UnknownOutcome):
        guest.lane.write(FILE, io.BytesIO(b"after"), 5, lambda size: None)
    lab.run(name, "kill -CONT $(pidof qemu-ga)")
    time.sleep(2)
    assert left(lab, name) == []
    assert lab.run(name, f"cat {FILE}").output.split() == ["before"]
    guest.agent.retry()
    assert works(lab, guest)
