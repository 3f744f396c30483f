# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the connection plugins over the agent share: a task's guest, opened once, its files, and how its failures are told."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.plugins.connection import ConnectionBase
from ansible.utils.display import Display

from ...module_utils._agent.client import GuestAgent
from ...module_utils._errors import CommandTimeout, FileFailed, FileMissing, GuestAgentError, InvalidInput, NoSpace, OutputTooLong
from ...module_utils._reach.advice import EXEC, FILES
from ...module_utils._reach.guest import Guest, open_guest
from ...module_utils._task.values import in_range
from .heard import Heard

# Each task has a process of its own, which compiles what it imports: what most tasks do not need is imported where it is needed.

display = Display()

#: These are the task's failures; all others mean that the guest cannot be reached.
_TASK_FAILED: t.Final = (InvalidInput, CommandTimeout, FileFailed, NoSpace, OutputTooLong)
_COMMANDS: t.Final = (*EXEC, *FILES)


class OverAgent(ConnectionBase):
    """A connection whose options are those of the fragment ``_agent_connection``; how commands run is each plugin's own."""

    has_pipelining = True
    #: An agent that has just answered another task is not asked whether it is there, and what it is.
    trusts_what_was_heard = True

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self._open = contextlib.ExitStack()
        self._reached: Guest | None = None

    def _opening(self) -> dict[str, t.Any]:
        """Options that open the guest, beside those of all plugins."""
        raise NotImplementedError

    def _check(self, agent: GuestAgent) -> None:
        """
        :raise SystemLacks: this is no guest for this plugin.
        """
        raise NotImplementedError

    def _connect(self) -> OverAgent:
        self._target()
        return self

    def put_file(self, in_path: str, out_path: str) -> None:
        from ...module_utils._inside import files

        super().put_file(in_path, out_path)
        local = to_bytes(in_path, errors="surrogate_or_strict")
        if not os.path.exists(local):
            raise AnsibleFileNotFound(f"file or module does not exist: {to_text(in_path)}")
        with self._guest() as guest, open(local, "rb") as source:
            cost = Cost(guest.agent)
            where = files.Where(to_text(out_path, errors="surrogateescape"), self._user(), "none")
            files.push(guest.agent, source, where, lane=guest.lane)
            self._tell(f"PUT {to_text(in_path)} TO {to_text(out_path)}: {source.tell()} bytes, {cost}")

    def fetch_file(self, in_path: str, out_path: str) -> None:
        from ...module_utils._inside import files

        super().fetch_file(in_path, out_path)
        local = to_bytes(out_path, errors="surrogate_or_strict")
        with self._guest() as guest:
            cost = Cost(guest.agent)
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
                params = {name: self.get_option(name) for name in ("uri", "transport", "channel", "socket")}
                params.update(domain=self._domain(), agent_timeout=self._seconds("agent_timeout"))
                params["ssh_persist"] = in_range(self.get_option("ssh_persist"), "ssh_persist", 0)
                params.update(self._opening())
                heard = self._heard().ago() if self.trusts_what_was_heard else math.inf
                reached = self._open.enter_context(open_guest(params, _COMMANDS, heard=heard, tell=self._tell))
                self._check(reached.agent)
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
        """Whose rights files are handled with."""
        return "root"

    def _seconds(self, option: str) -> int:
        return in_range(self.get_option(option), option, 1)

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
                from ...module_utils._reach import diagnosis

                error = diagnosis.explain(self._reached.agent, error, _COMMANDS)
            self._heard().forget()
            self.close()
            status = f" (agent status: {error.status})" if error.status else ""
            raise AnsibleConnectionFailure(f"{error}{status}") from None

    def _heard(self) -> Heard:
        # What one plugin has heard is nothing that another one knows: each asks the agent for something else.
        way = {name: self.get_option(name) for name in ("uri", "transport", "channel", "socket")}
        return Heard(self._domain(), {**way, "plugin": self.transport})

    def _tell(self, text: str) -> None:
        display.vvv(text, host=self._domain())


class Cost:
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
