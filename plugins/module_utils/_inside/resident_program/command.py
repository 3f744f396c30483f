# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A command of a session: its process, what it reads and prints."""

import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
import zlib

from .interpreter import as_started_anew, run_as_main, use_compiled
from .processes import end, ends_with, execute, is_found, named, state_of
from .wire import TOLD_AFTER, WINDOW


class Run:
    """One command, and what it reads and prints."""

    def __init__(self, session, request):
        self.session = session
        self.request = request
        self.id = request["id"]
        #: whether there is more input to come; what came, as it came and unpacked; how much came, and was told to be passed on
        self.open = bool(request.get("stdin"))
        self.packed = bytearray()
        self.input = bytearray()
        self.unpack = zlib.decompressobj()
        self.received = self.told_taken = 0
        #: what was typed for a password: how often, and whether it was accepted; None where nothing is to be typed
        self.answered = 0 if request.get("answer") else None
        self.pid = None
        self.process = ""
        self.began = time.monotonic()
        self.status = None
        self.seconds = 0.0
        self.told_end = False
        #: over a new connection, for what the controller has of it
        self.waits = False
        self.stdin = None
        #: of output and errors: the pipe, what is in it at the end, what is kept, how much was confirmed and sent
        self.pipes = [None, None]
        self.left = [None, None]
        self.kept = [bytearray(), bytearray()]
        self.base = [0, 0]
        self.sent = [0, 0]

    def go(self):
        self.account = self.logged_in()
        if self.account is None:
            self.session.run = None
        elif not self.is_module():
            self.start()
        elif not self.open:
            self.start(self.module)

    def refuse(self, *why):
        self.session.send(b"N", json.dumps({"why": "refused", "words": why}).encode())

    def logged_in(self):
        """What a login of the user gives, or None where there is no such user."""
        user, files = self.request["user"], self.request["login_files"]
        state = [state_of(path) for path in files]
        state.append(any(line.startswith(user + ":") for line in open("/etc/passwd", errors="replace")))
        known = self.session.keeper.logins.get(user)
        if known and known[0] == state and state[-1] and known[2] == os.path.isdir("/run/user/%d" % known[1]["uid"]):
            return known[1]
        *argv, script, path = self.request["login"]
        env = {"VIRTOPS": script, "PATH": path}
        # pylint: disable-next=ansible-bad-function
        said = subprocess.run(argv, env=env, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
        words = said.stdout.split(b"\0")
        if words[0] != b"account":
            self.refuse(*said.stdout.decode("utf-8", "replace").split()[1:])
            return None
        name, uid, gid, mask, home = (os.fsdecode(word) for word in words[1:6])
        names = dict(word.split(b"=", 1) for word in words[6:] if b"=" in word)
        env = {os.fsdecode(key): os.fsdecode(value) for key, value in names.items() if key != b"_"}
        account = {"name": name, "uid": int(uid), "gid": int(gid), "umask": int(mask, 8), "home": home, "env": env}
        record = state, account, os.path.isdir("/run/user/%s" % uid)
        self.session.keeper.logins[user] = record
        self.session.tell("login", user, record)
        return account

    def environment(self, module=False):
        env = dict(self.account["env"])
        env.update(self.request.get("env", {}))
        if module:
            env.update(self.request["python_env"])
        return env

    def is_module(self):
        """Whether this interpreter does what the one that the request names would do with its standard input."""
        interpreter = self.request.get("python")
        if not interpreter or not self.session.keeper.current():
            return False
        places = {os.path.dirname(interpreter), os.path.dirname(os.path.dirname(interpreter))}
        if os.path.realpath(interpreter) != os.path.realpath(sys.executable) or sys.prefix != sys.base_prefix:
            return False
        if any(os.path.exists(os.path.join(place, "pyvenv.cfg")) for place in places):
            return False
        env = self.environment(module=True)
        library = "lib/python%d.%d/site-packages" % sys.version_info[:2]
        if any(name.startswith("PYTHON") for name in env) or os.path.isdir(os.path.join(env["HOME"], ".local", library)):
            return False
        name = env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG")
        return not name or (name not in ("C", "POSIX") and name.rpartition(".")[2].lower().replace("-", "") == "utf8")

    def start(self, module=None):
        pipes = [os.pipe() for _number in range(3)]
        failed, fails = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            ends_with(lambda: self.child([pipes[0][0], pipes[1][1], pipes[2][1]], fails, module))
        for fd in (pipes[0][0], pipes[1][1], pipes[2][1], fails):
            os.close(fd)
        self.stdin, self.pipes = pipes[0][1], [pipes[1][0], pipes[2][0]]
        for fd in (self.stdin, *self.pipes):
            os.set_blocking(fd, False)
        self.process = named(self.pid).decode()
        self.session.tell("started", self.id, self.pid, self.request["end"])
        with os.fdopen(failed, "rb") as told:
            word = told.read().decode()
        if word:
            os.waitpid(self.pid, 0)
            self.session.tell("ended")
            self.session.run = None
            self.refuse(word)
            return
        self.session.send(b"S", json.dumps({"process": self.process}).encode())

    def child(self, standard, fails, module):
        """In the command's own process: become what it is to be, and never return."""
        os.setsid()
        if not self.request.get("stdin") and self.answered is None and not module:
            standard[0] = os.open("/dev/null", os.O_RDONLY)
        for number, fd in enumerate(standard):
            os.dup2(fd, number)
        keep = os.dup2(fails, 255)
        os.closerange(3, keep)
        os.closerange(keep + 1, max(map(int, os.listdir("/proc/self/fd"))) + 1)
        os.set_inheritable(keep, False)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGIO, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        word, argv = self.become(bool(module))
        if word:
            os.write(keep, word.encode())
            os._exit(0)
        if module:
            os.close(keep)
            module()
        execute(argv, os.environ)

    def become(self, module):
        account, request = self.account, self.request
        env, argv = self.environment(module), list(request["argv"])
        os.umask(int(request["umask"], 8) if request.get("umask") else account["umask"])
        try:
            os.chdir(account["home"])
        except OSError:
            os.chdir("/")
        place = request.get("chdir")
        if place and account["uid"]:
            if not os.path.isdir(place):
                return "chdir", argv
            argv[:0] = ["/bin/sh", "-c", 'CDPATH= cd -- "$0" && unset OLDPWD && exec "$@"', place]
        elif place:
            try:
                os.chdir(place)
            except OSError:
                return "chdir", argv
            env["PWD"] = os.getcwd() if "PWD" in env else env.get("PWD")
        os.environ.clear()
        os.environ.update({name: value for name, value in env.items() if value is not None})
        if account["uid"]:
            os.initgroups(account["name"], account["gid"])
            os.setgid(account["gid"])
            os.setuid(account["uid"])
        if request.get("exact") and not is_found(request["argv"][0], place):
            return "program", argv
        return "", argv

    def module(self):
        """What ``python3`` does with a script on its standard input."""
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        as_started_anew(self.request["python"])
        use_compiled(self.session.keeper.code)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run_as_main(bytes(self.input))

    def feed(self, data):
        self.open = bool(data)
        self.received += len(data)
        if self.pid is None:
            self.input += self.unpack.decompress(data)
        elif self.stdin is not None:
            self.packed += data
        self.tell_taken()
        if self.pid is None and not self.open:
            self.session.texts.append(bytes(self.input))
            self.start(self.module)
            self.input = bytearray()

    def tell_taken(self):
        taken = self.received - len(self.packed)
        if taken - self.told_taken >= TOLD_AFTER:
            self.told_taken = taken
            self.session.send(b"A", struct.pack(">Q", taken))

    def confirm(self, *have):
        for place, count in enumerate(have):
            new = min(max(0, count - self.base[place]), len(self.kept[place]))
            del self.kept[place][:new]
            self.base[place] += new

    def resume(self, have):
        self.confirm(*have)
        self.sent = list(self.base)
        self.told_end = self.waits = False
        self.told_taken = self.received - len(self.packed)
        told = {"process": self.process, "taken": self.told_taken, "received": self.received, "open": self.open}
        self.session.send(b"S", json.dumps(told).encode())

    def next(self, place):
        start = self.sent[place] - self.base[place]
        piece = bytes(self.kept[place][start : min(start + 32768, WINDOW)])
        self.sent[place] += len(piece)
        return piece

    def register(self, poll):
        for place, fd in enumerate(self.pipes):
            if fd is not None and len(self.kept[place]) < 2 * WINDOW:
                poll.register(fd, select.POLLIN)
        if self.stdin is not None and self.wants():
            poll.register(self.stdin, select.POLLOUT)

    def wants(self):
        """Whether there is something for the command's standard input: bytes, or its end."""
        if self.answered is not None:
            return False
        return bool(self.input or self.packed) or not self.open

    def move(self, ready):
        if self.pid is None:
            return
        for place, fd in enumerate(self.pipes):
            if fd in ready:
                self.read(place, fd)
        if self.stdin in ready:
            self.write()
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.ended(status)

    def read(self, place, fd):
        piece = os.read(fd, 65536 if self.left[place] is None else max(1, min(65536, self.left[place])))
        self.kept[place] += piece
        if self.left[place] is not None:
            self.left[place] -= len(piece)
        if not piece:
            os.close(fd)
            self.pipes[place] = None
        elif self.left[place] is not None and self.left[place] <= 0:
            self.leave(place)
        if self.answered is not None:
            self.type()

    def write(self):
        if not self.input and self.packed:
            piece = bytes(self.packed[:65536])
            self.input += self.unpack.decompress(piece, 65536)
            del self.packed[: len(piece) - len(self.unpack.unconsumed_tail)]
            self.tell_taken()
        try:
            del self.input[: os.write(self.stdin, self.input[:65536]) if self.input else 0]
        except OSError:
            self.close_input()
        if self.stdin is not None and not self.input and not self.packed and not self.open:
            self.close_input()

    def close_input(self):
        """What still comes of it is dropped."""
        self.input, self.packed = bytearray(), bytearray()
        os.close(self.stdin)
        self.stdin = None
        self.tell_taken()

    def type(self):
        """The password when it is asked for, once; the input when it was accepted."""
        answer = self.request["answer"]
        printed = b"".join(self.kept)
        prompt = answer["prompt"].encode()
        if answer["success"].encode() in printed:
            self.answered = None
        elif (printed.count(prompt) if prompt else bool(printed)) > self.answered:
            self.answered += 1
            if self.answered == 1:
                os.write(self.stdin, answer["password"].encode() + b"\n")
            else:
                self.answered = None
                self.close_input()

    def ended(self, status):
        self.status = status
        self.seconds = time.monotonic() - self.began
        self.session.tell("ended")
        if self.stdin is not None:
            self.close_input()
        for place, fd in enumerate(self.pipes):
            if fd is not None:
                self.left[place] = struct.unpack("i", fcntl.ioctl(fd, 0x541B, b"\0" * 4))[0]  # FIONREAD
                if not self.left[place]:
                    self.leave(place)

    def leave(self, place):
        """What others still print is read, for they would be ended by a pipe that has no reader."""
        fd, self.pipes[place] = self.pipes[place], None
        try:
            over = not os.read(fd, 1)
        except OSError:
            over = False
        if not over:
            os.set_blocking(fd, True)
            # pylint: disable-next=ansible-bad-function
            subprocess.Popen(["cat"], stdin=fd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(fd)

    def finished(self):
        gone = all(self.sent[place] - self.base[place] == len(self.kept[place]) for place in (0, 1))
        return self.status is not None and self.pipes == [None, None] and gone

    def result(self):
        code, signalled = os.WEXITSTATUS(self.status), os.WTERMSIG(self.status)
        return {"code": code, "signal": signalled if os.WIFSIGNALED(self.status) else None, "seconds": self.seconds}

    def kill(self):
        if self.pid and self.status is None:
            end(self.pid, self.request["end"])
