# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's numbers and texts, from daemons before and since 11.2 (table 3.4 of what was learned about them)."""

from __future__ import annotations

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import errors

UNABLE = "internal error: unable to execute QEMU agent command 'guest-x': "
UNABLE_NEW = "unable to execute QEMU agent command 'guest-x': "
TABLE = [
    # code, text, class
    (55, "Requested operation is not valid: domain is not running", _errors.DomainNotRunning),
    (74, "argument unsupported: QEMU guest agent is not configured", _errors.AgentNotConfigured),
    (86, "Guest agent is not responding: QEMU guest agent is not available due to an error", _errors.AgentBroken),
    (86, "Guest agent is not responding: QEMU guest agent is not connected", _errors.AgentDisconnected),
    (86, "Guest agent is not responding: Guest agent not available for now", _errors.AgentTimeout),
    (86, "Guest agent is not responding: guest agent didn't respond to synchronization within '5' seconds", _errors.AgentTimeout),
    (86, "Guest agent is not responding: Guest agent disappeared while executing command", _errors.AgentDisappeared),
    (112, "guest agent command timed out: guest agent didn't respond to command within '5' seconds", _errors.AgentTimeout),
    (112, "guest agent command timed out: Guest agent disappeared while executing command", _errors.AgentDisappeared),
    (113, f"guest agent command failed: {UNABLE_NEW}The command guest-x has not been found", _errors.CommandUnknown),
    (113, f"guest agent command failed: {UNABLE_NEW}Command guest-x has been disabled", _errors.CommandBlocked),
    (113, f"guest agent command failed: {UNABLE_NEW}no such file", _errors.CommandFailed),
    (1, f"{UNABLE}The command guest-x has not been found", _errors.CommandUnknown),
    (1, f"{UNABLE}Command guest-x has been disabled: the agent is in frozen state", _errors.CommandBlocked),
    (1, f"{UNABLE}no such file", _errors.CommandFailed),
    (1, "internal error: Missing agent reply object", _errors.AgentDisappeared),
    (1, "internal error: End of file from agent socket", _errors.AgentDisappeared),
    (1, "internal error: Invalid file descriptor while waiting for agent", _errors.AgentDisappeared),
    (1, "internal error: Unhandled event 16 for agent monitor", _errors.AgentDisappeared),
    (1, "internal error: Error while processing agent IO", _errors.AgentDisappeared),
    (38, "Unable to write to agent: Broken pipe", _errors.AgentDisappeared),
    (38, "Unable to read from agent: Connection reset by peer", _errors.AgentDisappeared),
    (1, f"{UNABLE}End of file from agent", _errors.CommandFailed),  # the agent's own words are no end of it
    (1, "internal error: cannot parse json: garbage", _errors.ProtocolError),
    (1, "internal error: agent command 'guest-x' returned neither error nor success", _errors.ProtocolError),
    (68, "Timed out during operation: cannot acquire state change lock (held by agent=x)", _errors.AgentBusy),
    (29, "operation forbidden for read only access", _errors.PermissionDenied),
    (88, "access denied", _errors.PermissionDenied),
    (42, "Domain not found", _errors.DomainNotFound),
    (39, "Unable to encode message payload", _errors.LibvirtFailure),
    (None, "", _errors.LibvirtFailure),
]


