# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real qemu-ga.exe without a Windows: Debian's own, cross-built, under Wine. It answers on a unix socket, or as a guest's agent.

What is real is the agent: its commands, JSON, quoting, helpers, exit codes, file modes, share modes and handles. What Wine does in
the place of Windows is no proof of anything: cmd.exe, the words of errors, interfaces, volumes, and PowerShell, which does nothing.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pty
import select
import shutil
import socket
import subprocess
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path

from .cache import cached, key_of
from .errors import LabError
from .shell import run
from .touched import AGENTS, TOUCHED, Touched

VERSIONS = ("7.2", "10.0")
_SOURCES = Path(__file__).parent / "images" / "windows"
_STAND_IN = _SOURCES / "powershell.c"
_PORT = {"7.2": "COM7", "10.0": "COM8"}
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_BUILD_SECONDS = 3600.0
_POLL_SECONDS = 0.2
_START_SECONDS = 120.0


@functools.cache
def windows_agents() -> Path:
    """Return the directory that holds an agent of each version, with what it needs beside it, built if need be."""
    sources = [path for path in _SOURCES.rglob("*") if path.is_file() and path.name not in ("packages.txt", _STAND_IN.name)]
    return cached(f"windows-{key_of(sources, VERSIONS)}", _build)


def _build(target: Path) -> None:
    if os.geteuid() != 0:
        raise LabError("only root can build the Windows agent; build it as root with LAB_CACHE set to a place you can read")
    run([str(_SOURCES / "build.sh"), str(target)], timeout=_BUILD_SECONDS)


@functools.cache
def stand_in() -> Path:
    """Return powershell.exe, which is none: it says what it was given, and runs no script."""
    return cached(f"windows-powershell-{key_of([_STAND_IN], [])}", _compile) / "powershell.exe"


def _compile(target: Path) -> None:
    words = ["x86_64-w64-mingw32-gcc", "-O1", "-municode", "-static", "-o", str(target / "powershell.exe"), str(_STAND_IN)]
    run([*words, "-lbcrypt"], timeout=_START_SECONDS)


class Wine:
    """A Windows of its own in ``place``, which has no users, services or devices."""

    def __init__(self, place: Path) -> None:
        if shutil.which("wine", path=_PATH) is None:
            raise LabError("wine is not installed: run make windows")
        self.place = place
        self.prefix = place / "wine"
        self.environment = {
            "PATH": _PATH,
            "HOME": str(place),
            "LANG": "C.UTF-8",
            "WINEPREFIX": str(self.prefix),
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "vssapi,netapi32=n,b;mscoree,mshtml=",
        }
        self._wine("wineboot", "-u")
        for version, port in _PORT.items():
            # Wine's own com1 would be the serial port of this very machine.
            self._wine("reg", "add", r"HKLM\Software\Wine\Ports", "/v", port, "/t", "REG_SZ", "/d", str(self.device(version)), "/f")
            shutil.copytree(windows_agents() / version, self.prefix / "drive_c" / f"qga-{version}")
        self._wine("reg", "add", r"HKCU\Software\Wine\WineDbg", "/v", "ShowCrashDialog", "/t", "REG_DWORD", "/d", "0", "/f")
        self._wine("winecfg", "-v", "win10")
        run(["wineserver", "-w"], environment=self.environment, timeout=_START_SECONDS)

    def device(self, version: str) -> Path:
        """The serial port of an agent, which is a link to the agent's end of a pseudoterminal."""
        return self.place / _PORT[version].lower()

    def close(self) -> None:
        """End what runs in it, and nothing else."""
        with contextlib.suppress(LabError):
            run(["wineserver", "-k"], environment=self.environment)

    def start(self, version: str) -> subprocess.Popen[bytes]:
        directory = self.prefix / "drive_c" / f"qga-{version}"
        words = ["wine", "qemu-ga.exe", "-m", "isa-serial", "-p", _PORT[version]]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(words, cwd=directory, env=self.environment, stdin=quiet, stdout=quiet, stderr=quiet)

    def _wine(self, *words: str) -> None:
        run(["wine", *words], environment=self.environment, timeout=_START_SECONDS)


