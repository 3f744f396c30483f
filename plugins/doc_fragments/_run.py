# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that run a command in the guest."""

    DOCUMENTATION = r"""
options:
  stdin:
    description:
      - Standard input of the command, of any size. It appears in no log.
    type: raw
  stdin_add_newline:
    description: Whether to end O(stdin) with a newline.
    type: bool
    default: true
  env:
    description:
      - Environment variables to add to those that a login of O(user) sets. Their values appear in no log. On Windows they are added
        to those of the agent.
    type: dict
  chdir:
    description: The directory of the guest to run in. The default is the home of O(user), and on Windows the agent's own directory.
    type: str
    default: ""
  user:
    description:
      - The user of the guest to run as. No password is needed, because the agent is root.
      - On Windows it must be left out. A command runs there as the agent's own user, usually SYSTEM.
    type: str
    default: root
  umask:
    description: The umask to run with, as octal digits in quotes, such as V('077'). The default is that of a login of O(user).
      Not on Windows.
    type: raw
  creates:
    description:
      - A path or shell pattern of the guest. When it exists, nothing is run.
      - Relative paths are resolved in O(chdir), with the rights of O(user).
    type: str
  removes:
    description:
      - A path or shell pattern of the guest. When it does not exist, nothing is run.
    type: str
  timeout:
    description:
      - How long the command may run, in seconds. After that all processes of its process group are killed, its output is discarded,
        and the task fails with C(failure.kind) V(command_timeout).
      - Nothing else ends it. When libvirt restarts, the connection breaks, the guest is paused or frozen, or another client uses
        the agent, the module asks again until the agent answers.
    type: int
    default: 3600
  patience:
    description:
      - How long the agent may be unreachable while the command runs, in seconds. After that the task fails, and the command
        continues in the guest.
      - When the domain is off, the task fails at once. When it is paused or suspended, or the guest is frozen, the task waits until
        O(timeout).
    type: int
    default: 600
  strip_empty_ends:
    description: Whether to remove empty lines at the ends of RV(ignore:stdout) and RV(ignore:stderr).
    type: bool
    default: true
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying the guest.
    support: partial
    details:
      - The task is skipped, because the effect of a command cannot be predicted. With O(creates) or O(removes) the guest is asked
        whether the command would run.
  diff_mode:
    description: Returns details of what has changed or would change.
    support: none
  action_group:
    description: Use C(group/virtops.guest_agent.guest_agent) in C(module_defaults) to set options for all modules at once.
    membership: [virtops.guest_agent.guest_agent]
    support: full
notes:
  - The command and its arguments are written to the log of the host where the module runs, as with M(ansible.builtin.command). Pass
    secrets in O(stdin) or O(env). Nothing is logged in the guest.
  - The module waits for the command itself, and not for its children in the background.
  - The command outlives the agent. When C(qemu-guest-agent) is restarted, as by an upgrade of its package, the result is read when
    the agent is back. This fails where the guest, by SELinux, keeps the command in the cgroup of the agent's unit.
  - The output of a command is kept in a private file of the guest while it runs. A command that prints more than 512 MiB fails.
"""
