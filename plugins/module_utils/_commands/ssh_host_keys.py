# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The public host keys of the guest's SSH server, from their files: no trust on first use."""

from __future__ import annotations

import typing as t

from .. import _public_keys
from .._agent import untrusted
from .._agent.client import GuestAgent
from .._errors import CommandFailed
from .._inside.small_files import read_if_there

_KINDS: t.Final = ("ed25519", "ecdsa", "rsa")


class HostKey(t.TypedDict):
    #: as the first word of the file has it, such as ssh-ed25519
    type: str
    #: in base64
    key: str
    bits: int
    #: SHA-256, as ``ssh-keygen -l`` shows it
    fingerprint: str
    comment: str
    path: str


def host_keys(agent: GuestAgent) -> list[HostKey]:
    """The keys of /etc/ssh, ed25519 first.

    :raise CommandFailed: there are none, or one of the files is no public key.
    """
    paths = [f"/etc/ssh/ssh_host_{kind}_key.pub" for kind in _KINDS]
    texts = {path: read_if_there(agent, path) for path in paths}
    found = [_host_key(agent, path, text) for path, text in texts.items() if text is not None]
    if not found:
        raise CommandFailed("the guest has no SSH host keys in /etc/ssh", domain=agent.name, command="guest-file-open")
    return found


def _host_key(agent: GuestAgent, path: str, text: str) -> HostKey:
    try:
        line = _public_keys.parse_line(text)
        if line.options or line.key.kind not in _public_keys.PLAIN_KINDS:
            raise ValueError("it is a key of another sort")
    except ValueError as error:
        detail = f"{path} is no public host key: {untrusted.clean(str(error), 200)}"
        raise CommandFailed(detail, domain=agent.name, command="guest-file-read") from None
    return {
        "type": line.key.kind,
        "key": line.key.base64,
        "bits": line.key.bits,
        "fingerprint": line.key.fingerprint,
        "comment": untrusted.clean(line.comment, 255),
        "path": path,
    }
