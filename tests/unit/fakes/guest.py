# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest without a guest: a Transport that answers as qemu-ga does, with replies recorded off real agents.

What it says comes from ``replies/``, recorded by record_replies.py; what it remembers (frozen, blocked, processes, open files)
is modelled here, and test_fake_is_real.py asks it and a real qemu-ga the same questions.
"""

from __future__ import annotations

import base64
import copy
import functools
import json
import re
import subprocess
import typing as t
from pathlib import Path

from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import FREEZE_ALLOWED, GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.protocol import Request
from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import AgentDisappeared, AgentTimeout, GuestAgentError

if t.TYPE_CHECKING:
    from tests.lab.hostile import Script

VERSIONS = ("7.2", "10.0")

#: command -> its arguments: type in JSON's words, and whether it must be there
_ARGUMENTS: dict[str, dict[str, tuple[type, str, bool]]] = {
    "guest-exec": {
        "path": (str, "string", True),
        "arg": (list, "array", False),
        "env": (list, "array", False),
        "input-data": (str, "string", False),
        "capture-output": (bool, "boolean", False),
    },
    "guest-shutdown": {"mode": (str, "string", False)},
    "guest-exec-status": {"pid": (int, "integer", True)},
    "guest-file-open": {"path": (str, "string", True), "mode": (str, "string", False)},
    "guest-file-read": {"handle": (int, "integer", True), "count": (int, "integer", False)},
    "guest-file-close": {"handle": (int, "integer", True)},
    "guest-fsfreeze-freeze-list": {"mountpoints": (list, "array", False)},
    "guest-set-time": {"time": (int, "integer", False)},
    "guest-fstrim": {"minimum": (int, "integer", False)},
    "guest-set-vcpus": {"vcpus": (list, "array", True)},
    "guest-set-memory-blocks": {"mem-blks": (list, "array", True)},
    "guest-set-user-password": {
        "username": (str, "string", True),
        "password": (str, "string", True),
        "crypted": (bool, "boolean", True),
    },
    "guest-ssh-get-authorized-keys": {"username": (str, "string", True)},
    "guest-ssh-add-authorized-keys": {
        "username": (str, "string", True),
        "keys": (list, "array", True),
        "reset": (bool, "boolean", False),
    },
    "guest-ssh-remove-authorized-keys": {"username": (str, "string", True), "keys": (list, "array", True)},
}


class Program(t.NamedTuple):
    """What a program in the guest does: ``polls`` status requests find it running before one finds it ended."""

    rc: int | None = 0
    out: bytes = b""
    err: bytes = b""
    signal: int | None = None
    polls: int = 0


class _Refused(Exception):
    def __init__(self, error: dict[str, t.Any]) -> None:
        super().__init__()
        self.reply = {"error": error}


@functools.lru_cache
def _recorded(version: str) -> dict[str, t.Any]:
    text = Path(__file__).with_name("replies").joinpath(f"qemu-ga-{version}.json").read_text(encoding="utf-8")
    return t.cast("dict[str, t.Any]", json.loads(text))


class FakeGuest:
    """``block``: commands that its configuration refuses. ``programs``: what guest-exec finds, by argv; ``files``: by path.
    ``numbers``: what becomes of a request's: returned, dropped (before qemu-ga 4.0) or refused (before 2.12).
    """

    name = "fake"

    frozen = False
    #: what the agent says of a thaw hook that fails, when it has thawed
    thaw_hook = ""
    #: a freeze times out, the agent is deaf for so many requests more, and then it is frozen
    freezes_late: int | None = None
    busy = 0

    def __init__(
        self,
        version: str = "10.0",
        block: t.Iterable[str] = (),
        programs: t.Mapping[tuple[str, ...], Program] | t.Callable[[tuple[str, ...]], Program | None] | None = None,
        files: t.Mapping[str, bytes] | None = None,
        numbers: str = "returned",
    ) -> None:
        self.numbers = numbers
        self._recorded = _recorded(version)
        self._version = version
        #: user -> what the shadow file has, and the content of authorized_keys (None: no file)
        self.passwords: dict[str, str] = {}
        self.authorized: dict[str, str | None] = {}
        #: replies that differ from the recorded ones: command -> what stands after "return"
        self.replies: dict[str, t.Any] = {}
        #: commands that never answer, and other errors that the transport meets
        self.silent: set[str] = set()
        self.raises: dict[str, GuestAgentError] = {}
        #: what happens when the agent has done a command: another client's turn
        self.after: dict[str, t.Callable[[], None]] = {}
        self.blocked = set(block)
        self.mountpoints = ["/", "/data"]
        #: what a shutdown does, beside ending the agent without a reply
        self.on_shutdown: t.Callable[[], None] = lambda: None
        self.on_reboot: t.Callable[[], None] = lambda: None
        #: what a suspend does, beside ending the conversation: the port is gone while the guest sleeps
        self.on_suspend: t.Callable[[], None] = lambda: None
        self.sent: list[str] = []
        self.timeouts: list[int] = []
        self._programs = programs if callable(programs) else (programs or {}).get
        self._files = dict(files or {})
        self._pids: dict[int, list[t.Any]] = {}
        self._handles: dict[int, list[t.Any]] = {}
        self._next = 1000

    def boot(self, boot_id: str) -> None:
        """As after a start of the guest: nothing is left of the agent's memory."""
        self._files["/proc/sys/kernel/random/boot_id"] = f"{boot_id}\n".encode()
        self._pids.clear()
        self._handles.clear()

    def add_file(self, path: str, content: bytes) -> None:
        self._files[path] = content

    def agent(self, timeout: int = 5) -> GuestAgent:
        return GuestAgent(self, timeout)

    def renew(self, seconds: float) -> None:
        """There is no way to it that could be lost."""

    def exchange(self, request: Request, seconds: int) -> str:
        message = json.loads(request.text)
        command, arguments = message["execute"], message.get("arguments", {})
        self.sent.append(command)
        self.timeouts.append(seconds)
        if command in self.raises:
            raise copy.copy(self.raises[command])
        self._be_late(command)
        try:
            if "id" in message and self.numbers == "refused":
                raise _generic("QMP input object member 'id' is unexpected")
            reply = {"return": self._answer(command, arguments)}
        except _Refused as refused:
            reply = refused.reply
        self.after.get(command, lambda: None)()
        given_back = "id" in message and self.numbers == "returned"
        return json.dumps({**reply, **({"id": message["id"]} if given_back else {})})

    def _be_late(self, command: str) -> None:
        if command in self.silent:
            raise AgentTimeout("the agent did not answer in time")
        if self.busy:
            self.busy -= 1
            self.frozen = self.frozen or not self.busy
            raise AgentTimeout("the agent did not answer in time")
        if command.startswith("guest-fsfreeze-freeze") and self.freezes_late is not None and not self.frozen:
            self.busy, self.freezes_late = self.freezes_late, None
            self.frozen = not self.busy
            raise AgentTimeout("the agent did not answer in time")

    def _answer(self, command: str, arguments: dict[str, t.Any]) -> t.Any:
        if command not in self._commands():
            raise self._refused("unknown", command)
        if self.frozen and command not in FREEZE_ALLOWED:
            raise _Refused(_renamed(self._recorded["frozen"]["guest-exec"]["error"], command))
        if command in self.blocked or not self._commands()[command]:
            raise self._refused("blocked", command)
        self._check(command, arguments)
        if command in self.replies:
            return self.replies[command]
        method = getattr(self, "_" + command[6:].replace("-", "_"), None)
        return method(**{k.replace("-", "_"): v for k, v in arguments.items()}) if method else self._reply(command)

    def _reply(self, command: str) -> t.Any:
        return copy.deepcopy(self._recorded["replies"][command]["return"])

    def _refused(self, error: str, *words: str) -> _Refused:
        return _Refused(_renamed(self._recorded["errors"][error]["error"], *words))

    def _commands(self) -> dict[str, bool]:
        listed = self._recorded["replies"]["guest-info"]["return"]["supported_commands"]
        return {entry["name"]: entry["enabled"] for entry in listed}

    def _check(self, command: str, arguments: dict[str, t.Any]) -> None:
        known = _ARGUMENTS.get(command, {})
        for name, (kind, word, needed) in known.items():
            if needed and name not in arguments:
                raise self._refused("argument_missing", name)
            if name in arguments and (
                not isinstance(arguments[name], kind) or isinstance(arguments[name], bool) is not (kind is bool)
            ):
                raise self._refused("argument_type", name, word)
        for name in arguments:
            if name not in known:
                raise self._refused("argument_unexpected", name)

    def _info(self) -> t.Any:
        info = self._reply("guest-info")
        for entry in info["supported_commands"]:
            if entry["name"] in self.blocked or (self.frozen and entry["name"] not in FREEZE_ALLOWED):
                entry["enabled"] = False
        return info

    def _shutdown(self, mode: str = "powerdown") -> t.NoReturn:
        (self.on_reboot if mode == "reboot" else self.on_shutdown)()
        raise AgentDisappeared(f"the agent ended with the guest ({mode})")

    def _suspend_ram(self) -> t.NoReturn:
        self.on_suspend()
        raise AgentDisappeared("the agent's port went to sleep with the guest")

    _suspend_disk = _suspend_hybrid = _suspend_ram

    def _fsfreeze_status(self) -> str:
        return "frozen" if self.frozen else "thawed"

    def _fsfreeze_freeze(self) -> int:
        self.frozen = bool(self.mountpoints)
        return len(self.mountpoints)

    def _fsfreeze_freeze_list(self, mountpoints: t.Sequence[str] = ()) -> int:
        count = sum(path in self.mountpoints for path in set(mountpoints))
        self.frozen = bool(count)
        return count

    def _fsfreeze_thaw(self) -> int:
        count = len(self.mountpoints) if self.frozen else 0
        self.frozen = False
        if self.thaw_hook:
            raise _generic(self.thaw_hook)
        return count

    def _exec(self, path: str, arg: t.Sequence[str] = (), **options: t.Any) -> t.Any:
        program = self._programs((path, *arg))
        if program is None:
            raise self._refused("exec_no_program", path)
        self._next += 1
        self._pids[self._next] = [program.polls, program, options.get("capture_output", False)]
        return {"pid": self._next}

    def _exec_status(self, pid: int) -> t.Any:
        if pid not in self._pids:
            raise self._refused("exec_status_unknown_pid")
        polls, program, captured = self._pids[pid]
        if polls:
            self._pids[pid][0] -= 1
            return {"exited": False}
        del self._pids[pid]
        status = {"exited": True}
        status.update({"exitcode": program.rc} if program.signal is None else {"signal": program.signal})
        for key, data in (("out-data", program.out), ("err-data", program.err)):
            if captured and data:
                status[key] = base64.b64encode(data).decode()
        return status

    def _file_open(self, path: str, mode: str = "r") -> int:
        if path not in self._files or mode != "r":
            raise self._refused("file_open_missing", path)
        self._next += 1
        self._handles[self._next] = [self._files[path], 0]
        return self._next

    def _file_read(self, handle: int, count: int = 4096) -> t.Any:
        if handle not in self._handles:
            raise self._refused("file_handle_unknown", str(handle))
        content, position = self._handles[handle]
        data = content[position : position + count]
        self._handles[handle][1] += len(data)
        return {"count": len(data), "buf-b64": base64.b64encode(data).decode(), "eof": len(data) < count}

    def _file_close(self, handle: int) -> t.Any:
        if handle not in self._handles:
            raise self._refused("file_handle_unknown", str(handle))
        del self._handles[handle]
        return {}

    @property
    def open_handles(self) -> int:
        return len(self._handles)

    def _set_user_password(self, username: str, password: str, crypted: bool) -> t.Any:
        secret = base64.b64decode(password)
        if username not in self.passwords:
            raise _generic(_CHPASSWD_FAILS[self._version].format(username))
        hashing = ["openssl", "passwd", "-6", "-stdin"]
        stored = secret if crypted else subprocess.run(hashing, input=secret, capture_output=True, check=True).stdout.strip()
        self.passwords[username] = stored.decode()
        return {}

    def _authorized_lines(self, username: str, keys: t.Sequence[str] = ()) -> list[str] | None:
        for key in keys:
            if key.startswith("#") or "\n" in key:
                raise _generic(f"invalid OpenSSH public key: '{key}'")
        if username not in self.authorized:
            raise _generic(f"failed to lookup user '{username}': Success")
        content = self.authorized[username]
        return None if content is None else content.split("\n")

    def _ssh_get_authorized_keys(self, username: str) -> t.Any:
        lines = self._authorized_lines(username)
        if lines is None:
            path = f"/nonexistent/{username}/.ssh/authorized_keys"
            raise _generic(f"failed to read '{path}': Failed to open file \u201c{path}\u201d: No such file or directory")
        stripped = [line.strip() for line in lines]
        return {"keys": [line for line in reversed(stripped) if line and not line.startswith("#")]}

    def _ssh_add_authorized_keys(self, username: str, keys: t.Sequence[str], reset: bool = False) -> t.Any:
        lines = self._authorized_lines(username, keys)
        lines = [] if reset or lines is None else ([] if lines == [""] else lines)
        for key in keys:
            if key not in lines:
                lines.append(key)
        self.authorized[username] = "\n".join(lines)
        return {}

    def _ssh_remove_authorized_keys(self, username: str, keys: t.Sequence[str]) -> t.Any:
        lines = self._authorized_lines(username, keys)
        if lines is not None:
            self.authorized[username] = "\n".join(line for line in lines if line not in keys)
        return {}


