# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: windows
short_description: Run tasks in Windows guests through the QEMU guest agent
version_added: 0.1.0
author: virtops contributors (@virtops)
description:
  - Runs modules for Windows, such as those of C(ansible.windows), in the guests of libvirt domains over the QEMU guest agent. The
    guest needs no network, no WinRM and no password.
  - It is B(experimental). PowerShell itself was not seen to run over it, because no test has a real Windows. The guide on
    R(Windows guests,ansible_collections.virtops.guest_agent.docsite.windows) says what was seen, and what was not.
  - Everything runs as the user of the agent's service, usually C(SYSTEM), whatever C(ansible_user) says. Another user is possible
    with C(become) and C(become_method=runas), for modules written in PowerShell. Other ways of C(become) are refused.
  - When the domain is not running, or its agent is missing, silent, frozen or blocked, the host is unreachable. The reason says how
    to fix it.
requirements:
  - libvirt-python on the controller (not for O(transport=unix))
  - the agent must allow guest-exec, guest-exec-status, guest-get-osinfo and guest-file-*
notes:
  - The guest needs C(powershell.exe) in the C(PATH) of the agent, and C(cmd.exe). C(ansible_shell_type) is C(powershell) by itself.
  - What a module gets, with its arguments, is in a file in C(Temp) of the Windows directory while the module runs. Only
    administrators may read it. It is removed afterwards.
  - Commands, their input and their output are not displayed at any verbosity. Verbosity 3 shows their size and duration.
  - PowerShell takes apart what C(raw) is given. A command line may have 8000 characters, which is about 2800 of C(raw). C(raw) is
    refused together with C(become), because C(ansible-core) would run it without.
  - Output is kept in files in the guest while a command runs. A command that prints more than 512 MiB fails.
  - At O(command_timeout) a command is ended with all that it has started.
  - Paths of files need a drive or a share. Links and junctions are followed.
seealso:
  - plugin: virtops.guest_agent.agent
    plugin_type: connection
  - plugin: virtops.guest_agent.libvirt
    plugin_type: inventory
  - module: virtops.guest_agent.run_command
extends_documentation_fragment:
  - virtops.guest_agent._agent_connection
"""

EXAMPLES = r"""
# hosts.yml: Windows guests in any inventory.
# The inventory plugin virtops.guest_agent.libvirt sets these itself with "windows_connection: agent".
all:
  hosts:
    win1:
      ansible_connection: virtops.guest_agent.windows
      ansible_guest_agent_uri: qemu+ssh://root@kvm1.example.com/system
      ansible_guest_agent_domain: win1-production
"""

import typing as t

from ansible.errors import AnsibleError
from ansible.module_utils.common.text.converters import to_bytes, to_text

from ..plugin_utils import _compiled  # pylint: disable=unused-import  # noqa: F401

# isort: split
from ..module_utils._agent.client import GuestAgent
from ..module_utils._errors import CommandFailed, SystemLacks
from ..module_utils._inside import shell
from ..module_utils._inside.login_shell import REFUSALS
from ..plugin_utils._connection import clixml, powershell
from ..plugin_utils._connection.over_agent import Cost, OverAgent

_RUNAS: t.Final = "runas"


class Connection(OverAgent):
    """PowerShell and files of a Windows guest over the guest agent."""

    transport = "virtops.guest_agent.windows"
    module_implementation_preferences = (".ps1", ".exe", "")
    allow_executable = False
    # What core starts takes a module from its input, with become and async in it.
    always_pipeline_modules = True
    has_native_async = True
    # Only an agent that says again that its guest is Windows is used as one.
    trusts_what_was_heard = False

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        self._shell_type = "powershell"
        super().__init__(*args, **kwargs)

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        command = shell.Command(tuple(self._words(to_text(cmd, errors="surrogateescape"))), stdin=to_bytes(in_data or b""))
        with self._guest() as guest:
            cost = Cost(guest.agent)
            result = self._run(guest.agent, command)
            self._tell(
                f"EXEC {len(cmd)} characters, {len(command.stdin)} bytes in, {len(result.stdout)} and {len(result.stderr)}"
                f" bytes out, rc {result.rc}, {cost}"
            )
        return result.rc, result.stdout, clixml.errors(result.stderr)

    def put_file(self, in_path: str, out_path: str) -> None:
        super().put_file(in_path, powershell.unquoted(to_text(out_path, errors="surrogateescape")))

    def fetch_file(self, in_path: str, out_path: str) -> None:
        super().fetch_file(powershell.unquoted(to_text(in_path, errors="surrogateescape")), out_path)

    def _run(self, agent: GuestAgent, command: shell.Command) -> shell.Result:
        """
        :raise SystemLacks: there is no PowerShell.
        """
        try:
            return shell.execute(agent, command, self._seconds("command_timeout"), patience=self._seconds("patience"))
        except CommandFailed as error:
            if REFUSALS["program"] not in error.detail:
                raise
            hint = "add its directory to the PATH of the system, and restart the guest"
            raise SystemLacks(f"the guest's agent finds no {command.argv[0]}", domain=agent.name, hint=hint) from error

    def _words(self, command: str) -> list[str]:
        """
        :raise AnsibleError: become would be ignored.
        """
        if self.become is not None and self.become.name != _RUNAS:
            raise AnsibleError(f"on Windows there is no become by {self.become.name}: set become_method to {_RUNAS}")
        words = powershell.words(command)
        if words is None and self.become is not None:
            raise AnsibleError("become is for modules only on Windows, and not for raw: use ansible.windows.win_powershell")
        return powershell.encoded(command) if words is None else words

    def _opening(self) -> dict[str, t.Any]:
        # The other ends of both are programs that Windows has not.
        return {"data_lane": "never", "resident": "never"}

    def _check(self, agent: GuestAgent) -> None:
        if agent.windows is None:
            raise SystemLacks(
                "the guest is not Windows, or its agent does not say so (guest-get-osinfo)",
                domain=agent.name,
                hint="use the connection virtops.guest_agent.agent",
            )
