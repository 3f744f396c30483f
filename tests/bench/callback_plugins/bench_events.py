# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tells, as lines of JSON, when each task began and ended, and what was spent in the connection plugin meanwhile.

The meters are in memory that the workers share with this process. They are put around the connection plugin and
libvirt's agent call when a worker loads those, so that every contestant is counted alike and none of them has to help.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import json
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import connection_loader

DOCUMENTATION = """
name: bench_events
type: stdout
short_description: Times and counts as lines of JSON
description: For the benchmark.
extends_documentation_fragment: [default_callback]
"""

_CONNECTION = ("_connect", "exec_command", "put_file", "fetch_file")
_AGENT = (
    "guest-exec",
    "guest-exec-status",
    "guest-file-open",
    "guest-file-read",
    "guest-file-write",
    "guest-file-seek",
    "guest-file-flush",
    "guest-file-close",
    "guest-info",
    "guest-ping",
    "other",
)
_STREAM = ("openChannel", "send", "recv", "sendAll", "recvAll", "finish", "abort")
_EXECUTE = re.compile(r'"execute"\s*:\s*"([a-z-]+)"')


class Meters:
    """How often and for how many seconds something was called, by name; a call inside another one is not counted twice."""

    def __init__(self) -> None:
        self._names = (*_CONNECTION, *_AGENT, *_STREAM)
        self._numbers = multiprocessing.RawArray("d", 2 * len(self._names))
        self._inside: set[Sequence[str]] = set()

    def around(self, group: Sequence[str], name_of: Callable[..., str], function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def metered(*args: Any, **kwargs: Any) -> Any:
            if group in self._inside:
                return function(*args, **kwargs)
            self._inside.add(group)
            began = time.monotonic()
            try:
                return function(*args, **kwargs)
            finally:
                self._inside.discard(group)
                name = name_of(*args, **kwargs)
                slot = 2 * self._names.index(name if name in group else "other")
                self._numbers[slot] += 1
                self._numbers[slot + 1] += time.monotonic() - began

        return metered

    def read(self) -> dict[str, list[float]]:
        return {name: list(self._numbers[2 * slot : 2 * slot + 2]) for slot, name in enumerate(self._names)}


class LibvirtFinder(importlib.abc.MetaPathFinder):
    """Puts the meters into libvirt's modules as they are imported: importing them here would spare the workers that time."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        put_meters = {"libvirt": self._streams, "libvirt_qemu": self._agent}.get(name)
        spec = importlib.machinery.PathFinder.find_spec(name, path) if put_meters else None
        if spec is None or spec.loader is None or put_meters is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_meter(module: ModuleType) -> None:
            execute(module)
            put_meters(module)

        spec.loader.exec_module = execute_and_meter  # type: ignore[method-assign]
        return spec

    def _agent(self, module: ModuleType) -> None:
        module.qemuAgentCommand = self._meters.around(_AGENT, _agent_command, module.qemuAgentCommand)  # type: ignore[attr-defined]

    def _streams(self, module: ModuleType) -> None:
        for name in _STREAM:
            owner: Any = getattr(module, "virDomain" if name == "openChannel" else "virStream")
            setattr(owner, name, self._meters.around(_STREAM, functools.partial(_constant, name), getattr(owner, name)))


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "bench_events"

    def __init__(self) -> None:
        super().__init__()
        self._meters = Meters()
        self._vcpus = [Path(name) for name in os.environ.get("BENCH_VCPUS", "").split(":") if name]
        sys.meta_path.insert(0, LibvirtFinder(self._meters))
        _meter_connections(self._meters)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._say(play=play.get_name())

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._say(task=task.get_name(), at=time.monotonic(), vcpu=self._vcpus_spent(), meters=self._meters.read())

    def v2_runner_on_ok(self, result: Any) -> None:
        self._result(result, "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._result(result, "failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._result(result, "unreachable")

    def _result(self, result: Any, status: str) -> None:
        found = result._result
        shown = {key: found[key] for key in ("msg", "rc", "changed", "stdout", "stderr") if key in found}
        self._say(result=status, **shown)

    def _vcpus_spent(self) -> list[float]:
        """Seconds that QEMU's threads for the guest's processors ran, and that they waited for a processor of this machine."""
        clocks = [[int(word) for word in path.read_text(encoding="ascii").split()] for path in self._vcpus]
        return [sum(clock[number] for clock in clocks) / 1e9 for number in (0, 1)]

    def _say(self, **event: Any) -> None:
        print(json.dumps(event, default=str), flush=True)


def _agent_command(_domain: Any, request: str, *_rest: Any) -> str:
    found = _EXECUTE.search(request[:200]) or _EXECUTE.search(request[-200:])
    return found[1] if found else "other"


def _constant(name: str, *_args: Any, **_kwargs: Any) -> str:
    return name


def _meter_connections(meters: Meters) -> None:
    get = connection_loader.get_with_context

    def get_metered(*args: Any, **kwargs: Any) -> Any:
        found = get(*args, **kwargs)
        if found.object is not None:
            for name in _CONNECTION:
                function = getattr(found.object, name)
                setattr(found.object, name, meters.around(_CONNECTION, functools.partial(_constant, name), function))
        return found

    connection_loader.get_with_context = get_metered
