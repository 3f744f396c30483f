# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""In libvirt-python's place, see libvirt.py beside it."""

from __future__ import annotations

from ansible_collections.virtops.guest_agent.tests.bench.simulation.hypervisor import Domain


def qemuAgentCommand(domain: Domain, text: str, seconds: int, _flags: int) -> str:
    return domain.agent_command(text, seconds)
