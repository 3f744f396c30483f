# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small text files of a guest: by the agent's own commands, and by a program where it refuses these."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import CommandFailed, CommandRefused, ProtocolError
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import small_files
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.spool import BOOT
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import VERSIONS, FakeGuest, Program


def _cat(content: bytes | None) -> t.Callable[[tuple[str, ...]], Program | None]:
    ended = Program(0, b"", b"1\n") if content is None else Program(0, content, b"0\n")
    return lambda argv: ended if argv[-2:] == ("--", BOOT) else None


@pytest.mark.parametrize("version", VERSIONS)
def test_the_boot_id_by_a_program_where_files_are_refused(version: str) -> None:
    guest = FakeGuest(version, block=["guest-file-open"], programs=_cat(f"{samples.uuid(5)}\n".encode()))
    assert small_files.boot_id(guest.agent()) == samples.uuid(5)
    guest.blocked.add("guest-exec-status")
    with pytest.raises(CommandRefused):
        small_files.boot_id(guest.agent())
    assert small_files.told(guest.agent(), BOOT) is None
    assert guest.sent.count("guest-exec") == 1


def test_a_program_that_fails_to_read_tells_nothing() -> None:
    guest = FakeGuest(block=["guest-file-open"], programs=_cat(None))
    with pytest.raises(CommandFailed):
        small_files.boot_id(guest.agent())
    assert small_files.told(guest.agent(), BOOT) is None


@pytest.mark.parametrize(
    "content", [b"", b"{{ 7 * 7 }}", b"\xff" * 36, b"x" * 5000, samples.uuid(1).upper().replace("0", "O").encode()]
)
def test_a_boot_id_is_one_or_an_error(content: bytes) -> None:
    with pytest.raises(ProtocolError, match="does not contain a boot id"):
        small_files.boot_id(FakeGuest(files={BOOT: content}).agent())


@pytest.mark.parametrize(
    "reply", [7, [], {"count": -1}, {"count": 1, "buf-b64": "%", "eof": True}, {"count": 3, "buf-b64": 5, "eof": 1}]
)
def test_a_boot_id_that_is_a_lie_is_an_error(reply: t.Any) -> None:
    guest = FakeGuest(files={BOOT: b"x"})
    guest.replies["guest-file-read"] = reply
    with pytest.raises(ProtocolError):
        small_files.boot_id(guest.agent())
    assert small_files.told(guest.agent(), BOOT) is None
