# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One thing done to several guests at a time."""

from __future__ import annotations

import concurrent.futures
import typing as t

from .._errors import GuestAgentError
from .threads import LANES_PER_CONNECTION

T = t.TypeVar("T")


def each(
    action: t.Callable[[T], t.Any], subjects: t.Sequence[T], at_once: int = LANES_PER_CONNECTION
) -> list[GuestAgentError | None]:
    """``action`` on each of ``subjects``, as many at once as a connection takes; their errors, None for who had none."""

    def attempt(subject: T) -> GuestAgentError | None:
        try:
            action(subject)
        except GuestAgentError as error:
            return error
        return None

    if not subjects:
        return []
    with concurrent.futures.ThreadPoolExecutor(max_workers=at_once) as pool:
        return list(pool.map(attempt, subjects))
