# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a simulated domain says: libvirt's XML of it, and its agent's replies, recorded off a real agent."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from string import Template
from typing import Any

_REPLIES = Path(__file__).parents[2] / "unit" / "fakes" / "replies" / "qemu-ga-10.0.json"
#: Recorded values that are each domain's own.
_MAC, _ADDRESS, _HOSTNAME = "52:54:00:00:00:01", "10.0.2.15", "guest.example.com"
_EXEC = {
    "guest-exec": {"pid": 4711},
    "guest-exec-status": {"exited": True, "exitcode": 0, "out-data": "MC4wMQo=", "err-data": "MAo="},
}


def uuid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def mac(number: int) -> str:
    return f"52:54:{number >> 24 & 255:02x}:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def address(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def domain_xml(name: str, number: int) -> str:
    return _xml().substitute(name=name, uuid=uuid(number), mac=mac(number), number=number)


def reply(command: str, number: int, name: str, id_text: str) -> str:
    text = _returns(command).replace(_MAC, mac(number)).replace(_ADDRESS, address(number)).replace(_HOSTNAME, f"{name}.example.com")
    return f'{{"return": {text}, "id": {id_text}}}'


@functools.cache
def _returns(command: str) -> str:
    """
    :raise KeyError: this agent has no such command.
    """
    value: Any = _EXEC.get(command) or _recorded()[command]["return"]
    return json.dumps(value)


@functools.cache
def _recorded() -> dict[str, Any]:
    return dict(json.loads(_REPLIES.read_text(encoding="utf-8"))["replies"])


@functools.cache
def _xml() -> Template:
    return Template(Path(__file__).with_name("domain.xml").read_text(encoding="utf-8"))
