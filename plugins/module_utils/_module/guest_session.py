# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of a guest's login sessions are meant, what is to be done to them, and seeing it done."""

from __future__ import annotations

import contextlib
import re
import typing as t

from .._agent.client import GuestAgent
from .._commands import sessions as _sessions
from .._commands.sessions import Session
from .._deadline import Deadline
from .._errors import CommandFailed, GuestAgentError, InvalidInput, WaitTimeout

#: How logind calls what a state needs.
VERBS: t.Final = {"locked": "lock-session", "unlocked": "unlock-session", "absent": "terminate-session"}
#: Terminals of seat0 on which a login may be started; the first one is the console's.
_TERMINALS: t.Final = tuple(f"tty{number}" for number in range(2, 13))
_TTY: t.Final = re.compile("[A-Za-z][A-Za-z0-9]{0,31}")
_PAUSE: t.Final = 0.5


class Meant(t.NamedTuple):
    """Which sessions: all that is given must match."""

    session: str | None = None
    user: str | None = None
    seat: str | None = None
    tty: str | None = None


class SessionMissing(CommandFailed):
    """There is no session to do this to."""

    kind = "session_missing"
    default_hint = "guest_info with the subset sessions, or loginctl in the guest, lists the sessions"


def check(meant: Meant, state: str) -> Meant:
    """
    :raise InvalidInput: this does not say which sessions.
    """
    for name, value in meant._asdict().items():
        if value is not None and not value.strip():
            raise InvalidInput(f"{name} is empty", hint="leave it out, or set a value")
    tty = meant.tty.replace("/dev/", "", 1) if meant.tty else None
    if not any(meant):
        raise InvalidInput("set session, user, seat or tty to select sessions")
    if state != "present":
        return meant._replace(tty=tty)
    if not meant.user or not (tty or meant.seat) or meant.session:
        raise InvalidInput("a new session requires user and a tty or a seat, and no session")
    if tty and not _TTY.fullmatch(tty):
        raise InvalidInput("tty must be the name of a terminal, such as tty2 or ttyS1")
    if not tty and meant.seat != "seat0":
        raise InvalidInput(f"only seat0 has text terminals; set tty for a session on {meant.seat}")
    return meant._replace(tty=tty)


def by_logind(agent: GuestAgent, meant: Meant, found: t.Sequence[Session]) -> Meant:
    """With the user's name as logind has it. Who is among the ``found`` ones has it already."""
    if meant.user is None or any(session["user_name"] == meant.user for session in found):
        return meant
    return meant._replace(user=_sessions.called(agent, meant.user))


def select(found: t.Sequence[Session], meant: Meant) -> list[Session]:
    """Those of ``found`` that are meant: logins of users, or whatever has the id that is given. Pure.

    What has been logged out is no session any more, even if some process of it is left.
    """
    return [
        session
        for session in found
        if session["state"] != "closing"
        and (session["id"] == meant.session if meant.session else session["class"].startswith("user"))
        and meant.user in (None, session["user_name"])
        and meant.seat in (None, session["seat"])
        and meant.tty in (None, session["tty"])
    ]


def todo(selected: t.Sequence[Session], state: str) -> list[Session]:
    """Those that are not as wanted. Pure."""
    if state == "absent":
        return list(selected)
    return [session for session in selected if session["locked"] is not (state == "locked")]


def terminal(found: t.Sequence[Session], meant: Meant, domain: str) -> str:
    """Where a new session goes. Pure.

    :raise CommandFailed: another user has a session there, or no terminal is free.
    """
    taken = {session["tty"]: session for session in found if session["tty"] and session["state"] != "closing"}
    if not meant.tty:
        free = [tty for tty in _TERMINALS if tty not in taken]
        if not free:
            raise CommandFailed(f"no terminal of {meant.seat} is free", domain=domain, hint="end one of its sessions first")
        return free[0]
    if meant.tty in taken:
        holder = taken[meant.tty]
        detail = f"{meant.tty} has session {holder['id']} of {holder['user_name']}"
        raise CommandFailed(detail, domain=domain, hint="end that session first")
    return meant.tty


def lines(selected: t.Sequence[Session], state: str = "") -> dict[str, t.Any]:
    """For a diff: what is there, or will be once it is ``state``. Pure."""
    if state == "absent":
        return {"sessions": []}
    locked = {"locked": True, "unlocked": False}
    return {
        "sessions": [
            f"{session['id']}: {session['user_name']} on {session['tty'] or session['seat'] or 'no terminal'}"
            + (", locked" if locked.get(state, session["locked"]) else "")
            for session in selected
        ]
    }


def started(meant: Meant, tty: str) -> dict[str, t.Any]:
    return {"sessions": [f"a new one: {meant.user} on {tty}"]}


def change(agent: GuestAgent, meant: Meant, state: str, ids: t.Sequence[str], deadline: Deadline) -> list[Session]:
    """Lock, unlock or end sessions; those that are meant afterwards.

    :raise WaitTimeout: they are not as wanted by the deadline.
    """
    complaint = _sessions.act(agent, VERBS[state], ids)
    late: list[str] = []
    for _turn in deadline.pauses(_PAUSE, _PAUSE):
        found = select(_sessions.sessions(agent), meant)
        late = [session["id"] for session in todo(found, state) if session["id"] in ids]
        if not late:
            return found
    reason = f" (loginctl: {complaint})" if complaint else ""
    detail = f"session {', '.join(late)} is not {state} {deadline.seconds:g} s after logind was asked{reason}"
    hint = "" if state == "absent" else "only a desktop's screen locker locks a session; a text terminal has none"
    raise WaitTimeout(detail, domain=agent.name, command="guest-exec", hint=hint)


def begin(agent: GuestAgent, meant: Meant, tty: str, deadline: Deadline) -> list[Session]:
    """Start a session, and give it back.

    :raise WaitTimeout: it is not there by the deadline; what was started has been ended.
    """
    meant = meant._replace(tty=tty)
    _sessions.start(agent, meant.user or "", tty)
    try:
        for _turn in deadline.pauses(_PAUSE, _PAUSE):
            found = select(_sessions.sessions(agent), meant)
            if found and all(session["state"] != "opening" for session in found):
                return found
        detail = f"{meant.user} has no session on {tty} {deadline.seconds:g} s after it was started"
        hint = f"check the guest's journal for {_sessions.unit(tty)}, and that the user's shell allows a login"
        raise WaitTimeout(detail, domain=agent.name, command="guest-exec", hint=hint)
    except BaseException:
        with contextlib.suppress(GuestAgentError):
            _sessions.withdraw(agent, tty)
        raise
