# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of modules have in common, beside what all tests have."""

from __future__ import annotations

import typing as t

import pytest

if t.TYPE_CHECKING:
    from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
    from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Hypervisor


@pytest.fixture
def guest(host: Hypervisor) -> t.Iterator[FakeGuest]:
    """The one of the first domain, in which no file may be left open."""
    found = host.domains[0].guest
    assert found
    yield found
    assert found.open_handles == 0


@pytest.fixture
def domain(host: Hypervisor) -> Domain:
    """The first one."""
    return host.domains[0]
