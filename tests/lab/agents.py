# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Agents other than those of the lab's guests, as data: older versions of qemu-ga, and those of other systems.

What each lists, says of its guest and refuses is what its source has, and for Windows what a real qemu-ga.exe has answered. Names,
addresses and numbers are made up. Programs run where the scripted agent runs, where the guest has a POSIX shell.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .hostile import AgentError, agent_info, default_replies

Request = dict[str, Any]

#: By the version that brought them, as far as Linux has them.
_UNTIL_2_5 = (
    *("guest-sync", "guest-sync-delimited", "guest-ping", "guest-info", "guest-shutdown", "guest-get-time", "guest-set-time"),
    *(f"guest-file-{verb}" for verb in ("open", "close", "read", "write", "seek", "flush")),
    *("guest-fsfreeze-status", "guest-fsfreeze-freeze", "guest-fsfreeze-freeze-list", "guest-fsfreeze-thaw", "guest-fstrim"),
    *("guest-suspend-disk", "guest-suspend-ram", "guest-suspend-hybrid", "guest-network-get-interfaces", "guest-get-fsinfo"),
    *("guest-get-vcpus", "guest-set-vcpus", "guest-set-user-password", "guest-exec", "guest-exec-status"),
    *("guest-get-memory-blocks", "guest-set-memory-blocks", "guest-get-memory-block-info"),
)
_UNTIL_2_10 = (*_UNTIL_2_5, "guest-get-host-name", "guest-get-users", "guest-get-timezone", "guest-get-osinfo")
_UNTIL_5_2 = (
    *(*_UNTIL_2_10, "guest-get-disks", "guest-get-devices"),
    *("guest-ssh-get-authorized-keys", "guest-ssh-add-authorized-keys", "guest-ssh-remove-authorized-keys"),
)
_UNTIL_7_2 = (*_UNTIL_5_2, "guest-get-diskstats", "guest-get-cpustats")
_ONLY_WINDOWS = ("guest-get-devices",)
_ONLY_LINUX = (
    *("guest-set-vcpus", "guest-get-memory-blocks", "guest-set-memory-blocks", "guest-get-memory-block-info"),
    "guest-suspend-hybrid",
)
_NOT_ON_FREEBSD = (
    *(*_ONLY_LINUX, *_ONLY_WINDOWS, "guest-get-vcpus", "guest-suspend-disk", "guest-suspend-ram", "guest-get-fsinfo"),
    *("guest-fstrim", "guest-get-disks", "guest-get-diskstats", "guest-get-cpustats"),
)
_LINUX_2022 = {"kernel-version": "#1 SMP PREEMPT_DYNAMIC", "machine": "x86_64"}


#: Of what the lab's healthy agent does not have.
_OTHERS = {
    "guest-get-memory-blocks": [{"phys-index": 0, "online": True, "can-offline": False}],
    "guest-get-memory-block-info": {"size": 134217728},
    "guest-get-cpustats": [{"type": "linux", "cpu": 0, "user": 10, "nice": 0, "system": 5, "idle": 100}],
    "guest-get-diskstats": [],
    "guest-network-get-route": [],
}


@dataclass(frozen=True)
class Agent:
    """One of them.

    commands: those that it accepts; disabled: those that it lists and does not accept, which since 9.1 no platform does.
    replies: what it answers, where that is not what the healthy agent of the lab answers.
    numbers: what becomes of a request's: returned, dropped or refused.
    runs: "posix" for programs that run here, "windows" or "nothing" for guests without a shell that this collection could use.
    """

    version: str
    commands: tuple[str, ...]
    disabled: tuple[str, ...] = ()
    replies: Mapping[str, Any] = field(default_factory=dict)
    numbers: str = "returned"
    runs: str = "posix"

    def table(self) -> dict[str, Any]:
        """For a ScriptedAgent: command -> reply, of this agent's commands and no others."""
        programs = Programs(self)
        known: dict[str, Any] = {
            **default_replies(),
            "guest-exec": programs.start,
            "guest-exec-status": programs.status,
            "guest-file-open": self._open,
            **_OTHERS,
            **self.replies,
        }
        info = agent_info([name for name in self.commands if name not in self.disabled], self.version, self.disabled)
        table = {name: known.get(name, {}) for name in self.commands}
        return {**table, **dict.fromkeys(self.disabled, self._refuse), "guest-info": info}

    def missing_program(self, program: str) -> AgentError:
        """Windows does not name it."""
        named = "" if self.runs == "windows" else f" \u201c{program}\u201d"
        said = f"Failed to execute child process{named} (No such file or directory)"
        return AgentError(said if self.major >= 8 else f"Guest agent command failed, error was '{said}'")

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])

    def _refuse(self, request: Request) -> Any:
        name = request["execute"]
        until_6 = f"The command {name} has been disabled for this instance"
        raise AgentError(until_6 if self.major < 6 else f"Command {name} has been disabled", "CommandNotFound")

    def _open(self, request: Request) -> Any:
        path = request["arguments"]["path"]
        why = "File not found." if self.runs == "windows" else "No such file or directory"
        raise AgentError(f"failed to open file '{path}' (mode: 'r'): {why}")


