# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an agent may answer and what a domain's XML may hold, made up by a fuzzer that is guided by what it reaches in the core."""

from __future__ import annotations

import sys
from pathlib import Path

# Where this checkout has its full name (make collections). The core needs nothing else, not even an ansible-core.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".collections"))
