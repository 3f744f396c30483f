# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of failures names every kind that there is, once, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors

PAGE = Path(__file__).resolve().parents[2] / "docs/docsite/rst/failures.rst"


def _kinds(base: type[_errors.GuestAgentError]) -> set[str]:
    return {base.kind}.union(*(_kinds(each) for each in base.__subclasses__() if each.__module__ == _errors.__name__))


def test_every_kind_has_its_entry() -> None:
    entries = re.findall(r"^``(\w+)``\n  \S", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(entries) == len(set(entries))
    assert set(entries) == _kinds(_errors.GuestAgentError)
