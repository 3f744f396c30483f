# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the other end of a warm guest answers is no more trusted than its agent."""

from __future__ import annotations

import struct
import types
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import ProtocolError
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import resident_task
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.shell import Command
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest


def answered(kind: bytes, body: bytes) -> None:
    resident = t.cast(t.Any, types.SimpleNamespace())
    task = resident_task._Task(resident, FakeGuest().agent(), Command(("true",)), 5.0, None)
    task._take(kind, body)
    if task._end is not None:
        task._outcome(task._end)


@pytest.mark.parametrize("kind", [b"S", b"Z", b"N"])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b"[" * 200_000, b'{"a":' * 200_000, b'{"received": "x", "code": true}']
)
def test_an_odd_answer_is_one_sentence(kind: bytes, body: bytes) -> None:
    if kind == b"N" and body.endswith(b"}"):
        with pytest.raises(resident_task.Unavailable):
            answered(kind, body)
        return
    with pytest.raises(ProtocolError):
        answered(kind, body)


@pytest.mark.parametrize("body", [b"", struct.pack(">I", 1), struct.pack(">QQ", 1, 1)])
def test_an_odd_number_is_one_sentence(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="no number"):
        answered(b"A", body)
