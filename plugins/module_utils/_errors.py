# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The exception tree. Every expected failure of the core is one of these and reads as one sentence.

::

    GuestAgentError             base of all expected failures
    ├─ InvalidInput             the caller asked for something that cannot be sent
    ├─ HypervisorUnreachable    libvirt cannot be reached, or did not answer in time
    ├─ PermissionDenied         libvirt refused it to this user (read-only connection or polkit)
    ├─ LibvirtFailure           libvirt failed in a way that has no class of its own
    │  ├─ LibvirtLacks          this libvirt, or its driver for such domains, cannot do it
    │  ├─ DomainBusy            another job holds the domain, or its QEMU does not answer its monitor
    │  └─ BackupFailed          a backup ended before all was copied, or its images are damaged
    ├─ DomainNotFound           libvirt has no such domain
    ├─ DomainNotRunning         the domain is off, paused, suspended or crashed
    │  └─ DomainOff             nothing of what ran in its guest goes on
    ├─ AgentUnavailable         nothing was sent, because no agent can take it
    │  ├─ AgentNotConfigured    the domain has no channel for an agent
    │  ├─ AgentDisconnected     no agent has opened the guest's end of the channel
    │  ├─ AgentBroken           libvirt gave the channel up after a reply that it could not read
    │  ├─ AgentBusy             another client's command holds the agent
    │  └─ ChannelBusy           another client holds the host's end of the channel
    ├─ UnknownOutcome           the command may or may not have run, because no reply came
    │  ├─ AgentTimeout          the agent did not answer in time
    │  │  └─ StillInFlight      the command may be sent yet, or run at any time
    │  ├─ ConnectionLost        the connection to libvirt broke while the command was under way
    │  └─ AgentDisappeared      the agent ended while the command was under way
    ├─ CommandRefused           the agent answered with an error
    │  ├─ CommandFailed         it tried, and says why it failed
    │  │  ├─ NumberRefused      it (before qemu-ga 2.12) takes no request with a number; nothing was done
    │  │  ├─ OutputTooLong      a command printed more than the controller should hold in memory
    │  │  ├─ NoSpace            no directory of the guest takes what has to be there for a moment
    │  │  │  └─ OutputCut       the command ran, and there was no space for all that it printed
    │  │  ├─ ProgramMissing     the guest lacks a program that is used around commands
    │  │  ├─ SystemLacks        the guest's system has no such thing, whatever is installed there
    │  │  ├─ FileFailed         the guest's file system did not allow it
    │  │  │  └─ FileMissing     there is no such file
    │  │  └─ UserNotFound       the guest has no such user
    │  ├─ CommandUnknown        this agent does not know the command
    │  │  └─ CommandUnanswered  it is silent on this command, and answers others
    │  ├─ CommandBlocked        its configuration forbids the command, or its system cannot do it
    │  └─ GuestFrozen           the guest is frozen, and the agent accepts six commands only
    ├─ ProtocolError            the reply is no JSON, has a foreign id or a wrong type
    ├─ WaitTimeout              a wait ended before what it waited for came about
    │  ├─ DomainStillOn         asked to shut down, the guest runs on
    │  ├─ NotStarted            started, the domain is off again before its agent has answered
    │  ├─ NotRestarted          asked to restart, the guest goes on as before or is off
    │  ├─ NotBack               restarted or woken, the guest has no agent that answers
    │  ├─ NotSuspended          asked to suspend itself, the guest runs on
    │  ├─ NotAwake              woken, the domain is suspended still
    │  ├─ GuestNotReady         what was waited for has not come about in the guest
    │  ├─ CommandTimeout        the command was still running when its time was over, and was killed
    │  └─ NotMerged             images were still being merged when the time was over; no content is lost
    ├─ CannotSuspend            the domain or the guest's kernel has no such sleep
    ├─ LaneFailed               the data lane is not there, is busy or broke; another lane may do
    ├─ WatchdogFailed           the watchdog of a freeze does not answer, or is gone
    ├─ NotQuiesced              the guest was thawed before the moment was over that it was frozen for
    ├─ SnapshotForeign          a snapshot has this name, and is none of ours or not in use any more
    ├─ SnapshotPartial          some domains of the group have the snapshot, others do not
    │  └─ BackupPartial         likewise the backup
    ├─ BackupForeign            a file or a checkpoint has the backup's name, and is none of ours or not whole
    └─ DiskBusy                 libvirt copies between the images of the disk
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
    """``kind`` is the stable word for playbooks, ``status`` the C(agent.status) that a record takes from it ("" for none)."""

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
        return {"kind": self.kind, "domain": self.domain, "command": self.command, "detail": self.detail, "hint": self.hint}


