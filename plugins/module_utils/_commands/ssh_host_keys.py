# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The public host keys of the guest's SSH server, from their files: no trust on first use."""

from __future__ import annotations

import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._errors import CommandFailed, ProtocolError
from .._inside import small_files
from . import public_keys

USUAL: t.Final = tuple(f"/etc/ssh/ssh_host_{kind}_key.pub" for kind in ("ed25519", "ecdsa", "rsa"))


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


def host_keys(agent: GuestAgent, paths: t.Iterable[str] = ()) -> list[HostKey]:
    """The keys in these files, of which each must be there; without any, those of /etc/ssh, ed25519 first.

    :raise CommandFailed: a file is missing, or there is none in /etc/ssh.
    :raise ProtocolError: one of the files is no public host key.
    """
    if paths:
        return [_host_key(agent, path, small_files.read_text(agent, path)) for path in dict.fromkeys(paths)]
    usual: tuple[str, ...] = USUAL if agent.windows is None else agent.windows.host_keys
    texts = {path: small_files.read_if_there(agent, path) for path in usual}
    found = [_host_key(agent, path, text) for path, text in texts.items() if text is not None]
    if not found:
        hint = "check that the guest has an SSH server that was started once"
        directory = usual[0].rpartition("ssh_host")[0]
        raise CommandFailed(
            f"the guest has no SSH host keys in {directory[:-1]}", domain=agent.name, command="guest-file-open", hint=hint
        )
    return found


def _host_key(agent: GuestAgent, path: str, text: str) -> HostKey:
    try:
        line = _line(text)
    except ValueError as error:
        detail = f"{path} is not a public host key: {untrusted.clean(str(error), 200)}"
        raise ProtocolError(detail, domain=agent.name, command="guest-file-read") from None
    return {
        "type": line.key.kind,
        "key": line.key.base64,
        "bits": line.key.bits,
        "fingerprint": line.key.fingerprint,
        "comment": untrusted.clean(line.comment, 255),
        "path": path,
    }


def _line(text: str) -> public_keys.Line:
    """
    :raise ValueError: it is anything but one line with one host key.
    """
    text = text.rstrip("\r\n")
    public_keys.check_text(text)
    line = public_keys.parse_line(text)
    if line.options or line.key.kind not in public_keys.PLAIN_KINDS:
        raise ValueError("it is not the key of a host")
    return line
