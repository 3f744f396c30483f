# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which task hears that become has no effect, and what it is to do instead."""

from __future__ import annotations

import pytest

from ansible_collections.virtops.guest_agent.plugins.plugin_utils._action.become import in_vain

VAIN = "x runs in the controller's process, where become has no effect."
GUEST = " For a user of the guest set the option user."
CONTROLLER = " For a user of the controller add delegate_to: localhost."


@pytest.mark.parametrize(
    ("become_user", "acts_as", "kind", "sentence"),
    [
        ("", "root", "permission_denied", ""),
        ("root", "root", "", ""),
        ("root", "", "agent_timeout", ""),
        ("root", "root", "permission_denied", VAIN + CONTROLLER),
        ("root", "", "hypervisor_unreachable", VAIN + CONTROLLER),
        ("root", "", "domain_not_found", VAIN + CONTROLLER),
        ("deploy", "root", "", VAIN + GUEST + CONTROLLER),
        ("deploy", "", "", VAIN + CONTROLLER),
        ("deploy", "root", "permission_denied", VAIN + GUEST + CONTROLLER),
    ],
)
def test_become_in_vain(become_user: str, acts_as: str, kind: str, sentence: str) -> None:
    assert in_vain("x", become_user, acts_as, kind) == sentence
