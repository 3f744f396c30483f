# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs in a guest goes on to its end, whatever happens meanwhile to libvirt, to the guest and to its agent."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libvirt
import libvirt_qemu
import pytest

from tests.integration.ansible_cli import Ansible
from tests.integration.guests_by_agent import Plays, variables
from tests.lab import Guest, Lab
from tests.lab.second import second_hypervisor

#: Like a package manager at work: it says what it does, writes, and has an end of its own. It waits for the others to begin.
WORK = """: >/run/begun-$$; until [ -e /run/go ]; do sleep 1; done; i=0
while [ $i -lt {} ]; do i=$((i+1)); echo step $i; echo $i >/var/tmp/steps; sync; sleep 1; done
echo warned >&2; exit 3"""
LEFT = "ls -d /var/tmp/.virtops-* /tmp/.virtops-* /run/.virtops-* 2>/dev/null; true"

Step = Callable[[Lab, str], None]


def ask(lab: Lab, name: str, command: str) -> None:
    libvirt_qemu.qemuAgentCommand(lab.domain(name), f'{{"execute": "guest-{command}"}}', 30, 0)


def wait_until_it_answers(lab: Lab, name: str) -> None:
    """A libvirtd that has just started does not know yet who listens on the channel."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return ask(lab, name, "ping")
        except libvirt.libvirtError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def frozen_and_thawed(lab: Lab, name: str) -> None:
    ask(lab, name, "fsfreeze-freeze")
    time.sleep(1.5)
    ask(lab, name, "fsfreeze-thaw")


def paused_and_resumed(lab: Lab, name: str) -> None:
    lab.domain(name).suspend()
    time.sleep(1.5)
    lab.domain(name).resume()


def agent_stopped_for_a_while(lab: Lab, name: str) -> None:
    lab.run(name, "pkill -STOP qemu-ga")
    time.sleep(1.5)
    lab.run(name, "pkill -CONT qemu-ga")


def agent_restarted(lab: Lab, name: str) -> None:
    lab.run(name, "systemctl restart qemu-guest-agent")


STEPS: list[Step] = [frozen_and_thawed, paused_and_resumed, agent_stopped_for_a_while, agent_restarted]


def ways(ansible: Ansible, lab: Lab, name: str, place: Path, work: str) -> list[Callable[[], dict[str, Any]]]:
    """A module, a command and a Python module over the connection. Each gives rc, stdout and stderr back."""
    plays = [Plays(ansible, place / number, {name: variables(lab, name, timeout=20)}) for number in "12"]
    return [
        lambda: ansible.module("run_command", domain=name, uri=lab.uri, shell=work, agent_timeout=20),
        lambda: plays[0].play({"ansible.builtin.raw": work})[0],
        lambda: plays[1].play({"ansible.builtin.shell": work})[0],
    ]


def watch_the_end(lab: Lab, name: str, seconds: int, ways: list[Callable[[], dict[str, Any]]], strike: Callable[[], None]) -> None:
    """All at once, so that what strikes them strikes them all."""
    lab.run(name, "rm -f /run/begun-* /run/go")
    before = set(lab.run(name, LEFT).output.split())
    with concurrent.futures.ThreadPoolExecutor(len(ways)) as pool:
        running = [pool.submit(way) for way in ways]
        try:
            _until(lambda: _begun(lab, name, running), 300, "all have begun")
        finally:
            lab.run(name, ": >/run/go")
        strike()
        results = [future.result() for future in running]
    for result in results:
        assert result.get("rc") == 3, result
        assert result["stdout"].split() == [word for step in range(1, seconds + 1) for word in ("step", str(step))]
        assert "warned" in result["stderr"]
    _until(lambda: not (set(lab.run(name, LEFT).output.split()) - before), 60, f"nothing is left but {before}")


def _begun(lab: Lab, name: str, running: list[concurrent.futures.Future[dict[str, Any]]]) -> bool:
    assert not [future.result() for future in running if future.done()]
    return len(lab.run(name, "ls /run/begun-* 2>/dev/null").output.split()) >= len(running)


def _until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.3)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for number in "12":
        (tmp_path / number).mkdir()
    return tmp_path


def test_a_command_goes_on(lab: Lab, ansible: Ansible, debian: str, place: Path) -> None:
    def strike() -> None:
        for step in STEPS:
            step(lab, debian)

    watch_the_end(lab, debian, 14, ways(ansible, lab, debian, place, WORK.format(14)), strike)


@pytest.fixture
def own(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Lab, str]]:
    with second_hypervisor() as hypervisor, hypervisor.lab() as lab:
        (name,) = lab.start_all([Guest(kind=request.param, name="passing", vcpus=2)])
        yield hypervisor, lab, name


@pytest.mark.full
@pytest.mark.parametrize("own", ["debian12", "debian13"], indirect=True)
def test_a_minute_goes_on_through_a_restart_of_libvirt(own: tuple[Any, Lab, str], ansible: Ansible, place: Path) -> None:
    hypervisor, lab, name = own

    def strike() -> None:
        for step in STEPS:
            step(lab, name)
            time.sleep(3)
        hypervisor.kill()
        time.sleep(3)
        hypervisor.start()
        again = hypervisor.lab()
        wait_until_it_answers(again, name)
        for step in STEPS[:2]:
            step(again, name)
        again.leave()

    watch_the_end(lab, name, 60, ways(ansible, lab, name, place, WORK.format(60)), strike)
