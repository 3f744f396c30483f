# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A row of a table has a name that says which one it is."""

from __future__ import annotations

import pytest

from ansible_collections.virtops.guest_agent.tests.unit.rows import word


class Labelled:
    label = "of its own"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({"a": False, "b": ["x", None]}, "a=False,b=x+None"),
        ({}, "{}"),
        ((), "[]"),
        (ValueError("no"), "ValueError"),
        (ValueError, None),
        (Labelled(), "of its own"),
        (b"\xff\n", "??"),
        ("x" * 1_000_000, "x" * 48),
        ("", ""),
        (1.5, "1.5"),
    ],
)
def test_names(value: object, name: str | None, request: pytest.FixtureRequest) -> None:
    assert word(value) == name
    assert name is None or name in request.node.name
