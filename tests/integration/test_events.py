# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The event source in a real ansible-rulebook, over two hypervisors with real guests, one of which restarts twice."""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ansible_cli import ROOT, Ansible
from tests.integration.rulebook import Rulebook, Seen, printing, running
from tests.lab import Guest, Lab
from tests.lab.daemons import SYSTEM_URI, open_connection
from tests.lab.guest import QUIET
from tests.lab.lab import free_port
from tests.lab.second import SecondHypervisor, second_hypervisor

#: On each of the two hypervisors.
GUESTS = int(os.environ.get("EVENTS_GUESTS", "10"))
HERE, THERE = ([f"ev-{side}{number}" for number in range(GUESTS)] for side in "ab")
ALL = [*HERE, *THERE]
#: To these something happens while their hypervisor's daemon is away.
CRASHED, AWAY = THERE[:2]
HOUR = 6000
SOURCE = ROOT / ".collections/ansible_collections/virtops/guest_agent/extensions/eda/plugins/event_source/events.py"
#: From what happened to the rule that fires, as issue and guide promise it.
LATENCY = 2.0
MEASURED = ROOT / "tests" / "output" / "events.txt"
AGENT_AGAIN = "kill $(pidof qemu-ga)"
#: It does not come back before its channel is found again, as by udev when it is plugged in.
AGENT_AWAY = f"rm /dev/virtio-ports/org.qemu.guest_agent.0; {AGENT_AGAIN}"
CHANNEL_FOUND = "SUBSYSTEM=virtio-ports /lab/ports"

#: virDomainEventID -> what virDomainEventType and virConnectDomainEventAgentLifecycleState are here
LIBVIRT_WORDS = {
    0: {2: "domain_started", 5: "domain_stopped"},
    18: {1: "agent_connected", 2: "agent_disconnected"},
}

pytestmark = pytest.mark.full  # the unit tests have the core, with a hypervisor in memory


class Witness:
    """What libvirt told another client, and when."""

    def __init__(self) -> None:
        self.times: dict[tuple[str, str], list[float]] = collections.defaultdict(list)
        self._connections: list[Any] = []

    def listen(self, lab: Lab) -> None:
        connection = open_connection(lab.uri)
        for event, words in LIBVIRT_WORDS.items():
            connection.domainEventRegisterAny(None, event, self._hear, words)
        self._connections.append(connection)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def _hear(self, _connection: object, domain: Any, what: int, detail: int, words: dict[int, str]) -> None:
        if what in words and (words[what], detail) != ("agent_disconnected", 1):  # a domain starts without its agent
            self.times[domain.name(), words[what]].append(time.time())


def note(measured: str) -> None:
    MEASURED.parent.mkdir(exist_ok=True)
    with MEASURED.open("a", encoding="utf-8") as file:
        file.write(f"{measured}\n")


def is_watched(rules: Rulebook, lab: Lab, name: str) -> None:
    """A domain is paused and resumed until that is told."""
    while not rules.of(name):
        lab.pause(name)
        lab.resume(name)
        time.sleep(0.5)


def latencies(rules: Rulebook, witness: Witness) -> list[float]:
    """Of all that the witness has seen too."""
    told = collections.defaultdict(list)
    for seen in rules.seen:
        if not seen.event.get("missed"):
            told[seen.event.get("domain"), seen.event["type"]].append(seen.at)
    for key, times in witness.times.items():
        assert len(told[key]) == len(times), key
    return [at - time for key, times in witness.times.items() for at, time in zip(told[key], times)]


def kill_qemu(uuid: str) -> None:
    (pid,) = subprocess.run(["pgrep", "-f", f"qemu-system.*{uuid}"], capture_output=True, text=True, check=True).stdout.split()
    os.kill(int(pid), signal.SIGKILL)
    while Path(f"/proc/{pid}/exe").exists():
        time.sleep(0.05)


class Stage:
    """Guests on two hypervisors, of which ``there`` is the one that restarts, and a rulebook that watches both."""

    def __init__(self, lab: Lab, hypervisor: SecondHypervisor, rules: Rulebook, witness: Witness) -> None:
        self.hypervisor = hypervisor
        self.rules = rules
        self.witness = witness
        self.labs = dict.fromkeys(HERE, lab)
        witness.listen(lab)
        self.connect()

    def connect(self) -> None:
        """A client loses its connection with the daemon."""
        again = self.hypervisor.lab()
        self.witness.listen(again)
        self.labs.update(dict.fromkeys(THERE, again))

    def each(self, action: Callable[[Lab, str], object]) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda name: action(self.labs[name], name), ALL))

    def wait(self, names: Sequence[str], *types: str) -> None:
        self.rules.wait(lambda: all(self.rules.types(name)[-len(types) :] == list(types) for name in names), 300)

    def is_in_time(self, back: float, seen: Sequence[Seen]) -> None:
        """Of what was told after a daemon was back."""
        assert max(found.at for found in seen) - back < LATENCY


