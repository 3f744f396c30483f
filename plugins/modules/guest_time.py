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
  - Tells how far the clock of a guest is off, and sets it where that is more than O(tolerance), through the guest's agent
    (qemu-ga). Clocks go wrong when a domain was paused, suspended, saved or migrated, or was restored from a snapshot.
  - How long the agent takes to answer is taken into account, so a tolerance of some milliseconds is possible.
  - The guest's hardware clock is set as well, where the guest has C(/sbin/hwclock). Where it has not, that is a warning.
options:
  source:
    description: What the guest's clock should say.
    type: str
    default: host
    choices:
      host: The time of the host that executes the module, be it the controller or the hypervisor.
      rtc: The time of the guest's own hardware clock, which QEMU keeps going while the guest stands still. Not on Windows.
      none: Whatever it says. The clock is only measured, against the host that executes the module.
  time:
    description:
      - A time for the guest's clock, instead of O(source), as it is when the task starts. Either in ISO 8601 with its offset from
        UTC, such as V(2026-03-01T10:00:00Z), or as seconds since the epoch. The agent takes no year before 1970 or after 2069.
      - Since that time is another one when the playbook runs again, the task is changed again.
    type: str
  tolerance:
    description:
      - How far the clock may be off, in seconds, before it is set.
      - What the agent's answer leaves uncertain (RV(uncertainty)) is added to it.
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
    details: With O(source=rtc) the task is reported as changed, since no agent tells the hardware clock's time.
notes:
  - The clock jumps, also backwards, which databases and timers in the guest may not like. Let a time service such as chrony keep it
    right from then on. A service that disagrees sets it back.
"""

EXAMPLES = r"""
- name: Bring the clock of a guest in line with the hypervisor's after it was resumed
  virtops.guest_agent.guest_time:
    domain: web1
    tolerance: 0.5

- name: Only look how far it is off
  virtops.guest_agent.guest_time:
    domain: web1
    source: none
  register: clock
  failed_when: clock is failed or clock.offset | abs > 60

- name: Take the time from the guest's hardware clock
  virtops.guest_agent.guest_time:
    domain: web2
    source: rtc

- name: Send a test guest to the last day of the year
  virtops.guest_agent.guest_time:
    domain: test1
    time: "2027-12-31T23:59:00Z"
"""

RETURN = r"""
offset:
  description:
    - How many seconds the guest's clock is ahead now, negative when it is behind. It is held against the clock of the host that
      executes the module, or against O(time).
    - In check mode that of before.
  returned: success
  type: float
  sample: 0.000214
offset_before:
  description: The same from before the clock was set.
  returned: success
  type: float
  sample: -3605.271344
uncertainty:
  description: By how many seconds the offset may be wrong to either side, which is half of what the agent took to answer.
  returned: success
  type: float
  sample: 0.000712
time:
  description: What the guest's clock says now (ISO 8601, UTC).
  returned: success
  type: str
  sample: "2026-03-01T10:00:00.251046Z"
failure:
  description:
    - What went wrong. C(kind) is V(command_failed) when the guest's clock is not what it should be after it was set, or another
      stable word such as V(command_blocked), V(guest_frozen), V(agent_timeout), V(domain_not_running) or V(invalid_input).
  returned: failure
  type: dict
  sample:
    kind: command_failed
    domain: web1
    command: guest-set-time
    detail: the guest's clock is off by 3605.271 s after it was set
    hint: look for a service in the guest that sets it, or allow more tolerance
