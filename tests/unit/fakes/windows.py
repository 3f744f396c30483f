# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Windows guest without a guest: what the agent says is recorded off real ones, and cmd.exe is modelled, for a few lines.

tests/integration/test_windows.py asks a real qemu-ga.exe what is asked of this one. The words of Win32 errors are those of the
recording, which a real Windows says otherwise, and in its own language.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import ntpath
import re
import typing as t

from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import AgentDisappeared
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest, Program, _recorded, _Refused, _renamed

VERSIONS = ("windows-7.2", "windows-10.0")
ENVIRONMENT = {
    "ComSpec": r"C:\windows\system32\cmd.exe",
    "NAME": "zürich €",
    "PATH": r"C:\windows\system32;C:\windows",
    "ProgramFiles(x86)": r"C:\Program Files (x86)",
    "SystemRoot": r"C:\windows",
}
_MODES = re.compile(r"[rwa]|[rw]b|[rwa]\+b?|[rwa]b\+")
_WRITES = re.compile("[wa+]")


class FakeWindows(FakeGuest):
    """``programs``: by argv as the program itself gets it, with the ending of its name. Capital letters are no others in names."""

    def __init__(
        self,
        version: str = "windows-10.0",
        programs: t.Mapping[tuple[str, ...], Program] | t.Callable[[tuple[str, ...]], Program | None] | None = None,
        files: t.Mapping[str, bytes] | None = None,
        directories: t.Iterable[str] = (r"C:\Data",),
        certutil: bool = True,
        block: t.Iterable[str] = (),
    ) -> None:
        super().__init__(version, block, programs)
        self.certutil = certutil
        #: each that was started: what it got as its arguments, environment and input
        self.started: list[tuple[tuple[str, ...], dict[str, str], bytes]] = []
        #: command lines for cmd.exe, as it has them
        self.lines: list[str] = []
        self.killed: list[str] = []
        self.captures: list[object] = []
        #: file -> the exit code that will be in it when the program has ended
        self.notes: dict[str, int | None] = {}
        self.directories = {name.lower() for name in ("C:", r"C:\windows", r"C:\windows\temp", *directories)}
        self._content = {name.lower(): bytearray(data) for name, data in (files or {}).items()}
        #: files that a program holds open for writing
        self.held: set[str] = set()

    @property
    def files(self) -> dict[str, bytes]:
        return {name: bytes(data) for name, data in self._content.items()}

    def _say(self, error: str, *words: str) -> _Refused:
        return _Refused(_renamed(_recorded(self._version)["errors"][error]["error"], *words))

    def _check(self, command: str, arguments: dict[str, t.Any]) -> None:
        """As FakeGuest, for what it knows; the agent of 10.0 ends when it is asked to keep one stream only."""
        capture = arguments.get("capture-output", False)
        if command == "guest-exec" and not isinstance(capture, bool):
            if self._version == "windows-7.2" or capture == "merged":
                raise self._say("capture")
            if capture in ("stdout", "stderr"):
                raise AgentDisappeared("the agent ended")
            return
        if command not in ("guest-file-seek", "guest-file-write", "guest-file-flush", "guest-file-read"):
            super()._check(command, arguments)

    def note(self) -> None:
        """The program has ended, and cmd.exe says how."""
        self._content.update({name: bytearray(f"{code} \r\n".encode()) for name, code in self.notes.items()})

    # Files

    def _file_open(self, path: str, mode: str = "r") -> int:
        if not _MODES.fullmatch(mode):
            raise self._say("file_mode")
        name = path.replace("/", "\\").lower()
        others = [handle[2] for handle in self._handles.values() if handle[0] == name]
        if name in self.held or any(others) or (others and _WRITES.search(mode)):
            raise self._say("file_shared", path)
        exists = name in self._content
        if (not exists and mode[0] == "r") or ntpath.dirname(name) not in self.directories or name in self.directories:
            raise self._say("file_open_missing", path)
        if mode[0] == "w" or not exists:
            self._content[name] = bytearray()
        self._next += 1
        start = len(self._content[name]) if mode[0] == "a" else 0
        self._handles[self._next] = [name, start, bool(_WRITES.search(mode))]
        return self._next

    def _opened(self, handle: int) -> list[t.Any]:
        if handle not in self._handles:
            raise self._say("file_handle_unknown", str(handle))
        return self._handles[handle]

    def _file_seek(self, handle: int, offset: int, whence: int | str) -> t.Any:
        found = self._opened(handle)
        found[1] = {0: 0, "set": 0, 1: found[1], 2: len(self._content[found[0]])}[whence] + offset
        return {"position": found[1], "eof": False}

    def _file_write(self, handle: int, buf_b64: str) -> t.Any:
        found, data = self._opened(handle), base64.b64decode(buf_b64)
        self._content[found[0]][found[1] : found[1] + len(data)] = data
        found[1] += len(data)
        return {"count": len(data), "eof": False}

    def _file_flush(self, handle: int) -> t.Any:
        self._opened(handle)
        return {}

    def _file_read(self, handle: int, count: int = 4096) -> t.Any:
        found = self._opened(handle)
        data = bytes(self._content[found[0]][found[1] : found[1] + count])
        found[1] += len(data)
        return {"count": len(data), "buf-b64": base64.b64encode(data).decode(), "eof": not data}

    # Users

    def _set_user_password(self, username: str, password: str, crypted: bool) -> t.Any:
        if crypted:
            raise self._say("password_hash")
        if username not in self.passwords:
            raise self._say("password_user")
        self.passwords[username] = base64.b64decode(password).decode()
        return {}

    def _authorized_lines(self, username: str, keys: t.Sequence[str] = ()) -> list[str] | None:
        if username not in self.authorized:
            raise _Refused({"class": "GenericError", "desc": f"User {username} was not found"})
        return super()._authorized_lines(username, keys)

    # Programs

    def _exec(self, path: str, arg: t.Sequence[str] = (), **options: t.Any) -> t.Any:
        given = options.get("env")
        self.captures.append(options.get("capture_output", False))
        env = ENVIRONMENT if given is None else dict(entry.split("=", 1) for entry in given)
        words = (path, *(word for word in arg if word))
        name = ntpath.basename(path).lower()
        if name == "cmd.exe" and ("\\" in path or "PATH" in env):
            program = self._cmd(words[1:], env, base64.b64decode(options.get("input-data", "")))
        elif name == "certutil.exe" and words[1] == "-hashfile":
            digest = hashlib.sha256(self._content[words[2].lower()]).hexdigest()
            lines = f"SHA256 hash of {words[2]}:\r\n{digest}\r\nCertUtil: done.\r\n" if self.certutil else ""
            program = Program(0, lines.encode())
        elif name == "taskkill.exe":
            self.killed.append(words[-1])
            program = Program()
        else:
            found = self._programs(words)
            if found is None:
                raise self._refused("exec_no_program", path)
            program = found
        self._next += 4
        self._pids[self._next] = [program.polls, program, options.get("capture_output", False)]
        return {"pid": self._next}

    def _cmd(self, words: tuple[str, ...], env: dict[str, str], _stdin: bytes) -> Program:
        if words == ("/u", "/d", "/c", "set"):
            return Program(0, "".join(f"{name}={value}\r\n" for name, value in env.items()).encode("utf-16-le"))
        assert words[:3] == ("/d", "/v:on", "/c"), words
        line = " ".join(words[3:])
        self.lines.append(line)
        assert not re.search('[%^"]', line), "these mean something to cmd.exe"
        return _Cmd(self, env).run(line)


