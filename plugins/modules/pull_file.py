#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pull_file
short_description: Copy a file from a guest
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Copies a file of a guest to the host where the module runs, through the guest's agent (qemu-ga). The guest needs neither network
    nor Python.
  - The file arrives whole or not at all. It is written beside O(dest) under another name, its size and SHA-256 are checked, and it
    is renamed.
  - A file that already has the right SHA-256 is not transferred.
options:
  src:
    description:
      - Absolute path of the file in the guest, such as V(C:/Temp/app.log) on Windows. O(follow) says which links are followed. On
        Windows links are always followed.
    type: str
    required: true
  dest:
    description:
      - Path on the host where the module runs. A link is followed.
      - When it is a directory or ends in C(/), the file gets the name that it has in O(src). Directories are not created.
    type: path
    required: true
  mode:
    description:
      - The mode of the file in O(dest), as octal digits in quotes, such as V('0644'), or symbolic, such as V(u=rw,g=r,o=).
      - A symbolic mode is applied to the mode of the existing file, or to V('0600') for a new one. Without users, as in V(+x), it
        is applied with the umask 022.
      - By default an existing file keeps its mode and its owner, and a new one gets V('0600'), because it may have been readable
        for few users in the guest. M(ansible.builtin.fetch) uses the umask instead.
    type: raw
  fail_on_missing:
    description: Whether to fail when the guest has no such file. Otherwise O(dest) is left as it is.
    type: bool
    default: true
  follow:
    description:
      - Whether to follow all links. Otherwise the task fails at a link that another user than C(root) and O(user) may have created.
        It also fails at a file with several names in a directory where another user may have created this name.
    type: bool
    default: false
  user:
    description:
      - The user of the guest that reads the file. A large file that does not belong to C(root) alone is first copied to
        C(/var/tmp), and needs the space there.
    type: str
    default: root
extends_documentation_fragment:
  - virtops.guest_agent._reach
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
  - virtops.guest_agent._attributes.diff
attributes:
  check_mode:
    details: The file is read in check mode too when the guest has no C(sha256sum), or when a diff is to show its content.
  diff_mode:
    details: Shows the content of texts of up to 100 KiB, and the checksum of other files.
notes:
  - During a transfer the task waits up to an hour for a guest that is paused or frozen. It waits up to 45 seconds for libvirt or an
    agent that is unreachable.
seealso:
  - module: virtops.guest_agent.push_file
"""

EXAMPLES = r"""
- name: Copy the boot log of a guest without a network
  virtops.guest_agent.pull_file:
    domain: web1
    src: /var/log/cloud-init-output.log
    dest: /tmp/

- name: Keep a copy of a guest's configuration that every user may read
  virtops.guest_agent.pull_file:
    domain: web1
    src: /etc/ssh/sshd_config
    dest: /tmp/web1-sshd_config
    mode: "0644"
    fail_on_missing: false
"""

RETURN = r"""
src:
  description: The path of the file in the guest.
  returned: success
  type: str
  sample: /etc/ssh/sshd_config
dest:
  description: Path of the file on the host where the module runs.
  returned: success
  type: str
  sample: /tmp/web1-sshd_config
checksum:
  description: SHA-1 of the file's content, as M(ansible.builtin.fetch) returns it.
  returned: when the guest has the file, and in check mode when RV(dest) has the same content or a diff shows it
  type: str
  sample: da39a3ee5e6b4b0d3255bfef95601890afd80709
sha256:
  description: SHA-256 of the file's content. In check mode, of the predicted content.
  returned: when the guest has the file
  type: str
  sample: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
size:
  description: The size of the file in bytes.
  returned: when the guest has the file
  type: int
  sample: 3223
mode:
  description: The mode of the file in RV(dest).
  returned: when the guest has the file
  type: str
  sample: "0644"
msg:
  description: Why nothing was done, or why the task failed.
  returned: when the guest does not have the file, and on failure
  type: str
  sample: the guest has no /etc/ssh/sshd_config
transfer:
  description:
    - How the content was transferred, with C(bytes), C(seconds), C(mib_per_second), and the C(lane) that carried most of it,
      V(agent) or V(data).
  returned: when the content was transferred
  type: dict
  sample: {bytes: 20971520, seconds: 1.52, mib_per_second: 13.16, lane: agent}
failure:
  description:
    - What went wrong. C(kind) is V(file_missing) or V(file_failed) for the file in the guest, and V(local_file) for the file on the
      host where the module runs. It may be another stable word such as V(command_blocked), V(agent_timeout), V(domain_not_running)
      or V(invalid_input).
  returned: failure
  type: dict
  sample: {kind: file_missing, domain: web1, command: "", detail: "/etc/none: the file does not exist", hint: ""}
"""

import typing as t

from ..module_utils._errors import FileMissing
from ..module_utils._inside import files
from ..module_utils._module import pull_file, transfer
from ..module_utils._reach.advice import EXEC, FILES
from ..module_utils._reach.guest import Guest, open_guest
from ..module_utils._task import modes, spec
from ..module_utils._task.run import Outcome, Task, run

SPEC = spec.Spec(
    {
        **spec.REACH,
        "src": {"type": "str", "required": True},
        "dest": {"type": "path", "required": True},
        "mode": {"type": "raw"},
        "fail_on_missing": {"type": "bool", "default": True},
        "follow": {"type": "bool", "default": False},
        "user": {"type": "str", "default": "root"},
    },
    required_if=spec.REACH_REQUIRES,
)


def ensure(task: Task) -> Outcome:
    params = task.params
    src = transfer.guest_path(params["src"], "src")
    mode = "" if params["mode"] is None else modes.mode(params["mode"], "mode")
    with transfer.local_files():
        copy = pull_file.look(params["dest"], src, mode)
        with open_guest(params, (*EXEC, *FILES)) as guest:
            transfer.check_system(guest.agent, src, "src")
            where = files.Where(src, params["user"], "all" if params["follow"] else "own")
            original = pull_file.original(guest.agent, where)
            if original is None and not params["fail_on_missing"]:
                return Outcome({"src": src, "dest": copy.path, "msg": f"the guest has no {src}"})
            if original is None:
                raise FileMissing(f"{src}: the file does not exist", reason="missing", domain=guest.agent.name)
            return _converge(task, guest, where, copy, original)


def _converge(task: Task, guest: Guest, where: files.Where, copy: pull_file.Copy, original: files.FileState) -> Outcome:
    before = copy.state()
    result: dict[str, t.Any] = {"src": where.path, "dest": copy.path}
    after: dict[str, t.Any] = {"sha256": original.sha256, "size": original.size, "mode": copy.new_mode()}
    show = task.diff and original.size <= transfer.DIFF_MAX
    if original.sha256 and (original.sha256 == before.get("sha256") or (task.check_mode and not show)):
        if original.sha256 == before.get("sha256"):
            result["checksum"] = copy.checksum
        if not task.check_mode:
            copy.set_mode()
        return Outcome({**result, **after}, before, after)
    with copy.scratch(task.check_mode) as scratch:
        watch = transfer.Stopwatch(guest)
        files.pull(guest.agent, where, scratch.write, guest.lane)
        content, result["checksum"] = transfer.described(scratch)
        after.update(content)
        result["transfer"] = watch.transfer(after["size"])
        diff = copy.diff(scratch, before, after) if show else None
        if not task.check_mode:
            copy.replace(scratch)
    return Outcome({**result, **after}, before, after, diff)


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
