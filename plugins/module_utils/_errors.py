# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The exception tree. Every expected failure of the core is one of these and reads as one sentence.

The tree is semantic: ``AgentUnavailable`` means that nothing was sent, ``UnknownOutcome`` that the command may or may
not have run in the guest, ``CommandRefused`` that the agent answered with an error.
"""

from __future__ import annotations

import typing as t


class Failure(t.TypedDict):
    """What a failed module returns as ``failure``."""

    kind: str
    domain: str
    command: str
    detail: str
    hint: str


class GuestAgentError(Exception):
    """Base of all expected failures.

    ``kind`` is the stable word for playbooks, ``status`` the C(agent.status) that a record takes from it ("" for none).
    """

    kind: t.ClassVar[str] = "error"
    status: t.ClassVar[str] = ""
    default_hint: t.ClassVar[str] = ""

    def __init__(self, detail: str, *, domain: str = "", command: str = "", hint: str = "") -> None:
        super().__init__(detail)
        self.detail = detail.rstrip(". ")
        self.domain = domain
        self.command = command
        self.hint = (hint or self.default_hint).rstrip(". ")

    def __str__(self) -> str:
        place = f"Domain {self.domain}: " if self.domain else ""
        command = f"{self.command}: " if self.command else ""
        sentence = f"{place}{command}{self.detail}"
        return f"{sentence}; {self.hint}." if self.hint else f"{sentence}."

    def failure(self) -> Failure:
        return {
            "kind": self.kind,
            "domain": self.domain,
            "command": self.command,
            "detail": self.detail,
            "hint": self.hint,
        }


class InvalidInput(GuestAgentError):
    """The caller asked for something that cannot be sent."""

    kind = "invalid_input"


class HypervisorUnreachable(GuestAgentError):
    """libvirt cannot be reached, or did not answer in time."""

    kind = "hypervisor_unreachable"
    status = "unknown"
    default_hint = "check the URI, that the libvirt daemon runs there, and that this user may reach it"


class PermissionDenied(GuestAgentError):
    """libvirt refused the operation to this user (read-only connection or polkit)."""

    kind = "permission_denied"
    status = "unknown"
    default_hint = "agent commands need a read-write connection with the right domain.write"


class LibvirtFailure(GuestAgentError):
    """libvirt failed in a way that has no class of its own."""

    kind = "libvirt_error"
    status = "unknown"


class DomainBusy(LibvirtFailure):
    """Another job of libvirt's holds the domain, or a QEMU that does not answer its monitor."""

    kind = "domain_busy"


class DomainNotFound(GuestAgentError):
    kind = "domain_not_found"
    status = "not_running"
    default_hint = "check the name with 'virsh list --all', and the URI: qemu:///system and qemu:///session have different domains"


class DomainNotRunning(GuestAgentError):
    """The domain is off, paused, suspended or crashed."""

    kind = "domain_not_running"
    status = "not_running"
    default_hint = "start, resume or wake the domain"


class DomainOff(DomainNotRunning):
    """Nothing of what ran in its guest goes on, unlike in one that is paused or suspended."""

    default_hint = "start the domain"


class AgentUnavailable(GuestAgentError):
    """No command was sent, because no agent can be reached."""

    kind = "agent_unavailable"
    status = "disconnected"


class AgentNotConfigured(AgentUnavailable):
    kind = "agent_not_configured"
    status = "not_configured"
    default_hint = "add a virtio channel named org.qemu.guest_agent.0 to the domain"


class AgentDisconnected(AgentUnavailable):
    kind = "agent_disconnected"
    status = "disconnected"
    default_hint = "install and start qemu-guest-agent in the guest"


class AgentBroken(AgentUnavailable):
    """libvirt gave the channel up after a reply that it could not read."""

    kind = "agent_broken"
    status = "broken"
    default_hint = "restart qemu-guest-agent in the guest so that libvirt opens the channel again"


