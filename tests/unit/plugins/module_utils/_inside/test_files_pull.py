# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a real agent's guest looked at and read; and the scripts that do it under each shell."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import file_scripts, files
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.file_scripts import Attributes, Content, Goal, Where
from ansible_collections.virtops.guest_agent.tests.unit import real_agent
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import Fault, Message, Watched

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

INLINE = file_scripts.INLINE_CONTENT
DATA = random.Random(5).randbytes(700 * 1024)


def pull(guest: Watched, path: Path | str, user: str = "root") -> bytes:
    found: list[bytes] = []
    files.pull(guest.agent(), files.Where(str(path), user), found.append)
    return b"".join(found)


@pytest.fixture
def things(place: Path) -> Path:
    (place / "file").write_bytes(b"12345")
    (place / "file").chmod(0o640)
    (place / "link").symlink_to("file")
    (place / "dangling").symlink_to("none")
    os.mkfifo(place / "fifo")
    return place


def test_stat(guest: Watched, things: Path) -> None:
    digest = hashlib.sha256(b"12345").hexdigest()
    expected = files.FileState("file", False, "0640", 0, 0, "root", "root", 5, digest)
    agent = guest.agent()
    assert files.stat(agent, files.Where(str(things / "file"))) == expected
    assert files.stat(agent, files.Where(str(things / "link"))) == expected
    link = files.stat(agent, files.Where(str(things / "link"), links="none"))
    assert link is not None
    assert (link.kind, link.sha256) == ("link", "")
    found = {name: files.stat(agent, files.Where(str(things / name))) for name in ("own", "fifo", "dangling", "none")}
    assert found["dangling"] is found["none"] is None
    for name, kind in (("own", "directory"), ("fifo", "special")):
        state = found[name]
        assert state is not None
        assert (state.kind, state.sha256) == (kind, "")
    with pytest.raises(files.FileFailed) as caught:
        files.stat(agent, files.Where(str(things / "none" / "x")))
    assert caught.value.reason == "parent"


@pytest.mark.parametrize("size", [0, 1, INLINE - 1, INLINE, INLINE + 1, len(DATA)])
def test_pull(guest: Watched, place: Path, size: int) -> None:
    (place / "-a\n'é").write_bytes(DATA[:size])
    assert pull(guest, place / "-a\n'é") == DATA[:size]


def test_files_of_proc(guest: Watched) -> None:
    for path in ("/proc/version", "/proc/cpuinfo", "/proc/sys/kernel/random/boot_id"):
        assert pull(guest, path)[:12] == Path(path).read_bytes()[:12]


@pytest.mark.parametrize(
    ("name", "user", "reason"),
    [
        ("none", "root", "missing"),
        ("dangling", "root", "missing"),
        ("own", "root", "directory"),
        ("fifo", "root", "special"),
        ("file", "nobody", "unreadable"),
    ],
)
def test_what_cannot_be_read(guest: Watched, things: Path, name: str, user: str, reason: str) -> None:
    with pytest.raises(files.FileFailed) as caught:
        pull(guest, things / name, user)
    assert caught.value.reason == reason
    assert isinstance(caught.value, files.FileMissing) is (reason == "missing")


def test_a_file_that_changes_while_it_is_read(guest: Watched, place: Path) -> None:
    path = place / "x"
    path.write_bytes(DATA)

    def change(_arguments: Message, ask: t.Callable[[], Message]) -> Message:
        path.write_bytes(DATA[::-1])
        return ask()

    guest.faults = {"guest-file-open": [change]}
    with pytest.raises(files.FileFailed, match="changed during the check"):
        pull(guest, path)


@pytest.mark.parametrize("how", [real_agent.lost, real_agent.unheard])
def test_a_lost_reply_changes_nothing(guest: Watched, place: Path, how: Fault) -> None:
    (place / "x").write_bytes(DATA)
    guest.faults = {"guest-file-read": [how, None, how]}
    assert pull(guest, place / "x") == DATA


def _says(text: str) -> Fault:
    data = base64.b64encode(text.encode()).decode()

    def fault(_arguments: Message, ask: t.Callable[[], Message]) -> Message:
        reply = ask()
        return {"return": {**reply["return"], **({"out-data": data} if reply["return"]["exited"] else {})}}

    return fault


