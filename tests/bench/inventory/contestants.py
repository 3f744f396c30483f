# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is measured: whole processes, whose answers are checked so that a fast wrong answer is a fault."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contestants import ROOT
from ..endings import VENV

EMPTY, FLOOR, OURS, CACHED, COMMUNITY = "empty", "floor", "ours", "cached", "community"
EVERYBODY = (EMPTY, FLOOR, OURS, CACHED, COMMUNITY)
#: The address that each guest has from its own user-mode network.
ADDRESS = "10.0.2.15"
_BIN = VENV / "bin"


@dataclass(frozen=True)
class Run:
    """seconds: None where the limit ended it. fault: why it does not count."""

    seconds: float | None
    fault: str = ""


class Contestants:
    """``names``: of the guests that must be in every answer; ``hung``: of those that must be there without an agent's data."""

    def __init__(self, work: Path, uri: str, names: list[str], hung: list[str], limit: float) -> None:
        self._work, self._uri, self._limit = work, uri, limit
        self._names, self._hung = names, hung
        (work / "ansible.cfg").touch()
        ours = {"plugin": "virtops.guest_agent.libvirt", "uri": uri}
        cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_timeout": 3600}
        self._write("static.yml", {"all": {"hosts": {}}})
        self._write("ours.libvirt.yml", ours)
        self._write("cached.libvirt.yml", {**ours, **cache, "cache_connection": tempfile.mkdtemp(prefix="cache-", dir=work)})
        self._write("community.yml", {"plugin": "community.libvirt.libvirt", "uri": uri})

    def run(self, key: str) -> Run:
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            began = time.monotonic()
            process = subprocess.Popen(self._words(key), env=self._env(), stdout=output, stderr=errors, start_new_session=True)
            if not _ended(process.pid, self._limit):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return Run(None)
            seconds = time.monotonic() - began
            process.wait()
            output.seek(0)
            errors.seek(0)
            if process.returncode:
                return Run(seconds, errors.read().decode(errors="replace")[-300:])
            return Run(seconds, self._wrong(key, json.loads(output.read(), object_hook=_unwrapped)))

    def profile(self, key: str) -> dict[str, float]:
        """Seconds by layer of one run, empty where it fails."""
        file = self._work / "profile.json"
        file.unlink(missing_ok=True)
        words = [str(_BIN / "python"), str(Path(__file__).with_name("profile.py")), str(file), *self._words(key)]
        with contextlib.suppress(subprocess.TimeoutExpired):
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            subprocess.run(words, env=self._env(), timeout=self._limit, check=False, **quiet)
        found: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
        return found

    def _words(self, key: str) -> list[str]:
        if key == FLOOR:
            return [str(_BIN / "python"), str(Path(__file__).with_name("floor.py")), self._uri]
        sources = {EMPTY: "static.yml", OURS: "ours.libvirt.yml", CACHED: "cached.libvirt.yml", COMMUNITY: "community.yml"}
        return [str(_BIN / "ansible-inventory"), "-i", str(self._work / sources[key]), "--list"]

    def _env(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHONDONTWRITEBYTECODE"))},
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
            "ANSIBLE_CONFIG": str(self._work / "ansible.cfg"),
            "ANSIBLE_HOME": str(self._work),
            "PYTHONPATH": "",
        }

    def _write(self, name: str, data: dict[str, Any]) -> None:
        (self._work / name).write_text(json.dumps(data), encoding="utf-8")

    def _wrong(self, key: str, answer: dict[str, Any]) -> str:
        if key == EMPTY:
            return ""
        hosts = answer if key == FLOOR else answer["_meta"]["hostvars"]
        if set(hosts) != {*self._names, *self._hung}:
            return f"{len(hosts)} hosts instead of {len(self._names) + len(self._hung)}"
        wrong = [name for name in self._names if not _complete(key, name, hosts[name])]
        return f"incomplete: {', '.join(wrong[:5])} ({len(wrong)} in all)" if wrong else ""


def _ended(pid: int, seconds: float) -> bool:
    """Popen.wait with a timeout looks every 50 ms only."""
    descriptor = os.pidfd_open(pid)
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def _unwrapped(mapping: dict[str, Any]) -> Any:
    """Return the text that ansible-inventory marks as untrusted by a mapping around it."""
    return mapping["__ansible_unsafe"] if mapping.keys() == {"__ansible_unsafe"} else mapping


def _complete(key: str, name: str, found: dict[str, Any]) -> bool:
    if key == FLOOR:
        hostname, interfaces = found.get("guest-get-host-name", {}).get("host-name"), found.get("guest-network-get-interfaces")
    elif key == COMMUNITY:
        # One command that the guest does not have, and guestInfo() of everything is an error: it has been asked all the same.
        info, interfaces = found["guest_info"], found["interface_addresses"]
        hostname = name if "error" in info else info.get("hostname")
    else:
        hostname, interfaces = found.get("guest_hostname"), found.get("guest_interfaces")
    return hostname == name and ADDRESS in json.dumps(interfaces)