"""

import datetime
import re
import time
import typing as t

from ..module_utils import _argspec
from ..module_utils._client import GuestAgent
from ..module_utils._commands import clock
from ..module_utils._errors import CommandFailed, InvalidInput
from ..module_utils._guest import open_guest
from ..module_utils._task import Outcome, Task, run

COMMAND = "guest-set-time"
SPEC = _argspec.Spec(
    {
        **_argspec.GUEST,
        "source": {"type": "str", "choices": ["host", "rtc", "none"], "default": "host"},
        "time": {"type": "str"},
        "tolerance": {"type": "float", "default": 1.0},
    }
)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
#: What qemu-ga takes.
_YEARS = (1970, 2069)
#: A guest that is busy may get to it late; each attempt knows better how late.
_ATTEMPTS = 3
_NO_HWCLOCK = "see that the guest has /sbin/hwclock (Debian and Ubuntu: package util-linux-extra) and a hardware clock"


def ensure(task: Task) -> Outcome:
    tolerance, source = task.params["tolerance"], task.params["source"]
    if not 0 <= tolerance <= 1e9:
        raise InvalidInput("tolerance must be a number of seconds that is not negative")
    if task.params["time"] is not None and source != "host":
        raise InvalidInput(f"time and source={source} exclude each other")
    reference = time.time_ns if task.params["time"] is None else _from_now_on(_parse(task.params["time"]))
    allowed = int(tolerance * clock.SECOND)
    with open_guest(task.params) as guest:
        agent = guest.require_agent()
        agent.require("guest-get-time")
        before = clock.measure(agent, reference)
        if source == "none" or (source == "host" and _agrees(before, allowed)):
            return _outcome(before, before, {}, {})
        agent.require(COMMAND)
        was = {"offset": _seconds(before.offset)}
        if task.check_mode:
            return _outcome(before, before, was, {"offset": None if source == "rtc" else 0.0})
        if source == "host":
            after = _set(task, agent, reference, before, allowed)
            return _outcome(before, after, was, {"offset": _seconds(after.offset)})
        _follow_rtc(agent)
        after = clock.measure(agent, reference)
        moved = abs(after.offset - before.offset) > allowed + after.uncertainty + before.uncertainty
        return _outcome(before, after, was, {"offset": _seconds(after.offset)} if moved else was)


def _set(task: Task, agent: GuestAgent, reference: clock.Reference, measured: clock.Measured, allowed: int) -> clock.Measured:
    trouble = None
    for _attempt in range(_ATTEMPTS):
        trouble = None
        try:
            clock.write(agent, reference() + measured.uncertainty)
        except CommandFailed as error:
            trouble = error
        measured = clock.measure(agent, reference)
        if _agrees(measured, allowed):
            if trouble is not None:
                task.warn(f"The guest's clock is set, and its hardware clock is not: {trouble.detail}; {_NO_HWCLOCK}")
            return measured
    if trouble is not None:
        raise trouble
    raise CommandFailed(
        f"the guest's clock is off by {measured.offset / clock.SECOND:.3f} s after it was set",
        domain=agent.name,
        command=COMMAND,
        hint="look for a service in the guest that sets it, or allow more tolerance",
    )


def _follow_rtc(agent: GuestAgent) -> None:
    try:
        clock.follow_rtc(agent)
    except CommandFailed as error:
        if "hwclock" in error.detail:
            error.hint = _NO_HWCLOCK
        raise


def _agrees(measured: clock.Measured, allowed: int) -> bool:
    return abs(measured.offset) <= allowed + measured.uncertainty


def _from_now_on(moment: int) -> clock.Reference:
    started = time.monotonic_ns()
    return lambda: moment + time.monotonic_ns() - started


def _parse(text: str) -> int:
    """Nanoseconds since the epoch."""
    try:
        if re.fullmatch(r"\d{1,12}(\.\d+)?", text):
            moment = _EPOCH + datetime.timedelta(seconds=float(text))
        else:
            moment = datetime.datetime.fromisoformat(re.sub("[Zz]$", "+00:00", text))
        moment = moment.astimezone(datetime.timezone.utc) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        raise InvalidInput("time must be like 2026-03-01T10:00:00Z, or seconds since the epoch") from None
    if moment.tzinfo is None:
        raise InvalidInput("time does not say how far it is from UTC", hint="end it in Z, or in an offset such as +02:00")
    if not _YEARS[0] <= moment.year <= _YEARS[1]:
        raise InvalidInput(f"time must be in a year from {_YEARS[0]} to {_YEARS[1]}")
    return (moment - _EPOCH) // datetime.timedelta(microseconds=1) * 1000


def _outcome(
    before: clock.Measured, after: clock.Measured, was: t.Mapping[str, float], then: t.Mapping[str, float | None]
) -> Outcome:
    moment = _EPOCH + datetime.timedelta(microseconds=after.guest // 1000)
    result = {
        "offset": _seconds(after.offset),
        "offset_before": _seconds(before.offset),
        "uncertainty": _seconds(after.uncertainty),
        "time": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
    }
    return Outcome(result, was, then)


def _seconds(nanoseconds: int) -> float:
    return round(nanoseconds / clock.SECOND, 6)


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
