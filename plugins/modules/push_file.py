#!/usr/bin/python
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: push_file
short_description: Copy a file into a guest
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Copies a file of the host where the module runs, or a text, into a guest through its agent (qemu-ga). The guest needs neither
    network nor Python.
  - The file arrives whole or not at all. It is written beside O(dest) under another name, with mode and owner, its size and SHA-256
    are checked in the guest, and it is renamed.
  - A file that already has the right SHA-256 is not transferred. When the guest has no C(sha256sum), the module reads the content
    and compares it.
options:
  src:
    description:
      - Path of the file on the host where the module runs. In the controller's process a relative path is searched in C(files/) of
        the role and beside the playbook, as for M(ansible.builtin.copy).
    type: path
  content:
    description: The content itself, instead of O(src). It appears in no log.
    type: raw
  dest:
    description:
      - Absolute path in the guest, such as V(C:/Temp/app.cfg) on Windows. O(follow) says what happens to a
        link. On Windows links are always followed.
      - When it is a directory or ends in C(/), the file gets the name that it has in O(src). Directories are not created.
    type: str
    required: true
  mode:
    description:
      - The mode as octal digits in quotes, such as V('0644'), or symbolic, such as V(u=rwX,g=rX,o=). V(preserve) takes that of
        O(src).
      - A symbolic mode is applied to the mode of the existing file, or to V('0644') for a new one. Without users, as in V(+x), it
        is applied with the umask 022.
      - By default an existing file keeps its mode, and a new one gets V('0644'). A file that another user has put into a directory
        like C(/tmp) does not count as existing, also not for O(owner) and O(group).
    type: raw
  owner:
    description:
      - Name or number of the file's owner. By default an existing file keeps its owner, and a new one belongs to O(user).
    type: str
  group:
    description: Name or number of the file's group. The default follows the same rule as that of O(owner).
    type: str
  backup:
    description: Whether to keep the replaced file beside the new one, under a name with the time in it.
    type: bool
    default: false
  force:
    description: Whether to replace a file with another content. Mode, owner and group are set in any case.
    type: bool
    default: true
  follow:
    description:
      - Whether to follow a link in O(dest), so that the file it points to is replaced. Otherwise the file replaces the link itself,
        as M(ansible.builtin.copy) does. With O(force=false) a link is left alone.
      - Without it links in the path to O(dest) are followed only where no user except C(root) and O(user) can have created them. At
        any other link the task fails.
    type: bool
    default: false
  user:
    description:
      - The user of the guest that writes the file. A user other than C(root) becomes the owner of a file that it replaces.
    type: str
    default: root
extends_documentation_fragment:
  - virtops.guest_agent._reach
  - virtops.guest_agent._guest.hypervisor
  - virtops.guest_agent._attributes
  - virtops.guest_agent._attributes.diff
attributes:
  diff_mode:
    details: Shows the content of texts of up to 100 KiB, and the checksum of other files.
notes:
  - During a transfer the task waits up to an hour for a guest that is paused or frozen. It waits up to 45 seconds for libvirt or an
    agent that is unreachable.
seealso:
  - module: virtops.guest_agent.pull_file
"""

EXAMPLES = r"""
- name: Copy a network configuration into a guest without a network
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

- name: Copy a large file into a guest, over the port for files
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
checksum:
  description: SHA-1 of the file's content, as M(ansible.builtin.copy) returns it. In check mode, of the predicted content.
  returned: success, unless a file was left alone with O(force=false)
  type: str
  sample: da39a3ee5e6b4b0d3255bfef95601890afd80709
sha256:
  description:
    - SHA-256 of the file's content. In check mode, of the predicted content. Empty for a file that was left alone with
      O(force=false) in a guest that cannot compute it.
  returned: success
  type: str
  sample: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
size:
  description: The size of the file in bytes.
  returned: success
  type: int
  sample: 20971520
mode:
  description: The mode of the file. This and the owner and the group are null on Windows, where they cannot be set.
  returned: success
  type: str
  sample: "0640"
owner:
  description: The name of the file's owner.
  returned: success
  type: str
  sample: app
group:
  description: The name of the file's group.
  returned: success
  type: str
  sample: app
backup_file:
  description: Path of the backup in the guest.
  returned: when a backup was made
  type: str
  sample: /etc/systemd/network/eth0.network.4711.2026-03-01@10:00:00~
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
  sample: {kind: file_failed, domain: web1, command: "", detail: "/srv/app.tar: this is a directory", hint: ""}
"""

import io
import os
import typing as t

from ..module_utils._errors import InvalidInput
from ..module_utils._inside import files
from ..module_utils._module import push_file, transfer
from ..module_utils._reach.advice import EXEC, FILES
from ..module_utils._reach.guest import open_guest
from ..module_utils._task import modes, spec, values
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
        with open_guest(params, (*EXEC, *FILES)) as guest:
            place = push_file.look(guest, params["dest"], params["src"], params["user"], params["follow"])
            return _converge(task, place, place.completed(wanted), source)


def _converge(task: Task, place: push_file.Place, wanted: files.Attributes, source: t.BinaryIO) -> Outcome:
    new, checksum = transfer.described(source)
    there = place.compared(new, task.params["force"])
    step = push_file.step(there, place.settled(wanted))
    before = {**place.state(), **(new if there == "same" else {})}
    result: dict[str, t.Any] = {"dest": place.where.path}
    if there != "any":
        result["checksum"] = checksum
    if step == "nothing":
        return Outcome({**result, **before}, before, before)
    old_content = place.content(before) if task.diff and step == "replace" else None
    if task.check_mode:
        after = place.planned(wanted, before, new if step == "replace" else None)
    elif step == "attributes":
        after = place.set_attributes(wanted, before)
    else:
        watch = transfer.Stopwatch(place.guest)
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
        return modes.mode(params["mode"], "mode")
    if params["src"] is None:
        raise InvalidInput("mode=preserve requires src")
    return f"{os.fstat(source.fileno()).st_mode & 0o7777:04o}"


def main() -> None:
    run(SPEC, ensure)


if __name__ == "__main__":
    main()
