# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What cloud-init says of this boot, from the files in /run by which it tells everybody."""

from __future__ import annotations

import contextlib
import json
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._errors import ProtocolError
from .._inside.small_files import read_if_there

#: There once it is done.
_RESULT: t.Final = "/run/cloud-init/result.json"
#: There while it works.
_STATUS: t.Final = "/run/cloud-init/status.json"
#: There where it was told not to start.
_DISABLED: t.Final = "/run/cloud-init/disabled"
_ERRORS_MAX: t.Final = 20


class CloudInit(t.TypedDict):
    #: done, error (done, and some of it failed), disabled, running, or not started
    status: str
    datasource: str | None
    #: what cloud-init says went wrong
    errors: list[str]
    #: what it is at while it works
    stage: str | None


def status(agent: GuestAgent) -> CloudInit:
    """Between two and nine commands.

    :raise CommandRefused: the agent neither reads files nor executes programs.
    """
    agent.require_posix("cloud-init as Linux has it")
    result = _json(agent, _RESULT)
    if result is not None:
        errors = _errors(result.get("errors"))
        return {
            "status": "error" if errors else "done",
            "datasource": untrusted.optional_text(result, "datasource", 255),
            "errors": errors,
            "stage": None,
        }
    if read_if_there(agent, _DISABLED) is not None:
        return {"status": "disabled", "datasource": None, "errors": [], "stage": None}
    working = _json(agent, _STATUS)
    if working is None:
        return {"status": "not started", "datasource": None, "errors": [], "stage": None}
    return {
        "status": "running",
        "datasource": untrusted.optional_text(working, "datasource", 255),
        "errors": [],
        "stage": untrusted.optional_text(working, "stage", 64),
    }


def finished(found: CloudInit) -> bool:
    return found["status"] in ("done", "error", "disabled")


def _json(agent: GuestAgent, path: str) -> dict[str, t.Any] | None:
    """The file's first version of what it says; None where there is no such file, or it is just being written."""
    text = read_if_there(agent, path)
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(text or "")
        if not isinstance(found, dict) or not isinstance(found.get("v1"), dict):
            raise ProtocolError(f"the guest's {path} has not the form that cloud-init writes", domain=agent.name)
        return t.cast("dict[str, t.Any]", found["v1"])
    return None


def _errors(value: object) -> list[str]:
    if not isinstance(value, list):
        return []
    return [untrusted.clean(str(error)[:2000], 500) for error in value[:_ERRORS_MAX]]
