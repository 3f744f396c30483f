#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: push_file
short_description: Put a file into a guest
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Puts a file of the host where the module runs, or a text, into a guest through its agent (qemu-ga). The guest needs neither
    network nor Python.
  - It is there whole or not at all. It is written beside its place under another name, with mode and owner, its size and SHA-256
    are checked there, and it is renamed.
  - A file whose SHA-256 is right already is not transferred. Where the guest has no C(sha256sum) its content is compared here.
options:
  src:
    description:
      - Path of the file on the host where the module runs. In the controller's process a relative path is looked for in C(files/)
        of the role and beside the playbook, as M(ansible.builtin.copy) does.
    type: path
  content:
    description: The content itself, instead of O(src). It appears in no log.
    type: raw
  dest:
    description:
      - Absolute path in the guest. What becomes of a link, O(follow) says.
      - A directory, or what ends in C(/), gets the file by the name that it has in O(src). Directories are not made.
    type: str
    required: true
  mode:
    description:
      - The mode as octal digits in quotes, such as V('0644'). V(preserve) takes that of O(src). Symbolic modes are not supported.
      - Without it a file that is there keeps its mode, and a new one gets V('0644'). What another user has put into a directory
        like C(/tmp) counts as no file here and for O(owner) and O(group).
    type: raw
  owner:
    description:
      - Name or number of the user that owns it. Without it a file that is there keeps its owner, and a new one belongs to O(user).
    type: str
  group:
    description: Name or number of its group, likewise.
    type: str
  backup:
    description: Whether to keep the file that is replaced beside it, under a name with the time in it.
    type: bool
    default: false
  force:
    description: Whether to replace a file that has another content. Its mode, owner and group are set in any case.
    type: bool
    default: true
  follow:
    description:
      - Whether a link in O(dest) is followed, so that the file it points to is replaced. Otherwise the link itself is replaced by
        the file, as M(ansible.builtin.copy) does it. With O(force=false) a link is left alone.
      - Without it links on the way to O(dest) are followed only where no user but C(root) and O(user) can have laid them out. At
        any other link the task fails.
    type: bool
    default: false
  user:
    description:
      - The user of the guest that writes it. As another user than C(root) a file that is replaced changes its owner to that one.
    type: str
    default: root
extends_documentation_fragment:
  - virtops.guest_agent._reach
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
  - virtops.guest_agent._attributes.diff
attributes:
  diff_mode:
    details: Shows the content of texts of up to 100 KiB, and the checksum of everything else.
notes:
  - While the content is under way the task goes on when the guest is paused or frozen for up to an hour, and when libvirt or the
    agent is out of reach for up to 45 seconds.
seealso:
  - module: virtops.guest_agent.pull_file
"""

EXAMPLES = r"""
- name: Put a network configuration into a guest that has no network
  virtops.guest_agent.push_file:
    domain: web1
    content: |
      [Match]
      Name=eth0
      [Network]
      DHCP=yes
    dest: /etc/systemd/network/eth0.network
    mode: "0644"
    backup: true

- name: Put a large file into a guest's directory, over a port of its own
  virtops.guest_agent.push_file:
    domain: web1
    src: /srv/images/app.tar
    dest: /srv/
    owner: app
    group: app
    mode: "0640"
    data_lane: attach
"""

RETURN = r"""
dest:
  description: The file's path in the guest.
  returned: success
  type: str
  sample: /srv/app.tar
sha256:
  description:
    - SHA-256 of what is in the file; in check mode of what would be. Empty for a file that was left alone with O(force=false) in
      a guest that cannot tell.
  returned: success
  type: str
  sample: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
size:
  description: Its size in bytes.
  returned: success
  type: int
  sample: 20971520
mode:
  description: Its mode.
  returned: success
  type: str
  sample: "0640"
owner:
  description: Name of its owner.
  returned: success
  type: str
  sample: app
group:
  description: Name of its group.
  returned: success
  type: str
  sample: app
backup_file:
  description: Path of the backup in the guest.
  returned: when one was made
  type: str
  sample: /etc/systemd/network/eth0.network.4711.2026-03-01@10:00:00~