class Programs:
    """What guest-exec starts, in this process's own system."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._running: dict[int, tuple[subprocess.Popen[bytes], Any, Any]] = {}

    def start(self, request: Request) -> Any:
        asked = request["arguments"]
        env = dict(entry.split("=", 1) for entry in asked.get("env", [])) if "env" in asked else {"PATH": os.defpath}
        program = shutil.which(asked["path"], path=env.get("PATH", os.defpath)) if self._agent.runs == "posix" else None
        if program is None:
            raise self._agent.missing_program(asked["path"])
        out, err, given = (tempfile.TemporaryFile() for _stream in range(3))  # noqa: SIM115 - they close with the process
        given.write(base64.b64decode(asked.get("input-data", "")))
        given.seek(0)
        words = [asked["path"], *asked.get("arg", [])]
        process = subprocess.Popen(words, executable=program, env=env, stdin=given, stdout=out, stderr=err, cwd="/")
        given.close()
        self._running[process.pid] = (process, out, err)
        return {"pid": process.pid}

    def status(self, request: Request) -> Any:
        pid = request["arguments"]["pid"]
        if pid not in self._running:
            raise AgentError("Invalid parameter 'pid'")
        process, *streams = self._running[pid]
        if process.poll() is None:
            return {"exited": False}
        del self._running[pid]
        code = process.returncode
        status: dict[str, Any] = {"exited": True, **({"signal": -code} if code < 0 else {"exitcode": code})}
        for key, stream in zip(("out-data", "err-data"), streams):
            stream.seek(0)
            if data := stream.read():
                status[key] = base64.b64encode(data).decode()
            stream.close()
        return status


def _interface(name: str, *addresses: str, mac: str | None = None, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, **more}
    if mac:
        found["hardware-address"] = mac
    if addresses:
        found["ip-addresses"] = [
            {"ip-address": text, "ip-address-type": "ipv6" if ":" in text else "ipv4", "prefix": int(prefix)}
            for text, prefix in (address.split("/") for address in addresses)
        ]
    return found


def _names(hostname: str, **os_info: str) -> dict[str, Any]:
    return {
        "guest-get-host-name": {"host-name": hostname},
        "guest-get-osinfo": {key.replace("_", "-"): v for key, v in os_info.items()},
    }


_LOOPBACK = _interface("lo", "127.0.0.1/8", "::1/128", mac="00:00:00:00:00:00")
_MAC = "52:54:00:1a:b0:01"
_OLD_LINUX = {
    # Before 2.11 without counters, before 3.0 without sizes.
    "guest-network-get-interfaces": [_LOOPBACK, _interface("eth0", "192.0.2.21/24", "fe80::5054:ff:fe1a:b001/64", mac=_MAC)],
    "guest-get-fsinfo": [
        {
            "name": "vda1",
            "mountpoint": "/",
            "type": "xfs",
            "disk": [
                {
                    "bus-type": "virtio",
                    "bus": 0,
                    "target": 0,
                    "unit": 0,
                    "pci-controller": {"domain": 0, "bus": 0, "slot": 4, "function": 0},
                }
            ],
        }
    ],
}
_CENTOS = {"id": "centos", "name": "CentOS Linux", "pretty_name": "CentOS Linux 7 (Core)", "version": "7 (Core)", "version_id": "7"}
_OLD_KERNEL = {"kernel_release": "3.10.0-1160.el7.x86_64", "kernel_version": "#1 SMP", "machine": "x86_64"}
_UBUNTU = {
    "id": "ubuntu",
    "name": "Ubuntu",
    "pretty_name": "Ubuntu 18.04.6 LTS",
    "version": "18.04.6 LTS (Bionic Beaver)",
    "version_id": "18.04",
}
_DEBIAN = {
    "id": "debian",
    "name": "Debian GNU/Linux",
    "pretty_name": "Debian GNU/Linux 10 (buster)",
    "version": "10 (buster)",
    "version_id": "10",
}
_WINDOWS = {
    **_names(
        "WIN-LAB",
        id="mswindows",
        name="Microsoft Windows",
        pretty_name="Windows Server 2022 Standard",
        version="Microsoft Windows Server 2022",
        version_id="2022",
        variant="server",
        variant_id="server",
        kernel_release="20348",
        kernel_version="10.0",
        machine="x86_64",
    ),
    "guest-network-get-interfaces": [
        _interface("Ethernet", "fd00::22/64", "fe80::fc:ff:fe00:1%4/64", "192.0.2.22/24", mac="52:54:00:1a:b0:02"),
        _interface("Ethernet 2", mac="52:54:00:1a:b0:03"),
        _interface("Loopback Pseudo-Interface 1", "::1/128", "127.0.0.1/8"),
    ],
    "guest-get-fsinfo": [
        {
            "name": "\\\\?\\Volume{00000000-0000-0000-0000-000000000043}\\",
            "mountpoint": "C:\\",
            "type": "NTFS",
            "total-bytes": 64424509440,
            "used-bytes": 21474836480,
            "disk": [],
        }
    ],
    "guest-get-timezone": {"zone": "Greenwich Standard Time", "offset": 0},
}


def _unsupported(_request: Request) -> Any:
    raise AgentError("this feature or command is not currently supported")


_FREEBSD = {
    "guest-get-host-name": {"host-name": "bsd-lab.example.org"},
    "guest-get-osinfo": {
        "kernel-release": "13.1-RELEASE-p5",
        "kernel-version": "FreeBSD 13.1-RELEASE-p5",
        "machine": "amd64",
    },
    "guest-network-get-interfaces": [_interface("vtnet0", "192.0.2.23/24"), _interface("lo0", "::1/128", "127.0.0.1/8")],
    "guest-get-timezone": {"zone": "UTC", "offset": 0},
}
_TALOS = {
    "guest-get-host-name": {"host-name": "talos-lab"},
    "guest-get-osinfo": {"kernel-release": "6.12.57-talos", **_LINUX_2022},
    "guest-network-get-interfaces": [
        _LOOPBACK,
        _interface("dummy0", mac="52:54:00:1a:b0:04"),
        _interface("eth0", "192.0.2.24/24", mac="52:54:00:1a:b0:05"),
        _interface("cni0", "10.244.0.1/24", mac="52:54:00:1a:b0:06"),
    ],
}
_NIXOS = {
    **_names(
        "nixos-lab",
        id="nixos",
        name="NixOS",
        pretty_name="NixOS 25.05 (Warbler)",
        version="25.05 (Warbler)",
        version_id="25.05",
        variant_id="",
        kernel_release="6.12.40",
        kernel_version="#1-NixOS SMP PREEMPT_DYNAMIC",
        machine="x86_64",
    ),
    "guest-network-get-interfaces": [_LOOPBACK, _interface("ens3", "192.0.2.25/24", mac="52:54:00:1a:b0:07")],
}
_SINCE_9_1 = ("guest-network-get-route",)

AGENTS: Mapping[str, Agent] = {
    "qemu-ga 2.5": Agent("2.5.0", _UNTIL_2_5, (), _OLD_LINUX, numbers="refused"),
    "qemu-ga 2.11": Agent("2.11.1", _UNTIL_2_10, (), {**_OLD_LINUX, **_names("old-lab", **_UBUNTU, **_OLD_KERNEL)}, "refused"),
    "qemu-ga 2.12": Agent("2.12.0", _UNTIL_2_10, (), {**_OLD_LINUX, **_names("old-lab", **_CENTOS, **_OLD_KERNEL)}, "dropped"),
    "qemu-ga 3.1": Agent("3.1.0", _UNTIL_2_10, (), {**_OLD_LINUX, **_names("old-lab", **_DEBIAN, **_OLD_KERNEL)}, "dropped"),
    "Windows, 7.2": Agent(
        "7.2.22",
        tuple(name for name in _UNTIL_7_2 if "-ssh-" not in name),
        _ONLY_LINUX,
        {**_WINDOWS, "guest-get-diskstats": _unsupported, "guest-get-cpustats": _unsupported, "guest-get-devices": []},
        runs="windows",
    ),
    "Windows, 10.0": Agent(
        "10.0.13",
        tuple(name for name in _UNTIL_5_2 if name not in _ONLY_LINUX),
        replies={**_WINDOWS, "guest-get-devices": []},
        runs="windows",
    ),
    "FreeBSD": Agent("7.2.22", _UNTIL_7_2, _NOT_ON_FREEBSD, _FREEBSD),
    "Talos": Agent(
        "9.2.0", tuple(name for name in (*_UNTIL_7_2, *_SINCE_9_1) if name not in _ONLY_WINDOWS), (), _TALOS, runs="nothing"
    ),
    "NixOS": Agent("9.2.4", tuple(name for name in (*_UNTIL_7_2, *_SINCE_9_1) if name not in _ONLY_WINDOWS), (), _NIXOS),
}
