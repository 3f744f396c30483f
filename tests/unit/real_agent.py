# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real qemu-ga on a unix socket of this machine, and a transport that watches what is said to it and can spoil it.

What it runs, it runs here: no test may let it touch anything but directories of its own. What could harm the machine is blocked.
PYTEST_DONT_REWRITE: test files import this before pytest does.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.protocol import Request
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.transport import Transport, UnixSocketTransport
from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import AgentDisappeared, AgentTimeout
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import exec as exec_, spool as spool_

BLOCKED = (
    "guest-shutdown",
    "guest-fsfreeze-freeze",
    "guest-fsfreeze-freeze-list",
    "guest-suspend-ram",
    "guest-suspend-disk",
    "guest-suspend-hybrid",
    "guest-set-time",
    "guest-set-user-password",
)
#: SHELLS="mksh ksh93 yash zsh-static" takes others, which make shells installs.
SHELLS = tuple((os.environ.get("SHELLS") or "dash bash busybox").split())
SPOOLS = ("/var/tmp", "/tmp", "/run")
_NONCE = re.compile(r"/\.virtops-([0-9a-f]{32})\b")

Message = dict[str, t.Any]
#: Answers a request in the agent's place: gets its arguments, and what asks the agent itself and gives its whole reply back.
Fault = t.Callable[[Message, t.Callable[[], Message]], Message]


def is_listening(path: Path) -> bool:
    """Its file is there a moment before connections are taken: the kernel tells (flag SO_ACCEPTCON), and no connection is spent."""
    sockets = (line.split() for line in Path("/proc/net/unix").read_text(errors="replace").splitlines()[1:])
    return any(int(words[3], 16) & 0x10000 for words in sockets if words[7:] == [str(path)])


@contextlib.contextmanager
def listening(directory: Path, *options: str, before: t.Sequence[str] = ()) -> t.Iterator[Path]:
    """The socket of a qemu-ga that has ``directory`` for its state, and is run by ``before``."""
    program = shutil.which("qemu-ga", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        pytest.skip("SKIPPED OUT LOUD: commands and files are not tried with a real agent, for no qemu-ga is installed here")
    path = directory / "agent"
    words = [
        *before,
        program,
        "-m",
        "unix-listen",
        "-p",
        str(path),
        "-t",
        str(directory),
        f"--block-rpcs={','.join(BLOCKED)}",
        *options,
    ]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_listening(path), 60, lambda: f"{path}: exit code {process.poll()}")
        yield path
    finally:
        process.kill()  # one that believes it is frozen ignores SIGTERM
        process.wait()


