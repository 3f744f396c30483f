# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One guest of one task: from the task's ``domain``, ``uri`` and ``agent_timeout`` to its domain and its agent."""

from __future__ import annotations

import contextlib
import typing as t

from .._agent.client import GuestAgent
from .._errors import CommandBlocked, CommandUnknown
from .._libvirt import domain_xml
from .._libvirt.hypervisor import Connection, Domain, connect
from . import preflight

#: What a connection to a hypervisor, and each request that needs no agent, may take.
LIBVIRT_SECONDS: t.Final = 20.0


class Guest(t.NamedTuple):
    connection: Connection
    domain: Domain
    agent: GuestAgent

    def require_agent(self) -> GuestAgent:
        """The agent, known to answer and to say what it can do.

        :raise DomainNotRunning: the domain is off, paused or suspended.
        :raise AgentUnavailable: it has no channel, or nobody listens on it.
        :raise UnknownOutcome: the agent does not answer.
        """
        problem = preflight.preflight(self.domain.state(), domain_xml.parse(self.domain.xml()))
        if problem is not None:
            problem.domain = self.domain.name
            raise problem
        with self.agent.named():
            self.agent.can("guest-ping")
        return self.agent


def guest_of(connection: Connection, domain: Domain, agent_timeout: int) -> Guest:
    return Guest(connection, domain, GuestAgent(domain, agent_timeout))


@contextlib.contextmanager
def open_guest(params: t.Mapping[str, t.Any], events: bool = False) -> t.Iterator[Guest]:
    """
    :raise HypervisorUnreachable: libvirt does not answer at ``uri``.
    :raise DomainNotFound: it has no such domain.
    """
    connection = connect(params["uri"], LIBVIRT_SECONDS, events)
    try:
        guest = guest_of(connection, connection.domain(params["domain"]), params["agent_timeout"])
        try:
            with guest.agent.named():
                yield guest
        except (CommandBlocked, CommandUnknown) as error:
            from .diagnosis import explain  # each task compiles what it imports, and few fail

            raise explain(guest.agent, error, ()) from error.__cause__
    finally:
        connection.close()
