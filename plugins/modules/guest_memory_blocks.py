#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_memory_blocks
short_description: Bring memory of a guest online, or take it offline
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Brings memory blocks of a Linux guest online, or takes them offline, through the guest's agent (qemu-ga). The guest uses more or
    less of its domain's memory.
  - The domain keeps its memory. This is the guest's half of plugging memory. Bring blocks online after they were plugged in, and
    take blocks offline before they are unplugged.
  - Without O(online_bytes), O(online) and O(offline) the blocks are only listed. To read them, prefer the subset
    V(memory_blocks) of M(virtops.guest_agent.guest_info), which asks several guests at once.
options:
  online_bytes:
    description:
      - How much memory shall be online at least, in bytes or with a unit such as V(2G). It is rounded up to whole blocks.
      - Blocks with the lowest numbers are brought online first, and those with the highest numbers are taken offline first. When
        the guest refuses one, the next one is tried.
    type: bytes
  online:
    description: Numbers of blocks that shall be online, as the guest counts them.
    type: list
    elements: int
  offline:
    description: Numbers of blocks that shall be offline.
    type: list
    elements: int
  timeout:
    description:
      - How long the guest may take to switch them, in seconds. The content of a block has to be moved before it goes offline, and
        the agent answers nothing else meanwhile.
    type: int
    default: 120
extends_documentation_fragment:
  - virtops.guest_agent._guest
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
  - virtops.guest_agent._attributes.diff
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode) and return changed status prediction without modifying the guest.
    details: Whether the guest can give up a block is known only when it is tried.
notes:
  - The guest cannot give up a block that holds memory of its kernel or has holes, as the first and the last block often do. Memory
    that was plugged in as movable (C(online_movable)) can go offline again.
  - A guest that runs out of memory kills programs. The module does not prevent you from taking too much.
  - The change does not outlast the guest's next boot.
seealso:
  - module: virtops.guest_agent.guest_info
"""

EXAMPLES = r"""
- name: Use memory that was plugged in
  virtops.guest_agent.guest_memory_blocks:
    domain: web1
    online_bytes: 1G

- name: Free one block, so that the hypervisor may unplug it
  virtops.guest_agent.guest_memory_blocks:
    domain: web1
    offline: [5]

- name: Read them of all guests at once
  virtops.guest_agent.guest_info:
    gather_subset: [memory_blocks]
  register: result
"""

RETURN = r"""
blocks:
  description: All blocks as they are now. In check mode, as predicted.
  returned: success, or when some could not be switched
  type: list
  elements: dict
  contains:
    id:
      description: The number of the block in the guest.
      type: int
      sample: 40
    online:
      description: Whether the guest uses it.
      type: bool
      sample: true
    can_offline:
      description: Whether the guest says that the block can go offline.
      type: bool
      sample: true
block_size:
  description: The size of each block in bytes.
  returned: as RV(blocks)
  type: int
  sample: 134217728
online_bytes:
  description: How many bytes are online.
  returned: as RV(blocks)
  type: int
  sample: 4294967296
total_bytes:
  description: How many bytes there are, online and offline.
  returned: as RV(blocks)
  type: int
  sample: 4294967296
errors:
  description:
    - Blocks that could not be switched, each with its C(id) and the C(error). That is V(not-found), V(operation-not-supported), or
      V(operation-failed) with Linux's own words. All other blocks were switched.
    - With O(online_bytes) this is no failure as long as other blocks could be switched instead.
  returned: as RV(blocks)
  type: list
  elements: dict
  sample: [{id: 0, error: operation-failed (Invalid argument)}]
failure:
  description:
    - What went wrong. C(kind) is V(command_failed) when blocks are not in the requested state afterwards, and V(wait_timeout) when
      O(timeout) has passed. It is V(invalid_input) for blocks that do not exist or cannot go offline.
    - It may be another stable word such as V(command_blocked), V(guest_frozen), V(agent_timeout) or V(domain_not_running).
  returned: failure
  type: dict
  sample:
    kind: command_failed
    domain: web1
    command: guest-set-memory-blocks
    detail: "memory block 0 was not switched: operation-failed (Invalid argument)"
    hint: see errors for each
"""

import typing as t

from ..module_utils._commands import memory_blocks as commands
from ..module_utils._commands.units import Unit
from ..module_utils._errors import InvalidInput
from ..module_utils._module import online
from ..module_utils._reach.guest import open_guest
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run

KIND = online.Kind("guest-set-memory-blocks", "memory block", commands.blocks, commands.switch)
SPEC = spec.Spec(
    {
        **spec.GUEST,
        "online_bytes": {"type": "bytes"},
        "online": {"type": "list", "elements": "int"},
        "offline": {"type": "list", "elements": "int"},
        "timeout": {"type": "int", "default": 120},
    },
    mutually_exclusive=[["online_bytes", "online"], ["online_bytes", "offline"]],
)


def ensure(task: Task) -> Outcome:
    with open_guest(task.params) as guest:
        agent = guest.require_agent()
        before = commands.blocks(agent)
        task.warn_of_left_out(agent)
        # Where there are none, the agent has no size for them and says that this is an error.
        size = commands.block_size(agent) if before else 0
        return online.converge(
            task, agent, KIND, before, lambda: _plan(before, size, task.params), lambda blocks: _shown(blocks, size)
        )


def _plan(blocks: t.Sequence[Unit], size: int, params: t.Mapping[str, t.Any]) -> online.Plan:
    wanted = params["online_bytes"]
    if wanted is None:
        return online.plan_ids(blocks, params["online"] or [], params["offline"] or [], KIND.noun)
    if not 1 <= wanted <= len(blocks) * size:
        raise InvalidInput(f"the guest has {len(blocks) * size} bytes, and {wanted} cannot be online", hint="plug in more first")
    return online.plan_count(blocks, -(-wanted // size), KIND.noun)


def _shown(blocks: t.Sequence[Unit], size: int) -> dict[str, t.Any]:
    return {
        "blocks": list(blocks),
        "block_size": size,
        "online_bytes": sum(block["online"] for block in blocks) * size,
        "total_bytes": len(blocks) * size,
    }


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