@pytest.mark.parametrize(
    "text", ["", "file", "file 1 -", "file x - /x", "file -1 - /x", f"file {'9' * 19} - /x", "nonsense", "file \u00b2 - /x"]
)
def test_hostile_answers(guest: Watched, things: Path, text: str) -> None:
    guest.faults = {"guest-exec-status": [_says(text)] * 500}
    with pytest.raises(_errors.ProtocolError):
        pull(guest, things / "file")


STATE = "0:-rw-r-----:1:2:1:640:0:5"
STATES = [
    "",
    "x",
    "file",
    f"x:no:{STATE}:a:b:-",
    f"file:x:{STATE}:a:b:-",
    f"file:no:{STATE}:a:b:c:-",
    f"file:no:\u00b2{STATE}:a:b:-",
]


@pytest.mark.parametrize("text", STATES)
def test_hostile_states(guest: Watched, things: Path, text: str) -> None:
    guest.faults = {"guest-exec-status": [_says(text)] * 500}
    with pytest.raises(_errors.ProtocolError):
        files.stat(guest.agent(), files.Where(str(things / "file")))


def test_a_group_may_have_a_space_in_its_name(guest: Watched, things: Path) -> None:
    guest.faults = {"guest-exec-status": [_says(f"file:no:{STATE}:root:domain users:{'0' * 64}\n")] * 500}
    state = files.stat(guest.agent(), files.Where(str(things / "file")))
    assert state is not None
    assert state.group == "domain users"


def script(shell_path: str, text: str, data: bytes = b"") -> list[str]:
    done = subprocess.run([shell_path, "-c", text], input=data, capture_output=True, check=False, timeout=10)
    return done.stdout.decode().split("\n")


def test_the_scripts_under_each_shell(things: Path, shell_path: str) -> None:
    digest = hashlib.sha256(b"12345").hexdigest()
    found = (things / "file").stat()
    state = f"0:-rw-r-----:{found.st_dev}:{found.st_ino}:1:640:0:5:root:root"
    assert script(shell_path, file_scripts.stat(Where(str(things / "file")))) == [f"file:no:{state}:{digest}", ""]
    for name in ("file", "link"):
        assert script(shell_path, file_scripts.read(Where(str(things / name)))) == ["content", "12345"]
    (things / "large").write_bytes(DATA)
    assert script(shell_path, file_scripts.read(Where(str(things / "large")))) == [
        f"file {len(DATA)} {hashlib.sha256(DATA).hexdigest()} {things}/large",
        "",
    ]
    for name, word in (("none", "missing"), ("own", "directory"), ("fifo", "special")):
        assert script(shell_path, file_scripts.read(Where(str(things / name)))) == [word, ""]


def test_a_file_is_installed_under_each_shell(things: Path, shell_path: str) -> None:
    nonce = "0" * 32
    sent = Content(nonce, 5, hashlib.sha256(b"12345").hexdigest())
    path = Where(str(things / "-n 'e\u00e9"), links="none")
    for data, said in ((b"12345", "done"), (b"12346", "corrupt"), (b"1234", "corrupt"), (b"123456", "corrupt")):
        text = file_scripts.install(path, sent, Goal(Attributes()))
        assert script(shell_path, text, data)[0] == said
        assert Path(path.path).read_bytes() == b"12345"
    assert oct(Path(path.path).stat().st_mode & 0o777) == "0o644"
    link = Where(str(things / "link"), links="all")
    text = file_scripts.install(link, sent, Goal(Attributes("600", "nobody"), "bak"))
    done = script(shell_path, text, b"12345")
    assert (done[0], done[1].split("\0")[:2]) == ("done", [f"{things}/file", f"{things}/file.bak~"])
    assert ((things / "file").stat().st_mode & 0o777, (things / "file").stat().st_uid) == (0o600, 65534)
    assert script(shell_path, file_scripts.prepare(path, nonce))[0] == f"ready {things}/.virtops-{nonce}/new"
    assert script(shell_path, file_scripts.prepare(path, nonce))[0] == "create"
    assert script(shell_path, file_scripts.finish(path, sent, Goal(Attributes())))[0] == "corrupt"
    script(shell_path, file_scripts.prepare(path, nonce))
    script(shell_path, file_scripts.abandon(path, nonce))
    assert not [name for name in os.listdir(things) if name.startswith(".virtops-")]
