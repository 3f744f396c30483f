# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An SSH server of the lab's own on 127.0.0.1, with keys of its own: the hypervisor as most users reach it, by qemu+ssh."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import LabError
from .lab import free_port
from .processes import Process
from .records import DaemonRecord, daemon_dir, state_lock
from .shell import run
from .teardown import release

_START_SECONDS = 60.0
# Root's sshd wants it; what is in /run is gone at the next boot.
_RUN_DIRECTORY = Path("/run/sshd")

_SERVER = """Port {port}
ListenAddress 127.0.0.1
HostKey {place}/host_key
AuthorizedKeysFile {place}/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
LogLevel VERBOSE
UseDNS no
"""
_CLIENT = """Host *
    UserKnownHostsFile {place}/known_hosts
    GlobalKnownHostsFile none
    StrictHostKeyChecking yes
    IdentityFile {place}/key
    IdentitiesOnly yes
    IdentityAgent none
"""


class SshServer:
    """``settings``: more lines for its configuration. ``client``: for that of its clients, where ``{place}`` is its directory."""

    def __init__(self, *settings: str, client: str = "") -> None:
        self.port = free_port()
        self._role = f"ssh-{self.port}"
        #: Also a place for what its clients keep: as XDG_RUNTIME_DIR of theirs.
        self.place = daemon_dir(self._role)
        self._settings = settings
        self._client = client
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> Path:
        """A program to run as ssh, with no configuration of this user's."""
        return self.place / "ssh"

    @property
    def uri(self) -> str:
        return f"qemu+ssh://{getpass.getuser()}@127.0.0.1:{self.port}/system?command={self.command}"

    def start(self) -> None:
        """Start the server with empty logs."""
        program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise LabError("sshd is not installed: run tests/lab/install.sh")
        self._write()
        if os.geteuid() == 0:
            _RUN_DIRECTORY.mkdir(mode=0o755, exist_ok=True)
        with self._log.open("wb") as log, state_lock():
            words = [program, "-D", "-e", "-f", str(self.place / "sshd_config")]
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            DaemonRecord(self._role, self.uri, Process.of(self._process.pid), ()).save()
        deadline = time.monotonic() + _START_SECONDS
        while "Server listening" not in self._log.read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"sshd does not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def _write(self) -> None:
        self.place.mkdir(mode=0o700, parents=True)
        for name in ("host_key", "key"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(self.place / name)])
        values = {"port": self.port, "place": self.place}
        host_key = (self.place / "host_key.pub").read_text()
        (self.place / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host_key}")
        (self.place / "sshd_config").write_text(_SERVER.format(**values) + "".join(f"{line}\n" for line in self._settings))
        (self.place / "ssh_config").write_text((_CLIENT + self._client).format(**values))
        self.command.write_text(f'#!/bin/sh\nexec ssh -F {self.place}/ssh_config "$@"\n')
        self.command.chmod(0o700)

    @property
    def _log(self) -> Path:
        return self.place / "sshd.log"

    def logins(self) -> int:
        """How many were let in until now."""
        return self._log.read_text().count("Accepted publickey")

    def sessions(self) -> int:
        """How many commands were run until now."""
        return self._log.read_text().count("Starting session: ")

    def turned_away(self) -> int:
        """How many connections MaxStartups has dropped."""
        return sum("drop connection" in line for line in self._log.read_text().splitlines())

    def clients(self) -> list[Process]:
        """The ssh processes that use its configuration."""
        mark = f"{self.place}/ssh_config".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if mark in entry.read_bytes().split(b"\0"):
                    found.append(Process.of(int(entry.parent.name)))
            except OSError:
                continue
        return [process for process in found if process.running]

    def close(self) -> None:
        """End the server and its clients, and remove its directory."""
        for process in self.clients():
            process.end()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_START_SECONDS)
        shutil.rmtree(self.place, ignore_errors=True)
        release()


@contextmanager
def ssh_server(*settings: str, client: str = "") -> Iterator[SshServer]:
    """Start an SSH server and end it afterwards."""
    server = SshServer(*settings, client=client)
    try:
        server.start()
        yield server
    finally:
        server.close()
