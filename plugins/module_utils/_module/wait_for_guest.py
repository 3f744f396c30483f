# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a guest is ready: its agent, its boot, an address, cloud-init, a command. One check, and a wait."""

from __future__ import annotations

import contextlib
import math
import typing as t

from .._commands import cloud_init, network
from .._deadline import Deadline
from .._errors import (
    CommandBlocked,
    CommandUnknown,
    ConnectionLost,
    DomainNotFound,
    GuestAgentError,
    GuestNotReady,
    HypervisorUnreachable,
    InvalidInput,
    PermissionDenied,
    SystemLacks,
)
from .._inside import exec as _exec, passing, small_files
from .._libvirt import domain_xml
from .._reach import diagnosis, preflight
from .._reach.advice import EXEC
from .._reach.guest import Guest
from .._records import interfaces as _interfaces, leases
from .._records.addresses import AddressPolicy, usable
from .._records.own_addresses import OwnAddresses
from .._windows.recognised import recognise

#: These are not better for waiting.
_FATAL: t.Final = (ConnectionLost, DomainNotFound, HypervisorUnreachable, InvalidInput, PermissionDenied)
#: Between two looks where libvirt has an event for what is missing, should that be lost (seconds).
_LOOK_SECONDS: t.Final = 5.0
#: libvirt tells of an agent a moment before it talks to it itself.
_AFTER_EVENT: t.Final = 0.3


class Wanted(t.NamedTuple):
    """The conditions: None and False for those that are not waited for."""

    agent: bool = True
    #: the boot that it must not be any more
    boot_id: str | None = None
    address: AddressPolicy | None = None
    cloud_init: bool = False
    command: _exec.Probe | None = None

    def names(self) -> list[str]:
        return [name for name, value in zip(self._fields, self) if value]


class Look(t.NamedTuple):
    """What one look at the guest has found."""

    state: str
    #: condition -> what it found: an address, a boot, ...
    found: dict[str, t.Any]
    held: list[str]
    missing: dict[str, GuestAgentError]
    #: whether libvirt itself tells when to look again
    will_be_told: bool
    #: the agent does not accept a command that a condition needs, which waiting does not change
    hopeless: bool = False


