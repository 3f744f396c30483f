# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every module on every edge: on a guest in the controller's process, delegated, and as a module with a domain of its own.

Each test is one play with all modules of module_table.py as its tasks.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import libvirt
import pytest

from tests.integration.ansible_cli import ROOT, Ansible
from tests.integration.guests_by_agent import Plays
from tests.integration.module_table import CASES, CHANNEL, USER, Case
from tests.lab import Lab

EDGES = ("in-process", "delegated", "module")
#: What differs from run to run, wherever in a result it stands.
VOLATILE = {
    "_ansible_delegated_vars", "ansible_facts", "at", "boot_id", "boot_id_before", "bytes", "delta", "end", "host", "id",
    "invocation", "last_probe_time", "latency_ms", "offset", "offset_after", "offset_before", "seconds", "start", "time",
    "transfer", "trimmed", "uncertainty", "warnings", "watchdog_pid",
}  # fmt: skip
#: Prints all that the guest's disk has: what was written, made or changed shows in the time of that. Directories for temporary
#: files change when one comes and goes; the logs and the ticks are the guest's own doing.
FILES = (
    "find / -xdev \\( -path /var/log -o -path /data -o -path /var/lib/systemd \\) -prune"
    " -o ! -type d -printf '%C@ %s %m %u %p\\n' | LC_ALL=C sort"
)
REALLY = [case for case in CASES if case.really]


def guest_variables(lab: Lab, name: str, agent_timeout: int = 20) -> dict[str, Any]:
    return {
        "ansible_guest_agent_domain": name,
        "ansible_guest_agent_uri": lab.uri,
        "ansible_guest_agent_timeout": agent_timeout,
        # Nothing that is done here goes this way.
        "ansible_connection": "ssh",
        "ansible_host": "127.0.0.9",
        "ansible_port": 9,
    }


class Everything:
    """All modules of the table on one guest."""

    def __init__(self, lab: Lab, ansible: Ansible, place: Path, name: str, agent_timeout: int = 20) -> None:
        self._domain = {"domain": name, "uri": lab.uri, "agent_timeout": agent_timeout}
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        hosts = {"guest": guest_variables(lab, name, agent_timeout), "localhost": here}
        self._plays = Plays(ansible, place, hosts)

    def results(self, cases: list[Case], edge: str = "in-process", **play: Any) -> list[dict[str, Any]]:
        hosts = "localhost" if edge == "module" else "guest"
        found = self._plays.play(*(self._task(case, edge) for case in cases), hosts=hosts, ignore_errors=True, **play)
        assert len(found) == len(cases), found[-1]
        return found

    def _task(self, case: Case, edge: str) -> dict[str, Any]:
        args = {**case.args, **(self._domain if edge == "module" else {})}
        task = {"name": case.module, f"virtops.guest_agent.{case.module}": args}
        return {**task, "delegate_to": "localhost"} if edge == "delegated" else task


@pytest.fixture
def prepared(lab: Lab, debian: str) -> Iterator[Callable[[], str]]:
    """Makes the state in which the table's tasks change something; in the end nothing of it is left."""

    def restore() -> None:
        detach(lab, debian)
        shell(lab, debian, f"date -s @{int(time.time())}", *(case.before for case in CASES))

    shell(lab, debian, f"id {USER} || useradd -m {USER}")
    yield lambda: restore() or debian  # type: ignore[func-returns-value]
    restore()
    shell(lab, debian, f"date -s @{int(time.time())}", f"userdel -rf {USER}")


@pytest.fixture
def intact(lab: Lab, debian: str) -> Iterator[str]:
    """A guest that keeps no channel of the table's."""
    yield debian
    detach(lab, debian)


def shell(lab: Lab, guest: str, *commands: str) -> None:
    for command in filter(None, commands):
        done = lab.run(guest, command, timeout=60)
        assert done.returncode == 0, f"{command}: {done.output}"


def detach(lab: Lab, guest: str) -> None:
    domain = lab.domain(guest)
    for _tenth in range(100):
        found = [device for device in _channels(domain) if device.find(f"target[@name='{CHANNEL}']") is not None]
        if not found:
            return
        with contextlib.suppress(libvirt.libvirtError):  # it is on its way already
            domain.detachDeviceFlags(ElementTree.tostring(found[0], encoding="unicode"), libvirt.VIR_DOMAIN_AFFECT_LIVE)
        time.sleep(0.1)
    raise AssertionError(f"{guest} keeps the channel {CHANNEL}")


def _channels(domain: Any) -> list[ElementTree.Element]:
    return ElementTree.fromstring(domain.XMLDesc(0)).findall("devices/channel")


def lasting(value: Any) -> Any:
    """What of a result is the same each time."""
    if isinstance(value, dict):
        return {key: lasting(member) for key, member in value.items() if key not in VOLATILE and not key.endswith("seconds")}
    return [lasting(member) for member in value] if isinstance(value, list) else value


def test_the_table_has_every_module() -> None:
    modules = {path.stem for path in (ROOT / "plugins" / "modules").glob("*.py")}
    # It takes a file of its own: test_guest_modules.py.
    assert {case.module for case in CASES} == modules - {"pull_file"}


def test_check_mode_foresees_and_touches_nothing(lab: Lab, ansible: Ansible, prepared: Callable[[], str], tmp_path: Path) -> None:
    name = prepared()
    shell(lab, name, f"{FILES} >/run/before")
    domain = lab.domain(name).XMLDesc(0)
    for case, would in zip(CASES, Everything(lab, ansible, tmp_path, name).results(list(CASES), check_mode=True, diff=True)):
        if would.get("skipped"):  # what a command would do, nobody can foresee
            continue
        assert not would.get("failed"), would
        assert would["changed"] == case.changes, would
        assert not case.changes or not case.converges or isinstance(would["diff"], (dict, list)), would
    assert lab.domain(name).XMLDesc(0) == domain
    touched = lab.run(name, f"{FILES} >/run/after; comm -3 /run/before /run/after; rm /run/before /run/after", timeout=60)
    assert (touched.returncode, touched.output) == (0, "")


