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

import contextlib
import os
import tempfile
import time
import typing as t

from ansible import constants
from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.plugins.connection import ConnectionBase
from ansible.utils.display import Display

from ..plugin_utils import _compiled  # pylint: disable=unused-import  # noqa: F401

# isort: split
from ..module_utils._agent.client import GuestAgent
from ..module_utils._errors import CommandTimeout, FileFailed, FileMissing, GuestAgentError, InvalidInput, NoSpace, OutputTooLong
from ..module_utils._inside import shell
from ..module_utils._reach.advice import EXEC, FILES
from ..module_utils._reach.guest import Guest, open_guest
from ..module_utils._task.values import in_range
from ..plugin_utils._connection.heard import Heard
from ..plugin_utils._connection.pace import Pace
from ..plugin_utils._connection.unwrapped import script_of, unwrapped

# Each task has a process of its own, which compiles what it imports: what most tasks do not need is imported where it is needed.

display = Display()

#: These are the task's failures; all others mean that the guest cannot be reached.
_TASK_FAILED: t.Final = (InvalidInput, CommandTimeout, FileFailed, NoSpace, OutputTooLong)
_COMMANDS: t.Final = (*EXEC, *FILES)
#: What a guest must have.
_SHELL: t.Final = "POSIX shell, which this connection requires; use the connection psrp or winrm, or this collection's modules"


class Connection(ConnectionBase):
    """Commands and files over the guest agent."""

    transport = "virtops.guest_agent.agent"
    has_pipelining = True

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self._open = contextlib.ExitStack()
        self._reached: Guest | None = None

    def _connect(self) -> Connection:
        self._target()
        return self

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
            cost = _Cost(guest.agent)
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

    def put_file(self, in_path: str, out_path: str) -> None:
        from ..module_utils._inside import files

        super().put_file(in_path, out_path)
        local = to_bytes(in_path, errors="surrogate_or_strict")
        if not os.path.exists(local):
            raise AnsibleFileNotFound(f"file or module does not exist: {to_text(in_path)}")
        with self._guest() as guest, open(local, "rb") as source:
            cost = _Cost(guest.agent)
            where = files.Where(to_text(out_path, errors="surrogateescape"), self._user(), "none")
            files.push(guest.agent, source, where, lane=guest.lane)
            self._tell(f"PUT {to_text(in_path)} TO {to_text(out_path)}: {source.tell()} bytes, {cost}")

    def fetch_file(self, in_path: str, out_path: str) -> None:
        from ..module_utils._inside import files

        super().fetch_file(in_path, out_path)
        local = to_bytes(out_path, errors="surrogate_or_strict")
        with self._guest() as guest:
            cost = _Cost(guest.agent)
            descriptor, partial = tempfile.mkstemp(prefix=b".virtops-", dir=os.path.dirname(local) or b".")
            try:
                with open(descriptor, "wb") as sink:
                    where = files.Where(to_text(in_path, errors="surrogateescape"), self._user())
                    files.pull(guest.agent, where, sink.write, guest.lane)
                    size = sink.tell()
                os.chmod(partial, 0o666 & ~_umask())
                os.replace(partial, local)
            except BaseException:
                os.unlink(partial)
                raise
            self._tell(f"FETCH {to_text(in_path)} TO {to_text(out_path)}: {size} bytes, {cost}")

    def reset(self) -> None:
        # The guest may be about to go: a restart begins with this.
        self._heard().forget()
        self.close()

    def close(self) -> None:
        self._reached = None
        self._connected = False
        self._open.close()

    def _target(self) -> Guest:
        if self._reached is None:
            with self._translated():
                names = ("uri", "transport", "channel", "socket", "data_lane")
                params = {name: self.get_option(name) for name in names}
                params.update(domain=self._domain(), agent_timeout=self._seconds("agent_timeout"))
                params["ssh_persist"] = in_range(self.get_option("ssh_persist"), "ssh_persist", 0)
                params.update(resident=self.get_option("resident"), resident_idle=self._seconds("resident_idle"))
                params["ansible_home"] = constants.config.get_config_value("ANSIBLE_HOME")
                reached = self._open.enter_context(open_guest(params, _COMMANDS, heard=self._heard().ago(), tell=self._tell))
                reached.agent.require_posix(_SHELL)
                self._reached = reached
            self._connected = True
            way = f"{params['transport']} for files by {self._reached.lane.name}"
            self._tell(
                f"ESTABLISH AGENT CONNECTION to {params['domain']} by {way}: {self._reached.agent.round_trips} agent commands"
            )
        return self._reached

    def _domain(self) -> str:
        return self.get_option("domain") or self.get_option("delegate_to") or self.get_option("inventory_hostname") or ""

    def _user(self) -> str:
        return self.get_option("remote_user") or "root"

    def _seconds(self, option: str) -> int:
        return in_range(self.get_option(option), option, 1)

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

    @contextlib.contextmanager
    def _guest(self) -> t.Iterator[Guest]:
        with self._translated():
            guest = self._target()
            with guest.agent.named():
                yield guest
            self._heard().now()

    @contextlib.contextmanager
    def _translated(self) -> t.Iterator[None]:
        # Without their causes: ansible-core >= 2.19 prints these too, and they have the guest's own words as libvirt hands them on.
        try:
            yield
        except OSError as error:
            raise AnsibleError(str(error)) from None
        except FileMissing as error:
            raise AnsibleFileNotFound(str(error)) from None
        except _TASK_FAILED as error:
            raise AnsibleError(str(error)) from None
        except (KeyboardInterrupt, SystemExit):
            # Ansible's worker ends without closing it. What runs in the guest and what was put there would stay.
            self.close()
            raise
        except GuestAgentError as error:
            if self._reached is not None:
                from ..module_utils._reach import diagnosis

                error = diagnosis.explain(self._reached.agent, error, _COMMANDS)
            self._heard().forget()
            self.close()
            status = f" (agent status: {error.status})" if error.status else ""
            raise AnsibleConnectionFailure(f"{error}{status}") from None

    def _heard(self) -> Heard:
        return Heard(self._domain(), {name: self.get_option(name) for name in ("uri", "transport", "channel", "socket")})

    def _tell(self, text: str) -> None:
        display.vvv(text, host=self._domain())


class _Cost:
    """What something has taken until now, as a sentence has it."""

    def __init__(self, agent: GuestAgent) -> None:
        self._agent = agent
        self._before = agent.round_trips
        self._started = time.monotonic()

    def __str__(self) -> str:
        seconds = time.monotonic() - self._started
        return f"{seconds:.2f} s, {self._agent.round_trips - self._before} agent commands"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
