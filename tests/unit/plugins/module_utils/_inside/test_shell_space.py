# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands where the guest's file systems are full, read-only or change: what arrives is whole, or the task says why not."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import subprocess
import tempfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import login_shell, shell, spool
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.lanes import AgentLane
from ansible_collections.virtops.guest_agent.tests.unit import real_agent
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import Watched

EXACT = pytest.mark.parametrize("exact", [True, False], ids=["exact", "surrounded"])
ROOMY = "rw,size=8m"
#: takes files, and little in them
SMALL = "rw,size=256k"
FULL = "rw,size=4k"
READ_ONLY = "ro,size=4k"
SPACES = {"full": FULL, "read-only": READ_ONLY}


@pytest.fixture(autouse=True, params=[*real_agent.SHELLS, "dash, named pipes"])
def with_shell(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[None]:
    shell_name, _comma, named = request.param.partition(", ")
    if named:
        real_agent.named_pipes(monkeypatch)
    # Not in one of the places.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        path = real_agent.shell_named_sh(shell_name, Path(directory))
        monkeypatch.setattr(login_shell, "ARGUMENTS", (path, *login_shell.ARGUMENTS[1:]))
        yield


class Enclosed(t.NamedTuple):
    """A real agent that has the places of our files for itself."""

    socket: Path
    process: str

    def inside(self, *words: str) -> None:
        subprocess.run(["nsenter", "-t", self.process, "-m", *words], check=True, capture_output=True)

    @contextlib.contextmanager
    def guest(self, *options: str) -> t.Iterator[Watched]:
        """``options``: how each place is mounted; those that are not given are roomy."""
        mounted = dict(zip(spool.PLACES, [*options, ROOMY, ROOMY, ROOMY]))
        for place, option in mounted.items():
            self.inside("mount", "-t", "tmpfs", "-o", f"mode=1777,{option}", "tmpfs", place)
        try:
            with real_agent.watched(self.socket) as transport:
                yield transport
                real_agent.wait_until(lambda: not self.left(), 3, self.left)
                transport.sweep()
        finally:
            for place in mounted:
                self.inside("umount", "--lazy", place)

    def left(self) -> list[str]:
        roots = [Path(f"/proc/{self.process}/root{place}") for place in spool.PLACES]
        return [name for root in roots for name in os.listdir(root) if name.startswith(".virtops")]


@pytest.fixture(scope="module")
def enclosed() -> t.Iterator[Enclosed]:
    alone = ["unshare", "--mount", "--propagation", "private"]
    if os.geteuid() != 0 or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("SKIPPED OUT LOUD: full file systems are not tried, for this user may not mount any")
    # Not in one of the places: the agent keeps its state there.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as state, real_agent.listening(Path(state), before=alone) as socket:
        (pid, *_others) = [p.name for p in Path("/proc").glob("[0-9]*") if real_agent._runs(p, os.fsencode(socket))]
        yield Enclosed(socket, pid)


def sh(guest: Watched, text: str, exact: bool = False, **options: t.Any) -> shell.Result:
    return shell.execute(guest.agent(), shell.Command(("/bin/sh", "-c", text), tells_signals=exact, **options), 30)


@EXACT
@pytest.mark.parametrize("wrong", SPACES)
def test_the_next_place_is_taken(enclosed: Enclosed, wrong: str, exact: bool) -> None:
    """Root is told that it may write to a file system that is read-only."""
    with enclosed.guest(SPACES[wrong], SPACES[wrong]) as guest:
        assert sh(guest, "echo out; echo err >&2; exit 3", exact)[:4] == (3, None, b"out\n", b"err\n")
        assert sh(guest, "head -c 300000 /dev/zero", exact).stdout == bytes(300_000)


@EXACT
def test_no_place_is_left(enclosed: Enclosed, exact: bool) -> None:
    with enclosed.guest(FULL, READ_ONLY, FULL) as guest:
        wanted = r"no space .*/var/tmp is full, /tmp takes no file .*, /run is full"
        with pytest.raises(_errors.NoSpace, match=wanted):
            sh(guest, "echo > /dev/shm/virtops-ran", exact)
        assert not os.path.exists("/dev/shm/virtops-ran")
        enclosed.inside("mount", "-o", f"remount,{ROOMY}", "/run")


@EXACT
@pytest.mark.parametrize("stream", [1, 2])
def test_a_place_that_becomes_full_cuts_no_output_in_silence(enclosed: Enclosed, exact: bool, stream: int) -> None:
    with enclosed.guest(SMALL) as guest, pytest.raises(_errors.OutputCut, match=r"exit code 0, .*no space in /var/tmp") as caught:
        sh(guest, f"seq 1 100000 >&{stream} 2>/dev/null; exit 0", exact)
    assert caught.value.rc == 0


@EXACT
@pytest.mark.parametrize("stream", [1, 2])
def test_a_place_that_was_full_for_a_moment_cuts_no_output_in_silence(enclosed: Enclosed, exact: bool, stream: int) -> None:
    """Also where there is room again when the command ends."""
    fill = f"dd if=/dev/zero of=/var/tmp/filled bs=64k 2>/dev/null; seq 1 99999 >&{stream}; rm /var/tmp/filled; exit 0"
    with enclosed.guest() as guest, pytest.raises(_errors.OutputCut, match=r"exit code 0, .*no space in /var/tmp"):
        sh(guest, fill, exact)


def test_a_command_goes_on_though_its_output_is_lost(enclosed: Enclosed) -> None:
    with enclosed.guest(SMALL) as guest:
        with pytest.raises(_errors.OutputCut, match="exit code 7"):
            sh(guest, "seq 1 300000; echo whole >/run/done; exit 7")
        assert sh(guest, "cat /run/done").stdout == b"whole\n"


@EXACT
def test_a_place_has_its_room_again_for_the_next_command(enclosed: Enclosed, exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the guest keeps open what was removed there, though something waits until all is."""
    assert "sleep 5" in login_shell._TIDY
    monkeypatch.setattr(login_shell, "_TIDY", login_shell._TIDY.replace("sleep 5", "sleep 300"))
    with enclosed.guest(SMALL) as guest:
        with pytest.raises(_errors.OutputCut, match="no space in /var/tmp"):
            sh(guest, "seq 1 300000; exit 0", exact)
        real_agent.wait_until(lambda: not _removed_and_open(guest), 60, lambda: _removed_and_open(guest))


def _removed_and_open(guest: Watched) -> list[str]:
    """Files of this guest's commands that have no name any more, and take their space nevertheless."""
    found = []
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            name = os.readlink(path)
            if name.endswith("(deleted)") and any(nonce in name for nonce in guest.nonces):
                found.append(f"{path} {name}")
    return found


@EXACT
def test_a_child_in_the_background_holds_nothing_up(enclosed: Enclosed, exact: bool) -> None:
    with enclosed.guest() as guest:
        said = sh(guest, "seq 1 9999; (sleep 60; echo late) & exit 2", exact)
        assert (said.rc, said.stdout.splitlines()[-1], said.seconds < 30) == (2, b"9999", True)


@EXACT
def test_output_that_is_removed_is_not_empty_output(enclosed: Enclosed, exact: bool) -> None:
    with enclosed.guest() as guest, pytest.raises(_errors.OutputCut, match="removed there"):
        sh(guest, "echo word; rm -f /var/tmp/.virtops-*; exit 0", exact)


@EXACT
@pytest.mark.parametrize("size", [80_000, 500_000, 3_000_000])
def test_input_goes_where_there_is_room(enclosed: Enclosed, exact: bool, size: int) -> None:
    data = random.Random(5).randbytes(size)
    with enclosed.guest("rw,size=72k", "rw,size=200k") as guest:
        assert sh(guest, "sha256sum", exact, stdin=data).stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_input_that_fills_a_place_goes_to_the_next(enclosed: Enclosed) -> None:
    data = random.Random(5).randbytes(3_000_000)
    counted: list[int] = []
    with enclosed.guest("rw,size=2m") as guest:
        agent = guest.agent()
        staged = shell.stage(agent, AgentLane(agent), io.BytesIO(data), len(data), counted.append)
        assert staged.path.startswith("/tmp/")
        said = shell.execute(agent, shell.Command(("sha256sum",)), 30, staged=staged).stdout
    assert said.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert sum(counted) == len(data)


@EXACT
@pytest.mark.parametrize("size", [400_000, 3_000_000])
def test_input_that_no_place_takes(enclosed: Enclosed, exact: bool, size: int) -> None:
    data = random.Random(5).randbytes(size)
    wanted = "/var/tmp is full, /tmp is full, /run is full"
    with enclosed.guest(*["rw,size=140k"] * 3) as guest, pytest.raises(_errors.NoSpace, match=wanted):
        sh(guest, "cat", exact, stdin=data)
