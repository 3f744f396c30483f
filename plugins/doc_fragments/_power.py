# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that ask a guest to go down."""

    DOCUMENTATION = r"""
options:
  mode:
    description:
      - V(agent) asks the agent, V(acpi) presses the power button.
      - V(auto) asks the agent when it accepts the command, and presses the power button otherwise. A frozen guest is an error in
        any mode, because it could not shut down.
    type: str
    choices: [auto, agent, acpi]
    default: auto
"""
