# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How full the filesystems of guests are: what has been told, and what is new. Pure."""

from __future__ import annotations

import bisect
import typing as t

from . import record as _record

#: A guest may claim to have any number of them.
FILESYSTEMS_MAX: t.Final = 64
#: They are full by their nature.
_READ_ONLY: t.Final = ("cramfs", "erofs", "iso9660", "squashfs", "udf")
#: So many percent below a threshold it counts as passed downwards: what wavers around it is told once.
_SLACK: t.Final = 2.0


class Passed(t.NamedTuple):
    """A filesystem whose use has passed a threshold, upwards or downwards."""

    mount_point: str
    is_above: bool
    threshold: int
    used_bytes: int
    total_bytes: int

    @property
    def used_percent(self) -> int:
        return int(100 * self.used_bytes / self.total_bytes)


class FillLedger:
    """How many of the ``thresholds`` (percent) each filesystem is known to have reached."""

    def __init__(self, thresholds: t.Iterable[int]) -> None:
        self._thresholds = sorted(set(thresholds))
        #: domain -> mount point -> number of thresholds, where there are any
        self._levels: dict[str, dict[str, int]] = {}

    def forget_all_but(self, keys: t.Container[str], answered: t.Container[str] | None = None) -> None:
        """Domains that there are no more; one that is off, or silent, comes back as it was.

        :param answered: the URIs of the hypervisors that could be asked; None for all
        """

        def stays(key: str) -> bool:
            return key in keys or (answered is not None and key.rpartition(" ")[0] not in answered)

        self._levels = {key: levels for key, levels in self._levels.items() if stays(key)}

    def compare(self, key: str, filesystems: t.Sequence[_record.Filesystem]) -> list[Passed]:
        """What is new by how full a domain's filesystems are now."""
        before, now, found = self._levels.get(key, {}), {}, []
        for filesystem in filesystems[:FILESYSTEMS_MAX]:
            used, total, mount_point = filesystem["used_bytes"], filesystem["total_bytes"], filesystem["mount_point"]
            if used is None or not total or filesystem["file_system_type"].lower() in _READ_ONLY or mount_point in now:
                continue
            old = before.get(mount_point, 0)
            new = self._level(100 * used / total, old)
            now[mount_point] = new
            if new != old:
                found.append(Passed(mount_point, new > old, self._thresholds[new - 1 if new > old else new], used, total))
        self._levels[key] = {mount_point: level for mount_point, level in now.items() if level}
        return found

    def _level(self, percent: float, old: int) -> int:
        risen = bisect.bisect_right(self._thresholds, percent)
        return risen if risen > old else min(old, bisect.bisect_right(self._thresholds, percent + _SLACK))