class _Cmd:
    """cmd.exe with delayed expansion, for the lines that are sent to it."""

    def __init__(self, guest: FakeWindows, env: dict[str, str]) -> None:
        self._guest, self._env = guest, env
        self._content = guest._content

    def run(self, line: str) -> Program:
        """The exit code of a program is noted in a file, once it has ended."""
        line, _then, note = line.partition(" & ")
        program = self._run(line)
        if note and "!VIRTOPS!" in line:
            assert re.fullmatch(r"echo !ERRORLEVEL! >\S+\.r & exit !ERRORLEVEL!", note), note
            self._guest.notes = {note.split(" ")[2][1:].lower(): program.rc if program.signal is None else program.signal}
            if not program.polls:
                self._guest.note()
        return program

    def _run(self, line: str) -> Program:
        rc, out = 0, b""
        for part in line.split(" && "):
            program = self._part(part)
            rc, out = program.rc or 0, out + program.out
            if program.signal is not None or program.polls:
                return program._replace(out=out)
            if rc:
                break
        return Program(rc, out)

    def _value(self, text: str) -> str:
        return re.sub("!([A-Z_]+)!", lambda found: self._env[found[1]], text)

    def _path(self, text: str) -> str:
        return self._value(text).strip('"').lower()

    def _part(self, part: str) -> Program:
        word, *rest = part.split(" ")
        if word == "cd":
            return Program(0 if self._path(rest[1]).rstrip("\\") in self._guest.directories else 1)
        if word == "if":
            return self._if(part)
        if word == "exit":
            return Program(int(rest[0]))
        if word in ("copy", "move"):
            return self._copy(word, [self._path(text) for text in rest if text.startswith("!")])
        if word == "del":
            for path in re.findall('"([^"]+)"', self._value(rest[2])):
                if path.lower() not in self._guest.held:
                    self._content.pop(path.lower(), None)
            return Program()
        assert word == "!VIRTOPS!", part
        return self._program(rest)

    def _if(self, part: str) -> Program:
        for test, code in re.findall(r"if exist (!\w+!) \(?exit (\d+)\)?", part):
            if self._exists(self._path(test)):
                return Program(int(code))
        return Program(0)

    def _exists(self, path: str) -> bool:
        if path.endswith("\\*"):
            return path[:-2] in self._guest.directories
        return any(fnmatch.fnmatchcase(name, path.replace("[", "[[]")) for name in (*self._content, *self._guest.directories))

    def _copy(self, word: str, paths: t.Sequence[str]) -> Program:
        source, target = paths
        if source not in self._content or (target in self._guest.held and word == "move"):
            return Program(1)
        self._content[target] = bytearray(self._content[source])
        if word == "move":
            del self._content[source]
        return Program()

    def _program(self, redirections: t.Sequence[str]) -> Program:
        ends = {}
        for text in redirections:
            sign = "<" if text.startswith("<") else text[: text.index(">") + 1]
            ends[sign] = text[len(sign) :].lower()
        argv = arguments_of(self._env["VIRTOPS"])
        stdin = bytes(self._content[ends["<"]]) if "<" in ends else b""
        own = {name: value for name, value in self._env.items() if not name.startswith("VIRTOPS") or name == "VIRTOPS_TEXT"}
        self._guest.started.append((argv, own, stdin))
        program = self._guest._programs(argv) or Program(9009, b"", f"'{argv[0]}' is not recognized\r\n".encode())
        self._content[ends[">"]], self._content[ends["2>"]] = bytearray(program.out), bytearray(program.err)
        return program._replace(out=b"", err=b"")


