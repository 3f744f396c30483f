# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""libvirt error code and text -> one of our errors. Pure: knows libvirt's numbers, not libvirt.

The numbers are libvirt's virterror.h. They are compared as numbers because the code comes from the daemon and the
constant's name from the client's binding, which may be older (112 and 113 exist since libvirt 11.2.0).
"""

from __future__ import annotations

from .. import _errors
from .._agent import protocol, untrusted

INTERNAL_ERROR = 1
NO_SUPPORT = 3
OPERATION_DENIED = 29
SYSTEM_ERROR = 38
NO_DOMAIN = 42
OPERATION_INVALID = 55
OPERATION_TIMEOUT = 68
ARGUMENT_UNSUPPORTED = 74
BLOCK_COPY_ACTIVE = 83
AGENT_UNRESPONSIVE = 86
ACCESS_DENIED = 88
AGENT_COMMAND_TIMEOUT = 112
AGENT_COMMAND_FAILED = 113

#: Texts of code 1 when the agent's end of the channel went away (qemuAgentIO, qemuAgentCommandFull).
_ENDED = ("Missing agent reply", "End of file from agent", "Invalid file descriptor", "Unhandled event", "processing agent IO")
#: Of calls that are no agent command these codes mean many things, but for the one text.
_OF_AGENT_COMMANDS = (OPERATION_INVALID, OPERATION_TIMEOUT, ARGUMENT_UNSUPPORTED)
_NOT_RUNNING = "not running"
_GIVEN_UP = (
    "find the name in the guest (a filesystem's label, a user, an interface) that is not UTF-8, and restart qemu-guest-agent in"
    " the guest"
)
#: Texts of code 68: cannot acquire state change lock (held by monitor=a agent=b), of which either holder may be missing.
_LOCK = "state change lock"
_HELD_BY_AGENT = "agent="
_REFUSED = "unable to execute QEMU agent command"

#: Codes that mean the same whatever the text is.
_BY_CODE: dict[int, tuple[type[_errors.GuestAgentError], str]] = {
    OPERATION_DENIED: (_errors.PermissionDenied, "libvirt refuses this to a read-only connection"),
    ACCESS_DENIED: (_errors.PermissionDenied, "libvirt refuses this to this user"),
    NO_DOMAIN: (_errors.DomainNotFound, "the domain does not exist"),
    OPERATION_INVALID: (_errors.DomainNotRunning, "the domain is not running"),
    OPERATION_TIMEOUT: (_errors.AgentBusy, "another command occupies the domain"),
    ARGUMENT_UNSUPPORTED: (_errors.AgentNotConfigured, "the domain has no guest agent channel"),
}

#: Codes whose text is told.
_SAYING_SO: dict[int, type[_errors.GuestAgentError]] = {NO_SUPPORT: _errors.LibvirtLacks, BLOCK_COPY_ACTIVE: _errors.DiskBusy}

#: Texts of code 86, the only way to tell its cases apart before libvirt 11.2.
_UNRESPONSIVE: tuple[tuple[str, type[_errors.GuestAgentError], str], ...] = (
    ("due to an error", _errors.AgentBroken, "libvirt stopped using the agent after a reply that it could not read"),
    ("is not connected", _errors.AgentDisconnected, "no agent listens on the channel"),
    ("disappeared", _errors.AgentDisappeared, "the agent stopped during the command"),
)


def translate(code: int | None, text: str, domain: str, command: str = "") -> _errors.GuestAgentError:
    """The error for libvirt's ``code`` and ``text`` after an agent command (``command``) or another call on a domain."""
    error = _classify(code, text, command)
    error.domain = domain
    error.command = command
    return error


def _classify(code: int | None, text: str, command: str) -> _errors.GuestAgentError:
    if code == OPERATION_TIMEOUT and _LOCK in text and (not command or _HELD_BY_AGENT not in text):
        return _held(text, command)
    if code in _BY_CODE and (command or code not in _OF_AGENT_COMMANDS or _NOT_RUNNING in text):
        kind, detail = _BY_CODE[code]
        return kind(detail)
    if code in (AGENT_UNRESPONSIVE, AGENT_COMMAND_TIMEOUT):
        for fragment, kind, detail in _UNRESPONSIVE:
            if fragment in text:
                return kind(detail)
        return _errors.AgentTimeout("the agent did not answer in time")
    if code == AGENT_COMMAND_FAILED or (code == INTERNAL_ERROR and _REFUSED in text):
        return protocol.refusal(command, text.split("': ", 1)[-1] if _REFUSED in text else text)
    if code == INTERNAL_ERROR and command and protocol.is_refusal(text.split("': ", 1)[-1]):
        return protocol.refusal(command, text.split("': ", 1)[-1])  # a daemon that speaks another language than the agent
    if command and (code == SYSTEM_ERROR or (code == INTERNAL_ERROR and any(end in text for end in _ENDED))):
        return _errors.AgentDisappeared("the agent closed the connection without a reply")
    if code == INTERNAL_ERROR and command:
        said = untrusted.clean(text, 200)
        return _errors.ProtocolError(f"libvirt could not read the agent's reply, and dropped the agent ({said})", hint=_GIVEN_UP)
    return _SAYING_SO.get(code or 0, _errors.LibvirtFailure)(f"libvirt says: {untrusted.clean(text, 300)}")


def _held(text: str, command: str) -> _errors.GuestAgentError:
    """A domain does one thing at a time, and what it does now is no agent command of another client."""
    detail = f"libvirt is busy with another operation on this domain ({untrusted.clean(text, 200)})"
    hint = "try again later; 'virsh domjobinfo' shows a long job, and a QEMU that hangs blocks its domain too"
    return _errors.AgentBusy(detail, hint=hint) if command else _errors.DomainBusy(detail, hint=hint)


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0].rstrip(". ")