@pytest.fixture
def stage(lab: Lab, ansible: Ansible, tmp_path: Path) -> Iterator[Stage]:
    with second_hypervisor() as hypervisor, hypervisor.lab() as other, contextlib.closing(Witness()) as witness:
        try:
            for where, names in ((lab, HERE), (other, THERE)):
                where.start_all([Guest(name=name, kernel=QUIET, persistent=True) for name in names])
            with running(ansible, printing(tmp_path / "rules.yml", [lab.uri, hypervisor.uri])) as rules:
                is_watched(rules, lab, HERE[0])
                is_watched(rules, other, THERE[0])
                rules.seen.clear()
                yield Stage(lab, hypervisor, rules, witness)
        finally:
            for name in {*HERE} & {*lab.names()}:
                lab.destroy(name)


def test_twenty_guests_on_two_hypervisors_one_of_which_restarts_twice(stage: Stage) -> None:
    rules = stage.rules
    stage.each(lambda lab, name: lab.run(name, AGENT_AGAIN))
    stage.wait(ALL, "agent_disconnected", "agent_connected")
    stage.hypervisor.stop()
    stage.hypervisor.start()
    back = time.time()
    rules.wait(lambda: rules.seen[-1].event["type"] == "hypervisor_connected")
    stage.is_in_time(back, rules.seen[-1:])
    stage.connect()
    stage.each(lambda lab, name: lab.domain(name).destroy())
    stage.wait(ALL, "domain_stopped")
    stage.each(lambda lab, name: lab.domain(name).create())
    stage.wait(ALL, "domain_started", "agent_connected")
    changes_while_the_daemon_is_away(stage)
    stage.each(lambda lab, name: lab.domain(name).destroy())
    stage.wait(ALL, "domain_stopped")
    time.sleep(1)  # what would be told twice
    usual = ["agent_disconnected", "agent_connected", "domain_stopped", "domain_started", "agent_connected"]
    special = {
        CRASHED: [*usual, "domain_crashed", "domain_started", "agent_connected", "domain_stopped"],
        AWAY: [*usual, "agent_disconnected", "agent_connected", "domain_stopped"],
    }
    assert {name: rules.types(name) for name in ALL} == {name: special.get(name, [*usual, "domain_stopped"]) for name in ALL}
    of_hypervisors = [seen.event["type"] for seen in rules.seen if "domain" not in seen.event]
    assert of_hypervisors == ["hypervisor_lost", "hypervisor_connected"] * 2
    assert all(seen.event["replaced"] == 0 for seen in rules.seen)
    seconds = sorted(latencies(rules, stage.witness))
    about = f"median {seconds[len(seconds) // 2]:.3f} s, worst {seconds[-1]:.3f} s"
    note(f"{len(ALL)} guests, {len(seconds)} events, from libvirt to the rule: {about}")
    assert seconds[-1] < LATENCY


def changes_while_the_daemon_is_away(stage: Stage) -> None:
    """They are told once it is back."""
    rules, lab = stage.rules, stage.labs[AWAY]
    uuid = lab.domain(CRASHED).UUIDString()
    stage.hypervisor.stop()
    kill_qemu(uuid)
    lab.run(AWAY, AGENT_AWAY)
    stage.hypervisor.start()
    back = time.time()
    rules.wait(lambda: rules.types(AWAY)[-1] == "agent_disconnected" and rules.types(CRASHED)[-1] != "agent_connected")
    missed = [rules.of(name)[-1] for name in (CRASHED, AWAY)]
    assert all(seen.event["missed"] for seen in missed)
    stage.is_in_time(back, missed)
    stage.connect()
    lab.run(AWAY, CHANNEL_FOUND)
    stage.labs[CRASHED].domain(CRASHED).create()
    stage.wait([AWAY], "agent_connected")
    stage.wait([CRASHED], "domain_started", "agent_connected")


NBD_DISK = """<disk type='network' device='disk'>
  <driver name='qemu' type='raw' error_policy='stop' rerror_policy='stop'/>
  <source protocol='nbd'><host name='127.0.0.1' port='{port}'/></source>
  <target dev='vdb' bus='virtio'/>
</disk>"""


