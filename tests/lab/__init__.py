# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real guests for tests: tiny and Debian domains under libvirt, without KVM, without a network."""

from .errors import LabError
from .guest import Guest
from .lab import Lab

__all__ = ["Guest", "Lab", "LabError"]
