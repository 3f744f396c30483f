#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: run_command
short_description: Run a command in a guest
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Runs a command in a guest through its agent (qemu-ga), and returns its output. The guest needs neither network nor Python.
  - The command has the environment of a login of O(user), input and output of any size, and a time limit. A temporary fault does
    not end it earlier.
options:
  cmd:
    description:
      - The command and its arguments as one text, which is split as by M(ansible.builtin.command). Quotes keep words together.
      - No shell interprets it, so pipes, redirections, patterns and variables are plain arguments.
    type: str
  argv:
    description: The command as a list of its name and its arguments. No shell interprets it.
    type: list
    elements: str
  shell:
    description: The command as a text for a shell of the guest, so pipes, redirections, patterns and variables work.
    type: str
  executable:
    description:
      - The shell of the guest for O(shell). The default is C(/bin/sh), and on Windows C(cmd.exe).
      - On Windows it may be V(powershell.exe) or V(pwsh.exe) too.
    type: str
extends_documentation_fragment:
  - virtops.guest_agent._reach
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._run
seealso:
  - module: virtops.guest_agent.run_script
  - plugin: virtops.guest_agent.agent
    plugin_type: connection
"""

EXAMPLES = r"""
- name: Read a guest's kernel release
  virtops.guest_agent.run_command:
    domain: web1
    cmd: uname -r
  register: kernel
  changed_when: false

- name: Restart a guest's network, which a connection over that network could not survive
  virtops.guest_agent.run_command:
    domain: web1
    shell: systemctl restart systemd-networkd && sleep 5 && ip -brief address | grep -w UP
    timeout: 60

- name: Create a key once, as the user that owns it
  virtops.guest_agent.run_command:
    domain: web1
    argv: [ssh-keygen, -q, -t, ed25519, -N, "", -f, .ssh/id_ed25519]
    user: deploy
    umask: "077"
    creates: .ssh/id_ed25519

- name: Restart a service of a Windows guest
  virtops.guest_agent.run_command:
    domain: win1
    shell: Restart-Service -Name Spooler
    executable: powershell.exe

- name: Set a password, which appears in no log
  virtops.guest_agent.run_command:
    domain: web1
    argv: [chpasswd]
    stdin: "deploy:{{ lookup('ansible.builtin.password', '/dev/null') }}"

- name: Look for a line, and do not fail when it is missing
  virtops.guest_agent.run_command:
    domain: web1
    argv: [grep, -q, ^PermitRootLogin, /etc/ssh/sshd_config]
  register: found
  failed_when: found.rc not in [0, 1]
  changed_when: false
"""

RETURN = r"""
cmd:
  description: The words of O(cmd) or O(argv), or the text of O(shell).
  returned: when the command was run or skipped
  type: raw
  sample: [uname, -r]
rc:
  description:
    - The exit code, or 128 plus the number of the signal that ended the command. Null when the command was killed because
      O(timeout) had passed. The task fails when it is not 0, with the same return values.
  returned: as RV(cmd)
  type: int
  sample: 0
signal:
  description:
    - The number of the signal that ended the command, or null. When the guest's C(/bin/sh) is not bash, an end by SIGINT or SIGPIPE
      cannot be distinguished from the exit codes 130 and 141.
  returned: as RV(cmd)
  type: int
  sample: null
stdout:
  description: The standard output. Bytes that are not UTF-8 are replaced by U+FFFD.
  returned: as RV(cmd)
  type: str
  sample: Debian
stdout_lines:
  description: The same as a list of lines.
  returned: as RV(cmd)
  type: list
  elements: str
  sample: [Debian]
stdout_b64:
  description: The bytes of the output in base64.
  returned: when RV(stdout) is not UTF-8
  type: str
  sample: f/4=
stderr:
  description: The standard error, in the same form.
  returned: as RV(cmd)
  type: str
  sample: ""
stderr_lines:
  description: The same as a list of lines.
  returned: as RV(cmd)
  type: list
  elements: str
  sample: []
stderr_b64:
  description: The bytes of the output in base64.
  returned: when RV(stderr) is not UTF-8
  type: str
  sample: f/4=
start:
  description: When the command was started, by the clock of the host where the module runs. Null when it was not started.
  returned: as RV(cmd)
  type: str
  sample: "2026-03-01 10:00:00.251046"
end:
  description: When the command had ended.
  returned: as RV(cmd)
  type: str
  sample: "2026-03-01 10:00:00.293311"
delta:
  description: How long the command took.
  returned: as RV(cmd)
  type: str
  sample: "0:00:00.042265"
msg:
  description: Why the command was not run, or why the task failed.
  returned: when it was not run, and on failure
  type: str
  sample: "Did not run command since '/etc/done' exists"
failure:
  description:
    - What went wrong. C(kind) is V(nonzero_rc) when the command ended with another exit code than 0 or by a signal, and
      V(command_timeout) when it was killed because O(timeout) had passed. It is V(command_failed) when the command could not be
      started.
    - C(kind) is V(no_space) when the guest has no space for the command's files, and V(output_cut) when the command ran and that
      space was full meanwhile. It may be another stable word such as V(command_blocked), V(agent_timeout), V(domain_not_running) or
      V(invalid_input).
  returned: failure
  type: dict
  sample: {kind: nonzero_rc, domain: web1, command: "", detail: the command ended with exit code 2, hint: see rc}
"""

import contextlib
import shlex
import typing as t

from ..module_utils._errors import InvalidInput
from ..module_utils._inside.shell import by_shell
from ..module_utils._module import run as _run
from ..module_utils._task import spec
from ..module_utils._task.run import Outcome, Task, run

SPEC = spec.Spec(
    {**_run.OPTIONS, "cmd": {"type": "str"}, "argv": {"type": "list", "elements": "str"}, "shell": {"type": "str"}},
    required_if=spec.REACH_REQUIRES,
    mutually_exclusive=[["cmd", "argv", "shell"], ["cmd", "executable"], ["argv", "executable"]],
    required_one_of=[["cmd", "argv", "shell"]],
    echoes=True,
)


def ensure(task: Task) -> Outcome:
    text, executable = task.params["shell"], task.params["executable"]
    if text is not None and text.strip():
        return _run.perform(task, text, lambda guest: contextlib.nullcontext(by_shell(guest.agent, text, executable)))
    words = _words(task.params)
    return _run.perform(task, words, lambda _guest: contextlib.nullcontext(words))


def _words(params: t.Mapping[str, t.Any]) -> list[str]:
    """The program and its arguments."""
    try:
        words = shlex.split(params["cmd"] or "") or params["argv"]
    except ValueError as error:
        raise InvalidInput(f"cmd cannot be split into words: {error}", hint="close its quotes, or use argv or shell") from None
    if not words or not words[0]:
        raise InvalidInput("there is no command in cmd, argv or shell")
    return list(words)


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