def test_what_is_done_needs_not_be_done_again(lab: Lab, ansible: Ansible, prepared: Callable[[], str], tmp_path: Path) -> None:
    everything = Everything(lab, ansible, tmp_path, prepared())
    did = everything.results(REALLY, diff=True)
    again = everything.results(REALLY, diff=True)
    for case, first, second in zip(REALLY, did, again):
        assert not first.get("failed"), first
        assert first["changed"] == case.changes, first
        assert not second.get("failed"), second
        assert case.converges is None or second["changed"] == (case.changes and not case.converges), second


@pytest.mark.full
@pytest.mark.parametrize("debian", ["debian13"], indirect=True)
def test_all_edges_give_the_same(lab: Lab, ansible: Ansible, prepared: Callable[[], str], tmp_path: Path) -> None:
    found = {}
    for edge in EDGES:
        everything = Everything(lab, ansible, tmp_path, prepared())
        found[edge] = [lasting(result) for result in everything.results(REALLY, edge)]
    for case, one, *others in zip(REALLY, *found.values()):
        for other in others:
            assert other == one, case


@contextmanager
def frozen(lab: Lab, name: str) -> Iterator[None]:
    lab.domain(name).fsFreeze(None, 0)
    try:
        yield
    finally:
        lab.domain(name).fsThaw(None, 0)


@contextmanager
def blocked(lab: Lab, name: str) -> Iterator[None]:
    """An agent that refuses every command of the table, in the place of the guest's own."""
    commands = ",".join(sorted({case.blocked for case in CASES if case.blocked}))
    port = "/dev/virtio-ports/org.qemu.guest_agent.0"
    place = "/run/blocked"
    start = f"mkdir -p {place} && qemu-ga -d -m virtio-serial -p {port} -t {place} -f {place}.pid --block-rpcs={commands}"
    shell(lab, name, "systemctl stop qemu-guest-agent", start)
    lab.wait_agents()
    try:
        yield
    finally:
        shell(lab, name, f"kill $(cat {place}.pid); rm -rf {place} {place}.pid", "systemctl start qemu-guest-agent")
        lab.wait_agents()


@contextmanager
def silent(lab: Lab, name: str) -> Iterator[None]:
    lab.run(name, "kill -STOP $(pidof qemu-ga)")
    try:
        yield
    finally:
        lab.run(name, "kill -CONT $(pidof qemu-ga)")


def wrong(result: dict[str, Any], kind: str, name: str, word: str = "") -> str:
    """What is wrong with a failure that should have this kind and be one sentence; with "" for a kind it should be none."""
    failure = result.get("failure", {})
    if not kind:
        good = not result.get("failed")
    else:
        sentence = str(result.get("msg", ""))
        good = bool(result.get("failed")) and (failure.get("kind"), failure.get("domain")) == (kind, name)
        good = good and "\n" not in sentence and word in sentence
    good = good and not result.get("unreachable") and "Traceback" not in str(result)
    return "" if good else f"{result['task']} should say {kind or 'no failure'} {word}: {result}"


def expect(cases: list[Case], results: list[dict[str, Any]], name: str, kind: Callable[[Case], str], word: str = "") -> None:
    found = (wrong(result, kind(case), name, case.blocked if word else "") for case, result in zip(cases, results))
    assert not (problems := list(filter(None, found))), "\n\n".join(problems)


def test_on_a_frozen_guest(lab: Lab, ansible: Ansible, intact: str, tmp_path: Path) -> None:
    # What thaws it would spoil it for those that come after it.
    cases = [case for case in CASES if case.module != "fsfreeze"]
    with frozen(lab, intact):
        expect(cases, Everything(lab, ansible, tmp_path, intact).results(cases), intact, lambda case: case.frozen)


def test_with_its_command_blocked(lab: Lab, ansible: Ansible, debian: str, tmp_path: Path) -> None:
    cases = [case for case in CASES if case.blocked]
    with blocked(lab, debian):
        results = Everything(lab, ansible, tmp_path, debian).results(cases)
        expect(cases, results, debian, lambda _case: "command_blocked", "its command")


def test_with_a_silent_agent(lab: Lab, ansible: Ansible, intact: str, tmp_path: Path) -> None:
    look = "ls -d /srv/table /var/tmp/.virtops-* /run/.virtops-* 2>/dev/null; loginctl list-sessions"
    before = lab.run(intact, look, timeout=60).output
    with silent(lab, intact):
        results = Everything(lab, ansible, tmp_path, intact, agent_timeout=1).results(list(CASES))
        expect(list(CASES), results, intact, lambda case: case.silent)
    # Nothing is done late, when it hears again what it was told.
    lab.wait_agents()
    late = set(lab.run(intact, look, timeout=60).output.splitlines()) - set(before.splitlines())
    assert not [line for line in late if "virtops" in line or "table" in line or USER in line], late


def test_on_a_domain_that_is_off(lab: Lab, ansible: Ansible, start: Callable[..., str], tmp_path: Path) -> None:
    name = start(persistent=True)
    lab.domain(name).destroy()
    expect(list(CASES), Everything(lab, ansible, tmp_path, name).results(list(CASES)), name, lambda case: case.stopped)
