# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file is brought to its place in a real agent's guest whole and verified, with what it is to have, or not at all."""

from __future__ import annotations

import base64
import io
import os
import pwd
import random
import re
import stat
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import file_scripts, files, lanes
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.files import Attributes
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import run_script
from ansible_collections.virtops.guest_agent.plugins.module_utils._reach.guest import Guest
from ansible_collections.virtops.guest_agent.tests.unit import real_agent
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import Fault, Message, Watched

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

DATA = random.Random(4).randbytes(3 * 1024 * 1024)
HALF = 512 * 1024
#: both ways: with the command that puts it there, and written by the agent
SIZES = [7, HALF + 1]


def push(guest: Watched, path: Path | str, content: bytes = b"new", **options: t.Any) -> files.Installed:
    where = files.Where(str(path), options.pop("user", "root"), options.pop("links", "none"), options.pop("own", False))
    return files.push(guest.agent(), io.BytesIO(content), where, **options)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


@pytest.mark.parametrize("user", ["root", "nobody"])
@pytest.mark.parametrize("size", [0, 1, HALF, HALF + 1, len(DATA)])
def test_content(guest: Watched, place: Path, size: int, user: str) -> None:
    path = place / "own" / "x"
    assert push(guest, path, DATA[:size], user=user)[:2] == (str(path), "")
    assert path.read_bytes() == DATA[:size]
    assert (mode(path), path.stat().st_uid) == (0o644, pwd.getpwnam(user).pw_uid)
    assert names(place / "own") == ["x"]


@pytest.mark.parametrize("size", SIZES)
def test_what_is_replaced_keeps_mode_and_owner(guest: Watched, place: Path, size: int) -> None:
    path = place / "x"
    path.write_bytes(b"old")
    os.chown(path, 65534, 65534)
    path.chmod(0o4750)
    push(guest, path, DATA[:size], backup="before")
    assert (mode(path), path.stat().st_uid) == (0o4750, 65534)
    assert names(place) == ["own", "x", "x.before~"]
    assert (place / "x.before~").read_bytes() == b"old"


@pytest.mark.parametrize("size", SIZES)
def test_a_link_is_followed_where_that_is_wanted(guest: Watched, place: Path, size: int) -> None:
    (place / "target").write_bytes(b"old")
    (place / "link").symlink_to("target")
    assert push(guest, place / "link", DATA[:size], links="all").path == str(place / "target")
    assert (place / "link").is_symlink()
    assert (place / "target").read_bytes() == DATA[:size]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["a b", "-rf", "é😀", "$(id)`*'\"", "x" * 255])
def test_names(guest: Watched, place: Path, name: str, size: int) -> None:
    assert push(guest, place / name, DATA[:size]).path == str(place / name)
    assert (place / name).read_bytes() == DATA[:size]


def test_a_name_of_two_lines(guest: Watched, place: Path) -> None:
    installed = push(guest, place / "a\nb")
    assert (place / "a\nb").read_bytes() == b"new"
    assert installed.backup == ""


def test_a_path_that_starts_at_home(guest: Watched, place: Path) -> None:
    push(guest, os.path.relpath(place / "x", pwd.getpwnam("root").pw_dir), DATA[: HALF + 1])
    assert (place / "x").read_bytes() == DATA[: HALF + 1]


def test_attributes(guest: Watched, place: Path) -> None:
    push(guest, place / "x", attributes=Attributes("0600", "nobody", "nogroup"))
    assert (mode(place / "x"), (place / "x").stat().st_uid) == (0o600, 65534)
    files.set_attributes(guest.agent(), files.Where(str(place / "x")), Attributes("u=rw,g=r", "root", "root"))
    assert (mode(place / "x"), (place / "x").stat().st_uid) == (0o640, 0)


