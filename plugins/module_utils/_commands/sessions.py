# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Login sessions, as systemd-logind in the guest keeps them: loginctl, run by guest-exec (qemu-ga 2.5)."""

from __future__ import annotations

import re
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._errors import CommandFailed, ProtocolError
from .._inside import shell

Session = t.TypedDict(
    "Session",
    {
        "id": str,
        "user_name": str,
        #: None for a session that is at no seat, such as one over the network
        "seat": t.Optional[str],
        #: its terminal without /dev/, or None
        "tty": t.Optional[str],
        #: opening, online, active (in the foreground of its seat), or closing (logged out, with processes left)
        "state": str,
        #: unspecified, tty, x11, wayland, mir or web
        "type": str,
        #: user (with variants such as user-early), greeter, lock-screen, background or manager
        "class": str,
        "remote": bool,
        "active": bool,
        #: what the session's screen locker says; None where logind (before systemd 230) does not tell
        "locked": t.Optional[bool],
    },
)

#: Many terminals in a guest, and no more text than they take.
SESSIONS_MAX: t.Final = 1024
_SECONDS: t.Final = 30.0
#: Exit codes of ours.
_MISSING, _DOWN, _FAILED, _NO_USER, _NO_TTY, _NO_SHELL = 90, 91, 92, 93, 94, 95
#: A session that ends between the list and the question fails the question: then all is asked anew.
_SCRIPT: t.Final = f"""export LC_ALL=C
command -v loginctl >/dev/null || exit {_MISSING}
[ -d /run/systemd/system ] || exit {_DOWN}
for attempt in 1 2 3; do
  list=$(loginctl --no-legend --no-pager list-sessions) || exit {_FAILED}
  ids=
  while read -r id rest; do ids="$ids $id"; done <<END
$list
END
  [ -n "${{ids# }}" ] || exit 0
  shown=$(loginctl --no-pager --all show-session $ids -p Id -p Name -p Seat -p TTY -p State -p Type -p Class \\
    -p Remote -p Active -p LockedHint) || continue
  printf '%s\\n' "$shown"
  exit 0
done
exit {_FAILED}"""
_REASONS: t.Final = {
    _MISSING: "the guest has no loginctl to list its login sessions",
    _DOWN: "the guest was not started by systemd, so it has no record of login sessions",
}
#: $1 by the name that logind has, which is the first in what getent finds by another one. A number is no name.
_CALLED: t.Final = """case $1 in -*) exit ;; *[!0-9]*) ;; *) exit ;; esac
account=$(getent passwd "$1" 2>/dev/null) && printf %s "${account%%:*}"
"""
#: What can be done to sessions: loginctl's words.
_VERBS: t.Final = ("lock-session", "unlock-session", "terminate-session")
#: $1 the user, $2 the terminal, $3 the unit. A getty on the terminal makes room, and comes back after the session.
_START: t.Final = f"""export LC_ALL=C
command -v systemd-run >/dev/null || exit {_MISSING}
[ -d /run/systemd/system ] || exit {_DOWN}
account=$(getent passwd -- "$1") && [ "${{account%%:*}}" = "$1" ] || exit {_NO_USER}
[ -c "/dev/$2" ] || exit {_NO_TTY}
case ${{account##*:}} in */nologin | */false) exit {_NO_SHELL} ;; esac
gettys="getty@$2.service serial-getty@$2.service"
back=
for getty in $gettys; do if systemctl is-active --quiet "$getty"; then back=$getty; fi; done
set -- "$1" "$2" "$3" "${{account##*:}}"
exec systemd-run --quiet --collect --unit="$3" --description="Session of $1 on $2" -p PAMName=login -p User="$1" \
  -p WorkingDirectory=~ -p TTYPath="/dev/$2" -p TTYReset=yes -p TTYVHangup=yes -p TTYVTDisallocate=yes \
  -p StandardInput=tty-fail -p StandardOutput=tty -p StandardError=tty -p UtmpIdentifier="$2" -p UtmpMode=user \
  -p Conflicts="$gettys" -p After="$gettys" \
  ${{back:+-p "ExecStopPost=+$(command -v systemctl) --no-block start $back"}} -- "${{4:-/bin/sh}}" -l"""
_ID: t.Final = re.compile("[A-Za-z0-9_]{1,64}")
_BOOLEANS: t.Final = {"yes": True, "no": False}


class NoLogind(CommandFailed):
    """The guest keeps no login sessions: it has no systemd-logind."""

    kind = "no_logind"
    default_hint = "only guests with systemd-logind have login sessions that can be listed and controlled"