def arguments_of(line: str) -> tuple[str, ...]:
    """As Microsoft's C library takes a command line apart; all that cmd.exe is told (/c) is one text."""
    raw = re.fullmatch(r'"([^"]+)" /d /s /c "(.*)"', line, re.DOTALL)
    if raw:
        return (raw[1], "/d", "/s", "/c", raw[2])
    found, word, quoted, place = [], "", False, 0
    begun = False
    while place < len(line):
        slashes = len(line) - place - len(line[place:].lstrip("\\"))
        place += slashes
        character = line[place : place + 1]
        if character == '"':
            word += "\\" * (slashes // 2)
            begun = True
            if slashes % 2:
                word += '"'
            else:
                quoted = not quoted
            place += 1
            continue
        word += "\\" * slashes
        begun = begun or bool(slashes)
        if character in (" ", "\t") and not quoted:
            if begun:
                found.append(word)
            word, begun = "", False
        elif character:
            word, begun = word + character, True
        place += 1
    return (*found, word) if begun else tuple(found)


def exchanges(version: str) -> list[tuple[dict[str, t.Any], dict[str, t.Any]]]:
    """What a real agent was asked, and what it answered, in this order."""
    pairs = t.cast("list[list[t.Any]]", _recorded(version)["exchanges"])
    return [(pair[0], pair[1]) for pair in pairs]


def answer(guest: FakeWindows, request: dict[str, t.Any]) -> dict[str, t.Any]:
    from ansible_collections.virtops.guest_agent.plugins.module_utils._agent import protocol

    built = protocol.build(request["execute"], request.get("arguments"))
    reply: dict[str, t.Any] = json.loads(guest.exchange(built, 5))
    reply.pop("id", None)
    return reply