#: what is asked for, as whom, and the reason that it cannot be
REFUSED: list[tuple[str, dict[str, t.Any], str]] = [
    ("own", {}, "directory"),
    ("none/x", {}, "parent"),
    ("fifo", {}, "special"),
    ("x", {"user": "nobody"}, "create"),
    ("x", {"attributes": Attributes(owner="nosuchuser")}, "owner"),
    ("x", {"attributes": Attributes(group="nosuchgroup")}, "owner"),
    ("x", {"attributes": Attributes(mode="worldwide")}, "mode"),
    ("own/x", {"attributes": Attributes(owner="root"), "user": "nobody"}, "owner"),
    ("/proc/x", {}, "create"),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "options", "reason"), REFUSED)
def test_refused(guest: Watched, place: Path, name: str, options: dict[str, t.Any], reason: str, size: int) -> None:
    os.mkfifo(place / "fifo")
    with pytest.raises(files.FileFailed) as caught:
        push(guest, place / name, DATA[:size], **options)
    assert caught.value.reason == reason
    assert file_scripts.PROBLEMS[reason] in str(caught.value)
    assert names(place) == ["fifo", "own"]
    assert names(place / "own") == []


class Spoiling:
    """A lane that brings the wrong bytes."""

    name = "spoiling"

    def __init__(self, size: int) -> None:
        self._size = size
        self.written: list[str] = []

    def write(self, path: str, source: t.BinaryIO, size: int, progress: t.Callable[[int], object]) -> None:
        self.written.append(path)
        Path(path).write_bytes(bytes(self._size))

    read = write


@pytest.mark.parametrize("user", ["root", "nobody"])
@pytest.mark.parametrize("size", [HALF + 1, HALF])
def test_what_arrives_is_verified(guest: Watched, place: Path, size: int, user: str) -> None:
    (place / "own" / "x").write_bytes(b"old")
    with pytest.raises(files.FileFailed) as caught:
        push(guest, place / "own" / "x", DATA[: HALF + 1], lane=Spoiling(size), user=user)
    assert caught.value.reason == "corrupt"
    assert (place / "own" / "x").read_bytes() == b"old"
    assert names(place / "own") == ["x"]


def test_a_program_that_arrives_spoiled_is_not_sent_again(guest: Watched) -> None:
    """Another directory is tried for what is wrong with a directory, and for nothing else."""
    lane = Spoiling(HALF)
    opened = Guest(guest.agent(), lane=t.cast(t.Any, lane))
    with (
        pytest.raises(files.FileFailed, match="the content that arrived differs from what was sent"),
        run_script.placed(opened, io.BytesIO(DATA[: HALF + 1]), "root", (), ()),
    ):
        raise AssertionError("it runs")
    assert len(lane.written) == 1


def saying(pattern: bytes, new: bytes) -> Fault:
    """What the scripts print, with what fits ``pattern`` replaced."""

    def fault(_arguments: Message, ask: t.Callable[[], Message]) -> Message:
        reply = ask()
        ended = reply["return"]
        if "out-data" in ended:
            ended["out-data"] = base64.b64encode(re.sub(pattern, new, base64.b64decode(ended["out-data"]))).decode()
        return reply

    return fault


def test_the_agent_writes_to_no_place_that_the_guest_chooses(guest: Watched, place: Path) -> None:
    (place / "victim").write_bytes(b"old")
    guest.faults = {"guest-exec-status": [saying(b"^ready .*", f"ready {place}/victim/new".encode())] * 1000}
    with pytest.raises(_errors.ProtocolError, match="the guest's report about a file cannot be read"):
        push(guest, place / "x", DATA[: HALF + 1])
    assert guest.count("guest-file-open") == 0
    assert (place / "victim").read_bytes() == b"old"


@pytest.mark.parametrize(("old", "new"), [(b"done\n", b"gone\n"), (b"\0", b""), (b"\0", b"\0\0"), (b":root:", b":")])
@pytest.mark.parametrize("size", SIZES)
def test_an_outcome_that_is_not_readable(guest: Watched, place: Path, size: int, old: bytes, new: bytes) -> None:
    guest.faults = {"guest-exec-status": [saying(old, new)] * 1000}
    with pytest.raises(_errors.ProtocolError, match="the guest's report about a file cannot be read"):
        push(guest, place / "x", DATA[:size])


