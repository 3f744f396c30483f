# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that several modules share, and the SPEC of a module as one value."""

from __future__ import annotations

import typing as t

Options = dict[str, dict[str, t.Any]]

URI: t.Final[Options] = {"uri": {"type": "str"}}
AGENT_TIMEOUT: t.Final[Options] = {"agent_timeout": {"type": "int", "default": 5}}
DOMAIN: t.Final[Options] = {"domain": {"type": "str", "required": True}}
GUEST: t.Final[Options] = {**DOMAIN, **URI, **AGENT_TIMEOUT}


class Spec(t.NamedTuple):
    """What AnsibleModule is made from. Every module of this collection supports check mode."""

    options: Options
    required_if: t.Sequence[tuple[t.Any, ...]] = ()
    mutually_exclusive: t.Sequence[t.Sequence[str]] = ()