class InvalidInput(GuestAgentError):
    kind = "invalid_input"


class HypervisorUnreachable(GuestAgentError):
    kind = "hypervisor_unreachable"
    status = "unknown"
    default_hint = "check the URI, that the libvirt daemon runs there, and that this user may reach it"


class PermissionDenied(GuestAgentError):
    kind = "permission_denied"
    status = "unknown"
    default_hint = "agent commands need a read-write connection with the right domain.write"


class LibvirtFailure(GuestAgentError):
    kind = "libvirt_error"
    status = "unknown"


class LibvirtLacks(LibvirtFailure):
    kind = "libvirt_lacks"


class DomainBusy(LibvirtFailure):
    kind = "domain_busy"


class BackupFailed(LibvirtFailure):
    kind = "backup_failed"


class DomainNotFound(GuestAgentError):
    kind = "domain_not_found"
    status = "not_running"
    default_hint = "check the name with 'virsh list --all', and the URI: qemu:///system and qemu:///session have different domains"


class DomainNotRunning(GuestAgentError):
    kind = "domain_not_running"
    status = "not_running"
    default_hint = "start, resume or wake the domain"


class DomainOff(DomainNotRunning):
    default_hint = "start the domain"


class AgentUnavailable(GuestAgentError):
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
    kind = "agent_broken"
    status = "broken"
    default_hint = "restart qemu-guest-agent in the guest so that libvirt opens the channel again"


class AgentBusy(AgentUnavailable):
    kind = "agent_busy"
    status = "unresponsive"
    default_hint = "another agent command of this domain is still running; try again when it has ended"


class UnknownOutcome(GuestAgentError):
    kind = "unknown_outcome"
    status = "unresponsive"


class AgentTimeout(UnknownOutcome):
    kind = "agent_timeout"
    default_hint = "the guest or its agent hangs or is overloaded; check the guest, and restart qemu-guest-agent there"


class StillInFlight(AgentTimeout):
    """The wait for the reply has ended. libvirt may not even have sent the command yet, so it can run at any time."""


class ConnectionLost(UnknownOutcome):
    kind = "connection_lost"
    status = "unknown"
    default_hint = "check that the libvirt daemon still runs, and check the guest before you try again"


class AgentDisappeared(UnknownOutcome):
    kind = "agent_disappeared"
    status = "disconnected"
    default_hint = "the agent stopped during the command; check whether the guest is shutting down"


class CommandRefused(GuestAgentError):
    kind = "command_refused"


class CommandFailed(CommandRefused):
    kind = "command_failed"


class NumberRefused(CommandFailed):
    """The agent (before qemu-ga 2.12) takes no request with a number, and has done nothing."""


class CommandUnknown(CommandRefused):
    kind = "command_unknown"
    status = "restricted"
    default_hint = "this agent does not know the command; a newer qemu-guest-agent may"


class CommandUnanswered(CommandUnknown):
    kind = "command_unanswered"
    default_hint = "this agent is silent on commands that it does not know; qemu-guest-agent has them"


class CommandBlocked(CommandRefused):
    kind = "command_blocked"
    status = "restricted"
    default_hint = "allow the command in the agent's configuration in the guest (block-rpcs, allow-rpcs), if its system can do it"


class GuestFrozen(CommandRefused):
    kind = "guest_frozen"
    status = "frozen"
    default_hint = "thaw the guest first (virtops.guest_agent.fsfreeze with state=thawed)"


class ProtocolError(GuestAgentError):
    kind = "protocol_error"
    status = "broken"
    default_hint = "the agent of this guest is faulty or hostile; do not trust what it says"


class WaitTimeout(GuestAgentError):
    kind = "wait_timeout"


class DomainStillOn(WaitTimeout):
    kind = "still_on"
    default_hint = "check the guest's console for what it waits for, allow more time, or set force_after to destroy the domain"


