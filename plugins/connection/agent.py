# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: agent
short_description: Run tasks in guests through the QEMU guest agent
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Runs any playbook in the guests of libvirt domains over the QEMU guest agent, C(qemu-ga). The guest needs no network, no SSH
    server and no key. Modules need Python in the guest, as with every connection.
  - Commands run as C(root), or as the user in O(remote_user), with the environment of a login of that user over SSH.
  - When the domain is not running, or its agent is missing, silent, frozen or blocked, the host is unreachable. The reason says how
    to fix it.
requirements:
  - libvirt-python on the controller (not for O(transport=unix))
  - the agent must allow guest-exec and guest-exec-status, and guest-file-* for output and files of more than a few hundred KiB
notes:
  - The guest needs a POSIX C(/bin/sh), and C(rm), C(cat) and C(sleep). C(setsid), C(head), C(wc) and C(gzip) are used where the
    guest has them. C(mkfifo) is required where the shell keeps here-documents in files, such as bash before 5.1. Windows guests
    are not supported.
  - Commands, their input and their output are not displayed at any verbosity. Verbosity 3 shows their size and duration.
  - Transfers follow no link that another user than C(root) and O(remote_user) may have created in the guest. A link in the file's
    own place is replaced. M(virtops.guest_agent.push_file) and M(virtops.guest_agent.pull_file) have an option to follow it.
  - The output of a command is kept in a private file of the guest while it runs, in the first of C(/var/tmp), C(/tmp) and C(/run)
    with free space. When there is none, or the space runs out, the task fails and says so. A command that prints more than 512 MiB
    fails, too.
  - Commands leave the cgroup of the agent's unit. So a restart of C(qemu-guest-agent), as by an upgrade of its package, does not
    end them. Their result is read when the agent is back. Where the guest does not allow that (SELinux may not), systemd ends them
    with the agent.
seealso:
  - plugin: virtops.guest_agent.libvirt
    plugin_type: inventory
  - module: virtops.guest_agent.agent_info
extends_documentation_fragment:
  - virtops.guest_agent._agent_connection
  - virtops.guest_agent._agent_connection_posix
options:
  remote_user:
    description: The user of the guest to run as. No password is needed, because the agent is root.
    type: str
    default: root
    ini:
      - section: defaults
        key: remote_user
    env:
      - name: ANSIBLE_REMOTE_USER
    keyword:
      - name: remote_user
    vars:
      - name: ansible_user
      - name: ansible_guest_agent_user
  pipelining:
    description:
      - Whether modules are sent to the interpreter's standard input, without a file in the guest.
    type: bool
    default: true
    ini:
      - section: defaults
        key: pipelining
      - section: connection
        key: pipelining
    env:
      - name: ANSIBLE_PIPELINING
    vars:
      - name: ansible_pipelining
      - name: ansible_guest_agent_pipelining
"""

EXAMPLES = r"""
# hosts.yml: guests in any inventory.
# The inventory plugin virtops.guest_agent.libvirt sets these itself with "connection: agent".
all:
  hosts:
    web1:
      ansible_connection: virtops.guest_agent.agent
      ansible_guest_agent_uri: qemu+ssh://root@kvm1.example.com/system
      ansible_guest_agent_domain: web1-production

    # An agent without libvirt
    web2:
      ansible_connection: virtops.guest_agent.agent
      ansible_guest_agent_transport: unix
      ansible_guest_agent_socket: /run/web2/qga.sock
"""

import typing as t

from ansible import constants
from ansible.errors import AnsibleError
from ansible.module_utils.common.text.converters import to_text

from ..plugin_utils import _compiled  # pylint: disable=unused-import  # noqa: F401

# isort: split
from ..module_utils._agent.client import GuestAgent
from ..module_utils._inside import shell
from ..plugin_utils._connection.over_agent import Cost, OverAgent
from ..plugin_utils._connection.pace import Pace
from ..plugin_utils._connection.unwrapped import script_of, unwrapped

#: What a guest must have.
_SHELL: t.Final = (
    "POSIX shell, which this connection requires; use the connection psrp or winrm, virtops.guest_agent.windows, or this"
    " collection's modules"
)


class Connection(OverAgent):
    """Commands and files over the guest agent."""

    transport = "virtops.guest_agent.agent"

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        text = to_text(cmd, errors="surrogateescape")
        argv = unwrapped(self.get_option("executable"), text)
        command = shell.Command(
            argv,
            stdin=in_data or b"",
            user=self._user(),
            answer=self._answer(text) if sudoable else None,
            tells_signals=False,
            script_of=script_of(argv) if in_data else None,
        )
        with self._guest() as guest:
            pace = Pace(self._domain(), "module" if in_data else "command")
            cost = Cost(guest.agent)
            result = shell.execute(
                guest.agent,
                command,
                self._seconds("command_timeout"),
                guest.lane,
                patience=self._seconds("patience"),
                expected=pace.expected(),
                first=pace.first,
            )
            pace.learn(result.seconds)
            self._tell(
                f"EXEC as {command.user}: {len(text)} characters, {len(command.stdin)} bytes in, {len(result.stdout)} and"
                f" {len(result.stderr)} bytes out, rc {result.rc}, {cost}, {result.seconds:.2f} s in the command"
            )
        if command.answer is not None:
            self._check_become(command.answer, result)
        return result.rc, result.stdout, result.stderr

    def _opening(self) -> dict[str, t.Any]:
        return {
            "data_lane": self.get_option("data_lane"),
            "resident": self.get_option("resident"),
            "resident_idle": self._seconds("resident_idle"),
            "ansible_home": constants.config.get_config_value("ANSIBLE_HOME"),
        }

    def _check(self, agent: GuestAgent) -> None:
        agent.require_posix(_SHELL)

    def _user(self) -> str:
        return self.get_option("remote_user") or "root"

    def _answer(self, command: str) -> shell.Answer | None:
        """What to type for become, where ``command`` was made by it and asks for a password."""
        become = self.become
        if become is None or not become.expect_prompt() or not become.success or become.success not in command:
            return None
        prompt = become.prompt if isinstance(become.prompt, str) else ""
        return shell.Answer(prompt, to_text(become.get_option("become_pass") or ""), become.success)

    def _check_become(self, answer: shell.Answer, result: shell.Result) -> None:
        if answer.success.encode() in result.stdout or answer.success.encode() in result.stderr:
            return
        # Why it refused, it says itself; only what it says of a password is told as such.
        said = result.stdout + result.stderr
        if self.become.check_incorrect_password(said):
            raise AnsibleError(f"Incorrect {self.become.name} password")
        if self.become.check_missing_password(said):
            raise AnsibleError(f"Missing {self.become.name} password")