class AgentBusy(AgentUnavailable):
    """Another client's command holds the agent of this domain."""

    kind = "agent_busy"
    status = "unresponsive"
    default_hint = "another agent command of this domain is still running; try again when it has ended"


class UnknownOutcome(GuestAgentError):
    """The command was sent, or may have been, and no reply came: it may or may not have run."""

    kind = "unknown_outcome"
    status = "unresponsive"


class AgentTimeout(UnknownOutcome):
    kind = "agent_timeout"
    default_hint = "the guest or its agent hangs or is overloaded; look at the guest, restart qemu-guest-agent there"


class StillInFlight(AgentTimeout):
    """The wait for the reply has ended. libvirt may not even have sent the command yet, so it can run at any time."""


class ConnectionLost(UnknownOutcome):
    """The connection to libvirt broke while the command was under way."""

    kind = "connection_lost"
    status = "unknown"
    default_hint = "check that the libvirt daemon still runs, and look at the guest before you try again"


class AgentDisappeared(UnknownOutcome):
    kind = "agent_disappeared"
    status = "disconnected"
    default_hint = "the agent stopped while it worked on the command; look whether the guest is going down"


class CommandRefused(GuestAgentError):
    """The agent answered, and the answer is an error."""

    kind = "command_refused"


class CommandFailed(CommandRefused):
    """The agent tried and reports why it failed."""

    kind = "command_failed"


class NumberRefused(CommandFailed):
    """The agent (before qemu-ga 2.12) takes no request with a number, and has done nothing."""


class CommandUnknown(CommandRefused):
    kind = "command_unknown"
    status = "restricted"
    default_hint = "this agent does not know the command; a newer qemu-guest-agent may"


class CommandUnanswered(CommandUnknown):
    """The agent is silent on this command, and answers others."""

    kind = "command_unanswered"
    default_hint = "this agent is silent on commands that it does not know; qemu-guest-agent has them"


class CommandBlocked(CommandRefused):
    kind = "command_blocked"
    status = "restricted"
    default_hint = "allow the command in the agent's configuration in the guest (block-rpcs, allow-rpcs), if its system can do it"


class GuestFrozen(CommandRefused):
    """The guest's filesystems are frozen: the agent accepts six commands only."""

    kind = "guest_frozen"
    status = "frozen"
    default_hint = "thaw the guest first (virtops.guest_agent.fsfreeze with state=thawed)"


class ProtocolError(GuestAgentError):
    """The reply is not what the agent's protocol promises: not JSON, a foreign id, a wrong type."""

    kind = "protocol_error"
    status = "broken"
    default_hint = "the agent of this guest is faulty or hostile; do not trust what it says"


class WaitTimeout(GuestAgentError):
    """A wait ended before what it waited for came about."""

    kind = "wait_timeout"


class DomainStillOn(WaitTimeout):
    """The guest was asked to shut down, and the domain is still running."""

    kind = "still_on"
    default_hint = "look at the guest's console for what it waits for, give it more time, or let force_after pull the plug"


class NotRestarted(WaitTimeout):
    """The guest was asked to restart, and goes on as before or is off."""

    kind = "not_restarted"
    default_hint = "look at the guest's console for what it waits for, give it more time, or let force_after reset it"


class NotBack(WaitTimeout):
    """The guest went down to restart, or was woken, and its agent does not answer again."""

    kind = "not_back"
    default_hint = "look at the guest's console, and give it more time; is qemu-guest-agent started when it boots?"


class CannotSuspend(GuestAgentError):
    """Known before it is asked: the domain or the guest's kernel has no such sleep."""

    kind = "cannot_suspend"


class NotSuspended(WaitTimeout):
    """The guest was asked to suspend itself, and runs on."""

    kind = "not_suspended"
    default_hint = "look in the guest's log for what kept it awake"


class NotAwake(WaitTimeout):
    """The domain was woken, and is suspended still."""

    kind = "not_awake"
    default_hint = "a guest that cannot resume must be reset or destroyed"


