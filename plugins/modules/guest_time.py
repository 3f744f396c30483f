#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_time
short_description: Measure and set the clock of a guest
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Measures how far the clock of a guest is off, and sets it when that is more than O(tolerance), through the guest's agent
    (qemu-ga). A clock goes wrong when a domain was paused, suspended, saved, migrated or restored from a snapshot.
  - The time that the agent takes to answer is taken into account, so a tolerance of some milliseconds is possible.
  - The guest's hardware clock is set as well, when the guest has C(/sbin/hwclock). Otherwise the module warns.
options:
  source:
    description:
      - The reference for the guest's clock.
      - V(host) - The time of the host that executes the module, which is the controller or the hypervisor.
      - V(rtc) - The time of the guest's own hardware clock, which continues while the guest is paused. Not on Windows.
      - V(none) - The clock is not set. It is only measured, against the host that executes the module.
    type: str
    default: host
    choices: [host, rtc, none]
  time:
    description:
      - A time for the guest's clock at the start of the task, instead of O(source). Either in ISO 8601 with its offset from UTC,
        such as V(2026-03-01T10:00:00Z), or in seconds since the epoch. The agent accepts the years 1970 to 2069.
      - The task is changed again on each run, because the clock has moved on.
    type: str
  tolerance:
    description:
      - How far the clock may be off, in seconds, before it is set.
      - RV(uncertainty) is added to it.
    type: float
    default: 1.0
extends_documentation_fragment:
  - virtops.guest_agent._guest
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
  - virtops.guest_agent._attributes.diff
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode) and return changed status prediction without modifying the guest.
    details: With O(source=rtc) the task is reported as changed, because no agent command reads the hardware clock.
notes:
  - The clock jumps, possibly backwards, which may disturb databases and timers in the guest. Let a time service such as chrony keep
    it right from then on. A service with another opinion sets it back.
"""

EXAMPLES = r"""
- name: Set the clock of a guest by the hypervisor's after it was resumed
  virtops.guest_agent.guest_time:
    domain: web1
    tolerance: 0.5

- name: Fail when the clock is off by more than a minute, and do not set it
  virtops.guest_agent.guest_time:
    domain: web1
    source: none
  register: clock
  failed_when: clock is failed or clock.offset | abs > 60

- name: Take the time from the guest's hardware clock
  virtops.guest_agent.guest_time:
    domain: web2
    source: rtc

- name: Set the clock of a test guest to the last day of the year
  virtops.guest_agent.guest_time:
    domain: test1
    time: "2027-12-31T23:59:00Z"
"""

RETURN = r"""
offset:
  description:
    - How many seconds the guest's clock is ahead now, negative when it is behind. It is compared with the clock of the host that
      executes the module, or with O(time).
    - In check mode, the same as RV(offset_before).
  returned: success
  type: float
  sample: 0.000214
offset_before:
  description: The offset before the clock was set.
  returned: success
  type: float
  sample: -3605.271344
uncertainty:
  description: By how many seconds the offset may be wrong in either direction. That is half of the time that the agent took to
    answer.
  returned: success
  type: float
  sample: 0.000712
time:
  description: The guest's time now (ISO 8601, UTC).
  returned: success
  type: str
  sample: "2026-03-01T10:00:00.251046Z"
failure:
  description:
    - What went wrong. C(kind) is V(command_failed) when the guest's clock is still wrong after it was set. It may be another stable
      word such as V(command_blocked), V(guest_frozen), V(agent_timeout), V(domain_not_running) or V(invalid_input).
  returned: failure
  type: dict
  sample:
    kind: command_failed
    domain: web1
    command: guest-set-time
    detail: the guest's clock is off by 3605.271 s after it was set
    hint: check whether a service in the guest sets it, or allow more tolerance
"""

import time
import typing as t

from ..module_utils._commands import clock
from ..module_utils._errors import InvalidInput
from ..module_utils._module import guest_time
from ..module_utils._reach.guest import open_guest
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run

COMMAND = "guest-set-time"
SPEC = spec.Spec(
    {
        **spec.GUEST,
        "source": {"type": "str", "choices": ["host", "rtc", "none"], "default": "host"},
        "time": {"type": "str"},
        "tolerance": {"type": "float", "default": 1.0},
    }
)
_TOLERANCE_MAX = 1e9


def ensure(task: Task) -> Outcome:
    tolerance, source, wanted = task.params["tolerance"], task.params["source"], task.params["time"]
    if not 0 <= tolerance <= _TOLERANCE_MAX:
        raise InvalidInput("tolerance must be a number of seconds from 0 on")
    if wanted is not None and source != "host":
        raise InvalidInput(f"time and source={source} exclude each other")
    reference = time.time_ns if wanted is None else guest_time.from_now_on(guest_time.parse(wanted))
    allowed = int(tolerance * clock.SECOND)
    with open_guest(task.params) as guest:
        agent = guest.require_agent()
        before = clock.measure(agent, reference)
        if source == "none" or (source == "host" and guest_time.agrees(before, allowed)):
            return _outcome(before, before, None)
        agent.require(COMMAND)
        if task.check_mode:
            return _outcome(before, before, {"offset": None if source == "rtc" else 0.0})
        if source == "host":
            after, trouble = guest_time.converge(agent, reference, before, allowed)
            if trouble is not None:
                task.warn(f"The guest's clock is set, and its hardware clock is not: {trouble.detail}; {guest_time.NO_HWCLOCK}.")
            return _outcome(before, after, {"offset": _seconds(after.offset)})
        guest_time.follow_rtc(agent)
        after = clock.measure(agent, reference)
        moved = abs(after.offset - before.offset) > allowed + after.uncertainty + before.uncertainty
        return _outcome(before, after, {"offset": _seconds(after.offset)} if moved else None)


def _outcome(before: clock.Measured, after: clock.Measured, then: t.Mapping[str, float | None] | None) -> Outcome:
    """``then``: what there is of it afterwards, None where that is nothing new."""
    was = {"offset": _seconds(before.offset)}
    result = {
        "offset": _seconds(after.offset),
        "offset_before": was["offset"],
        "uncertainty": _seconds(after.uncertainty),
        "time": guest_time.iso(after.guest),
    }
    return Outcome(result, was, was if then is None else then)


def _seconds(nanoseconds: int) -> float:
    return round(nanoseconds / clock.SECOND, 6)


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
