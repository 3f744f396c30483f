# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is to be gathered of many domains, and what was."""

from __future__ import annotations

import typing as t

from . import record as _record
from .addresses import AddressPolicy

if t.TYPE_CHECKING:
    from .._errors import GuestAgentError
    from .._inside.exec import Probe


class Plan(t.NamedTuple):
    """What to gather, of whom, and how long that may take (seconds)."""

    subsets: tuple[str, ...] = ("os", "hostname", "interfaces")
    #: libvirt states to include; empty for all
    states: tuple[str, ...] = ("running",)
    #: names or UUIDs to include; empty for all
    domains: tuple[str, ...] = ()
    #: decides by a record that holds only ``libvirt``, before the agent is asked
    select: t.Callable[[_record.Record], bool] = lambda record: True
    policy: AddressPolicy = AddressPolicy()
    probes: t.Mapping[str, Probe] = {}
    agent_timeout: int = 5
    timeout: float = 30.0
    concurrency: int = 10
    max_items: int = _record.DEFAULT_MAX_ITEMS
    ssh_persist: int = 0

    def takes(self, state: str) -> bool:
        return not self.states or state in self.states

    def asks_agent(self) -> bool:
        return bool(self.subsets or self.probes)


class Gathered(t.NamedTuple):
    records: list[_record.Record]
    #: URI -> why it could not be asked
    failures: dict[str, GuestAgentError]
    #: why of some domains libvirt told no more than that they are there
    troubles: t.Sequence[GuestAgentError] = ()
