# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the resident of a hostile or a hung guest can say, and what it costs. test_resident.py has a real one."""

from __future__ import annotations

import struct
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._deadline import Deadline
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import resident, resident_task
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.login_shell import Command
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest

#: proc(5): the 20th after the name is when it was started
STAT = b"7 (python3) S " + b" ".join(b"%d" % number for number in range(1, 40))
PROCESS = "7:19"


class OtherEnd:
    """The link to a resident that says the same all the time."""

    polls = True

    def __init__(self, clock: FakeClock, says: bytes) -> None:
        self._clock, self._says = clock, says
        self.sent = b""

    def send(self, data: bytes) -> None:
        self.sent += data

    def receive(self, seconds: float) -> bytes:
        self._clock.sleep(seconds)
        assert self._clock.monotonic() < 1100, "it is waited for without end"
        return self._says

    def send_last(self, data: bytes) -> None:
        self.sent += data

    def close(self) -> None:
        pass


def found(says: bytes = b"", greeted: bool = True) -> tuple[resident.Resident, FakeGuest]:
    clock, guest = FakeClock(), FakeGuest(files={"/proc/7/stat": STAT})
    other_end = OtherEnd(clock, says)
    one = resident.Resident(guest.agent(), lambda: other_end, clock)
    if greeted:
        one._link = other_end
    return one, guest


def task(command: Command | None = None) -> resident_task._Task:
    one, guest = found()
    return resident_task._Task(one, guest.agent(), command or Command(("/bin/true",)), 60.0, None)


def test_what_is_no_greeting_is_read_up_to_a_bound() -> None:
    one, _guest = found(b"x" * 1024 * 1024, greeted=False)
    one.keeper = PROCESS
    with pytest.raises(resident.Ended, match="does not answer"):
        one.greet()


def test_one_that_is_there_and_says_nothing_costs_its_time() -> None:
    one, _guest = found(greeted=False)
    one.keeper = PROCESS
    with pytest.raises(_errors.HypervisorUnreachable, match="does not answer") as caught:
        one.greet()
    assert not isinstance(caught.value, resident.Ended)


def test_a_frame_that_is_too_long() -> None:
    one, _guest = found(struct.pack(">cI", b"O", 1024 * 1024 + 1))
    with pytest.raises(_errors.ProtocolError, match="a frame that is too long"):
        one.frames(1.0)


def test_more_output_than_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident_task, "_OUTPUT_MAX", 10)
    one = task()
    one._take(b"O", b"0123456789")
    with pytest.raises(_errors.OutputTooLong, match="printed more than 10 bytes"):
        one._take(b"O", b"0")


def test_a_module_that_it_would_have_to_hold_goes_the_other_way() -> None:
    one, guest = found()
    command = Command(("/bin/sh", "-c", "python3"), stdin=bytes(4 * 1024 * 1024 + 1), script_of=("python3", t.cast("t.Any", {})))
    with pytest.raises(resident.Unavailable):
        resident_task.run(one, guest.agent(), command, Deadline(1.0), 1.0)
    assert t.cast(OtherEnd, one._link).sent == b""


def answered(kind: bytes, body: bytes) -> None:
    one = task()
    one._take(kind, body)
    if one._end is not None:
        one._outcome(one._end)


@pytest.mark.parametrize("kind", [b"S", b"Z", b"N"])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b"[" * 200_000, b'{"a":' * 200_000, b'{"received": "x", "code": true}']
)
def test_an_odd_answer_is_one_sentence(kind: bytes, body: bytes) -> None:
    if kind == b"N" and body.endswith(b"}"):
        with pytest.raises(resident_task.Unavailable):
            answered(kind, body)
        return
    with pytest.raises(_errors.ProtocolError):
        answered(kind, body)


@pytest.mark.parametrize("body", [b"", struct.pack(">I", 1), struct.pack(">QQ", 1, 1)])
def test_an_odd_number_is_one_sentence(body: bytes) -> None:
    with pytest.raises(_errors.ProtocolError, match="no number"):
        answered(b"A", body)