class NotStarted(WaitTimeout):
    kind = "not_started"
    default_hint = "check the guest's console and the domain's log on the hypervisor for what ended it"


class NotRestarted(WaitTimeout):
    kind = "not_restarted"
    default_hint = "check the guest's console for what it waits for, allow more time, or set force_after to reset it"


class NotBack(WaitTimeout):
    kind = "not_back"
    default_hint = "check the guest's console and that qemu-guest-agent starts at boot, or allow more time"


class CannotSuspend(GuestAgentError):
    kind = "cannot_suspend"


class NotSuspended(WaitTimeout):
    kind = "not_suspended"
    default_hint = "check the guest's log for what kept it awake"


class NotAwake(WaitTimeout):
    kind = "not_awake"
    default_hint = "a guest that cannot resume must be reset or destroyed"


class GuestNotReady(WaitTimeout):
    kind = "not_ready"


class ChannelBusy(AgentUnavailable):
    kind = "channel_busy"
    status = "unresponsive"
    default_hint = "end the other client of this channel, or use another channel"


class CommandTimeout(WaitTimeout):
    kind = "command_timeout"
    default_hint = "allow more time, or check what it waits for"


class OutputTooLong(CommandFailed):
    kind = "output_too_long"


class NoSpace(CommandFailed):
    kind = "no_space"
    default_hint = "free some space in the guest there"


class OutputCut(NoSpace):
    """The command ran, ended with ``rc``, and the file system that took its output was full: that is not whole."""

    kind = "output_cut"
    default_hint = "free some space in the guest there, and check what the command did before you run it again"

    def __init__(self, detail: str, *, rc: int | None = None, domain: str = "", command: str = "", hint: str = "") -> None:
        super().__init__(detail, domain=domain, command=command, hint=hint)
        self.rc = rc


class ProgramMissing(CommandFailed):
    kind = "program_missing"


class SystemLacks(CommandFailed):
    kind = "system_lacks"
    default_hint = "this is only possible in guests of another system"


class FileFailed(CommandFailed):
    """The guest's file system did not allow it; ``reason`` is a word for it (``_file_scripts.PROBLEMS``)."""

    kind = "file_failed"

    def __init__(self, detail: str, *, reason: str = "", domain: str = "", command: str = "", hint: str = "") -> None:
        super().__init__(detail, domain=domain, command=command, hint=hint)
        self.reason = reason


class FileMissing(FileFailed):
    kind = "file_missing"


class LaneFailed(GuestAgentError):
    """``moved`` bytes have reached the sink of a read. The file of a write has any content; nothing else is left in the guest."""

    kind = "data_lane_failed"

    def __init__(self, detail: str, *, moved: int = 0, domain: str = "", command: str = "", hint: str = "") -> None:
        super().__init__(detail, domain=domain, command=command, hint=hint)
        self.moved = moved


class UserNotFound(CommandFailed):
    kind = "user_not_found"
    default_hint = "check the name, or create the user in the guest first"


class WatchdogFailed(GuestAgentError):
    kind = "watchdog_failed"
    default_hint = "check the system log of the host that executes the module for what ended it"


class NotQuiesced(GuestAgentError):
    kind = "not_quiesced"
    default_hint = "check whether another client thaws the guest or its storage is too slow; quiesce=preferred accepts this"


class SnapshotForeign(GuestAgentError):
    kind = "foreign_snapshot"
    default_hint = "choose another name, or look at it with 'virsh snapshot-dumpxml' and remove it with 'virsh snapshot-delete'"


class SnapshotPartial(GuestAgentError):
    kind = "partial_snapshot"
    default_hint = "remove it from the domains that have it (state=absent) and take it again, or choose another name"


class BackupPartial(SnapshotPartial):
    kind = "partial_backup"


class DiskBusy(GuestAgentError):
    kind = "disk_busy"
    default_hint = "wait until the block job has ended, or end it with 'virsh blockjob'"


class NotMerged(WaitTimeout):
    kind = "not_merged"
    default_hint = "run the task again with a longer merge_timeout; the guest runs on meanwhile"


class BackupForeign(GuestAgentError):
    kind = "foreign_backup"
    default_hint = "choose another name or directory, or remove what is there (state=absent)"