@pytest.mark.parametrize(("code", "text", "kind"), TABLE)
def test_every_number_has_its_class(code: int, text: str, kind: type) -> None:
    error = errors.translate(code, text, "web", "guest-x")
    assert error.__class__ is kind
    assert (error.domain, error.command) == ("web", "guest-x")


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (55, "Requested operation is not valid: domain is not running", _errors.DomainNotRunning),
        (55, "Requested operation is not valid: disk 'vda' has a blockjob active", _errors.LibvirtFailure),
        (3, "this function is not supported by the connection driver: virDomainGetJobStats", _errors.LibvirtLacks),
        (83, "block copy still active: block job 'commit-vda-libvirt-3-format' not ready for pivot yet", _errors.DiskBusy),
        (74, "argument unsupported: unsupported flags (0x2)", _errors.LibvirtFailure),
        (68, "Timed out during operation: cannot acquire state change lock (held by monitor=x)", _errors.DomainBusy),
        (68, "Timed out during operation: cannot acquire state change lock (held by agent=x)", _errors.DomainBusy),
        (68, "Timed out during operation: migration", _errors.LibvirtFailure),
    ],
)
def test_what_is_no_agent_command_has_its_own_meanings(code: int, text: str, kind: type) -> None:
    error = errors.translate(code, text, "web")
    assert isinstance(error, kind)
    assert kind is _errors.DomainNotRunning or text in str(error)
    assert "another agent command" not in str(error)


def test_an_agent_command_that_waits_for_another_job_of_the_domain() -> None:
    """Before 5.0 agent commands took the lock of all jobs."""
    text = "Timed out during operation: cannot acquire state change lock (held by monitor=remoteDispatchDomainBlockJobAbort)"
    error = errors.translate(68, text, "web", "guest-x")
    assert error.kind == "agent_busy"
    assert "BlockJobAbort" in str(error)
    assert "another agent command" not in str(error)


@pytest.mark.parametrize("code", [1, 113])
def test_the_agents_own_words_arrive_and_are_cleaned(code: int) -> None:
    prefix = UNABLE if code == 1 else f"guest agent command failed: {UNABLE_NEW}"
    error = errors.translate(code, f"{prefix}no\x1b[2J such file\n{'x' * 9999}", "web", "guest-x")
    assert "no\N{REPLACEMENT CHARACTER}[2J such file" in error.detail
    assert len(str(error)) < 700
    assert str(error).isprintable()


@pytest.mark.parametrize(("code", "prefix"), [(1, UNABLE), (113, f"guest agent command failed: {UNABLE_NEW}")])
@pytest.mark.parametrize("words", ["no such file", "failed to open file '/x': No such file", "a: b: c"])
def test_only_the_agents_own_words_are_shown(code: int, prefix: str, words: str) -> None:
    detail = errors.translate(code, prefix + words, "web", "guest-x").detail
    assert detail.startswith("the agent says: ")
    assert "unable to execute" not in detail
    assert "guest-x" not in detail
    if "'" not in words:
        assert detail == f"the agent says: {words}"


def test_a_reply_that_libvirt_cannot_read_is_said_with_its_words() -> None:
    error = errors.translate(1, "internal error: cannot parse\x1b json" + "x" * 999, "web", "guest-x")
    assert "cannot parse\N{REPLACEMENT CHARACTER} json" in error.detail
    assert len(error.detail) < 300


@pytest.mark.parametrize("text", ["internal error: End of file from agent socket", "Unable to write to agent: Broken pipe"])
@pytest.mark.parametrize("code", [1, 38])
def test_without_a_command_no_agent_has_disappeared(code: int, text: str) -> None:
    assert errors.translate(code, text, "web").__class__ is _errors.LibvirtFailure


def test_an_internal_error_without_a_command_is_libvirts_own() -> None:
    error = errors.translate(1, "internal error: something\n\x1bbroke", "web")
    assert error.__class__ is _errors.LibvirtFailure
    assert "something" in str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "internal error: cannot parse json {...: lexical error: invalid bytes in UTF8 string.",
        "internal error: failed to parse JSON 1:14: unexpected character",
    ],
)
def test_a_reply_that_libvirt_cannot_read_is_not_called_hostile(text: str) -> None:
    """One byte of a name that is not UTF-8 is enough, and libvirt dropped the agent after it."""
    error = errors.translate(1, text, "web", "guest-get-fsinfo")
    assert isinstance(error, _errors.ProtocolError)
    assert "dropped the agent" in error.detail
    assert "hostile" not in str(error)
    assert "restart qemu-guest-agent" in error.hint
