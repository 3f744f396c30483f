# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``agent.windows`` is: the ways of a Windows guest, in the place of those that ``_inside`` has for POSIX."""

from __future__ import annotations

import contextlib
import ntpath
import typing as t

from .._agent.client import GuestAgent
from .._deadline import Deadline
from .._errors import CommandTimeout, GuestAgentError, WaitTimeout
from .._inside import passing
from .._inside.file_scripts import Attributes, Where
from .._inside.files import FileState, Installed
from .._inside.lanes import Sink
from .._inside.login_shell import Command
from .._inside.shell import Result
from . import command_line, commands, content, facts, files
from .cmd import Shell

#: Where OpenSSH for Windows keeps its host keys.
HOST_KEYS: t.Final = tuple(rf"C:\ProgramData\ssh\ssh_host_{kind}_key.pub" for kind in ("ed25519", "ecdsa", "rsa"))


class Windows:
    """One guest. Where a method has no docstring, the function of its name in ``_inside`` has it."""

    #: what the agent says of a file that it cannot open, whatever the reason
    not_opened: t.Final = content.NOT_OPENED
    host_keys: t.Final = HOST_KEYS

    def __init__(self, agent: GuestAgent) -> None:
        self._agent = agent
        self._shell = Shell(agent)

    def interface_facts(self, found: t.Sequence[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
        return facts.interfaces(found)

    def execute(
        self,
        command: Command,
        deadline: Deadline,
        patience: float = passing.PATIENCE,
        sink: Sink | None = None,
    ) -> Result:
        if command.argv[0].startswith("/"):
            self._agent.require_posix(command.argv[0])
        return commands.Run(self._agent, self._shell, command, patience).execute(deadline, sink)

    def run_limited(self, argv: t.Sequence[str], timeout: float, most: int) -> tuple[int | None, bytes]:
        try:
            ended = self.execute(Command(tuple(argv)), Deadline(timeout))
        except CommandTimeout as error:
            raise WaitTimeout(error.detail, domain=self._agent.name, command="guest-exec") from error
        return ended.rc, ended.stdout[:most]

    def by_shell(self, text: str, executable: str | None) -> list[str]:
        return command_line.shell(text, executable)

    def needless(self, creates: str, removes: str, chdir: str) -> str:
        """Exists: what ``creates`` names is there. Missing: what ``removes`` names is not. Both may have * and ?."""
        if creates and self._shell.exists(ntpath.join(chdir, creates)):
            return "exists"
        return "missing" if removes and not self._shell.exists(ntpath.join(chdir, removes)) else ""

    def check_attributes(self, wanted: Attributes) -> None:
        files.check_attributes(wanted)

    def stat(self, where: Where) -> FileState | None:
        return files.stat(self._agent, self._shell, where)

    def pull(self, where: Where, sink: Sink) -> None:
        files.pull(self._agent, self._shell, where, sink)

    def push(self, source: t.BinaryIO, where: Where, attributes: Attributes, backup: str) -> Installed:
        return files.push(self._agent, self._shell, source, where, attributes, backup)

    @contextlib.contextmanager
    def placed(
        self, name: str | None, source: t.BinaryIO, before: t.Sequence[str], args: t.Sequence[str]
    ) -> t.Iterator[t.Sequence[str]]:
        """The words that run ``source``, which is in a private file of the guest meanwhile.

        :param name: whose ending says what it is; None where it has none
        :raise CommandFailed: no file can be there.
        """
        path = self._shell.new_path(command_line.ending(name, before))
        words = command_line.script(path, before, args)
        try:
            size = source.seek(0, 2)
            source.seek(0)
            content.write(self._agent, path, source, size, lambda _count: None)
            yield words
        finally:
            self._agent.retry()
            with contextlib.suppress(GuestAgentError):
                self._shell.remove(path)
