# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another user of the guest lays out links and exchanges files in the middle of a script: root's files stay untouched."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import struct
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import file_scripts, files, spool
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.file_scripts import Attributes, Content, Goal, Where
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import run_script
from ansible_collections.virtops.guest_agent.plugins.module_utils._reach.guest import Guest
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import Watched

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

LARGE = os.urandom(600 * 1024)
SIZES = [7, len(LARGE)]
NOBODY = 65534
SECRET = b"the secret of root"
SECRET_DIGEST = hashlib.sha256(SECRET).hexdigest().encode()
OLD = 1_000_000_000


class Treasure:
    """What belongs to root: a directory with a file, and proof that neither was read or changed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "x"
        directory.mkdir(0o755)
        self.private = directory / "private"
        self.private.mkdir(0o700)
        (self.private / "x").write_bytes(SECRET)
        self.file.write_bytes(SECRET)
        self.file.chmod(0o600)
        for path in (directory, self.file, self.private, self.private / "x"):
            os.utime(path, (OLD, OLD))
        self._before = self._state()

    def _state(self) -> list[t.Any]:
        paths = (self.file, self.directory, self.private, self.private / "x")
        found = [(path.name, path.stat()) for path in paths]
        # Whoever follows a link to a directory may look at that, which a listing's atime would tell as well.
        state = [(name, at.st_mode, at.st_uid, at.st_gid, at.st_mtime, at.st_ino, at.st_size) for name, at in found]
        return [*state, sorted(os.listdir(self.directory)), os.listdir(self.private), found[0][1].st_atime == OLD]

    def assert_untouched(self) -> None:
        assert self._state() == self._before
        assert self.file.read_bytes() == SECRET
        os.utime(self.file, (OLD, OLD))


@pytest.fixture
def treasure(place: Path) -> t.Iterator[Treasure]:
    found = Treasure(place / "treasure")
    yield found
    found.assert_untouched()


@pytest.fixture
def mine(place: Path) -> Path:
    """The directory of another user."""
    return place / "own"


def owned(path: Path) -> Path:
    os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    return path


def link(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return owned(path)


def push(guest: Watched, path: Path, content: bytes = b"new", **options: t.Any) -> files.Installed:
    where = Where(str(path), options.pop("user", "root"), options.pop("links", "none"))
    return files.push(guest.agent(), io.BytesIO(content), where, **options)


def pull(guest: Watched, where: Where) -> bytes:
    found: list[bytes] = []
    files.pull(guest.agent(), where, found.append)
    return b"".join(found)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("target", ["x", "", "none"])
def test_a_link_is_replaced(guest: Watched, mine: Path, treasure: Treasure, size: int, target: str) -> None:
    path = link(mine / "x", treasure.directory / target)
    push(guest, path, LARGE[:size], backup="before")
    assert (path.is_symlink(), path.read_bytes()) == (False, LARGE[:size])
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (0, 0o644)
    assert os.readlink(mine / "x.before~") == str(treasure.directory / target)


def refused(reason: str, action: t.Callable[[], object]) -> None:
    with pytest.raises(files.FileFailed) as caught:
        action()
    assert caught.value.reason == reason


@pytest.mark.parametrize("size", SIZES)
def test_no_link_on_the_way_is_followed(guest: Watched, mine: Path, treasure: Treasure, size: int) -> None:
    path = link(mine / "sub", treasure.directory) / "x"
    refused("link", lambda: push(guest, path, LARGE[:size]))
    refused("link", lambda: files.set_attributes(guest.agent(), Where(str(path), links="none"), Attributes(mode="0666")))
    for links in ("own", "none"):
        where = Where(str(path), links=t.cast(files.Links, links))
        refused("link", lambda where=where: files.stat(guest.agent(), where))  # type: ignore[misc]
    refused("link", lambda: pull(guest, Where(str(path))))


@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o775])
def test_nor_is_one_of_another_user_in_a_directory_for_all(guest: Watched, place: Path, treasure: Treasure, mode: int) -> None:
    """Nor in one for a group, whose users root does not know."""
    place.chmod(mode)
    path = link(place / "x", treasure.file)
    refused("link", lambda: pull(guest, Where(str(path))))
    refused("link", lambda: pull(guest, Where(f"{link(place / 'sub', treasure.directory)}/x")))
    refused("link", lambda: pull(guest, Where(str(path), "daemon")))


def test_what_is_wanted_is_followed(guest: Watched, mine: Path, place: Path) -> None:
    (place / "x").write_bytes(b"old")
    path = link(mine / "sub", place) / "x"
    assert pull(guest, Where(str(path), links="all")) == b"old"
    push(guest, path, links="all")
    assert (place / "x").read_bytes() == b"new"
    state = files.set_attributes(guest.agent(), Where(str(path), links="all"), Attributes(mode="0600"))
    assert (state.mode, (place / "x").stat().st_mode & 0o777) == ("0600", 0o600)


@pytest.mark.parametrize("size", SIZES)
def test_links_of_root_in_a_directory_of_root_are_followed(guest: Watched, place: Path, size: int) -> None:
    (place / "real").mkdir()
    (place / "up").symlink_to("../" + place.name)
    (place / "sub").symlink_to(f"{place}/up//real/.")
    path = place / "sub" / "x"
    push(guest, path, LARGE[:size])
    assert (place / "real" / "x").read_bytes() == LARGE[:size]
    (place / "link").symlink_to("sub/x")
    assert pull(guest, Where(str(place / "link"))) == LARGE[:size]
    assert pull(guest, Where(f"{place}/./sub/../real/x")) == LARGE[:size]


def test_links_without_an_end(guest: Watched, place: Path) -> None:
    (place / "x").symlink_to("x")
    for links in ("own", "all"):
        where = Where(str(place / "x"), links=t.cast(files.Links, links))
        refused("link", lambda where=where: pull(guest, where))  # type: ignore[misc]


def test_another_name_of_a_file_of_root(guest: Watched, mine: Path, treasure: Treasure) -> None:
    os.link(treasure.file, mine / "x")
    os.utime(treasure.file, (OLD, OLD))
    refused("linked", lambda: pull(guest, Where(str(mine / "x"))))
    where = Where(str(mine / "x"), links="none")
    refused("linked", lambda: files.set_attributes(guest.agent(), where, Attributes("0666", "nobody")))
    state = files.stat(guest.agent(), where)
    assert state is not None
    assert (state.planted, state.sha256) == (True, "")
    push(guest, mine / "x")
    assert ((mine / "x").read_bytes(), (mine / "x").stat().st_mode & 0o777) == (b"new", 0o644)


def test_a_file_may_have_two_names_of_its_owner(guest: Watched, mine: Path) -> None:
    (mine / "x").write_bytes(b"old")
    owned(mine / "x")
    os.link(mine / "x", mine / "y")
    assert pull(guest, Where(str(mine / "x"))) == b"old"
    push(guest, mine / "x")
    assert (mine / "x").stat().st_uid == NOBODY


@pytest.mark.parametrize("size", SIZES)
def test_a_file_that_another_user_has_put_into_a_directory_for_all(guest: Watched, place: Path, size: int) -> None:
    place.chmod(0o1777)
    (place / "x").write_bytes(b"old")
    owned(place / "x").chmod(0o666)
    state = files.stat(guest.agent(), Where(str(place / "x"), links="none"))
    assert state is not None
    assert state.planted
    push(guest, place / "x", LARGE[:size])
    assert ((place / "x").stat().st_uid, (place / "x").stat().st_mode & 0o777) == (0, 0o644)


def test_attributes_in_the_directory_of_another_user(guest: Watched, mine: Path) -> None:
    """The file is another one then: who had the old one open cannot write to what is root's now."""
    (mine / "x").write_bytes(b"old")
    owned(mine / "x")
    with (mine / "x").open("r+b") as held:
        where, sha256 = Where(str(mine / "x"), links="none"), hashlib.sha256(b"old").hexdigest()
        state = files.set_attributes(guest.agent(), where, Attributes("4755", "root", "root"), sha256)
        held.write(b"bad")
    assert ((mine / "x").read_bytes(), state.mode, state.owner) == (b"old", "4755", "root")
    refused("changed", lambda: files.set_attributes(guest.agent(), where, Attributes("0600"), "0" * 64))
    assert os.listdir(mine) == ["x"]


