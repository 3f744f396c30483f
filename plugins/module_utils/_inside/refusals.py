# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why a command was not run in the guest, and why what it printed cannot be used."""

from __future__ import annotations

import re
import typing as t

from .._agent import untrusted
from .._agent.client import GuestAgent
from .._errors import CommandFailed, NoSpace, OutputCut, ProgramMissing, ProtocolError
from . import login, login_shell, report, spool

PACKER: t.Final = "gzip"
_PROGRAM: t.Final = re.compile("[a-z]{1,16}")


class Unpackable(ProgramMissing):
    """The guest cannot unpack what is sent to it; the command has not run."""


def no_space(agent: GuestAgent, places: t.Iterable[str]) -> NoSpace:
    detail = f"no space in the guest for a command's input and output: {spool.explained(places) or 'no reason given'}"
    return NoSpace(detail, domain=agent.name, command="guest-exec")


def refusal(agent: GuestAgent, refused: report.Refused) -> CommandFailed:
    """Why the command was not run."""
    word, more = refused
    if word == "space":
        return no_space(agent, more)
    if word == "missing" and len(more) == 1 and _PROGRAM.fullmatch(more[0]):
        (program,) = more
        agent.missing.add(program)
        kind = Unpackable if program == PACKER else ProgramMissing
        hint = f"install it, or link it into a directory of {login.PATH}"
        return kind(f"the guest has no {program}, which commands require", domain=agent.name, command="guest-exec", hint=hint)
    reason = "no reason given" if more else login_shell.REFUSALS.get(word, "no reason given")
    return CommandFailed(reason, domain=agent.name, command="guest-exec")


def cut(agent: GuestAgent, place: str, rc: int) -> OutputCut:
    """What was printed is not all there."""
    where = untrusted.clean(place.rpartition("/")[0], 64)
    detail = f"the command ended with exit code {rc}, but its output is incomplete: no space in {where}, or removed there"
    return OutputCut(detail, rc=rc, domain=agent.name, command="guest-exec")


def unreadable(agent: GuestAgent, what: str) -> ProtocolError:
    return ProtocolError(f"the guest's report about {what} cannot be read", domain=agent.name, command="guest-exec-status")