class Shrinking(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if not data:
            self.truncate(1000)
        return data


@pytest.mark.parametrize("size", SIZES[1:])
def test_a_source_that_shrinks(guest: Watched, place: Path, size: int) -> None:
    with pytest.raises(_errors.InvalidInput, match="ended at 1000"):
        files.push(guest.agent(), Shrinking(DATA[:size]), files.Where(str(place / "x")))
    assert names(place) == ["own"]


def test_a_command_that_cannot_be_sent_costs_nothing(guest: Watched, place: Path) -> None:
    with pytest.raises(_errors.InvalidInput):
        push(guest, f"{place}/own/x\0", DATA[: HALF + 1], user="nobody")
    assert guest.sent == []


SILENT = real_agent.raising(_errors.AgentTimeout("no reply"))
CTRL_C = real_agent.raising(KeyboardInterrupt())
INTERRUPTIONS: list[tuple[str, list[Fault | None], type[BaseException]]] = [
    ("guest-file-write", [None, CTRL_C], KeyboardInterrupt),
    ("guest-file-write", [None, *[SILENT] * 100], _errors.AgentTimeout),
    ("guest-exec", [None, CTRL_C], KeyboardInterrupt),
    ("guest-exec", [SILENT], _errors.AgentTimeout),
    ("guest-exec", [real_agent.ended], _errors.AgentDisappeared),
]


def _interrupted(
    guest: Watched, place: Path, command: str, faults: list[Fault | None], kind: type[BaseException], content: bytes = DATA
) -> None:
    (place / "x").write_bytes(b"old")
    guest.faults = {command: list(faults)}
    with pytest.raises(kind):
        push(guest, place / "x", content)
    guest.faults = {}
    assert (place / "x").read_bytes() == b"old"
    assert names(place) == ["own", "x"]
    guest.assert_nothing_left()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "PATIENCE", 0.1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("command", "faults", "kind"), INTERRUPTIONS)
def test_interrupted(guest: Watched, place: Path, command: str, faults: list[Fault | None], kind: type[BaseException]) -> None:
    _interrupted(guest, place, command, faults, kind)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("faults", "kind"), [([CTRL_C], KeyboardInterrupt), ([SILENT] * 2, _errors.AgentTimeout)])
def test_interrupted_at_the_close(guest: Watched, place: Path, faults: list[Fault | None], kind: type[BaseException]) -> None:
    _interrupted(guest, place, "guest-file-close", faults, kind)


def test_the_agent_ends_while_packed_content_is_brought(guest: Watched, place: Path) -> None:
    _interrupted(guest, place, "guest-exec", [real_agent.ended], _errors.AgentDisappeared, bytes(len(DATA)))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("fault", [real_agent.ended, real_agent.raising(_errors.ConnectionLost("libvirtd is restarted"))])
def test_a_push_goes_on_though_its_file_was_being_opened(guest: Watched, place: Path, packed: bool, fault: Fault) -> None:
    guest.faults = {"guest-file-open": [fault]}
    data = bytes(len(DATA)) if packed else DATA
    push(guest, place / "x", data)
    assert (place / "x").read_bytes() == data
    guest.assert_nothing_left()


@pytest.mark.parametrize("packed", [False, True])
def test_a_push_goes_on(guest: Watched, place: Path, packed: bool) -> None:
    lost = real_agent.raising(_errors.ConnectionLost("libvirtd is restarted"))
    guest.faults = {"guest-file-write": [lost] if packed else [None, lost, lost]}
    data = bytes(len(DATA)) if packed else DATA
    push(guest, place / "x", data)
    assert (place / "x").read_bytes() == data


def test_a_source_that_has_become_shorter() -> None:
    rest = files._Rest(io.BytesIO(b"12345"), 10)
    assert rest[:5] == b"12345"
    with pytest.raises(_errors.InvalidInput, match="the source was 10 bytes long, and ended at 5"):
        rest[4:8]