class ScriptedGuest:
    """A Transport to what answers in the lab as a ScriptedAgent."""

    name = "fake"

    def __init__(self, script: Script) -> None:
        self.script = script

    def agent(self, timeout: int = 5) -> GuestAgent:
        return GuestAgent(self, timeout)

    def renew(self, seconds: float) -> None:
        """There is no way to it that could be lost."""

    def exchange(self, request: Request, seconds: int) -> str:
        reply = self.script.answer(json.loads(request.text))
        if reply is None:
            raise AgentTimeout("the agent did not answer in time")
        return reply.decode("utf-8", "replace")

    @property
    def sent(self) -> list[str]:
        return [str(request["execute"]) for request in self.script.requests]


#: As real guests with Debian's chpasswd say it, which no agent of this machine is let try.
_CHPASSWD_FAILS = {
    "7.2": "child process has failed to set user password",
    "10.0": "child process has failed to set user password: chpasswd: (user {0}) pam_chauthtok() failed, error:\n"
    "Authentication token manipulation error\nchpasswd: (line 1, user {0}) password not changed",
}


def _generic(description: str) -> _Refused:
    return _Refused({"class": "GenericError", "desc": description})


#: What the recorded error texts are about; a reply is about something else.
_NAMES = re.compile(
    r"guest-[a-z-]+|(?<=open file ')[^']+|/nonexistent/[a-z]+|(?<=handle ')\d+|(?<=')(?:path|pid|nonsense|x)(?=')"
    r"|(?<=expected: )\w+"
)


def _renamed(error: dict[str, t.Any], *words: str) -> dict[str, t.Any]:
    """The recorded error with its own names, in their order, replaced by ``words``."""
    left = list(words)
    return {**error, "desc": _NAMES.sub(lambda found: left.pop(0) if left else found.group(), error["desc"])}
