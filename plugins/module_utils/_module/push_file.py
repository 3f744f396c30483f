# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The place in a guest that a file is put to: what is there, what will be, and whether that is the same."""

from __future__ import annotations

import hashlib
import os
import time
import typing as t

from .._errors import CommandFailed, FileFailed, InvalidInput
from .._inside import files, shell
from .._inside.file_scripts import PROBLEMS
from .._reach.guest import Guest
from .._task import modes
from . import transfer

#: What a new file gets where no mode is given, whatever umask its user has.
_NEW_MODE: t.Final = "0644"
_ASK_SECONDS: t.Final = 60.0
#: A user's number, and the line of a group, or all lines where there is no program that finds one.
_NUMBERS: t.Final = 'id -u "$1" 2>/dev/null || echo; [ -z "$2" ] || getent group "$2" 2>/dev/null || cat /etc/group'


#: What is in the file that is there: nothing is there, what is wanted, something else; or, with force=false, anything.
There = t.Literal["missing", "same", "other", "any"]
#: What is to be done to the file.
Step = t.Literal["nothing", "attributes", "replace"]
#: What is there -> what is done where its attributes are those that are wanted, and where they are not.
_STEPS: t.Final[dict[There, tuple[Step, Step]]] = {
    "missing": ("replace", "replace"),
    "other": ("replace", "replace"),
    "same": ("nothing", "attributes"),
    "any": ("nothing", "attributes"),
}


def step(there: There, settled: bool) -> Step:
    """Pure."""
    return _STEPS[there][not settled]


def check(wanted: files.Attributes) -> None:
    for option, name in (("owner", wanted.owner), ("group", wanted.group)):
        if ":" in name or name.startswith("-"):
            raise InvalidInput(f"{option} cannot be '{name}'")


def look(guest: Guest, dest: str, src: str | None, user: str, follow: bool) -> Place:
    """The file that ``dest`` means, which may be a directory for ``src``. A link that is not followed is what will be replaced.

    :raise FileFailed: no file can be there.
    """
    transfer.check_system(guest.agent, dest, "dest")
    where = files.Where(dest, user, "all" if follow else "none")
    place = Place(guest, where, files.stat(guest.agent, where))
    if dest.endswith(("/", "\\") if transfer.is_windows(dest) else "/") or (place.old and place.old.kind == "directory"):
        if src is None:
            raise InvalidInput(f"dest is the directory {dest}, and content has no name", hint="set dest to the path of the file")
        where = where._replace(path=transfer.inside(dest, src))
        place = place._replace(where=where, old=files.stat(guest.agent, where))
    if place.old and place.old.kind not in ("file", "link"):
        kind = place.old.kind
        raise FileFailed(f"{place.where.path}: {PROBLEMS[kind]}", reason=kind, domain=guest.agent.name)
    return place


def state(found: files.FileState) -> dict[str, t.Any]:
    """Null for what the guest's system does not have."""
    kept = {name: getattr(found, name) or None for name in ("mode", "owner", "group")}
    return {"sha256": found.sha256, "size": found.size, **kept}


