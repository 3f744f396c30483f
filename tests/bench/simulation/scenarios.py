# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scenarios, each in processes of its own, so that its peak memory and its threads are its own."""

from __future__ import annotations

import json
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
_PACKAGE = "ansible_collections.virtops.guest_agent.tests.bench.simulation"
_SECONDS = 900.0


@dataclass(frozen=True, eq=False)
class Scenario:
    """``hung``: of each hypervisor. ``timeout``: the inventory's own, long where the cost of all is to be seen."""

    sweep: str
    hypervisors: int
    domains: int
    hung: int = 0
    timeout: float = 300.0
    shape: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)

    @property
    def fleet(self) -> dict[str, Any]:
        return {"hypervisors": self.hypervisors, "domains": self.domains, "hung": self.hung, **self.shape}

    @property
    def title(self) -> str:
        extra = " ".join(f"{name}={value}" for name, value in {**self.shape, **self.plan}.items())
        return f"{self.domains} domains, {self.hypervisors} hypervisors, {self.hung} hung on each {extra}".strip()


def _sweeps() -> list[Scenario]:
    guests = [Scenario("guests", 50, domains) for domains in (100, 1000, 10000)]
    hypervisors = [Scenario("hypervisors", count, 1000) for count in (1, 5, 20, 50)]
    hung = [Scenario("hung agents", 4, 400, hung, timeout=30) for hung in (0, 1, 10, 50, 100)]
    newer = Scenario("hung agents", 4, 400, 10, 30, {"sync_first": False}, {"agent_timeout": 2})
    older = Scenario("hung agents", 4, 400, 10, 30, {}, {"agent_timeout": 2})
    far = [Scenario("distance", 10, 500, shape={"round_trip": place}) for place in ("local", "wan")]
    return [*guests, *hypervisors, *hung, newer, older, *far]


SHORT = _sweeps()
FULL = [
    *SHORT,
    *(Scenario("guests", 50, domains) for domains in (300, 3000)),
    *(Scenario("hypervisors", count, count * 200) for count in (1, 10, 25)),
    *(Scenario("hung agents", 50, 10000, hung, 30) for hung in (1, 10, 50, 200)),
    Scenario("distance", 50, 10000, shape={"round_trip": "wan"}),
    Scenario("the defaults", 50, 10000, timeout=30),
]
PROFILED = Scenario("profile", 10, 500, plan={"profile": True})
#: The profiler makes all of it slower, and the whole fleet takes three minutes: the short form is a tenth of it.
INVENTORIES = {Scenario("ansible-inventory", 5, 1000): ("cold", "cached", "cached, profiled")}
WHOLE_INVENTORIES = {Scenario("ansible-inventory", 50, 10000): ("cold", "cached")}


def gathered(scenario: Scenario) -> dict[str, Any]:
    words = [sys.executable, "-m", f"{_PACKAGE}.gathering", json.dumps({"timeout": scenario.timeout, **scenario.plan})]
    done = subprocess.run(words, env=_env(scenario), capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise SystemExit(f"{scenario.title}: {done.stderr[-2000:]}")
    return {"sweep": scenario.sweep, "title": scenario.title, "fleet": scenario.fleet, **json.loads(done.stdout)}


def inventories(scenario: Scenario, ways: Iterable[str]) -> Iterator[dict[str, Any]]:
    """ansible-inventory --list: ``cold`` with an empty cache, ``cached`` with what that left there."""
    with tempfile.TemporaryDirectory(prefix="simulation-") as name:
        work = Path(name)
        source = work / "fleet.libvirt.yml"
        uris = [f"qemu+ssh://kvm{place:02}/system" for place in range(scenario.hypervisors)]
        options = {"plugin": "virtops.guest_agent.libvirt", "uri": uris, "timeout": scenario.timeout, "cache": True}
        options["ssh_persist"] = 0  # there is nothing that ssh could log in to
        options.update({"cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(work / "cache")})
        source.write_text(json.dumps(options), encoding="utf-8")
        for how in ways:
            yield _inventory(scenario, source, how)


def _timed(command: list[str], env: dict[str, str], what: str) -> tuple[float, resource.struct_rusage]:
    """Seconds on the clock, and what the command used."""
    began = time.monotonic()
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
        told = child.stderr.read() if child.stderr else b""
        _pid, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - began
    if child.returncode:
        raise SystemExit(f"{what}: {told[-2000:].decode('utf-8', 'replace')}")
    return wall, used


def _inventory(scenario: Scenario, source: Path, how: str) -> dict[str, Any]:
    work = source.parent
    report, profile, out = work / "report.json", work / "profile", work / "out.json"
    (work / "ansible.cfg").touch()
    env = {
        **_env(scenario),
        "SIMULATED_REPORT": str(report),
        "ANSIBLE_HOME": str(work),
        "ANSIBLE_CONFIG": str(work / "ansible.cfg"),
    }
    profiler = ["-m", "cProfile", "-o", str(profile)] if how.endswith("profiled") else []
    program = str(Path(sys.executable).with_name("ansible-inventory"))
    report.write_text("{}", encoding="utf-8")
    command = [sys.executable, *profiler, program, "-i", str(source), "--list", "--output", str(out)]
    wall, used = _timed(command, env, f"ansible-inventory, {how}")
    listed = json.loads(out.read_text(encoding="utf-8"))
    return {
        "sweep": scenario.sweep,
        "title": f"{scenario.title} ({how})",
        **json.loads(report.read_text(encoding="utf-8")),
        "wall": wall,
        "cpu": used.ru_utime + used.ru_stime,
        "peak_mib": used.ru_maxrss / 1024,
        "records": len(listed["_meta"]["hostvars"]),
        "complete": sum("guest_os" in host for host in listed["_meta"]["hostvars"].values()),
        "top": _top(profile) if profiler else [],
    }


def _top(profile: Path) -> list[tuple[str, float, float]]:
    """(function, seconds with what it calls, of its own) of the plugin's functions and of ansible's that take longest."""
    stats: Any = pstats.Stats(str(profile))
    found = [
        (f"{'/'.join(Path(file).parts[-2:])}:{name}", total, own)
        for (file, _line, name), (_calls, _all, own, total, _callers) in stats.stats.items()
        if "ansible" in file
    ]
    return sorted(found, key=lambda row: -row[1])[:40]


def _env(scenario: Scenario) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    collections = ROOT / ".collections"
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).with_name("binding")), str(collections)]),
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "SIMULATED_FLEET": json.dumps(scenario.fleet),
    }
