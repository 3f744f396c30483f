# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long things take in the simulation: drawn once from a seed, so that two runs wait for the same."""

from __future__ import annotations

import random

#: Seconds to the hypervisor's daemon and back.
ROUND_TRIPS = {"local": 0.0001, "lan": 0.0005, "wan": 0.02}
#: Seconds of an agent command: median, and sigma of the logarithm; measured on idle guests, the tail is a busy guest's.
_COMMANDS = {"guest-network-get-interfaces": (0.005, 0.6), "guest-exec": (0.02, 0.8), "guest-exec-status": (0.003, 0.6)}
_OTHERS = (0.003, 0.6)
#: What the daemon needs for one request, and for one domain in a list of all.
REQUEST = 0.00005
LISTED = 0.000005
_DRAWS = 4093  # a prime: a domain's commands are not all from the same place


class Latencies:
    def __init__(self, round_trip: str, seed: int) -> None:
        self.round_trip = ROUND_TRIPS[round_trip]
        generator = random.Random(seed)
        self._draws = [generator.lognormvariate(0, 1) for _number in range(_DRAWS)]

    def command(self, name: str, domain: int, count: int) -> float:
        """Seconds of the ``count``-th command to the ``domain``-th domain."""
        median, sigma = _COMMANDS.get(name, _OTHERS)
        return float(median * self._draws[(domain * 7 + count) % _DRAWS] ** sigma)