@contextlib.contextmanager
def nbd_server(image: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    image.write_bytes(bytes(1 << 20))
    with subprocess.Popen(["qemu-nbd", "--format=raw", "--bind=127.0.0.1", f"--port={port}", "--shared=2", str(image)]) as server:
        try:
            yield server
        finally:
            server.terminate()


def test_what_else_happens_to_a_domain(lab: Lab, ansible: Ansible, start: Callable[..., str], tmp_path: Path) -> None:
    """A reset, a disk that fails, a way out of that, and a QEMU that dies. That a kernel panics was never seen."""
    port = free_port()
    with nbd_server(tmp_path / "disk.raw", port) as server, running(ansible, printing(tmp_path / "rules.yml", [lab.uri])) as rules:
        name = start("ev-fails", kernel=QUIET, devices=NBD_DISK.format(port=port))
        rules.wait(lambda: rules.types(name)[-1:] == ["agent_connected"])
        assert rules.types(name) == ["domain_started", "agent_connected"]
        lab.domain(name).reset(0)
        rules.wait(lambda: rules.types(name)[-1] == "agent_connected" and "guest_rebooted" in rules.types(name))
        assert sorted(rules.types(name)[2:]) == ["agent_connected", "agent_disconnected", "guest_rebooted"]
        server.kill()
        server.wait()
        lab.run(name, "dd if=/dev/zero of=/dev/vdb bs=4k count=1 oflag=direct >/dev/null 2>&1 &")
        rules.wait(lambda: rules.types(name)[-1] == "domain_paused")
        last = rules.of(name)[-1].event
        assert (last["reason"], last["state"]) == ("io_error", "paused")
        kill_qemu(lab.domain(name).UUIDString())
        rules.wait(lambda: rules.types(name)[-1] == "domain_crashed")


@pytest.mark.parametrize("seconds", ["0", "0.2"], ids=["rules in time", "slow rules"])
def test_an_hour_of_events_takes_no_memory(lab: Lab, start: Callable[..., str], seconds: str) -> None:
    """More than twenty guests make in an hour where each changes five times a minute."""
    name = start("ev-busy", kernel=QUIET)
    domain = lab.domain(name)
    command = [sys.executable, str(Path(__file__).with_name("event_taker.py")), str(SOURCE), lab.uri, seconds]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": ""}) as taker:
        try:
            assert taker.stdout
            resident, told = [], 0
            for line in taker.stdout:
                taken, replaced, kib = map(int, line.split())
                told = taken + replaced
                resident.append((told, kib))
                if told > HOUR:
                    break
                for _time in range(HOUR // 40):
                    domain.suspend()
                    domain.resume()
        finally:
            taker.terminate()
    assert told > HOUR
    after_some = next(kib for count, kib in resident if count > HOUR // 10)
    note(f"{told} events, taken each {seconds} s: {after_some} KiB after some, {resident[-1][1]} KiB after all")
    assert resident[-1][1] - after_some < 2048, resident


@pytest.fixture
def system(lab: Lab) -> None:
    if lab.uri != SYSTEM_URI:
        pytest.skip(f"SKIPPED OUT LOUD: examples/ is not run, for it says {SYSTEM_URI}, and this user's guests run on {lab.uri}")


@pytest.fixture
def guest(lab: Lab, system: None) -> Iterator[str]:
    (name,) = lab.start_all([Guest(name="ev-example", kernel=QUIET)])
    yield name
    lab.destroy(name)


def test_an_agent_is_repaired_by_the_example(lab: Lab, ansible: Ansible, guest: str, tmp_path: Path) -> None:
    rulebook = tmp_path / "repair_agent.yml"
    text = (ROOT / "examples/rulebooks/repair_agent.yml").read_text(encoding="utf-8")
    given = "          extra_vars:\n"
    rulebook.write_text(text.replace(given, f"{given}            patience: 5\n"), encoding="utf-8")
    with running(ansible, rulebook) as rules:
        time.sleep(3)
        lab.run(guest, AGENT_AWAY)
        rules.wait(lambda: "failed=0" in rules.text(), 180)
        lab.run(guest, "test -e /dev/virtio-ports/org.qemu.guest_agent.0 && pidof qemu-ga")
    assert "rescued=1" in rules.text()


def test_a_full_disk_is_reported_by_the_example(lab: Lab, ansible: Ansible, guest: str) -> None:
    lab.run(guest, "mkdir /data/large; dd if=/dev/zero of=/data/large/file bs=1M 2>/dev/null")
    with running(ansible, ROOT / "examples/rulebooks/full_disk.yml") as rules:
        rules.wait(lambda: "failed=0" in rules.text(), 180)
    assert "/data is at " in rules.text()
    assert "/data/large" in rules.text()
