#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fstrim
short_description: Discard the unused blocks of a guest's filesystems
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Discards the unused blocks of all mounted filesystems of a guest through its agent (qemu-ga). Disk images shrink, and thin
    volumes get their space back.
  - Space is freed only when the domain's disk passes the request on, with C(discard='unmap') in its driver.
options:
  minimum:
    description:
      - Ranges of unused bytes that are shorter than this are ignored, which makes a trim faster. A number of bytes, or one with a
        unit such as V(1M).
      - With V(0) the filesystem decides.
    type: bytes
    default: "0"
  timeout:
    description:
      - How long the trim may take in the guest, in seconds. The agent answers nothing else until the trim has ended, even if that
        is later.
    type: int
    default: 600
extends_documentation_fragment:
  - virtops.guest_agent._guest
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
attributes:
  check_mode:
    support: partial
    description: Can run in C(check_mode) and return changed status prediction without modifying the guest.
    details:
      - How much a trim would discard cannot be known before. The agent is asked whether it would accept a trim, and the task is
        reported as changed.
  diff_mode:
    support: none
    description: Returns details of what has changed or would change.
notes:
  - Some filesystems, such as ext4, remember what they have trimmed, and discard nothing the second time. Others, such as xfs,
    discard all unused blocks each time, so the task is changed each time.
  - When the agent does not answer in time, the outcome is unknown, and the trim continues in the guest. Another trim does no harm.
"""

EXAMPLES = r"""
- name: Shrink the disk images of a guest on the hypervisor
  virtops.guest_agent.fstrim:
    domain: web1

- name: Trim a slow guest, and fail when a filesystem cannot be trimmed
  virtops.guest_agent.fstrim:
    domain: db1
    minimum: 1M
    timeout: 3600
  register: result
  failed_when: result is failed or result.failed_paths | length > 0
"""

RETURN = r"""
paths:
  description:
    - Every filesystem that the agent tried to trim. Empty in check mode, and with qemu-ga before 2.4, which does not report them.
    - The task fails when all of them have an error. An error of one filesystem does not prevent the others from being trimmed.
  returned: success, or when no filesystem could be trimmed
  type: list
  elements: dict
  contains:
    path:
      description: The mount point.
      type: str
      sample: /
    trimmed:
      description: How many bytes were discarded. Null when there was an error, and on Windows.
      type: int
      sample: 14396416
    minimum:
      description: The minimum in bytes that the filesystem used.
      type: int
      sample: 0
    error:
      description: Why it could not be trimmed, null when it was.
      type: str
      sample: trim not supported
trimmed:
  description: How many bytes were discarded in all. Null in check mode.
  returned: as RV(paths)
  type: int
  sample: 14396416
failed_paths:
  description: The mount points of the filesystems with an error.
  returned: as RV(paths)
  type: list
  elements: str
  sample: []
failure:
  description:
    - What went wrong. C(kind) is V(command_failed) when no filesystem could be trimmed, V(guest_frozen), or V(agent_timeout) when
      the trim took longer than O(timeout). It may be another stable word such as V(command_blocked), V(domain_not_running) or
      V(invalid_input).
  returned: failure
  type: dict
  sample:
    kind: command_failed
    domain: web1
    command: guest-fstrim
    detail: "no filesystem could be trimmed (/: trim not supported)"
    hint: set discard='unmap' for the domain's disks
"""

from ..module_utils._commands import trim
from ..module_utils._errors import CommandFailed, InvalidInput
from ..module_utils._reach.guest import open_guest
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run

COMMAND = "guest-fstrim"
SPEC = spec.Spec(
    {
        **spec.GUEST,
        "minimum": {"type": "bytes", "default": "0"},
        "timeout": {"type": "int", "default": 600},
    }
)


def ensure(task: Task) -> Outcome:
    minimum = task.params["minimum"]
    if not 0 <= minimum < 2**63:
        raise InvalidInput("minimum must be a number of bytes from 0 to 2^63 - 1")
    with open_guest(task.params, [COMMAND]) as guest:
        agent = guest.agent
        if task.check_mode:
            return Outcome({"paths": [], "trimmed": None, "failed_paths": []}, after={"sent": COMMAND})
        paths = trim.trim(agent, minimum, task.params["timeout"])
        task.warn_of_left_out(agent)
    total = sum(found["trimmed"] or 0 for found in paths)
    failed = [found for found in paths if found["error"] is not None]
    # Windows, and qemu-ga before 2.4, trim without counting.
    uncounted = not paths or any(found["error"] is None and found["trimmed"] is None for found in paths)
    failure = None
    if failed and len(failed) == len(paths):
        failure = CommandFailed(
            f"no filesystem could be trimmed ({failed[0]['path']}: {failed[0]['error']})",
            domain=agent.name,
            command=COMMAND,
            hint="set discard='unmap' for the domain's disks",
        )
    result = {"paths": paths, "trimmed": total, "failed_paths": [found["path"] for found in failed]}
    return Outcome(result, after={"sent": COMMAND} if total or uncounted else {}, failure=failure)


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
