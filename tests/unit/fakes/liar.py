# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An agent that lies: honest in all but what it is told to say. For tests that make up what that is."""

from __future__ import annotations

import base64
import json
import re
import typing as t
from pathlib import Path

from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.protocol import Request

#: Stands for the random number by which the report of a program is known, and is of that program.
NONCE = b"@NONCE@"
#: What the shells that start programs in the guest report of one that went well.
REPORT = NONCE + b" ended 0 /tmp/x 1.00 2.00 0 0\n0\n"
#: Of what was not recorded, or is as each guest's own.
_OTHERS: dict[str, t.Any] = {
    "guest-exec": {"pid": 7},
    "guest-exec-status": {"exited": True, "exitcode": 0},
    "guest-file-open": 7,
    "guest-file-read": {"count": 0, "eof": True},
    "guest-file-close": {},
    "guest-fsfreeze-status": "thawed",
    "guest-get-devices": [{"driver-name": "viostor", "driver-date": 10**18, "id": {"type": "pci", "vendor-id": 1, "device-id": 2}}],
}
#: Subset -> what a program in the guest prints for it, or what stands in the file that it reads.
TEXTS: dict[str, str] = {
    "memory": "MemTotal:  218172 kB\nMemFree:  123160 kB\nSwapTotal:  0 kB\n",
    "load": "0.01 0.20 1.05 1/73 501\n",
    "routes": "Iface\tDestination\n"
    "eth0\t00000000\t0202000A\t0003\t0\t0\t1024\t00000000\t0\t0\t0\n"
    "eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    f"{'0' * 32} 00 {'0' * 32} 00 fe800000000000000000000000000002 00000400 00000001 00000000 00450003     eth0\n",
    "packages": "dpkg\nii\tadduser\t3.134\tall\nrc\tgone\t1\tamd64\nend\t0\n",
    "sessions": "Id=1\nName=ann\nSeat=seat0\nTTY=tty1\nState=active\nType=tty\nClass=user\nRemote=no\nActive=yes\nLockedHint=no\n",
    "ssh_host_keys": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG5ldmVyIGEga2V5IG9mIGFueSByZWFsIGhvc3QuLi4u root@guest\n",
    "probes": '{"a": [1, 2.5, null, "x"]}',
}
_NONCE = re.compile(r"\b[0-9a-f]{32}\b")


def honest(version: str = "10.0") -> dict[str, t.Any]:
    """Command -> what an agent of this version returns."""
    text = Path(__file__).with_name("replies").joinpath(f"qemu-ga-{version}.json").read_text(encoding="utf-8")
    found = {command: reply["return"] for command, reply in json.loads(text)["replies"].items() if "return" in reply}
    return {**found, **_OTHERS}


_HONEST = {version: honest(version) for version in ("7.2", "10.0")}


class Liar:
    """``returns`` and ``errors``: by command, instead of what is honest. ``out`` and ``err``: what every program prints;
    ``file``: what stands in every file. The text "inf" in a lie is a number that is too large for a float."""

    name = "liar"

    def __init__(
        self,
        returns: t.Mapping[str, t.Any],
        errors: t.Mapping[str, t.Any] | None = None,
        version: str = "10.0",
        out: bytes = b"",
        err: bytes = REPORT,
        file: bytes = b"",
    ) -> None:
        self._returns = {**_HONEST[version], **returns}
        self._errors = errors or {}
        self._out, self._err, self._file = out, err, file
        self._nonce = b""

    def agent(self) -> GuestAgent:
        return GuestAgent(self)

    def renew(self, seconds: float) -> None:
        """There is no way to it that could be lost."""

    def exchange(self, request: Request, seconds: int) -> str:
        if found := _NONCE.search(request.text):
            self._nonce = found.group().encode()
        if request.command in self._errors:
            return self._line({"error": self._errors[request.command], "id": request.id})
        value = self._returns.get(request.command, {})
        if request.command == "guest-exec-status" and isinstance(value, dict):
            value = {"out-data": self._base64(self._out), "err-data": self._base64(self._err), **value}
        if request.command == "guest-file-read" and isinstance(value, dict):
            value = {"buf-b64": self._base64(self._file), **value}
        return self._line({"return": value, "id": request.id})

    def _base64(self, text: bytes) -> str:
        return base64.b64encode(text.replace(NONCE, self._nonce)).decode()

    @staticmethod
    def _line(message: dict[str, t.Any]) -> str:
        return json.dumps(message).replace('"inf"', "1e999")
