# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What the modules of this collection have in common."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying the guest.
    support: full
  action:
    description: Runs in the controller's process where the host is a guest of the inventory, without C(delegate_to).
    support: full
  async:
    description: Supports being used with the C(async) keyword.
    support: partial
    details: Not in the controller's process; there add C(delegate_to=localhost).
  action_group:
    description: Use C(group/virtops.guest_agent.guest_agent) in C(module_defaults) to set options for all modules at once.
    membership: [virtops.guest_agent.guest_agent]
    support: full
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode). It does the same there as otherwise, because it changes nothing.
    support: full
  diff_mode:
    description: Returns details of what has changed or would change.
    support: N/A
    details: The module changes nothing.
  action:
    description: Runs in the controller's process where the host is a guest of the inventory, without C(delegate_to).
    support: full
  async:
    description: Supports being used with the C(async) keyword.
    support: partial
    details: Not in the controller's process; there add C(delegate_to=localhost).
  action_group:
    description: Use C(group/virtops.guest_agent.guest_agent) in C(module_defaults) to set options for all modules at once.
    membership: [virtops.guest_agent.guest_agent]
    support: full
"""

    DIFF = r"""
options: {}
attributes:
  diff_mode:
    description: Returns details of what has changed or would change.
    support: full
"""
