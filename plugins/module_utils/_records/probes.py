# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The option ``probes`` -> probes of the core."""

from __future__ import annotations

import typing as t

from .._errors import InvalidInput
from .._inside.exec import Probe


def probes(option: t.Mapping[str, object]) -> dict[str, Probe]:
    """
    :raise InvalidInput: one of them is no command.
    """
    return {str(name): _probe(str(name), value) for name, value in option.items()}


def _probe(name: str, value: object) -> Probe:
    """A command line for the shell, a list of program and arguments, or a mapping of one of these and its timeout."""
    timeout = 5.0
    if isinstance(value, dict):
        unknown = set(value) - {"command", "timeout"}
        if unknown or "command" not in value:
            raise InvalidInput(f"probes: {name} must be a command, or a mapping with command and timeout")
        timeout, value = _seconds(name, value.get("timeout", timeout)), value["command"]
    if isinstance(value, str) and value:
        return Probe(("/bin/sh", "-c", value), timeout)
    if isinstance(value, list) and value and all(isinstance(part, (str, int, float)) for part in value):
        return Probe(tuple(str(part) for part in value), timeout)
    raise InvalidInput(f"probes: {name} must be a command line or a list of a program and its arguments")


def _seconds(name: str, value: t.Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise InvalidInput(f"probes: the timeout of {name} must be a number of seconds above 0, and at most 3600")
    return seconds
