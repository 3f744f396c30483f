# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the lab raises."""

from __future__ import annotations


class LabError(Exception):
    """Something the user of the lab can act on; the message is one sentence."""