class Readiness:
    def __init__(self, guest: Guest, wanted: Wanted) -> None:
        self._guest = guest
        self._wanted = wanted
        self._agent_timeout = guest.agent.timeout
        self._state = ""
        self._domain = domain_xml.parse(guest.domain.xml())
        self._own = OwnAddresses(guest.domain.uri)
        self._problem: GuestAgentError | None = None
        self._seconds = 1.0
        #: by condition; each raises why it does not hold
        self._questions: dict[str, t.Callable[[Look], None]] = {
            "agent": self._see_agent,
            "boot_id": self._see_boot_id,
            "address": self._see_address,
            "cloud_init": self._see_cloud_init,
            "command": self._see_command,
        }

    def wait(self, deadline: Deadline, pause: float, over: t.Collection[str] = ()) -> Look:
        """Look until all conditions hold at the same time, until one never will, or until the deadline: on every event, and every
        ``pause`` seconds.

        :param over: states of the domain in which the wait is over
        :raise DomainNotFound: the domain does not exist any more.
        :raise HypervisorUnreachable: its hypervisor is out of reach at the deadline.
        """
        domain = self._guest.domain
        watch = domain.lifecycle(restarts=True)
        while True:
            try:
                look = self.look(deadline.remaining())
            except (ConnectionLost, HypervisorUnreachable):
                if deadline.expired():
                    raise
                deadline.sleep(pause)
                passing.state(domain, deadline)
                with contextlib.suppress(HypervisorUnreachable):
                    watch = domain.lifecycle(restarts=True)
                continue
            if not look.missing or look.hopeless or look.state in over or deadline.expired():
                return look
            limit = max(pause, _LOOK_SECONDS) if look.will_be_told else pause
            if watch.next(min(limit, deadline.remaining())) is not None:
                deadline.sleep(_AFTER_EVENT)
                while watch.next(0.0) is not None:
                    pass

    def look(self, seconds: float, runs: bool = True) -> Look:
        """:param runs: whether the command is run, which may do more than look"""
        domain, agent = self._guest.domain, self._guest.agent
        self._seconds = max(1.0, seconds)
        agent.retry()
        agent.timeout = max(1, min(self._agent_timeout, math.ceil(seconds)))
        self._state, self._domain = domain.state(), domain_xml.parse(domain.xml())
        self._problem = preflight.preflight(self._state, self._domain)
        look = Look(self._state, {}, [], {}, self._problem is not None)
        for name in self._wanted.names():
            try:
                if name == "command" and (look.missing or not runs):
                    raise GuestNotReady("it is run when all other conditions hold" if runs else "it is not run in check mode")
                self._questions[name](look)
                look.held.append(name)
            except _FATAL:
                raise
            except (CommandBlocked, CommandUnknown, SystemLacks) as error:
                look.missing[name] = error
                look = look._replace(hopeless=look.hopeless or self._is_hopeless(name))
            except GuestAgentError as error:
                look.missing[name] = error
        if "boot_id" not in look.found and self._problem is None:
            with contextlib.suppress(GuestAgentError):
                self._need_inside()
                look.found["boot_id"] = small_files.boot_id(agent)
        return look

    def failure(self, look: Look, seconds: float) -> GuestNotReady:
        """What is still missing, and why; the same reason is told once. ``seconds``: how long it was waited for."""
        reasons: dict[str, list[str]] = {}
        hints = []
        for name, error in look.missing.items():
            explained = diagnosis.explain(self._guest.agent, error, small_files.READING)
            reasons.setdefault(explained.detail, []).append(name)
            hints.append(explained.hint)
        told = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
        hint = next((hint for hint in hints if hint), "allow more time, or check the guest's console")
        return GuestNotReady(f"still missing after {seconds:g} s: {told}", domain=self._guest.domain.name, hint=hint)

    def _is_hopeless(self, name: str) -> bool:
        """An address may still come from the hypervisor."""
        policy = self._wanted.address or AddressPolicy()
        return name != "address" or not {"lease", "arp"} & {*policy.sources}

    def _see_agent(self, _look: Look) -> None:
        self._need_agent()
        self._guest.agent.call("guest-ping")

    def _see_boot_id(self, look: Look) -> None:
        self._need_inside()
        found = look.found["boot_id"] = small_files.boot_id(self._guest.agent)
        if found == self._wanted.boot_id:
            raise GuestNotReady("the guest has not been restarted, because its boot id is the same")

    def _see_address(self, look: Look) -> None:
        policy = self._wanted.address or AddressPolicy()
        if self._state not in ("running", "blocked"):
            self._need_agent()
        trouble, told = None, None
        try:
            self._need_agent()
            told = network.interfaces(self._guest.agent)
        except _FATAL:
            raise
        except GuestAgentError as error:
            trouble = error
        interfaces = _interfaces.merge(self._domain.nics, told)
        known = _interfaces.candidates(interfaces)
        self._own.mark(known)
        ranked = usable(known, policy)
        if not ranked:
            known = leases.fallback(self._guest.domain, interfaces, policy)
            self._own.mark(known)
            ranked = usable(known, policy)
        look.found["addresses"] = [candidate["address"] for candidate in ranked]
        if not look.found["addresses"]:
            others = ", ".join(address for interface in interfaces for address in interface["ip_addresses"][:8]) or "none at all"
            raise trouble or GuestNotReady(f"no address of the guest is usable; it has {others[:300]}")

    def _see_cloud_init(self, look: Look) -> None:
        self._need_inside()
        found = look.found["cloud_init"] = cloud_init.status(self._guest.agent)
        if found["status"] == "not started":
            raise GuestNotReady("cloud-init has not started yet in this boot, or is not installed")
        if not cloud_init.finished(found):
            raise GuestNotReady(f"cloud-init is at work on {found['stage'] or 'something'}")

    def _see_command(self, look: Look) -> None:
        self._need_inside()
        command = self._wanted.command
        if command is None:
            return
        command = command._replace(timeout=min(command.timeout, self._seconds))
        found = look.found["command"] = _exec.run_probe(self._guest.agent, command)
        if found["rc"] != 0:
            said = found["error"] or f"it ended with exit code {found['rc']}"
            raise GuestNotReady(f"{said}: {found['output'][:200]}" if found["output"] else said)

    def _need_agent(self) -> None:
        if self._problem is not None:
            raise self._problem

    def _need_inside(self) -> None:
        """An agent for what is done in the guest, which is known to be Windows, or to be another system."""
        self._need_agent()
        self._guest.agent.can(EXEC[0])
        recognise(self._guest.agent)
