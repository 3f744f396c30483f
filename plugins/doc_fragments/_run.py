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
      - Text to give to the command as its standard input, of any size. It appears in no log.
    type: raw
  stdin_add_newline:
    description: Whether to end O(stdin) with a newline.
    type: bool
    default: true
  env:
    description:
      - Environment variables to add to those that O(user) has after a login. Their values appear in no log.
    type: dict
  chdir:
    description: The directory of the guest to run in. The user's home where it is not given.
    type: str
    default: ""
  user:
    description: The user of the guest to run as. No password is needed, for the agent is root.
    type: str
    default: root
  umask:
    description: The umask to run with, as octal digits in quotes, such as V('077'). Without it, that of a login of O(user).
    type: raw
  creates:
    description:
      - A path or shell pattern of the guest. When it exists, nothing is run.
      - A relative one is seen from O(chdir). O(user) looks.
    type: str
  removes:
    description:
      - A path or shell pattern of the guest. When it does not exist, nothing is run.
    type: str
  timeout:
    description:
      - How long the command may run, in seconds. Then all processes of its process group are killed, what it has printed is lost,
        and the task fails with C(failure.kind) V(command_timeout).
      - Nothing else ends it. When libvirt restarts, the link breaks, the guest is paused or frozen or another client holds the
        agent, the agent is asked again until it answers.
    type: int
    default: 3600
  patience:
    description:
      - How long the agent may be out of reach while the command runs, in seconds. After that the task fails, and the command goes
        on in the guest.
      - A domain that is off is not waited for. One that is paused or suspended and a guest that is frozen are, until O(timeout).
    type: int
    default: 600
  strip_empty_ends:
    description: Whether to take empty lines off the ends of RV(ignore:stdout) and RV(ignore:stderr).
    type: bool
    default: true
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying the guest.
    support: partial
    details:
      - What a command would do nobody knows, so the task is skipped. With O(creates) or O(removes) the guest is asked whether it
        would run.
  diff_mode:
    description: Returns details of what has changed or would change.
    support: none
  action_group:
    description: Use C(group/virtops.guest_agent.guest_agent) in C(module_defaults) to set options for all modules at once.
    membership: [virtops.guest_agent.guest_agent]
    support: full
notes:
  - The command and its arguments are noted in the log of the host where the module runs, as with M(ansible.builtin.command). Give
    secrets in O(stdin) or O(env). In the guest nothing of it is logged.
  - A command that leaves children in the background has ended when it ends itself.
  - The command outlives the agent. When C(qemu-guest-agent) is restarted, as by an upgrade of its package, the result is found when
    it is back, unless the guest (by SELinux) does not let the command leave the cgroup of the agent's unit.
  - What a command prints is kept in a private file of the guest while it runs. A command that prints more than 512 MiB fails.
"""