class GuestNotReady(WaitTimeout):
    """What was waited for has not come about in the guest."""

    kind = "not_ready"


class ChannelBusy(AgentUnavailable):
    """Another client holds the host's end of the channel."""

    kind = "channel_busy"
    status = "unresponsive"
    default_hint = "end the other client of this channel, or use another channel"


class CommandTimeout(WaitTimeout):
    """The command was still running when its time was over; it has been killed."""

    kind = "command_timeout"
    default_hint = "give it more time, or look at what it waits for"


class OutputTooLong(CommandFailed):
    """A command printed more than the controller should hold in memory."""

    kind = "output_too_long"


class NoSpace(CommandFailed):
    """No directory of the guest takes what has to be there for a moment."""

    kind = "no_space"
    default_hint = "free some space in the guest there"


class OutputCut(NoSpace):
    """The command ran, ended with ``rc``, and the file system that took its output was full: that is not whole."""

    kind = "output_cut"
    default_hint = "free some space in the guest there, and look at what the command did before you run it again"

    def __init__(self, detail: str, *, rc: int | None = None, domain: str = "", command: str = "", hint: str = "") -> None:
        super().__init__(detail, domain=domain, command=command, hint=hint)
        self.rc = rc


class ProgramMissing(CommandFailed):
    """The guest lacks a program that is used around commands."""

    kind = "program_missing"


class FileFailed(CommandFailed):
    """The guest's file system did not allow it; ``reason`` is a word for it (``_file_scripts.PROBLEMS``)."""

    kind = "file_failed"

    def __init__(self, detail: str, *, reason: str = "", domain: str = "", command: str = "", hint: str = "") -> None:
        super().__init__(detail, domain=domain, command=command, hint=hint)
        self.reason = reason


class FileMissing(FileFailed):
    kind = "file_missing"


class LaneFailed(GuestAgentError):
    """The data lane is not there, is busy, or broke in the middle: another lane may do. Nothing of it is left in the guest.

    ``moved`` bytes have reached the sink of a read. The file of a write has any content.
    """

    kind = "data_lane_failed"

    def __init__(self, detail: str, *, moved: int = 0, domain: str = "", command: str = "", hint: str = "") -> None:
        super().__init__(detail, domain=domain, command=command, hint=hint)
        self.moved = moved


class UserNotFound(CommandFailed):
    kind = "user_not_found"
    default_hint = "check the name, or create the user in the guest first"


class WatchdogFailed(GuestAgentError):
    """The watchdog of a freeze does not answer, or is gone."""

    kind = "watchdog_failed"
    default_hint = "look in the system log of the host that executes the module for what ended it"


class NotQuiesced(GuestAgentError):
    """The guest was thawed, by itself or by another client, before the moment was over that it was frozen for."""

    kind = "not_quiesced"
    default_hint = "look for what else thaws the guest, or whether its storage is too slow; quiesce=preferred accepts this"


class SnapshotForeign(GuestAgentError):
    """There is a snapshot of this name, and it is not what this collection takes, or its images are not in use any more."""

    kind = "foreign_snapshot"
    default_hint = "choose another name, or look at it with 'virsh snapshot-dumpxml' and remove it with 'virsh snapshot-delete'"


class SnapshotPartial(GuestAgentError):
    """Some domains of the group have the snapshot and others do not: together they show no single moment."""

    kind = "partial_snapshot"
    default_hint = "remove it from those that have it (state=absent) and take it anew, or choose another name"


class DiskBusy(GuestAgentError):
    """libvirt copies between the images of the disk."""

    kind = "disk_busy"
    default_hint = "wait until the block job has ended, or end it with 'virsh blockjob'"


class NotMerged(WaitTimeout):
    """The images of a snapshot were still being merged when the time was over; nothing of their content is lost."""

    kind = "not_merged"
    default_hint = "run it again with a longer merge_timeout; the guest works on meanwhile"