class Place(t.NamedTuple):
    guest: Guest
    where: files.Where
    #: what is there; None for nothing
    old: files.FileState | None

    def state(self) -> dict[str, t.Any]:
        """What is there; empty for nothing."""
        return {} if self.old is None else state(self.old)

    def completed(self, wanted: files.Attributes) -> files.Attributes:
        """``wanted`` with the octal mode that a symbolic one comes to here, or that a new file gets."""
        if self.guest.agent.windows is not None:
            self.guest.agent.windows.check_attributes(wanted)
            return wanted
        inherited = self.old.mode if self.old is not None and self._inherits() else None
        if inherited and not wanted.mode:
            return wanted
        return wanted._replace(mode=modes.applied(wanted.mode, inherited or _NEW_MODE))

    def _inherits(self) -> bool:
        """Whether the new file takes from the old one what is not given."""
        return self.old is not None and self.old.kind == "file" and not self.old.planted

    def compared(self, new: t.Mapping[str, t.Any], force: bool) -> There:
        if self.old is None:
            return "missing"
        if not force:
            return "any"
        return "same" if self._has(self.old, new) else "other"

    def _has(self, old: files.FileState, new: t.Mapping[str, t.Any]) -> bool:
        """Where the guest cannot tell, the content is fetched for that."""
        if old.kind != "file" or old.size != new["size"]:
            return False
        if old.sha256:
            return bool(old.sha256 == new["sha256"])
        digest = hashlib.sha256()
        files.pull(self.guest.agent, self._read_from(), digest.update, self.guest.lane)
        return bool(digest.hexdigest() == new["sha256"])

    def settled(self, wanted: files.Attributes) -> bool:
        """Whether the file that is there has these attributes. A link has none."""
        old = self.old
        if old is not None and old.kind == "link":
            return True
        return old is not None and (
            wanted.mode in ("", old.mode)
            and wanted.owner in ("", old.owner, str(old.uid))
            and wanted.group in ("", old.group, str(old.gid))
        )

    def content(self, state: t.Mapping[str, t.Any]) -> transfer.Content:
        """What is in the file, for a diff, if it is short and ``user`` may read it."""
        if self.old is None:
            return transfer.Content(b"", self.where.path)
        header = transfer.header(self.where.path, state)
        if self.old.kind == "link" or self.old.size > transfer.DIFF_MAX:
            return transfer.Content(None, header)
        parts: list[bytes] = []
        try:
            files.pull(self.guest.agent, self._read_from(), parts.append, self.guest.lane)
        except CommandFailed:
            return transfer.Content(None, header)
        return transfer.Content(b"".join(parts), header)

    def replace(self, source: t.BinaryIO, wanted: files.Attributes, backup: bool) -> files.Installed:
        """Another file takes the place of what is there, of which a backup is kept on request."""
        name = f"{os.getpid()}.{time.strftime('%Y-%m-%d@%H:%M:%S')}" if backup else ""
        return files.push(self.guest.agent, source, self.where, wanted, self.guest.lane, name)

    def set_attributes(self, wanted: files.Attributes, before: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """The state that follows on ``before``."""
        found = files.set_attributes(self.guest.agent, self.where, wanted, before["sha256"])
        return {**state(found), "sha256": before["sha256"]}

    def _read_from(self) -> files.Where:
        return self.where if self.where.links == "all" else self.where._replace(links="own")

    def planned(
        self, wanted: files.Attributes, before: t.Mapping[str, t.Any], new: t.Mapping[str, t.Any] | None
    ) -> dict[str, t.Any]:
        """The state that follows on ``before`` once the content is ``new`` (None: stays) and the attributes are as ``wanted``."""
        if self.guest.agent.windows is not None:
            return {**before, **(new or {})}
        old, user = self.old, self.where.user
        # Who may not give files away, owns what he has put to a place.
        kept = new is None or (old is not None and self._inherits() and user in ("root", old.owner))
        if old is not None and kept:
            others = self._others(wanted, old)
            owner, group = others.owner or old.owner, others.group or old.group
        else:
            owner, group = wanted.owner or user, wanted.group or self._group_of_new()
        return {**before, **(new or {}), "mode": wanted.mode or before["mode"], "owner": owner, "group": group}

    def _others(self, wanted: files.Attributes, old: files.FileState) -> files.Attributes:
        """``wanted`` with "" for an owner and a group that the file has, by whichever of their names: the guest is asked for these
        where they are not the ones that are told.
        """
        owner = "" if wanted.owner in ("", old.owner, str(old.uid)) else wanted.owner
        group = "" if wanted.group in ("", old.group, str(old.gid)) else wanted.group
        if not owner + group:
            return wanted._replace(owner="", group="")
        asked = shell.Command(("/bin/sh", "-c", _NUMBERS, "sh", owner, group))
        number, *lines = shell.execute(self.guest.agent, asked, _ASK_SECONDS).stdout.decode("utf-8", "replace").split("\n")
        groups = (line.split(":") for line in lines)
        gids = [words[2] for words in groups if len(words) > 2 and words[0] == group]
        return wanted._replace(owner="" if number == str(old.uid) else owner, group="" if gids[:1] == [str(old.gid)] else group)

    def _group_of_new(self) -> str:
        agent = self.guest.agent
        directory = files.stat(agent, self.where._replace(path=os.path.dirname(self.where.path)))
        if directory and int(directory.mode, 8) & 0o2000:
            return directory.group
        result = shell.execute(agent, shell.Command(("id", "-gn"), user=self.where.user), _ASK_SECONDS)
        return result.stdout.decode("utf-8", "replace").strip()[:255]
