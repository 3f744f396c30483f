# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ssh_or_agent
short_description: Run tasks in guests over SSH, and through the QEMU guest agent where SSH cannot connect
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Runs tasks over SSH, with all options of P(ansible.builtin.ssh#connection). Where SSH cannot connect, the task goes through the
    guest agent, as with P(virtops.guest_agent.agent#connection). A warning says so once for each host.
  - So a play continues in a guest whose network, firewall or SSH server is broken, and can repair it.
  - Nothing runs twice. Whether SSH can connect is found out before the task's first command, by the command C(true). Once a command
    of the task was handed to SSH, the task stays with SSH, and a connection that is lost then makes the host unreachable.
requirements:
  - an OpenSSH client on the controller, and what P(virtops.guest_agent.agent#connection) requires
notes:
  - The agent is used when C(ssh) exits with 255 and says that it did not get as far as the server's key. The host has no address or
    name, refuses the connection, is not reachable, or is silent. A server that closes the connection before it has named itself
    counts, too.
  - A wrong key or password, a refused user, a host key that is unknown or has changed, and any other message are never a reason to
    use the agent. The host is then unreachable, with the message of C(ssh).
  - Where a persistent connection (C(ControlPersist)) exists, C(true) runs over it. When it gives no answer in O(timeout) and two
    seconds, the connection is closed and another one is tried. Each task costs one more command over that connection. Without
    C(ControlPersist) each task costs one more SSH connection.
  - With O(reconnection_retries) SSH itself repeats a command whose connection was lost, as P(ansible.builtin.ssh#connection) does.
  - C(meta=reset_connection) lets the next task try SSH at once.
seealso:
  - plugin: ansible.builtin.ssh
    plugin_type: connection
  - plugin: virtops.guest_agent.agent
    plugin_type: connection
  - plugin: virtops.guest_agent.libvirt
    plugin_type: inventory
extends_documentation_fragment:
  - virtops.guest_agent._ssh
  - connection_pipelining
  - virtops.guest_agent._agent_connection
  - virtops.guest_agent._agent_connection_posix
options:
  agent_user:
    description:
      - The user of the guest to run as through the agent.
      - The default is the user of SSH, from O(remote_user), from the configuration of C(ssh), or the name of the user who runs
        Ansible.
    type: str
    vars:
      - name: ansible_guest_agent_user
  ssh_retry_after:
    description:
      - How long tasks go through the agent before SSH is tried again, in seconds. A try may take O(timeout).
      - With V(0) each task tries SSH first.
    type: int
    default: 30
    ini:
      - section: guest_agent_connection
        key: ssh_retry_after
    env:
      - name: ANSIBLE_GUEST_AGENT_SSH_RETRY_AFTER
    vars:
      - name: ansible_guest_agent_ssh_retry_after
"""

EXAMPLES = r"""
# hosts.yml: a guest in any inventory.
# The inventory plugin virtops.guest_agent.libvirt sets these itself with "connection: ssh_or_agent".
all:
  hosts:
    web1:
      ansible_connection: virtops.guest_agent.ssh_or_agent
      ansible_host: 192.168.122.10
      ansible_user: debian
      ansible_guest_agent_uri: qemu+ssh://root@kvm1.example.com/system
      ansible_guest_agent_domain: web1-production
"""

import contextlib
import os
import re
import subprocess
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.plugins.connection.ssh import Connection as SshConnection
from ansible.plugins.loader import connection_loader
from ansible.utils.display import Display

from ..module_utils._errors import InvalidInput
from ..module_utils._task.values import in_range
from ..plugin_utils._connection.ssh_trouble import LastTrouble, not_reached
from ..plugin_utils._guest_variables import AGENT_CONNECTION

display = Display()

#: What ssh exits with when it is ssh itself that failed.
_SSH_FAILED: t.Final = 255
#: What asks a master on this computer may take.
_MASTER_SECONDS: t.Final = 5.0
#: Added to the time that a new connection may take, as Ansible does.
_MORE_SECONDS: t.Final = 2.0
#: Harmless, and on a system that has no such command an answer, too.
_PROBE: t.Final = "true"


class Connection(SshConnection):
    """SSH, or the guest agent. Which of them is decided before the first command of a task. Its transport is called ssh still, so
    that what needs SSH (such as synchronize) works.
    """

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self._made_with = args, kwargs
        self._given: dict[str, t.Any] = {}
        self._decided = False
        self._agent: t.Any = None
        self._said = b""

    def set_options(self, task_keys: t.Any = None, var_options: t.Any = None, direct: t.Any = None) -> None:
        """Each item of a loop has its own options, and its own decision."""
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)
        self._given = {"task_keys": task_keys, "var_options": var_options, "direct": direct}
        self._undecide()

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        way: t.Any = self._way() or super()
        return t.cast("tuple[int, bytes, bytes]", way.exec_command(cmd, in_data=in_data, sudoable=sudoable))

    def put_file(self, in_path: str, out_path: str) -> t.Any:
        way: t.Any = self._way() or super()
        return way.put_file(in_path, out_path)

    def fetch_file(self, in_path: str, out_path: str) -> t.Any:
        way: t.Any = self._way() or super()
        return way.fetch_file(in_path, out_path)

    def reset(self) -> None:
        self._find_host()
        self._last_trouble().over()
        if self._agent is not None:
            self._agent.reset()
        super().reset()

    def close(self) -> None:
        self._undecide()
        super().close()

    def _bare_run(self, *args: t.Any, **kwargs: t.Any) -> tuple[int, bytes, bytes]:
        """Keeps what ssh said: the error that is made of it may leave it out (no_log)."""
        status, out, err = super()._bare_run(*args, **kwargs)
        self._said = err if status == _SSH_FAILED else b""
        return status, out, err

    def _way(self) -> t.Any:
        """The agent's connection, or None for SSH."""
        if not self._decided:
            try:
                self._decide()
            except InvalidInput as error:
                raise AnsibleError(str(error)) from None
            except OSError as error:  # all of the agent's own are told by its plugin
                raise AnsibleError(f"ssh cannot be run on the controller: {error}") from None
        if self._agent is not None:
            self._agent.become, self._agent._shell, self._agent._play_context = self.become, self._shell, self._play_context
        return self._agent

    def _decide(self) -> None:
        self._find_host()
        trouble = self._last_trouble()
        reason = self._reason(trouble)
        if reason:
            self._agent = self._by_agent(reason)
            self._tell(trouble, reason)
        else:
            trouble.over()
        self._decided = True

    def _undecide(self) -> None:
        agent, self._agent, self._decided = self._agent, None, False
        if agent is not None:
            agent.close()

    def _reason(self, trouble: LastTrouble) -> str:
        """Why SSH cannot connect; "" where it can.

        :raise AnsibleConnectionFailure: it fails, and the agent is not to take its place.
        """
        if trouble.ago() < in_range(self.get_option("ssh_retry_after"), "ssh_retry_after", 0):
            return "it could not before"
        if self._master_answers():
            return ""
        self._said = b""
        try:
            super().exec_command(_PROBE, sudoable=False)
        except AnsibleConnectionFailure:
            reason = not_reached(to_text(self._said, errors="replace"))
            if not reason:
                raise
            return reason
        return ""

    def _master_answers(self) -> bool:
        """Whether there is a persistent connection that leads to the guest; one that does not is given up.

        What goes over a connection whose other end is gone hangs for minutes, and it is not known what became of it.
        """
        if not self._ssh("-O", "check", self.host, seconds=_MASTER_SECONDS):
            return False
        if self._ssh("-o", "BatchMode=yes", self.host, _PROBE, seconds=float(self.get_option("timeout")) + _MORE_SECONDS):
            return True
        display.vvv("The persistent SSH connection gives no answer and is closed", host=self.host)
        self._ssh("-O", "stop", self.host, seconds=_MASTER_SECONDS)
        return False

    def _ssh(self, *words: str, seconds: float) -> bool:
        """Whether ssh with these words was over in time, and not with an error of its own. It is not asked for a password."""
        process = subprocess.Popen(
            self._command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            return process.wait(seconds) != _SSH_FAILED
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False

    def _command(self, *words: str) -> list[bytes]:
        """ssh with all options of this connection, without what would give it a password."""
        executable = self.get_option("ssh_executable")
        command: list[bytes] = self._build_command(executable, "ssh", *words)
        pipe: t.Any = getattr(self, "sshpass_pipe", None)
        self.sshpass_pipe = None
        for end in pipe or ():
            with contextlib.suppress(OSError):
                os.close(end)
        return command[command.index(to_bytes(executable)) :]

    def _by_agent(self, reason: str) -> t.Any:
        args, kwargs = self._made_with
        agent = connection_loader.get(AGENT_CONNECTION, *args, **kwargs)
        agent.set_options(**self._given)
        agent.set_option("remote_user", self.get_option("agent_user") or self._user())
        try:
            agent._connect()
        except AnsibleError as error:
            raise AnsibleConnectionFailure(f"SSH cannot connect ({reason}), and neither can the guest agent: {error}") from None
        return agent

    def _user(self) -> str:
        """Who SSH would log in as."""
        if self.get_option("remote_user"):
            return str(self.get_option("remote_user"))
        found = None
        # It may wait for the resolver (CanonicalizeHostname), or for a command of its configuration (Match exec).
        with contextlib.suppress(subprocess.TimeoutExpired):
            asked = subprocess.run(
                self._command("-G", self.host), stdin=subprocess.DEVNULL, capture_output=True, timeout=_MASTER_SECONDS, check=False
            )
            found = re.search(rb"^user (.+)$", asked.stdout, re.MULTILINE)
        if found is None:
            raise AnsibleError("ssh does not tell which user it would log in as: set remote_user (ansible_user)")
        return to_text(found[1]).strip()

    def _tell(self, trouble: LastTrouble, reason: str) -> None:
        if not trouble.is_known():
            display.warning(f"{self.host}: SSH cannot connect ({reason}). Tasks go through the guest agent until it can.")
        if trouble.ago() >= self.get_option("ssh_retry_after"):
            trouble.now()
        display.vvv(f"THROUGH THE GUEST AGENT, because SSH cannot connect: {reason}", host=self.host)

    def _find_host(self) -> None:
        self.host = self.get_option("host") or self._play_context.remote_addr

    def _last_trouble(self) -> LastTrouble:
        return LastTrouble(repr((self.host, self.get_option("port"), self.get_option("domain"))))
