# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a Windows guest: whole and verified or not at all, and no handle left open."""

from __future__ import annotations

import hashlib
import io
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import files, lanes
from ansible_collections.virtops.guest_agent.plugins.module_utils._windows import content, files as files_of_windows
from ansible_collections.virtops.guest_agent.tests.unit.fakes.windows import VERSIONS, FakeWindows
from ansible_collections.virtops.guest_agent.tests.unit.plugins.module_utils._windows.test_commands import opened

#: A BOM of UTF-16, ends of lines of two kinds, and what is no text at all.
CONTENT = "ü\r\nb\n".encode("utf-16") + bytes(range(256)) * 2000
PLACE = r"C:\Data\a b & %PATH% (1)!.txt"


@pytest.fixture(params=[*VERSIONS, "without certutil"])
def guest(request: pytest.FixtureRequest) -> t.Iterator[FakeWindows]:
    told = request.param in VERSIONS
    found = FakeWindows(request.param if told else VERSIONS[1], files={r"C:\Data\old.txt": b"old"}, certutil=told)
    yield found
    assert found.open_handles == 0
    assert not [name for name in found.files if "virtops-" in name]


def push(guest: FakeWindows, path: str, content: bytes = CONTENT, **more: t.Any) -> files.Installed:
    return files.push(opened(guest), io.BytesIO(content), files.Where(path), **more)


def pull(guest: FakeWindows, path: str) -> bytes:
    parts: list[bytes] = []
    files.pull(opened(guest), files.Where(path), parts.append)
    return b"".join(parts)


