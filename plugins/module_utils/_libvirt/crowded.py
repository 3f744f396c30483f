# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An SSH server that many log in to at the same time refuses some of them at random (MaxStartups): these ask again."""

from __future__ import annotations

import functools
import os
import random
import re
import typing as t

from .._deadline import Deadline
from .._errors import HypervisorUnreachable

T = t.TypeVar("T")

#: Where libvirt starts ssh, or speaks SSH itself.
_SSH: t.Final = re.compile(r"[a-z0-9]+\+(ssh|libssh2?):")
#: What ssh, libssh and libssh2 say of a server that closes before it has said who it is. After that it would say why. The last one
#: is libvirt's, of an ssh that ended before libvirt had written anything.
_TURNED_AWAY: t.Final = re.compile(
    r"kex_exchange_identification|ssh_exchange_identification|banner exchange|Not allowed at this time"
    r"|Connection (closed|reset) by \S+ port|[Ff]ailed to get banner|[Ss]ocket disconnected|Cannot write data: Broken pipe"
)
#: A login takes a fraction of a second: so long, twice as long and so on, and by chance less.
_FIRST_PAUSE: t.Final = 0.25
_LONGEST_PAUSE: t.Final = 2.0
#: Who is turned away for longer is not turned away by chance.
_PATIENCE: t.Final = 15.0


def default_by_ssh() -> str:
    """libvirt's default, where it is known here and by ssh, else ""."""
    uri = os.environ.get("LIBVIRT_DEFAULT_URI", "")
    return uri if _by_ssh(uri) else ""


def opened(open_at: t.Callable[[str, float], T], uri: str, persist: int, deadline: Deadline) -> T:
    """``open_at(uri, seconds)``, patiently, and over the SSH connection that is kept for ``persist`` seconds (0: none is).

    :raise HypervisorUnreachable: the hypervisor cannot be reached.
    """
    attempt = open_at
    if persist and _by_ssh(uri):
        from . import ssh_link  # each task compiles what it imports

        attempt = functools.partial(ssh_link.through, open_at, persist)
    return patiently(lambda left: attempt(uri, left), uri, deadline)


def patiently(open_it: t.Callable[[float], T], uri: str, deadline: Deadline) -> T:
    """``open_it(seconds)``, again where the hypervisor's SSH server was crowded: nothing has been sent then.

    :raise HypervisorUnreachable: the hypervisor cannot be reached otherwise, or still is crowded.
    """
    pause, left = _FIRST_PAUSE, deadline.seconds
    while True:
        try:
            return open_it(left)
        except HypervisorUnreachable as error:
            if deadline.elapsed() + pause >= min(deadline.seconds, _PATIENCE) or not _turned_away(uri, str(error.__cause__)):
                raise
        deadline.sleep(random.uniform(pause / 2, pause))
        pause, left = min(2 * pause, _LONGEST_PAUSE), deadline.remaining()


def _by_ssh(uri: str) -> bool:
    return uri.lower().startswith("qemu+ssh:")


def _turned_away(uri: str, said: str) -> bool:
    """libvirt's own default may be anything."""
    return bool((not uri or _SSH.match(uri.lower())) and _TURNED_AWAY.search(said))
