#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: run_script
short_description: Run a local script or program in a guest
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Copies a script or a program into a guest through its agent (qemu-ga), runs it there, and removes it in any case. The guest
    needs neither network nor Python.
  - The copy is in C(/var/tmp), or C(/tmp) or C(/run) when that does not work, and on Windows in C(Temp) of its own directory. Its
    name cannot be guessed. It belongs to O(user), and no other user may read or run it.
  - The script has the environment of a login of O(user), input and output of any size, and a time limit.
options:
  script:
    description:
      - Path of the script or the program on the host where the module runs. In the controller's process a relative path is searched
        in C(files/) of the role and beside the playbook, as for M(ansible.builtin.script).
    type: path
  content:
    description: The script itself, instead of O(script). It appears in no log.
    type: raw
  args:
    description: The arguments of the script.
    type: list
    elements: str
    default: []
  executable:
    description:
      - The program of the guest that runs the script, such as C(python3). The default is the program in the script's first line,
        such as C(#!/bin/sh). With either, the script may be in a directory that is mounted with C(noexec).
      - A program without such a line is copied to a directory where the guest allows execution. When there is none, the task fails.
      - On Windows the end of the name of O(script) decides. PowerShell runs V(.ps1), C(cmd.exe) runs V(.bat) and V(.cmd), and
        V(.exe) is run itself. O(content) requires this option there.
    type: str
extends_documentation_fragment:
  - virtops.guest_agent._reach
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._run
seealso:
  - module: virtops.guest_agent.run_command
"""

EXAMPLES = r"""
- name: Run a local script
  virtops.guest_agent.run_script:
    domain: web1
    script: /usr/local/lib/site/first-boot.sh
    args: [--role, web]
    creates: /etc/first-boot.done

- name: Run a script of PowerShell in a Windows guest
  virtops.guest_agent.run_script:
    domain: win1
    script: files/first-boot.ps1
    args: [-Role, web]

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
  returned: when the command was run or skipped
  type: raw
  sample: [/usr/local/lib/site/first-boot.sh, --role, web]
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

import io
import typing as t

from ..module_utils._module import run as _run
from ..module_utils._module.run_script import placed
from ..module_utils._module.transfer import local_files
from ..module_utils._reach.guest import Guest
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
    with local_files(), _opened(params) as source:
        shown = [*_before(params), params["script"] or "-", *params["args"]]
        return _run.perform(task, shown, lambda guest: _placed(guest, source, params))


def _before(params: t.Mapping[str, t.Any]) -> list[str]:
    return [params["executable"]] if params["executable"] else []


def _placed(guest: Guest, source: t.BinaryIO, params: t.Mapping[str, t.Any]) -> t.ContextManager[t.Sequence[str]]:
    return placed(guest, source, params["user"], _before(params), params["args"], params["script"])


def _opened(params: t.Mapping[str, t.Any]) -> t.BinaryIO:
    if params["script"] is None:
        return io.BytesIO(values.encoded(params["content"], "content"))
    return open(params["script"], "rb")


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
