# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A program that is in the guest for as long as it is needed."""

from __future__ import annotations

import contextlib
import secrets
import typing as t

from ._commands import files, shell
from ._errors import FileFailed, GuestAgentError
from ._reach import Reached

#: Tried in this order.
_DIRECTORIES: t.Final = ("/var/tmp", "/tmp", "/run")
#: What is wrong with a directory, so that another may do.
_ELSEWHERE: t.Final = ("parent", "create", "space", "shared")
_REMOVE_SECONDS: t.Final = 60.0


@contextlib.contextmanager
def placed(
    reached: Reached, source: t.BinaryIO, user: str, before: t.Sequence[str], args: t.Sequence[str]
) -> t.Iterator[t.Sequence[str]]:
    """The command that runs ``source``, which is in a private file of ``user`` meanwhile.

    :raise FileFailed: no directory takes it.
    """
    name = f".virtops-{secrets.token_hex(16)}"
    # The file may be there although its place was never told, so all are looked at.
    places = [f"{directory}/{name}" for directory in _DIRECTORIES]
    try:
        yield [*before, _place(reached, source, user, places), *args]
    finally:
        reached.agent.retry()
        with contextlib.suppress(GuestAgentError):
            shell.execute(reached.agent, shell.Command(("rm", "-f", "--", *places)), _REMOVE_SECONDS)


def _place(reached: Reached, source: t.BinaryIO, user: str, places: t.Sequence[str]) -> str:
    problems: list[FileFailed] = []
    for place in places:
        source.seek(0)
        try:
            where = files.Where(place, user, "none", own=True)
            files.push(reached.agent, source, where, files.Attributes(mode="0700"), reached.lane)
            return place
        except FileFailed as error:
            if error.reason not in _ELSEWHERE:
                raise
            problems.append(error)
    raise problems[0]
