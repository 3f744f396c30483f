# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thresholds of use, each told once in each direction."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._records import fill


def filesystem(percent: float | None, mount_point: str = "/", kind: str = "ext4", total: int | None = 1000) -> t.Any:
    used = None if percent is None else int(10 * percent)
    return {
        "mount_point": mount_point,
        "file_system_type": kind,
        "used_bytes": used,
        "total_bytes": total,
        "disk_name": "",
        "disks": [],
    }


def told(ledger: fill.FillLedger, *percents: float, key: str = "web") -> list[tuple[bool, int, int]]:
    found = [passed for percent in percents for passed in ledger.compare(key, [filesystem(percent)])]
    return [(passed.is_above, passed.threshold, passed.used_percent) for passed in found]


def test_a_disk_that_fills_and_is_emptied() -> None:
    ledger = fill.FillLedger([95, 80])
    assert told(ledger, 50, 79.9) == []
    assert told(ledger, 80, 85, 94) == [(True, 80, 80)]
    assert told(ledger, 96, 100) == [(True, 95, 96)]
    assert told(ledger, 94, 93.1) == []  # it wavers
    assert told(ledger, 92) == [(False, 95, 92)]
    assert told(ledger, 96) == [(True, 95, 96)]
    assert told(ledger, 10) == [(False, 80, 10)]
    assert told(ledger, 96) == [(True, 95, 96)]


@pytest.mark.parametrize(
    "odd",
    [
        filesystem(None),
        filesystem(99, total=None),
        filesystem(0, total=0),
        filesystem(100, kind="squashfs"),
        filesystem(100, kind="ISO9660"),
    ],
)
def test_what_has_no_use(odd: t.Any) -> None:
    assert fill.FillLedger([90]).compare("web", [odd]) == []


def test_a_guest_is_known_by_its_key() -> None:
    ledger = fill.FillLedger([90])
    assert len(told(ledger, 95)) == 1
    assert len(told(ledger, 95, key="db")) == 1
    ledger.forget_all_but({"db"})
    assert len(told(ledger, 95)) == 1
    assert told(ledger, 95, key="db") == []


def test_a_hypervisor_that_is_away_keeps_no_domains_of_the_others() -> None:
    ledger = fill.FillLedger([90])
    keys = ("test:///a web", "test:///b db", "test:///b gone")
    assert all(told(ledger, 95, key=key) for key in keys)
    ledger.forget_all_but({"test:///b db"}, {"test:///b"})
    assert [len(told(ledger, 95, key=key)) for key in keys] == [0, 0, 1]


def test_a_filesystem_that_was_unmounted_is_forgotten() -> None:
    ledger = fill.FillLedger([90])
    assert len(told(ledger, 95)) == 1
    assert ledger.compare("web", []) == []
    assert len(told(ledger, 95)) == 1


def test_a_guest_that_claims_to_have_many() -> None:
    ledger = fill.FillLedger([90])
    many = [filesystem(99, f"/{number}") for number in range(1000)]
    assert len(ledger.compare("web", many)) == fill.FILESYSTEMS_MAX
    assert ledger.compare("web", many) == []


def test_one_mount_point_twice() -> None:
    assert len(fill.FillLedger([90]).compare("web", [filesystem(99), filesystem(10), filesystem(99)])) == 1