def access_list(*entries: tuple[int, int, int]) -> bytes:
    """Of tags, rights and ids (linux/posix_acl_xattr.h)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_a_directory_that_hands_rights_on(place: Path, tmp_path: Path) -> None:
    """What is made in it is another user's too, whatever the umask says."""
    none = 2**32 - 1
    rights = access_list((1, 7, none), (2, 7, NOBODY), (4, 5, none), (16, 7, none), (32, 5, none))
    try:
        os.setxattr(place, "system.posix_acl_default", rights)
    except OSError as error:
        pytest.skip(f"SKIPPED OUT LOUD: no access lists here: {error}")
    seen = tmp_path / "seen"
    bin_ = tmp_path / "bin"
    wrap(bin_, "cat", f"stat -c %A . >{seen}", "")
    text = file_scripts.install(Where(f"{place}/x", links="none"), SENT, Goal(Attributes("0600")))
    done = subprocess.run(
        ["/bin/sh", "-c", text], input=CONTENT, capture_output=True, check=True, env={"PATH": f"{bin_}:/usr/bin:/bin"}
    )
    assert done.stdout.startswith(b"done\n"), done
    assert seen.read_text() == "drwx------\n"
    assert ((place / "x").read_bytes(), (place / "x").stat().st_mode & 0o777) == (CONTENT, 0o600)


