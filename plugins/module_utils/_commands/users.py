# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The users of a guest: guest-set-user-password (qemu-ga 2.3), and what the shadow file says of a password."""

from __future__ import annotations

import base64
import re
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._errors import CommandFailed, CommandRefused, InvalidInput, SystemLacks, UserNotFound, WaitTimeout
from .._inside import exec as _exec
from .._inside.files import read_small
from .._inside.lanes import READ_MAX

#: Hashing a password is slow by design, and more so in a slow guest (seconds).
_SET_SECONDS: t.Final = 30
_LOOK_SECONDS: t.Final = 10.0
_STORED_MAX: t.Final = 512
#: What no user is called and what would be an option, a number or another field to the programs that get the name.
_NO_NAME: t.Final = re.compile(r"\A(?:-|\Z|\.{1,2}\Z)|[:/\x00-\x1f\x7f\ud800-\udfff]")


class Stored(t.NamedTuple):
    """``password`` is the second field of the user's line in the shadow file; None where it is not known, for ``trouble``."""

    password: str | None
    trouble: CommandRefused | WaitTimeout | None = None


def check_name(user: str) -> None:
    """
    :raise InvalidInput: no user of a guest can have this name.
    """
    if len(user) > 255 or _NO_NAME.search(user):
        raise InvalidInput(f"{untrusted.clean(user, 64)!r} cannot be the name of a user")


def set_password(agent: GuestAgent, user: str, secret: str, crypted: bool) -> None:
    """Set the password of ``user`` (guest-set-user-password); chpasswd does it on Linux, which takes as long as hashing does.

    :param secret: the password, or its hash where it is ``crypted``, which Windows does not take
    :raise CommandFailed: the guest refused it, without what it says where that has the secret in it.
    """
    if crypted:
        agent.require_posix("passwords that can be set by their hash of crypt(5)")
    encoded = base64.b64encode(secret.encode()).decode("ascii")
    arguments = {"username": user, "password": encoded, "crypted": crypted}
    try:
        agent.call("guest-set-user-password", arguments, timeout=max(_SET_SECONDS, agent.timeout))
    except CommandFailed as error:
        told = any(text in error.detail for text in (secret, encoded))
        detail = "the agent could not set it, and its message is hidden because it has the password in it" if told else error.detail
        hint = "check that the guest has this user, and takes such a password" + ("" if agent.windows else ", and has chpasswd")
        # Without its cause, which is printed with it.
        raise CommandFailed(detail, domain=agent.name, command=error.command, hint=hint) from None


def stored_password(agent: GuestAgent, user: str) -> Stored:
    """What the shadow file has for ``user``: by getent, which gives this line only, or else from the file.

    :raise UserNotFound: the guest has no such user.
    """
    if agent.windows is not None:
        return Stored(None, SystemLacks("Windows does not show the hashes of its passwords", domain=agent.name))
    trouble: CommandRefused | WaitTimeout | None = None
    for look in (_by_getent, _by_file):
        try:
            return Stored(look(agent, user))
        except UserNotFound:
            raise
        except (CommandRefused, WaitTimeout) as error:
            trouble = trouble or error
    return Stored(None, trouble)


def _by_getent(agent: GuestAgent, user: str) -> str:
    found = _exec.run(agent, ("getent", "shadow", user), _LOOK_SECONDS)
    if found.rc == 2 and _exec.run(agent, ("getent", "passwd", user), _LOOK_SECONDS).rc == 2:
        raise UserNotFound(f"the guest has no user {untrusted.clean(user, 64)!r}", domain=agent.name, command="guest-exec")
    return _field(agent, user, found.stdout if found.rc == 0 else b"", "guest-exec")


def _by_file(agent: GuestAgent, user: str) -> str:
    return _field(agent, user, read_small(agent, "/etc/shadow", READ_MAX), "guest-file-read")


def _field(agent: GuestAgent, user: str, lines: bytes, command: str) -> str:
    for line in lines.split(b"\n"):
        name, _colon, rest = line.partition(b":")
        password, colon, _rest = rest.partition(b":")
        if name == user.encode() and colon and len(password) <= _STORED_MAX and password.isascii():
            return password.decode("ascii")
    raise CommandFailed("the guest's shadow file has no password of this user", domain=agent.name, command=command)