class Watched:
    """A transport that remembers what was asked; ``faults`` spoil the next requests of a command, in order (None: none)."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.sent: list[tuple[str, Message]] = []
        self.replies: list[tuple[str, Message]] = []
        self.faults: dict[str, list[Fault | None]] = {}

    @property
    def name(self) -> str:
        return self._transport.name

    def renew(self, seconds: float) -> None:
        self._transport.renew(seconds)

    def exchange(self, request: Request, seconds: int) -> str:
        arguments = json.loads(request.text).get("arguments", {})
        self.sent.append((request.command, arguments))
        waiting = self.faults.get(request.command)
        fault = waiting.pop(0) if waiting else None

        def ask() -> Message:
            return t.cast(Message, json.loads(self._transport.exchange(request, seconds)))

        reply = fault(arguments, ask) if fault else ask()
        self.replies.append((request.command, reply))
        return json.dumps({**reply, "id": request.id})

    def agent(self, timeout: int = 10) -> GuestAgent:
        return GuestAgent(self, timeout)

    def count(self, command: str) -> int:
        return sum(sent == command for sent, _arguments in self.sent)

    @property
    def open_handles(self) -> int:
        """Handles that the agent gave, less those it took back."""
        done = [command for command, reply in self.replies if "return" in reply]
        return done.count("guest-file-open") - done.count("guest-file-close")

    @property
    def nonces(self) -> set[str]:
        """Of the scripts that were run: each has its files beside those of others in the same directories."""
        texts = (text for command, arguments in self.sent if command == "guest-exec" for text in arguments.get("env", ()))
        return {nonce for text in texts for nonce in _NONCE.findall(text)}

    @property
    def pids(self) -> list[int]:
        return [reply["return"]["pid"] for command, reply in self.replies if command == "guest-exec" and "return" in reply]

    def left(self) -> list[str]:
        """The temporary files that are there."""
        names = (name for spool in SPOOLS if os.path.isdir(spool) for name in os.listdir(spool))
        return sorted(name for name in names if name.startswith(".virtops-") and name[9:41] in self.nonces)

    def assert_nothing_left(self, seconds: float = 30.0) -> None:
        """Files are removed when the reply is on its way already."""
        wait_until(lambda: not self.left(), seconds, self.left)
        assert self.open_handles == 0

    def running(self) -> list[str]:
        """Command lines in the sessions of what was run."""
        return [line for pid in self.pids for line in in_session(pid).values()]

    def sweep(self) -> None:
        """What a test left, if only since it failed."""
        for pid in {found for session in self.pids for found in in_session(session)}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for spool in SPOOLS:
            for name in self.left():
                Path(spool, name).unlink(missing_ok=True)


@pytest.fixture(scope="session")
def real_socket(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("SKIPPED OUT LOUD: commands and files are not tried with a real agent, for it is root and this user is not")
    with listening(tmp_path_factory.mktemp("agent")) as path:
        yield path


@pytest.fixture
def agent_process(real_socket: Path) -> Path:
    """Where /proc tells of the agent itself."""
    found = [path for path in Path("/proc").glob("[0-9]*") if _runs(path, os.fsencode(real_socket))]
    assert len(found) == 1
    return found[0]


def _runs(process: Path, argument: bytes) -> bool:
    with contextlib.suppress(OSError):
        return argument in (process / "cmdline").read_bytes().split(b"\0")
    return False


@pytest.fixture
def loose_guest(real_socket: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Watched]:
    # Hardly anything takes long here, and its end is to be seen at once.
    monkeypatch.setattr(exec_, "_LONGEST_PAUSE", 0.05)
    with watched(real_socket) as transport:
        yield transport
        transport.sweep()


@pytest.fixture
def guest(loose_guest: Watched) -> t.Iterator[Watched]:
    """Each test ends with a look for what it left in the guest."""
    yield loose_guest
    loose_guest.faults.clear()
    loose_guest.assert_nothing_left()


@pytest.fixture(params=SHELLS)
def shell_path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return shell_named_sh(request.param, tmp_path)


@pytest.fixture
def place() -> t.Iterator[Path]:
    """A directory that every user may enter, with one in it that is nobody's own."""
    with tempfile.TemporaryDirectory(prefix="virtops-unit-") as name:
        path = Path(name)
        path.chmod(0o755)
        own = path / "own"
        own.mkdir()
        nobody = pwd.getpwnam("nobody")
        os.chown(own, nobody.pw_uid, nobody.pw_gid)
        yield path


def wait_until(condition: t.Callable[[], bool], seconds: float, what: t.Callable[[], object]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.01)


def in_session(session: int) -> dict[int, str]:
    """Process -> its command line."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            state, _parent, _group, its_session = Path(f"/proc/{name}/stat").read_bytes().rpartition(b") ")[2].split()[:4]
            if int(its_session) == session and state != b"Z":
                found[int(name)] = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


def lost(_arguments: Message, ask: t.Callable[[], Message]) -> Message:
    """The agent does it, and its reply gets lost."""
    ask()
    raise AgentTimeout("the agent did not answer in time")


def ended(_arguments: Message, ask: t.Callable[[], Message]) -> Message:
    """The agent does it, and ends before it has said so."""
    ask()
    raise AgentDisappeared("the agent closed the connection")


def unheard(_arguments: Message, _ask: t.Callable[[], Message]) -> Message:
    """The request gets lost."""
    raise AgentTimeout("the agent did not answer in time")


def answering(**members: t.Any) -> Fault:
    """The agent's own reply, with these members changed."""
    # An agent that has told the end of a process already knows nothing of it any more.
    return lambda _arguments, ask: {"return": {**ask().get("return", {}), **members}}


def refusing(description: str) -> Fault:
    return lambda _arguments, _ask: {"error": {"class": "GenericError", "desc": description}}


def raising(error: BaseException) -> Fault:
    def fault(_arguments: Message, _ask: t.Callable[[], Message]) -> Message:
        raise error

    return fault


@contextlib.contextmanager
def watched(path: Path) -> t.Iterator[Watched]:
    transport = UnixSocketTransport(str(path), "guest")
    try:
        yield Watched(transport)
    finally:
        transport.close()


def named_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a guest whose shell has files for here-documents."""
    assert "p=1" in spool_._PIPES
    monkeypatch.setattr(spool_, "_PIPES", spool_._PIPES.replace("p=1", "p="))


def shell_named_sh(shell: str, directory: Path) -> str:
    """The path of ``shell`` under the name sh: bash is another shell under it."""
    program = shutil.which(shell, path="/bin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip(f"SKIPPED OUT LOUD: the scripts are not tried with {shell}, for it is not installed here")
    link = directory / "sh"
    if not link.is_symlink():
        link.symlink_to(program)
    return str(link)
