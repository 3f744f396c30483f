# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's authorized_keys in a real agent's guest: changed with the user's rights, and what is no key stays as it is."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import key_file
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import files
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import Watched

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

FILE = "# people\nssh-rsa A a\n\n  ssh-rsa B b\nodd"


@pytest.fixture
def home(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another home for a user of this machine, who has none."""
    home = place / "own"
    script = key_file._HOME.replace("$HOME", str(home))
    monkeypatch.setattr(key_file, "_HOME", script)
    return home


@pytest.fixture
def keys(guest: Watched, home: Path) -> key_file.Keys:
    return key_file.keys_of(guest.agent(), "nobody")


def written(home: Path, text: str, owner: int = 65534) -> Path:
    path = home / ".ssh" / "authorized_keys"
    path.parent.mkdir()
    path.write_text(text)
    path.chmod(0o640)
    for made in (path, path.parent):
        os.chown(made, owner, owner)
    return path


def test_what_is_no_key_stays(keys: key_file.Keys, home: Path) -> None:
    path = written(home, FILE)
    assert keys.lines() == ["ssh-rsa A a", "ssh-rsa B b", "odd"]
    keys.add(["ssh-rsa C c"])
    assert path.read_text() == f"{FILE}\nssh-rsa C c\n"
    keys.remove(["ssh-rsa B b", "odd"])
    assert path.read_text() == "# people\nssh-rsa A a\n\nssh-rsa C c\n"
    assert (path.stat().st_mode & 0o777, path.stat().st_uid) == (0o640, 65534)
    keys.replace(["ssh-rsa D"])
    assert path.read_text() == "ssh-rsa D\n"


def test_the_first_key(keys: key_file.Keys, home: Path) -> None:
    assert keys.lines() == []
    keys.add(["ssh-rsa A a"])
    path = home / ".ssh" / "authorized_keys"
    assert path.read_text() == "ssh-rsa A a\n"
    for made, mode in ((path, 0o600), (path.parent, 0o700)):
        assert (made.stat().st_mode & 0o777, made.stat().st_uid) == (mode, 65534)


@pytest.mark.parametrize("what", [".ssh", ".ssh/authorized_keys"])
def test_a_link_to_what_is_roots(keys: key_file.Keys, home: Path, place: Path, what: str) -> None:
    """The agent's own commands make a key of the user one of root then."""
    of_root = place / "root"
    of_root.mkdir()
    (of_root / "authorized_keys").write_text("ssh-rsa R root\n")
    (of_root / "authorized_keys").chmod(0o600)
    if what == ".ssh":
        (home / ".ssh").symlink_to(of_root)
    else:
        written(home, "").unlink()
        (home / what).symlink_to(of_root / "authorized_keys")
    with pytest.raises(_errors.FileFailed):
        keys.lines()
    with contextlib.suppress(_errors.FileFailed):
        keys.replace(["ssh-rsa A a"])
    assert (of_root / "authorized_keys").read_text() == "ssh-rsa R root\n"
    assert (of_root / "authorized_keys").stat().st_uid == 0


def test_a_file_that_only_root_may_change(keys: key_file.Keys, home: Path) -> None:
    path = written(home, "ssh-rsa A a\n", owner=0)
    path.chmod(0o644)
    keys.add(["ssh-rsa C c"])
    assert (path.read_text(), path.stat().st_uid, path.stat().st_mode & 0o777) == ("ssh-rsa A a\nssh-rsa C c\n", 0, 0o644)


def test_a_user_that_is_not_there(guest: Watched) -> None:
    with pytest.raises(_errors.UserNotFound, match="the guest has no user 'no-such-user'"):
        key_file.keys_of(guest.agent(), "no-such-user")


def test_a_user_without_a_home(guest: Watched) -> None:
    with pytest.raises(_errors.FileFailed, match="the user 'nobody' has no home"):
        key_file.keys_of(guest.agent(), "nobody")


def test_no_room_is_no_matter_of_rights(keys: key_file.Keys, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user may not do, root does; what cannot be done is not tried again."""
    written(home, FILE)
    users = []

    def push(_agent: object, _source: object, where: files.Where, _attributes: object) -> None:
        users.append(where.user)
        raise _errors.FileFailed("no space", reason="space")

    monkeypatch.setattr(files, "push", push)
    with pytest.raises(_errors.FileFailed, match="no space"):
        keys.add(["ssh-rsa C c"])
    assert users == ["nobody"]


def test_neither_a_shell_nor_commands_for_keys() -> None:
    """It is told why there is no way by the file, which is the one that others have."""
    guest = FakeGuest(block=["guest-ssh-get-authorized-keys"])
    with pytest.raises(_errors.CommandFailed, match="No such file"):
        key_file.keys_of(guest.agent(), "nobody")
    with_commands = FakeGuest()
    assert not key_file.keys_of(with_commands.agent(), "nobody").by_file