@pytest.mark.parametrize("content", [CONTENT, b"", b"x"], ids=["long", "empty", "short"])
@pytest.mark.parametrize("path", [PLACE, "C:/Data/x", r"c:\DATA\old.txt"])
def test_there_and_back(guest: FakeWindows, path: str, content: bytes) -> None:
    installed = push(guest, path, content)
    assert pull(guest, path) == content == guest.files[installed.path.lower()]
    assert (installed.state.size, installed.state.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_what_is_there(guest: FakeWindows) -> None:
    agent = opened(guest)
    found = files.stat(agent, files.Where(r"C:\Data\old.txt"))
    assert found
    digest = hashlib.sha256(b"old").hexdigest()
    assert (found.kind, found.size, found.mode, found.sha256) == ("file", 3, "", digest if guest.certutil else "")
    assert getattr(files.stat(agent, files.Where(r"C:\Data")), "kind", "") == "directory"
    assert files.stat(agent, files.Where(r"C:\Data\none")) is None
    with pytest.raises(_errors.FileFailed, match="its directory does not exist"):
        files.stat(agent, files.Where(r"C:\none\x"))


@pytest.mark.parametrize(("path", "reason"), [(r"C:\Data\none", "missing"), (r"C:\none\x", "missing"), (r"C:\Data", "directory")])
def test_what_cannot_be_fetched(guest: FakeWindows, path: str, reason: str) -> None:
    with pytest.raises(_errors.FileFailed) as failed:
        pull(guest, path)
    assert failed.value.reason == reason


def test_what_a_program_writes_to_is_copied_before(guest: FakeWindows) -> None:
    guest.held.add(r"c:\data\old.txt")
    assert pull(guest, r"C:\Data\old.txt") == b"old"


def test_what_fails_in_the_middle_is_not_begun_again(guest: FakeWindows, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy would give the reader the beginning twice; and there is none of a file that could be opened."""
    guest._content[r"c:\data\old.txt"] = bytearray(b"x" * 600_000)
    turns = iter([None, None, _errors.CommandFailed("the agent says: failed to read file")])

    def fail() -> None:
        error = next(turns, None)
        if error is not None:
            raise error

    guest.after["guest-file-read"] = fail
    with pytest.raises(_errors.CommandFailed, match="failed to read file"):
        pull(guest, r"C:\Data\old.txt")
    assert not [line for line in guest.lines if line.startswith("copy")]


def test_a_disk_that_is_full_is_no_missing_directory(guest: FakeWindows) -> None:
    guest.raises["guest-file-write"] = _errors.CommandFailed("the agent says: failed to write to file: There is not enough space.")
    with pytest.raises(_errors.CommandFailed, match="not enough space") as failed:
        push(guest, PLACE)
    assert failed.value.__class__ is _errors.CommandFailed


def test_a_file_that_is_in_use_is_left_as_it_was(guest: FakeWindows) -> None:
    guest.held.add(r"c:\data\old.txt")
    with pytest.raises(_errors.FileFailed) as failed:
        push(guest, r"C:\Data\old.txt")
    assert failed.value.reason == "rename"
    assert guest.files[r"c:\data\old.txt"] == b"old"


def test_a_directory_that_is_not_there(guest: FakeWindows) -> None:
    with pytest.raises(_errors.FileFailed) as failed:
        push(guest, r"C:\none\x")
    assert failed.value.reason == "parent"


def test_a_backup(guest: FakeWindows) -> None:
    installed = push(guest, r"C:\Data\old.txt", backup="7.2026-01-01@10:00:00")
    assert installed.backup == r"C:\Data\old.txt.7.2026-01-01@10-00-00~"
    assert guest.files[installed.backup.lower()] == b"old"


def test_without_its_backup_a_file_is_not_replaced(guest: FakeWindows, monkeypatch: pytest.MonkeyPatch) -> None:
    put = files_of_windows.Shell.put
    monkeypatch.setattr(files_of_windows.Shell, "put", lambda *words: not words[1].startswith("copy") and put(*words))
    with pytest.raises(_errors.FileFailed, match="no backup could be made"):
        push(guest, r"C:\Data\old.txt", backup="7.2026-01-01@10:00:00")
    assert guest.files[r"c:\data\old.txt"] == b"old"


def test_a_file_that_is_missing_is_told_by_its_own_name(guest: FakeWindows) -> None:
    """Not by that of the copy that was tried."""
    agent = opened(guest)
    with pytest.raises(_errors.CommandFailed) as failed:
        content.read(agent, agent.windows._shell, r"C:\Data\none.txt", lambda _data: None)
    assert "none.txt" in failed.value.detail


def test_content_that_arrives_otherwise_is_not_kept(guest: FakeWindows) -> None:
    def spoil() -> None:
        for name, data in guest._content.items():
            if "virtops-" in name and data:
                data[0] ^= 1

    guest.after["guest-file-write"] = spoil
    with pytest.raises(_errors.FileFailed) as failed:
        push(guest, r"C:\Data\old.txt", b"new")
    assert failed.value.reason == "corrupt"
    assert guest.files[r"c:\data\old.txt"] == b"old"


def test_a_new_file_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = FakeWindows(certutil=False)
    turns = iter(range(20))

    def endless(_file: object, _offset: int, count: int) -> bytes:
        next(turns)
        return b"x" * count

    monkeypatch.setattr(lanes.File, "read", endless)
    with pytest.raises(_errors.FileFailed, match="differs from what was sent"):
        push(guest, PLACE)
    assert guest.files == {}


@pytest.mark.parametrize("path", ["old.txt", "/etc/passwd", r"\x", "C:x", r"C:\Data\a?b", r"C:\Data\x:y", 'C:\\a"b', "C:\\a\nb"])
def test_what_is_no_path_on_windows(guest: FakeWindows, path: str) -> None:
    with pytest.raises(_errors.InvalidInput):
        pull(guest, path)
    assert "guest-exec" not in guest.sent


def test_what_windows_has_not(guest: FakeWindows) -> None:
    with pytest.raises(_errors.InvalidInput, match="no mode"):
        push(guest, r"C:\Data\x", attributes=files.Attributes(mode="0600"))
    with pytest.raises(_errors.InvalidInput, match="the agent's own user"):
        files.stat(opened(guest), files.Where(r"C:\Data\x", "tester"))
    with pytest.raises(_errors.SystemLacks):
        files.set_attributes(opened(guest), files.Where(r"C:\Data\x"), files.Attributes(mode="0600"))


def test_a_lost_request_in_the_middle(guest: FakeWindows, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is opened anew, which Windows allows only when the agent has closed it."""
    turns = iter([None, _errors.StillInFlight("no reply")])
    monkeypatch.setattr(lanes.passing, "_FIRST", 0.01)

    def lose() -> None:
        error = next(turns, None)
        if error is not None:
            raise error

    guest.after["guest-file-write"] = lose
    push(guest, PLACE)
    assert pull(guest, PLACE) == CONTENT


@pytest.mark.parametrize("trouble", [_errors.GuestFrozen("frozen"), _errors.AgentDisappeared("gone"), "forgotten"])
def test_a_trouble_that_passes_while_the_sum_is_computed(
    guest: FakeWindows, monkeypatch: pytest.MonkeyPatch, trouble: _errors.GuestAgentError | str
) -> None:
    monkeypatch.setattr(lanes.passing, "_FIRST", 0.01)
    agent = opened(guest)
    call, programs, done = agent.call, [], []

    def once(name: str, arguments: t.Any = None, *more: t.Any, **others: t.Any) -> t.Any:
        if name == "guest-exec":
            programs.append(arguments["path"])
        elif name == "guest-exec-status" and programs[-1].endswith("certutil.exe") and not done:
            done.append(True)
            if isinstance(trouble, _errors.GuestAgentError):
                raise trouble
            guest._pids.clear()
        return call(name, arguments, *more, **others)

    monkeypatch.setattr(agent, "call", once)
    found = files.stat(agent, files.Where(r"C:\Data\old.txt"))
    digest = hashlib.sha256(b"old").hexdigest()
    assert found
    assert found.sha256 == ("" if trouble == "forgotten" or not guest.certutil else digest)
    assert done == [True]
    assert sum(path.endswith("certutil.exe") for path in programs) == 1


def test_a_sum_that_takes_too_long(guest: FakeWindows, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = opened(guest)
    agent.windows._shell.environment()
    monkeypatch.setattr(lanes.passing, "through", lambda _agent, question, *_more: question())
    monkeypatch.setattr(files_of_windows._exec, "wait", lambda *_more: None)
    with pytest.raises(_errors.WaitTimeout, match="certutil did not end within 600 s"):
        files_of_windows._told_sum(agent, agent.windows._shell, r"C:\Data\old.txt")
