# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A program that is in the guest for as long as it is needed."""

from __future__ import annotations

import contextlib
import re
import secrets
import typing as t

from .._errors import CommandFailed, FileFailed, GuestAgentError, NoSpace
from .._inside import files, shell
from .._reach.guest import Guest

#: Tried in this order.
_DIRECTORIES: t.Final = ("/var/tmp", "/tmp", "/run")
#: What is wrong with a directory, so that another may do.
_ELSEWHERE: t.Final = ("parent", "create", "space", "shared")
_REMOVE_SECONDS: t.Final = 60.0
#: The kernel looks no further for the name of an interpreter.
_LINE_MAX: t.Final = 255
_TRY: t.Final = """umask 077; set -C
for p; do
  { printf '#!/bin/sh\\n' >"$p" && chmod 700 "$p" && "$p" && echo "$p"; } 2>/dev/null
  rm -f "$p"
done"""


@contextlib.contextmanager
def placed(
    guest: Guest, source: t.BinaryIO, user: str, before: t.Sequence[str], args: t.Sequence[str], name: str | None = None
) -> t.Iterator[t.Sequence[str]]:
    """The command that runs ``source``, which is in a private file of ``user`` meanwhile.

    The program that its first line names is called with it, as the kernel would. So it may be where nothing can be executed.

    :param before: what to run it with instead
    :param name: of the script where the module runs, whose ending is what Windows goes by; None for none
    :raise NoSpace: no directory takes it.
    :raise CommandFailed: it has to be executed itself, and no directory allows that.
    """
    if guest.agent.windows is not None:
        with guest.agent.windows.placed(name, source, before, args) as words:
            yield words
        return
    hidden = f".virtops-{secrets.token_hex(16)}"
    # The file may be there although its place was never told, so all are looked at.
    places = [f"{directory}/{hidden}" for directory in _DIRECTORIES]
    try:
        runner = before or _interpreter(source)
        possible = places if runner else _executable(guest, user, places)
        yield [*runner, _place(guest, source, user, possible), *args]
    finally:
        guest.agent.retry()
        with contextlib.suppress(GuestAgentError):
            shell.execute(guest.agent, shell.Command(("rm", "-f", "--", *places)), _REMOVE_SECONDS)


def _interpreter(source: t.BinaryIO) -> list[str]:
    """What the first line of a script names, with its argument; nothing where the kernel has to find out by itself."""
    source.seek(0)
    line, newline, _rest = source.read(_LINE_MAX).partition(b"\n")
    if not newline or not line.startswith(b"#!"):
        return []
    try:
        words = re.split("[ \t]+", line[2:].strip(b" \t").decode(), maxsplit=1)
    except UnicodeDecodeError:
        return []
    return words if words and words[0].startswith("/") else []


def _executable(guest: Guest, user: str, places: t.Sequence[str]) -> list[str]:
    """Those of ``places`` where a file of the user can be executed."""
    command = shell.Command(("/bin/sh", "-c", _TRY, "sh", *(f"{place}.x" for place in places)), user=user, tells_signals=False)
    found = shell.execute(guest.agent, command, _REMOVE_SECONDS).stdout.decode("utf-8", "replace").split()
    possible = [place for place in places if f"{place}.x" in found]
    if not possible:
        where = ", ".join(_DIRECTORIES)
        detail = (
            f"no directory of the guest ({where}) lets {user} execute a file: they are mounted noexec, read-only, or have no space"
        )
        hint = "name the program that runs it in executable, or begin it with a line such as #!/bin/sh"
        raise CommandFailed(detail, domain=guest.agent.name, hint=hint)
    return possible


def _place(guest: Guest, source: t.BinaryIO, user: str, places: t.Sequence[str]) -> str:
    problems: list[FileFailed] = []
    for place in places:
        source.seek(0)
        try:
            where = files.Where(place, user, "none", own=True)
            files.push(guest.agent, source, where, files.Attributes(mode="0700"), guest.lane)
            return place
        except FileFailed as error:
            if error.reason not in _ELSEWHERE:
                raise
            problems.append(error)
    if not any(problem.reason in ("create", "space") for problem in problems):
        raise problems[0]
    detail = "no space in the guest for the file: " + "; ".join(problem.detail for problem in problems)
    raise NoSpace(detail, domain=guest.agent.name)