@pytest.mark.parametrize("user", ["root", "daemon"])
def test_a_large_file_that_others_can_exchange(guest: Watched, mine: Path, user: str) -> None:
    """The agent opens no name that another user can give to another file."""
    (mine / "x").write_bytes(LARGE)
    owned(mine / "x")
    assert pull(guest, Where(str(mine / "x"), user)) == LARGE
    opened = [arguments["path"] for command, arguments in guest.sent if command == "guest-file-open"]
    assert opened
    assert not [path for path in opened if path.startswith(str(mine))]


def test_no_program_of_root_is_put_where_others_can_exchange_it(
    guest: Watched, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mine / "sub").mkdir(0o777)
    (mine / "sub").chmod(0o777)
    monkeypatch.setattr(run_script, "_DIRECTORIES", (str(mine), str(mine / "sub")))
    agent = guest.agent()
    for content in (b"#!/bin/sh\n", LARGE):
        placed = run_script.placed(Guest(agent), io.BytesIO(content), "root", (), ())
        refused("shared", placed.__enter__)


def test_a_directory_for_temporary_files(place: Path, shell_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one in which another user can exchange them, as he can where the sticky bit is missing."""
    monkeypatch.setattr(spool, "PLACES", ("A", "B", "C"))
    script = spool.claim("x").replace("/run", "C") + 'echo "$t"'
    for name, mode, owner in (("A", 0o777, 0), ("B", 0o1777, NOBODY), ("C", 0o755, 0)):
        (place / name).mkdir()
        os.chown(place / name, owner, 0)
        (place / name).chmod(mode)
    chosen = [subprocess.run([shell_path, "-c", script], capture_output=True, check=True, cwd=place).stdout]
    (place / "A").chmod(0o1777)
    chosen += [subprocess.run([shell_path, "-c", script], capture_output=True, check=True, cwd=place).stdout]
    assert chosen == [b"C/.virtops-x\n", b"A/.virtops-x\n"]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_nobody_else_says_that_input_has_arrived(
    place: Path, shell_path: str, kind: str, treasure: Treasure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command would run with half of it."""
    planted = place / ".virtops-x.k"
    planted.symlink_to(treasure.file) if kind == "link" else planted.touch()
    owned(planted)
    monkeypatch.setattr(spool, "PLACES", (".",))
    waiting = spool.arrived("x").replace("-lt 200", "-lt 2")
    script = f'nap() {{ :; }}; refuse() {{ echo "$1"; exit 0; }}\n{waiting}echo arrived'
    found = subprocess.run([shell_path, "-c", script], capture_output=True, check=True, cwd=place).stdout
    assert found == b"stdin\n"


NONCE = "0" * 32
PRIVATE = f".virtops-{NONCE}"
CONTENT = b"12345"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
#: what the scripts are told of it
SENT = Content(NONCE, len(CONTENT), DIGEST)
#: What another user does in his directory as soon as a program of the script runs. $T is root's directory.
ATTACKS = {
    "a link to a file": "rm -f x; ln -s $T/x x",
    "a link to a directory": "rm -f x; ln -s $T x",
    "another name": "rm -f x; ln $T/x x",
    "a directory": "rm -rf x; mkdir x",
    "the way": "cd ..; mv sub was; ln -s $T sub",
    "a link for the backup": "ln -s $T x.bak~; ln -s $T/x y",
    "a link to a private directory for ours": f"mv {PRIVATE} was && ln -s $T/private {PRIVATE}",
    "a link for our directory": f"mv {PRIVATE} was && ln -s $T {PRIVATE}",
    "a directory for our directory": f"mv {PRIVATE} was; mkdir -m 777 {PRIVATE}; ln -s $T/x {PRIVATE}/x; ln -s $T/x {PRIVATE}/new",
    "another directory of root": f"mv {PRIVATE} was && mv for-all {PRIVATE}; ln -sf $T/x {PRIVATE}/x",
}
_CHANGING = ("stat", "mkdir", "cat", "sha256sum", "chown", "chmod", "ln", "mv", "rmdir")
#: What each script runs.
PROGRAMS = {
    "install": _CHANGING,
    "attributes": _CHANGING,
    "finish": tuple(program for program in _CHANGING if program not in ("mkdir", "cat")),
    "abandon": ("stat", "rm", "rmdir"),
    "stat": ("stat", "sha256sum"),
    "read": ("stat", "wc", "cat"),
}
_WRAPPER = """#!/bin/sh
{before}
{program} "$@"; r=$?
{after}
exit $r
"""


def scripts(path: str) -> dict[str, str]:
    """Name -> script, each after what it needs to be there."""
    where, goal = Where(path, links="none"), Goal(Attributes("4755", "nobody", "nogroup"), "bak")
    return {
        "install": file_scripts.install(where, SENT, goal),
        "finish": file_scripts.finish(where, SENT, goal),
        "abandon": file_scripts.abandon(where, NONCE),
        "attributes": file_scripts.attributes(where, SENT._replace(size=0, sha256=""), goal._replace(backup="")),
        "stat": file_scripts.stat(where),
        "read": file_scripts.read(Where(path)),
    }


def lay_out(mine: Path, prepared: bool) -> None:
    if mine.is_symlink():
        mine.unlink()
    for path in (mine, mine.parent / "was"):
        shutil.rmtree(path, ignore_errors=True)
    mine.mkdir()
    (mine / "for-all").mkdir()
    (mine / "for-all").chmod(0o777)
    (mine / "x").write_bytes(CONTENT)
    owned(mine / "x")
    owned(mine)
    if prepared:
        (mine / PRIVATE).mkdir(0o700)
        (mine / PRIVATE / "new").write_bytes(CONTENT)


def wrap(directory: Path, program: str, before: str, after: str) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    found = shutil.which(program, path="/bin:/usr/bin")
    wrapper = directory / program
    wrapper.write_text(_WRAPPER.format(program=found, before=before, after=after))
    wrapper.chmod(0o755)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_exchanged_in_the_middle(place: Path, tmp_path: Path, treasure: Treasure, name: str, attack: str) -> None:
    """Each program that a script runs is accompanied by each attack, before it does its work and after."""
    tmp_path.chmod(0o755)
    mine = place / "own" / "sub"
    nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    strike = f"( cd {mine} && T={treasure.directory} exec {nobody} sh -c '{ATTACKS[attack]}' ) 2>/dev/null"
    wrappers = tmp_path / "bin"
    command = ["/bin/sh", "-c", scripts(f"{mine}/x")[name]]
    for program in PROGRAMS[name]:
        for before, after in ((strike, ""), ("", strike)):
            lay_out(mine, name in ("finish", "abandon"))
            wrap(wrappers, program, before, after)
            environment = {"PATH": f"{wrappers}:/usr/bin:/bin"}
            done = subprocess.run(command, input=CONTENT, capture_output=True, check=False, timeout=10, env=environment)
            assert not [text for text in (SECRET, SECRET_DIGEST) if text in done.stdout]
            treasure.assert_untouched()


def test_who_gets_a_file_cannot_exchange_it_before_it_has_its_mode(place: Path, tmp_path: Path, treasure: Treasure) -> None:
    place.chmod(0o1777)
    (place / "x").write_bytes(CONTENT)
    nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    wrap(tmp_path / "bin", "chown", "", f"( cd {place} && exec {nobody} sh -c 'rm -f x; ln -s {treasure.file} x' ) 2>/dev/null")
    text = scripts(f"{place}/x")["attributes"]
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    done = subprocess.run(["/bin/sh", "-c", text], capture_output=True, check=True, env=environment)
    treasure.assert_untouched()
    assert done.stdout.startswith(b"done\n")
    assert ((place / "x").is_symlink(), (place / "x").stat().st_mode & 0o7777) == (False, 0o4755)
