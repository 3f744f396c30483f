# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known of any agent command, for requests that a user writes. Pure."""

from __future__ import annotations

import difflib
import re
import typing as t

from .._errors import InvalidInput
from .._inside.lanes import READ_MAX
from .._task.spec import WITHHELD

#: They are what it takes to talk at all; the reply to the second one is not JSON, upon which libvirt gives the channel up.
_TRANSPORT: t.Final = ("guest-sync", "guest-sync-delimited")
#: They give no reply when they succeed (``success-response: false`` in qemu-ga's schema).
NO_REPLY: t.Final = frozenset({"guest-shutdown", "guest-suspend-disk", "guest-suspend-ram", "guest-suspend-hybrid"})
_READ_ONLY: t.Final = re.compile(
    "guest-(ping|info|fsfreeze-status|exec-status|get-[a-z0-9-]+|network-get-[a-z0-9-]+|ssh-get-[a-z0-9-]+)"
)
_NAME: t.Final = re.compile("[A-Za-z][A-Za-z0-9_.-]{0,63}")
#: Arguments of qemu-ga's commands that hold no password, nothing that a program reads, is told or gets as its environment, and
#: no content of a file.
_PLAIN: t.Final = frozenset(
    (
        *("capture-output", "count", "crypted", "handle", "keys", "mem-blks", "minimum", "mode", "mountpoints", "offset", "path"),
        *("pid", "reset", "time", "username", "vcpus", "whence"),
    )
)


def check(command: str, arguments: t.Mapping[str, t.Any]) -> None:
    """
    :raise InvalidInput: sending this would harm more than the request itself.
    """
    if not _NAME.fullmatch(command):
        raise InvalidInput("command is not the name of an agent command, such as guest-get-osinfo")
    if command in _TRANSPORT:
        raise InvalidInput("this command synchronises the channel, and a task must not send it", command=command)
    count = arguments.get("count")
    if command == "guest-file-read" and isinstance(count, int) and count > READ_MAX:
        raise InvalidInput(
            f"count may be at most {READ_MAX}, because libvirt stops using the channel after a longer reply",
            command=command,
            hint="read it in pieces, or use virtops.guest_agent.pull_file",
        )


def is_read_only(command: str) -> bool:
    """Whether the command is known to leave the guest as it is."""
    return _READ_ONLY.fullmatch(command) is not None


def shown(arguments: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Arguments without what may be secret."""
    return {name: value if name in _PLAIN else WITHHELD for name, value in arguments.items()}


def similar(command: str, known: t.Iterable[str]) -> str:
    """Which of the ``known`` ones the user may have meant, as a hint; "" for none. The agent has more than these."""
    close = difflib.get_close_matches(command, sorted(known), n=3)
    return f"did you mean {' or '.join(close)}" if close else ""
