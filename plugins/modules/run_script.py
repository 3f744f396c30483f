#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: run_script
short_description: Run a script or a program of this host in a guest
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Puts a script or a program into a guest through its agent (qemu-ga), runs it there and removes it again, whatever comes of it.
    The guest needs neither network nor Python.
  - It is put into C(/var/tmp), or where that does not work C(/tmp) or C(/run), with a name that nobody can guess, and belongs to
    O(user), who alone may read and run it.
  - It has the environment of a login of O(user), input and output of any size, and a time after which it is killed.
options:
  script:
    description:
      - Path of the script or the program on the host where the module runs. In the controller's process a relative path is looked
        for in C(files/) of the role and beside the playbook, as M(ansible.builtin.script) does.
    type: path
  content:
    description: The script itself, instead of O(script). It appears in no log.
    type: raw
  args:
    description: Its arguments.
    type: list
    elements: str
    default: []
  executable:
    description:
      - A program of the guest to run it with, such as C(python3). Without it, it is run with the one that its first line names,
        as in C(#!/bin/sh). So it may be in a directory that is mounted with C(noexec).
      - A program without such a line is put where the guest executes files. When that is nowhere, the task fails.
    type: str
extends_documentation_fragment:
  - virtops.guest_agent._reach
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._run
seealso:
  - module: virtops.guest_agent.run_command
"""

EXAMPLES = r"""
- name: Run a script that is here
  virtops.guest_agent.run_script:
    domain: web1
    script: /usr/local/lib/site/first-boot.sh
    args: [--role, web]
    creates: /etc/first-boot.done

- name: Run a few lines of Python as a user
  virtops.guest_agent.run_script:
    domain: web1
    content: |
      import getpass
      print(getpass.getuser())
    executable: python3
    user: deploy
  register: who
  changed_when: false
"""

RETURN = r"""
cmd:
  description: O(executable), the path of the script on the host where the module runs or V(-) for O(content), and O(args).
  returned: unless the guest or the agent was in the way
  type: raw
  sample: [/usr/local/lib/site/first-boot.sh, --role, web]
rc:
  description:
    - The exit code, or 128 and the number of the signal that ended the command. Null when the command was killed since O(timeout)
      was over. What is not 0 fails the task, with the same return values.
  returned: as RV(cmd)
  type: int
  sample: 0
signal:
  description:
    - The number of the signal that ended the command, null for none. In guests whose C(/bin/sh) is not bash, an end by SIGINT or
      SIGPIPE is not told from the exit codes 130 and 141.
  returned: as RV(cmd)
  type: int
  sample: null
stdout:
  description: What it printed. What is not UTF-8 is replaced by U+FFFD.
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
  description: The very bytes in base64.
  returned: when RV(stdout) is not UTF-8
  type: str
  sample: f/4=
stderr:
  description: What it printed as errors, likewise.
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
  description: The very bytes in base64.
  returned: when RV(stderr) is not UTF-8
  type: str
  sample: f/4=
start:
  description: When it was started, by the clock of the host where the module runs; null when it was not.
  returned: as RV(cmd)
  type: str
  sample: "2026-03-01 10:00:00.251046"
end:
  description: When it had ended.
  returned: as RV(cmd)
  type: str
  sample: "2026-03-01 10:00:00.293311"
delta:
  description: How long it took.
  returned: as RV(cmd)
  type: str
  sample: "0:00:00.042265"
msg:
  description: Why it was not run, or why the task failed.
  returned: when it was not run, and on failure
  type: str
  sample: "Did not run command since '/etc/done' exists"
failure:
  description:
    - What went wrong. C(kind) is V(nonzero_rc) for a command that ended with another exit code than 0 or by a signal,
      V(command_timeout) when it was killed since its time was over, V(command_failed) when it could not be started, V(no_space)
      when the guest has no space for its files, V(output_cut) when it ran and that space ended meanwhile, or another
      stable word such as V(command_blocked), V(agent_timeout), V(domain_not_running) or V(invalid_input).
  returned: failure
  type: dict
  sample: {kind: nonzero_rc, domain: web1, command: "", detail: the command ended with exit code 2, hint: see rc}
"""

import io
import typing as t

from ..module_utils._module import run as _run
from ..module_utils._module.run_script import placed
from ..module_utils._module.transfer import local_files
from ..module_utils._task import spec, values
from ..module_utils._task.run import Outcome, Task, run

SPEC = spec.Spec(
    {
        **_run.OPTIONS,
        "script": {"type": "path"},
        "content": {"type": "raw", "no_log": True},
        "args": {"type": "list", "elements": "str", "default": []},
    },
    searched={"script": "files"},
    required_if=spec.REACH_REQUIRES,
    mutually_exclusive=[["script", "content"]],
    required_one_of=[["script", "content"]],
    echoes=True,
)


def ensure(task: Task) -> Outcome:
    params = task.params
    before = [params["executable"]] if params["executable"] else []
    with local_files(), _opened(params) as source:
        shown = [*before, params["script"] or "-", *params["args"]]
        return _run.perform(task, shown, lambda reached: placed(reached, source, params["user"], before, params["args"]))


def _opened(params: t.Mapping[str, t.Any]) -> t.BinaryIO:
    if params["script"] is None:
        return io.BytesIO(values.encoded(params["content"], "content"))
    return open(params["script"], "rb")


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
