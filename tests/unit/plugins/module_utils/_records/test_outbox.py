# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits is in order, and bounded."""

from __future__ import annotations

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._records.outbox import WAITING_MAX, Outbox


def outbox() -> Outbox[int]:
    return Outbox(lambda: None)


def everything(box: Outbox[int]) -> list[tuple[int, int]]:
    found = []
    while (taken := box.take()) is not None:
        found.append(taken)
    return found


def test_the_order_is_kept() -> None:
    box = outbox()
    for number in range(3 * WAITING_MAX):
        box.put(f"subject {number % 5}", number)
    assert everything(box) == [(number, 0) for number in range(3 * WAITING_MAX)]


def test_the_newest_takes_the_place_of_the_last() -> None:
    box = outbox()
    for number in range(1000):
        box.put("flaps", number)
    box.put("quiet", 1000)
    assert everything(box) == [*((number, 0) for number in range(WAITING_MAX - 1)), (999, 1000 - WAITING_MAX), (1000, 0)]


def test_one_that_was_taken_makes_room() -> None:
    box = outbox()
    for number in range(WAITING_MAX):
        box.put("a", number)
    assert box.take() == (0, 0)
    box.put("a", WAITING_MAX)
    assert everything(box) == [(number, 0) for number in range(1, WAITING_MAX + 1)]


def test_what_waits_is_bounded_by_the_subjects() -> None:
    """An hour of twenty guests that change fifty times a second, and rules that have no time."""
    box = outbox()
    for number in range(3600 * 50):
        box.put(f"guest {number % 20}", number)
    assert len(box) == 20 * WAITING_MAX
    assert sum(1 + replaced for _event, replaced in everything(box)) == 3600 * 50
    assert box._of == {}


def test_who_takes_is_woken() -> None:
    woken: list[int] = []
    box: Outbox[int] = Outbox(lambda: woken.append(1))
    box.put("a", 1)
    box.put("a", 2)
    assert len(woken) == 2


def test_what_ends_a_thread_is_raised() -> None:
    woken: list[int] = []
    box: Outbox[int] = Outbox(lambda: woken.append(1))
    box.put("a", 1)
    box.fail(KeyError("bug"))
    assert len(woken) == 2
    with pytest.raises(KeyError):
        box.take()