class WindowsAgent:
    """The agent of one version, started again when it ends: as a service is, and as a guest that reboots.

    Its serial port leads to ``socket``, where one client at a time is connected as at a character device of QEMU; or, once it is
    ``joined``, to the port of a guest of the lab, for which it answers then.
    """

    def __init__(self, wine: Wine, version: str) -> None:
        self.version = version
        #: under drive C, where probe.exe is too
        self.directory = rf"C:\qga-{version}"
        self.socket = wine.place / f"agent-{version}.sock"
        self.starts = 0
        self._wine = wine
        self._process: subprocess.Popen[bytes] | None = None
        self._stop = threading.Event()
        self._joined: socket.socket | None = None
        # The agent's end stays open here, or the port would hang up with its agent.
        self._ours, self._its = pty.openpty()
        for end in (self._ours, self._its):
            tty.setraw(end)
        wine.device(version).symlink_to(os.ttyname(self._its))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket))
        self._listener.listen(8)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._supervise, self._relay)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the agent and its port."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)
        self._listener.close()
        for end in (self._ours, self._its):
            os.close(end)
        self._wine.device(self.version).unlink()

    def _touch(self) -> None:
        TOUCHED.add(touched := Touched("", "", f"windows-{self.version}"))
        AGENTS[touched] = self.version

    @contextlib.contextmanager
    def joined(self, relay: Path) -> Iterator[None]:
        """Answer for a guest of the lab with agent="relay", and for no client of the socket meanwhile."""
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(relay))
            self._touch()
            self._joined = link
            try:
                yield
            finally:
                self._joined = None
                time.sleep(2 * _POLL_SECONDS)

    def place_powershell(self) -> None:
        """Where cmd.exe looks first, before it finds Wine's, which ends with 0 and does nothing."""
        shutil.copy(stand_in(), self.drive / f"qga-{self.version}" / "powershell.exe")

    @property
    def drive(self) -> Path:
        """Where drive C is on this machine."""
        return self._wine.prefix / "drive_c"

    def kill(self) -> None:
        """End the agent, and not what it has started. It is started again after a second."""
        if self._process is not None:
            self._process.kill()

    def _supervise(self) -> None:
        while not self._stop.is_set():
            process = self._process = self._wine.start(self.version)
            self.starts += 1
            while process.poll() is None and not self._stop.wait(_POLL_SECONDS):
                pass
            if process.poll() is None:
                process.kill()
            process.wait()
            self._stop.wait(1)

    def _relay(self) -> None:
        """What the agent writes while there is no client is dropped."""
        client: socket.socket | None = None
        while not self._stop.is_set():
            link = self._joined or client
            waiting = [self._ours, link or self._listener]
            ready = select.select(waiting, [], [], _POLL_SECONDS)[0]
            try:
                if self._ours in ready:
                    data = os.read(self._ours, 65536)
                    if link:
                        link.sendall(data)
                elif link and link in ready:
                    data = link.recv(4096)
                    if not data:
                        raise ConnectionResetError
                    while data:
                        data = data[os.write(self._ours, data) :]
                elif ready:
                    client = self._listener.accept()[0]
                    self._touch()
            except OSError:
                if client is not None:
                    client.close()
                client = None


@contextlib.contextmanager
def windows_lab(place: Path) -> Iterator[dict[str, WindowsAgent]]:
    """Agents of all versions, each on its socket in ``place``, whose path is short."""
    wine = Wine(place)
    agents: dict[str, WindowsAgent] = {}
    try:
        for version in VERSIONS:
            agents[version] = WindowsAgent(wine, version)
        yield agents
    finally:
        for agent in agents.values():
            agent.close()
        wine.close()
