# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""push_file and pull_file, from their arguments to their result, with a real qemu-ga on a unix socket."""

from __future__ import annotations

import contextlib
import glob
import grp
import hashlib
import os
import pwd
import shutil
import stat
import tempfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import FileFailed
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import file_scripts, files
from ansible_collections.virtops.guest_agent.plugins.modules import pull_file, push_file
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import run_module

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

Run = t.Callable[..., dict[str, t.Any]]
BINARY = b"\0\xff" * 10
LARGE = bytes(range(256)) * 6000
CHECKSUMS = {"sha256sum": file_scripts._SUM, "none": "sum() { printf -; }\n"}


@pytest.fixture
def run(real_socket: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_it(module: t.Any, **arguments: t.Any) -> dict[str, t.Any]:
        given = {
            "transport": "unix",
            "socket": str(real_socket),
            "domain": "guest",
            "agent_timeout": 20,
            "resident": "never",
            **arguments,
        }
        return run_module(module.main, capsys, **given)

    return run_it


@pytest.fixture
def place() -> t.Iterator[Path]:
    """A directory of the guest, which is this machine, that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="guest-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory of the host where the module runs."""
    directory = tmp_path / "here"
    directory.mkdir()
    return directory


@pytest.fixture(params=CHECKSUMS)
def checksums(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(file_scripts, "_SUM", CHECKSUMS[request.param])
    return request.param


def _state(path: Path) -> dict[str, t.Any]:
    if not path.exists():
        return {}
    found = path.stat()
    return {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "size": found.st_size,
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "owner": pwd.getpwuid(found.st_uid).pw_name,
        "group": grp.getgrgid(found.st_gid).gr_name,
    }


def _reported(result: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {name: result[name] for name in ("sha256", "size", "mode", "owner", "group") if name in result}


# What is there (content, mode, owner), the options beside content and dest, and what is there afterwards.
PUSHES = [
    (None, {}, (b"new\n", "0644", "root")),
    (None, {"mode": "600", "owner": "daemon", "group": "tty"}, (b"new\n", "0600", "daemon")),
    (None, {"mode": "4755", "owner": "1"}, (b"new\n", "4755", "daemon")),
    (None, {"user": "nobody"}, (b"new\n", "0644", "nobody")),
    ((b"old\n", 0o640, "daemon"), {}, (b"new\n", "0640", "daemon")),
    ((b"old\n", 0o640, "daemon"), {"mode": "0600", "owner": "root"}, (b"new\n", "0600", "root")),
    ((b"old\n", 0o666, "daemon"), {"user": "nobody"}, (b"new\n", "0666", "nobody")),
    ((b"old\n", 0o640, "root"), {"force": False}, (b"old\n", "0640", "root")),
    ((b"old\n", 0o640, "root"), {"force": False, "mode": "0600"}, (b"old\n", "0600", "root")),
    ((b"new\n", 0o640, "daemon"), {}, (b"new\n", "0640", "daemon")),
    ((b"new\n", 0o640, "daemon"), {"mode": "0640", "owner": "daemon"}, (b"new\n", "0640", "daemon")),
    ((b"new\n", 0o640, "daemon"), {"mode": "0640", "owner": "1", "group": "0"}, (b"new\n", "0640", "daemon")),
    ((b"new\n", 0o640, "daemon"), {"mode": "0600"}, (b"new\n", "0600", "daemon")),
    ((b"new\n", 0o4755, "daemon"), {"mode": "4755", "owner": "root"}, (b"new\n", "4755", "root")),
    ((b"nnn\n", 0o640, "daemon"), {"group": "tty"}, (b"new\n", "0640", "daemon")),
    (None, {"mode": "u=rwX,g=rX,o="}, (b"new\n", "0640", "root")),
    (None, {"mode": "+x"}, (b"new\n", "0755", "root")),
    ((b"old\n", 0o710, "daemon"), {"mode": "u=rwX,g=rX,o="}, (b"new\n", "0750", "daemon")),
    ((b"new\n", 0o640, "daemon"), {"mode": "o+r"}, (b"new\n", "0644", "daemon")),
    ((b"old\n", 0o640, "root"), {"force": False, "mode": "u+x"}, (b"old\n", "0740", "root")),
]


@pytest.mark.parametrize(("old", "options", "new"), PUSHES)
def test_push_converges_and_check_mode_knows(
    run: Run, place: Path, checksums: str, old: t.Any, options: dict, new: tuple[bytes, str, str]
) -> None:
    place.chmod(0o777)
    dest = place / "file"
    if old:
        dest.write_bytes(old[0])
        shutil.chown(dest, old[2])
        dest.chmod(old[1])
    before = _state(dest)
    given = {"content": "new\n", "dest": str(dest), **options}
    told = run(push_file, check=True, diff=True, **given)
    assert _state(dest) == before
    done = run(push_file, diff=True, **given)
    after = _state(dest)
    assert (dest.read_bytes(), after["mode"], after["owner"]) == new
    known = {name for name in after if name != "sha256" or checksums == "sha256sum" or options.get("force") is not False}
    for result in (told, done):
        reported = {name: value for name, value in _reported(result).items() if name in known}
        # An owner by number has its name when it is there.
        assert {**reported, "owner": after["owner"]} == {name: after[name] for name in known}
        assert (result["dest"], result["changed"]) == (str(dest), before != after)
        # As ansible.builtin.copy says it. What is left alone is not read for it.
        assert result.get("checksum") == (None if options.get("force") is False else hashlib.sha1(dest.read_bytes()).hexdigest())
        assert ("diff" in result) is result["changed"]
    assert told.get("diff", {}).get("before") == done.get("diff", {}).get("before")
    assert ("transfer" in done, "transfer" in told) == (old is None or old[0] != new[0], False)
    touched = dest.stat().st_ctime_ns
    again = run(push_file, **given)
    assert (again["changed"], "transfer" in again, dest.stat().st_ctime_ns) == (False, False, touched)
    assert [path.name for path in place.iterdir()] == ["file"]


def test_a_result_says_nothing_of_this_hosts_file_of_that_name(run: Run, place: Path) -> None:
    """Ansible describes the file that a result calls ``dest``: it takes it for one of the host where the module runs."""
    dest = place / "file"
    dest.write_text("new")
    result = run(push_file, content="new", dest=str(dest))
    assert not {"uid", "gid", "state"} & set(result)


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        (b"a\nb\n", b"a\nc\n", {"before": "a\nb\n", "after": "a\nc\n"}),
        (None, b"a\nc\n", {"before": "", "after": "a\nc\n"}),
        (b"a\n", BINARY, None),
        (b"a\n", b"a\0b", None),
        (BINARY, b"a\n", None),
        (b"a\n", b"b" * (100 * 1024 + 1), None),
        (b"b" * (100 * 1024 + 1), b"a\n", None),
    ],
)
@pytest.mark.parametrize("module", [push_file, pull_file])
@pytest.mark.parametrize("check", [False, True])
def test_what_a_diff_shows(
    run: Run, place: Path, here: Path, module: t.Any, old: bytes | None, new: bytes, shown: dict | None, check: bool
) -> None:
    source, target = (here / "file", place / "file") if module is push_file else (place / "file", here / "file")
    source.write_bytes(new)
    if old is not None:
        target.write_bytes(old)
    result = run(module, check=check, diff=True, src=str(source), dest=str(target), mode="0600")
    diff = result["diff"]
    if shown is None:
        assert diff["after"]["sha256"] == hashlib.sha256(new).hexdigest()
        assert diff["before"].get("sha256") == (hashlib.sha256(old).hexdigest() if old else None)
        assert diff["after"]["mode"] == "0600"
    else:
        assert {name: diff[name] for name in shown} == shown
        assert diff["after_header"].startswith(f"{target} (mode 0600")
        assert diff["before_header"].startswith(f"{target} (mode 0644" if old else str(target))


@pytest.mark.parametrize("module", [push_file, pull_file])
@pytest.mark.parametrize(("diff", "size"), [(False, 10), (True, 10), (True, 100 * 1024 + 1)])
def test_nothing_is_read_for_a_diff_that_is_not_shown(
    run: Run, place: Path, here: Path, module: t.Any, diff: bool, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    pull = files.pull
    monkeypatch.setattr(files, "pull", lambda agent, where, *rest: (read.append(where.path), pull(agent, where, *rest)))
    for directory, content in ((here, "here\n"), (place, "g" * size)):
        (directory / "file").write_text(content)
    source, target = (here, place) if module is push_file else (place, here)
    result = run(module, check=True, diff=diff, src=str(source / "file"), dest=str(target))
    assert ("diff" in result, read) == (diff, [str(place / "file")] if diff and size == 10 else [])


@pytest.mark.parametrize("content", [b"", b"x\n", BINARY, LARGE], ids=len)
@pytest.mark.parametrize("to", ["{}/other", "{}", "{}/", "{}/link"])
def test_there_and_back(run: Run, place: Path, here: Path, content: bytes, to: str) -> None:
    (here / "file").write_bytes(content)
    for directory in (place, here):
        (directory / "target").write_text("old")
        (directory / "link").symlink_to("target")
    name = {"{}/other": "other", "{}/link": "target"}.get(to, "file")
    there = run(push_file, src=str(here / "file"), dest=to.replace("{}", str(place)), follow=to == "{}/link")
    assert (place / name).read_bytes() == content
    assert there["transfer"]["bytes"] == len(content)
    (here / "file").unlink()
    back = run(pull_file, src=str(place / name), dest=to.replace("{}", str(here)))
    assert back["dest"] == str(here / ("target" if name == "target" else "other" if name == "other" else "file"))
    assert Path(back["dest"]).read_bytes() == content
    assert (back["size"], back["transfer"]["lane"]) == (len(content), "agent")
    assert (place / "link").is_symlink()
    assert (here / "link").is_symlink()
    assert not glob.glob(f"{place}/.v*") + glob.glob(f"{here}/.v*")


def test_a_backup(run: Run, place: Path) -> None:
    dest = place / "file"
    given = {"dest": str(dest), "backup": True}
    assert "backup_file" not in run(push_file, content="1", **given)
    dest.chmod(0o600)
    assert "backup_file" not in run(push_file, content="2", check=True, **given)
    first = run(push_file, content="2", **given)["backup_file"]
    assert first.startswith(f"{dest}.")
    assert first.endswith("~")
    assert (Path(first).read_text(), _state(Path(first))["mode"]) == ("1", "0600")
    assert "backup_file" not in run(push_file, content="2", mode="0644", **given)


def test_the_mode_of_the_source(run: Run, place: Path, here: Path) -> None:
    (here / "file").touch()
    (here / "file").chmod(0o2711)
    assert run(push_file, src=str(here / "file"), dest=str(place), mode="preserve")["mode"] == "2711"
    assert _state(place / "file")["mode"] == "2711"


def test_a_group_that_the_directory_gives(run: Run, place: Path) -> None:
    shutil.chown(place, group="tty")
    place.chmod(0o2755)
    told = run(push_file, content="x", dest=f"{place}/file", check=True)
    done = run(push_file, content="x", dest=f"{place}/file")
    assert told["group"] == done["group"] == _state(place / "file")["group"] == "tty"


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("module", "arguments", "kind", "words"),
    [
        (push_file, {"src": "{here}/none", "dest": "{place}/x"}, "local_file", "{here}/none: No such file or directory (on"),
        (push_file, {"src": "{here}", "dest": "{place}/x"}, "local_file", "{here}: Is a directory (on the host"),
        (push_file, {"content": "x", "dest": "{place}/none/x"}, "file_failed", "its directory does not exist"),
        (
            push_file,
            {"src": "{here}/file", "dest": "{place}/none/"},
            "file_failed",
            "{place}/none/: its directory does not exist",
        ),
        (push_file, {"src": "{here}/directory/file", "dest": "{place}"}, "local_file", "No such file"),
        (push_file, {"src": "{here}/directory", "dest": "{place}"}, "local_file", "{here}/directory: Is a directory"),
        (push_file, {"content": "x", "dest": "{place}/fifo"}, "file_failed", "{place}/fifo: this is not a regular file"),
        (pull_file, {"src": "{place}/none", "dest": "{here}"}, "file_missing", "{place}/none: the file does not exist"),
        (pull_file, {"src": "{place}/none/none", "dest": "{here}"}, "file_missing", "none: the file does not exist"),
        (pull_file, {"src": "{place}", "dest": "{here}"}, "file_failed", "{place}: this is a directory"),
        (pull_file, {"src": "{place}/fifo", "dest": "{here}/x"}, "file_failed", "{place}/fifo: this is not a regular file"),
        (pull_file, {"src": "{place}/file", "dest": "{here}/none/"}, "local_file", "{here}/none: this directory does not exist"),
        (pull_file, {"src": "{place}/file", "dest": "{here}/none/x"}, "local_file", "{here}/none: this directory does not exist"),
        (pull_file, {"src": "{place}/file", "dest": "{here}/fifo"}, "local_file", "{here}/fifo: this is not a regular file"),
    ],
)
def test_files_that_cannot_be(
    run: Run, place: Path, here: Path, module: t.Any, arguments: dict, kind: str, words: str, check: bool
) -> None:
    for directory in (place, here):
        (directory / "file").touch()
        (directory / "directory").mkdir()
        os.mkfifo(directory / "fifo")

    def named(text: str) -> str:
        return text.replace("{place}", str(place)).replace("{here}", str(here))

    result = run(module, check=check, **{name: named(value) for name, value in arguments.items()})
    assert (result["failed"], result["changed"], result["failure"]["kind"]) == (True, False, kind), result
    assert named(words) in result["msg"]


# What is there on this host (content, mode), the mode that is wanted, and the mode of what is there afterwards.
PULLS = [(None, None, "0600"), (None, "0644", "0644"), ((b"old", 0o664), None, "0664"), ((b"old", 0o664), "0640", "0640")]
PULLS += [(None, "g+r", "0640"), ((b"new\n", 0o664), "o=", "0660"), ((b"old", 0o711), "g=rX", "0751")]
PULLS += [((b"new\n", 0o664), None, "0664"), ((b"new\n", 0o664), "0600", "0600"), ((b"new", 0o664), None, "0664")]


@pytest.mark.parametrize(("old", "mode", "new"), PULLS)
def test_pull_converges_and_check_mode_knows(
    run: Run, place: Path, here: Path, checksums: str, old: tuple[bytes, int] | None, mode: str | None, new: str
) -> None:
    source, dest = place / "file", here / "file"
    source.write_bytes(b"new\n")
    if old:
        dest.write_bytes(old[0])
        dest.chmod(old[1])
        shutil.chown(dest, "daemon")
    before = _state(dest)
    given = {"src": str(source), "dest": str(dest), **({"mode": mode} if mode else {})}
    told = run(pull_file, check=True, **given)
    assert _state(dest) == before
    assert [path.name for path in here.iterdir()] == (["file"] if old else [])
    done = run(pull_file, **given)
    after = _state(dest)
    assert (dest.read_bytes(), after["mode"], after["owner"]) == (b"new\n", new, "daemon" if old else "root")
    for result in (told, done):
        assert _reported(result) == {name: after[name] for name in ("sha256", "size", "mode")}
        assert (result["src"], result["dest"], result["changed"]) == (str(source), str(dest), before != after)
    assert done["checksum"] == hashlib.sha1(b"new\n").hexdigest()
    assert told.get("checksum") in (None, done["checksum"])
    assert ("checksum" in told) is (checksums == "none" or bool(old and old[0] == b"new\n"))
    assert ("transfer" in done) is (checksums == "none" or not old or old[0] != b"new\n")
    assert run(pull_file, **given)["changed"] is False
    assert [path.name for path in here.iterdir()] == ["file"]


@pytest.mark.parametrize("path", ["{}/none", "{}/none/none"])
def test_a_missing_file_may_be_no_failure(run: Run, place: Path, here: Path, path: str) -> None:
    (here / "none").write_text("kept")
    result = run(pull_file, src=path.replace("{}", str(place)), dest=str(here), fail_on_missing=False)
    assert (result.get("failed"), result["changed"]) == (None, False)
    assert result["msg"] == f"the guest has no {path.replace('{}', str(place))}"
    assert (here / "none").read_text() == "kept"


def test_what_is_only_there_when_it_is_read(run: Run, here: Path) -> None:
    result = run(pull_file, src="/proc/version", dest=str(here), diff=True)
    assert (here / "version").read_text() == Path("/proc/version").read_text() == result["diff"]["after"]


@pytest.mark.parametrize("fault", [FileFailed("it changed", reason="corrupt"), KeyboardInterrupt()])
def test_a_transfer_that_fails_leaves_the_file_alone(
    run: Run, place: Path, here: Path, fault: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "file").write_text("new")
    (here / "file").write_text("old")

    def pull(_agent: object, _path: str, sink: t.Callable[[bytes], object], *_rest: object) -> None:
        sink(b"ne")
        raise fault

    monkeypatch.setattr(files, "pull", pull)
    with pytest.raises(KeyboardInterrupt) if isinstance(fault, KeyboardInterrupt) else contextlib.nullcontext():
        assert run(pull_file, src=str(place / "file"), dest=str(here))["failed"]
    assert [(path.name, path.read_text()) for path in here.iterdir()] == [("file", "old")]