def sessions(agent: GuestAgent) -> list[Session]:
    """The guest's login sessions, those of login screens and of closing logins included, in loginctl's order.

    :raise NoLogind: the guest has no logind to ask.
    :raise CommandFailed: loginctl fails.
    :raise ProtocolError: what it prints cannot be understood.
    """
    agent.require_posix("systemd-logind, whose login sessions these would be")
    result = shell.execute(agent, _script(_SCRIPT), _SECONDS)
    if result.rc in _REASONS:
        raise NoLogind(_REASONS[result.rc], domain=agent.name, command="guest-exec")
    if result.rc:
        raise CommandFailed(f"loginctl: {_said(result.stderr)}", domain=agent.name, command="guest-exec")
    blocks = result.stdout.decode("utf-8", "replace").strip("\n").split("\n\n")
    if len(blocks) > SESSIONS_MAX:
        raise _unreadable(agent)
    entries = [{"text": block} for block in blocks if block]
    return agent.each(entries, "the sessions", lambda entry: _session(agent, entry["text"]), SESSIONS_MAX)


def called(agent: GuestAgent, user: str) -> str:
    """What logind calls ``user``, whom SSSD or winbind may know by several names; as it is where nothing in the guest tells."""
    found = shell.execute(agent, _script(_CALLED, user), _SECONDS).stdout.decode("utf-8", "replace")
    return untrusted.clean(found, 255) or user


def act(agent: GuestAgent, verb: str, ids: t.Sequence[str]) -> str:
    """Lock, unlock or end sessions (``_VERBS``), and what loginctl complains of, "" for nothing.

    Whether it was done only ``sessions`` tells: a screen locker is asked and not waited for, and one of several may be gone.
    """
    if verb not in _VERBS:
        raise ValueError(verb)
    words = ("loginctl", "--no-pager", verb, *ids)
    result = shell.execute(agent, shell.Command(words, tells_signals=False), _SECONDS)
    return _said(result.stderr) if result.rc else ""


def start(agent: GuestAgent, user: str, tty: str) -> None:
    """Start a login of ``user`` on the terminal ``tty``: the login shell, in a session that PAM makes. It has begun, no more.

    :raise NoLogind: the guest was not started by systemd.
    :raise CommandFailed: there is no such user or terminal, or systemd refuses.
    """
    result = shell.execute(agent, _script(_START, user, tty, unit(tty)), _SECONDS)
    if result.rc in _REASONS:
        raise NoLogind(_REASONS[result.rc], domain=agent.name, command="guest-exec")
    if result.rc:
        reasons = {
            _NO_USER: "the guest has no such user",
            _NO_TTY: f"the guest has no terminal /dev/{tty}",
            _NO_SHELL: "the user's shell in the guest allows no login",
        }
        detail = reasons.get(result.rc) or f"systemd-run: {_said(result.stderr)}"
        raise CommandFailed(detail, domain=agent.name, command="guest-exec")


def withdraw(agent: GuestAgent, tty: str) -> None:
    """End what ``start`` began."""
    shell.execute(agent, shell.Command(("systemctl", "stop", unit(tty)), tells_signals=False), _SECONDS)


def unit(tty: str) -> str:
    """The name of the service that ``start`` makes for a terminal."""
    return f"virtops-session-{tty}.service"


def _script(text: str, *arguments: str) -> shell.Command:
    return shell.Command(("/bin/sh", "-c", text, "sh", *arguments), tells_signals=False)


def _said(stderr: bytes) -> str:
    """The first line of what a program complains about."""
    return untrusted.clean(stderr.decode("utf-8", "replace").strip().partition("\n")[0], 300) or "it failed without a reason"


def _session(agent: GuestAgent, block: str) -> Session:
    found = dict(line.split("=", 1) for line in block.split("\n") if "=" in line)
    try:
        locked = found.get("LockedHint", "")
        session: Session = {
            "id": found["Id"],
            "user_name": untrusted.clean(found["Name"], 255),
            "seat": untrusted.clean(found.get("Seat", ""), 255) or None,
            "tty": untrusted.clean(found.get("TTY", "").replace("/dev/", "", 1), 255) or None,
            "state": untrusted.clean(found["State"], 32),
            "type": untrusted.clean(found["Type"], 32),
            "class": untrusted.clean(found["Class"], 32),
            "remote": _BOOLEANS[found["Remote"]],
            "active": _BOOLEANS[found["Active"]],
            "locked": _BOOLEANS[locked] if locked else None,
        }
    except KeyError:
        raise _unreadable(agent) from None
    if not _ID.fullmatch(session["id"]):
        raise _unreadable(agent)
    return session


def _unreadable(agent: GuestAgent) -> ProtocolError:
    detail = "the guest's list of sessions cannot be read"
    return ProtocolError(detail, domain=agent.name, command="guest-exec-status")
