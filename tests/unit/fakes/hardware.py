# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A FakeGuest with a clock, vCPUs, blocks of memory and filesystems to trim. Texts of errors are those that real guests gave."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest, _Refused

BLOCK_SIZE = 128 * 1024 * 1024
NO_HWCLOCK = (
    "child process has failed to set hardware clock to system time: failed to exec '/sbin/hwclock': No such file or directory"
)


def _error(text: str) -> _Refused:
    return _Refused({"class": "GenericError", "desc": text})


class Hardware(FakeGuest):
    """``skew`` and ``rtc_skew``: nanoseconds that the clocks are ahead. ``stuck``: vCPUs or blocks (-> errno) that refuse."""

    def __init__(self, version: str = "10.0", vcpus: int = 4, blocks: int = 8, **options: t.Any) -> None:
        super().__init__(version, **options)
        self.skew = 0
        self.rtc_skew = 0
        self.moment: int | None = None
        self.hwclock = True
        #: something sets the clock back at once
        self.pinned = False
        self.delay = 0.0
        self.cpus = dict.fromkeys(range(vcpus), True)
        self.blocks = dict.fromkeys(range(blocks), True)
        self.stuck: dict[int, int] = {}
        #: an agent that says that it did, and did not
        self.lies = False
        self.at_once: list[int] = []
        self.paths: list[dict[str, t.Any]] = [{"path": "/", "trimmed": 4096, "minimum": 0}]
        self.minimum: int | None = None

    @classmethod
    def skewed(cls) -> Hardware:
        """One whose clock is an hour ahead, and its hardware clock a minute."""
        guest = cls()
        guest.skew, guest.rtc_skew = 3_600_000_000_000, 60_000_000_000
        return guest

    def _get_time(self) -> int:
        time.sleep(self.delay)
        return time.time_ns() + self.skew

    def _set_time(self, **arguments: int) -> t.Any:
        self.moment = moment = arguments.get("time")
        if moment is None:
            if not self.hwclock:
                raise _error(NO_HWCLOCK)
            self.skew = self.rtc_skew
        elif not self.pinned:
            self.skew = moment - time.time_ns()
        if not self.hwclock:
            raise _error(NO_HWCLOCK)
        return {}

    def _get_vcpus(self) -> t.Any:
        found = [{"logical-id": n, "online": up, "can-offline": n > 0} for n, up in self.cpus.items()]
        return list(reversed(found))

    def _set_vcpus(self, vcpus: list[dict[str, t.Any]]) -> int:
        self.at_once.append(len(vcpus))
        done = 0
        for entry in vcpus:
            number, online = entry["logical-id"], entry["online"]
            trouble = ""
            if number not in self.cpus:
                trouble = f'open("/sys/devices/system/cpu/cpu{number}/"): No such file or directory'
            elif number in self.stuck or (number == 0 and not online):
                trouble = f"logical processor #{number} can't be offlined"
            if trouble and not done:
                raise _error(trouble)
            if trouble:
                return done
            self.cpus[number] = self.cpus[number] if self.lies else online
            done += 1
        return done

    def _get_memory_blocks(self) -> t.Any:
        found = [{"phys-index": n, "online": up, "can-offline": True} for n, up in self.blocks.items()]
        return list(reversed(found))

    def _get_memory_block_info(self) -> t.Any:
        if not self.blocks:
            raise _error('open("/sys/devices/system/memory/"): No such file or directory')
        return {"size": BLOCK_SIZE}

    def _set_memory_blocks(self, mem_blks: list[dict[str, t.Any]]) -> t.Any:
        self.at_once.append(len(mem_blks))
        return [self._set_block(entry["phys-index"], entry["online"]) for entry in mem_blks]

    def _set_block(self, number: int, online: bool) -> dict[str, t.Any]:
        if number not in self.blocks:
            return {"phys-index": number, "response": "not-found", "error-code": 2}
        if number in self.stuck:
            return {"phys-index": number, "response": "operation-failed", "error-code": self.stuck[number]}
        self.blocks[number] = self.blocks[number] if self.lies else online
        return {"phys-index": number, "response": "success"}

    def _fstrim(self, minimum: int = 0) -> t.Any:
        self.minimum = minimum
        trimmed = {"paths": [dict(found) for found in self.paths]}
        for found in self.paths:
            if found.get("trimmed"):
                found["trimmed"] = 0
        return trimmed
