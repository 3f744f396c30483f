# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The corpus of a hostile agent's replies, without a guest: what reads an agent never raises, and gives bounded plain data."""

from __future__ import annotations

import datetime
import json
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _deadline
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.protocol import Request
from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import GuestAgentError
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.exec import Probe
from ansible_collections.virtops.guest_agent.plugins.module_utils._records import ask
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.subsets import SUBSETS
from ansible_collections.virtops.guest_agent.tests.faults import corpus
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
MOST = 4 * corpus.MIB


class LyingGuest(FakeGuest):
    """Answers every command with the lie, or none but this one."""

    def __init__(self, lie: corpus.Lie, command: str = "") -> None:
        super().__init__()
        self._lie = lie
        self._command = command

    def exchange(self, request: Request, seconds: int) -> str:
        honest = json.loads(super().exchange(request, seconds))
        if self._command not in ("", self.sent[-1]):
            return json.dumps(honest)
        return self._lie(honest).split(b"\n")[0].decode(errors="replace")


def unprintable(value: t.Any) -> list[str]:
    if isinstance(value, dict):
        return [found for member in (*value, *value.values()) for found in unprintable(member)]
    if isinstance(value, list):
        return [found for member in value for found in unprintable(member)]
    text = value if isinstance(value, str) else ""
    return [text] if not (text.isprintable() or text.replace("\n", "").replace("\t", "").isprintable()) else []


@pytest.mark.parametrize("liar", ["", *sorted({subset.command for subset in SUBSETS.values()})])
@pytest.mark.parametrize("name", corpus.ENTRIES)
def test_a_record_of_it(name: str, liar: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_deadline, "time", FakeClock())
    agent = LyingGuest(corpus.ENTRIES[name], liar).agent()
    part, parts = ask.ask(agent, SUBSETS, {"mine": Probe(("true",), 5)}, NOW)
    assert part["status"]
    assert len(json.dumps([part, parts], allow_nan=False)) < MOST
    assert unprintable([part, parts]) == []


@pytest.mark.parametrize("name", corpus.ENTRIES)
def test_a_command(name: str) -> None:
    agent = LyingGuest(corpus.ENTRIES[name]).agent()
    said = ""
    try:
        agent.call("guest-get-host-name")
    except GuestAgentError as error:
        said = str(error)
    assert unprintable(said) == []
    assert len(said) < 2000
    assert "\n" not in said
