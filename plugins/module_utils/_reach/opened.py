# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One guest of one task, by one of the ways in ``_reach``: for the modules that run commands and move files."""

from __future__ import annotations

import contextlib
import typing as t

from .._errors import GuestAgentError
from .diagnosis import explain
from .ways import Reached, Target, reach


@contextlib.contextmanager
def open_target(params: t.Mapping[str, t.Any], needed: t.Sequence[str]) -> t.Iterator[Reached]:
    """What ``reach`` gives and raises; from an agent that refuses one of the ``needed`` commands, all that is to say about it."""
    options = {name: params[name] for name in Target._fields if name != "domain"}
    with reach(Target(params["domain"] or "", **options)) as reached:
        try:
            yield reached
        except GuestAgentError as error:
            # An error that there is nothing to add to is raised as it was.
            raise explain(reached.agent, error, needed) from error.__cause__