transfer:
  description:
    - How the content went, with C(bytes), C(seconds), C(mib_per_second), and the C(lane) that was there for what is large,
      V(agent) or V(data).
  returned: when the content was transferred
  type: dict
  sample: {bytes: 20971520, seconds: 1.52, mib_per_second: 13.16, lane: agent}
failure:
  description:
    - What went wrong. C(kind) is V(file_missing) or V(file_failed) for the guest's file, V(local_file) for the one of the host
      where the module runs, or another stable word such as V(command_blocked), V(agent_timeout), V(domain_not_running) or
      V(invalid_input).
  returned: failure
  type: dict
  sample: {kind: file_failed, domain: web1, command: "", detail: "/srv/app.tar: this is a directory", hint: ""}
"""

import io
import os
import typing as t

from ..module_utils._errors import InvalidInput
from ..module_utils._inside import files
from ..module_utils._module import push_file, transfer
from ..module_utils._reach.diagnosis import EXEC, FILES
from ..module_utils._reach.opened import open_target
from ..module_utils._task import spec, values
from ..module_utils._task.run import Outcome, Task, run

SPEC = spec.Spec(
    {
        **spec.REACH,
        "src": {"type": "path"},
        "content": {"type": "raw", "no_log": True},
        "dest": {"type": "str", "required": True},
        "mode": {"type": "raw"},
        "owner": {"type": "str"},
        "group": {"type": "str"},
        "backup": {"type": "bool", "default": False},
        "force": {"type": "bool", "default": True},
        "follow": {"type": "bool", "default": False},
        "user": {"type": "str", "default": "root"},
    },
    searched={"src": "files"},
    required_if=spec.REACH_REQUIRES,
    mutually_exclusive=[["src", "content"]],
    required_one_of=[["src", "content"]],
    echoes=True,
)


def ensure(task: Task) -> Outcome:
    params = task.params
    transfer.guest_path(params["dest"], "dest")
    with transfer.local_files(), _opened(params) as source:
        wanted = files.Attributes(_mode(params, source), params["owner"] or "", params["group"] or "")
        push_file.check(wanted)
        with open_target(params, (*EXEC, *FILES)) as reached:
            place = push_file.look(reached, params["dest"], params["src"], params["user"], params["follow"])
            return _converge(task, place, place.completed(wanted), source)


def _converge(task: Task, place: push_file.Place, wanted: files.Attributes, source: t.BinaryIO) -> Outcome:
    new = transfer.described(source)
    there = place.compared(new, task.params["force"])
    step = push_file.step(there, place.settled(wanted))
    before = {**place.state(), **(new if there == "same" else {})}
    result: dict[str, t.Any] = {"dest": place.where.path}
    if step == "nothing":
        return Outcome({**result, **before}, before, before)
    old_content = place.content(before) if task.diff and step == "replace" else None
    if task.check_mode:
        after = place.planned(wanted, before, new if step == "replace" else None)
    elif step == "attributes":
        after = place.set_attributes(wanted, before)
    else:
        watch = transfer.Stopwatch(place.reached)
        installed = place.replace(source, wanted, task.params["backup"])
        result["transfer"] = watch.transfer(new["size"])
        if installed.backup:
            result["backup_file"] = installed.backup
        after = {**push_file.state(installed.state), **new}
    source.seek(0)
    diff = old_content and transfer.text_diff(old_content, transfer.content(source, place.where.path, after))
    return Outcome({**result, **after}, before, after, diff)


def _opened(params: t.Mapping[str, t.Any]) -> t.BinaryIO:
    if params["src"] is None:
        return io.BytesIO(values.encoded(params["content"], "content"))
    return open(params["src"], "rb")


def _mode(params: t.Mapping[str, t.Any], source: t.BinaryIO) -> str:
    if params["mode"] is None:
        return ""
    if params["mode"] != "preserve":
        return values.octal(params["mode"], "mode")
    if params["src"] is None:
        raise InvalidInput("mode can be preserved of a file in src only")
    return f"{os.fstat(source.fileno()).st_mode & 0o7777:04o}"


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
