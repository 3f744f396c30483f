# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The resident: a program that stays in a guest between tasks, and runs their commands. For Python 3.6 and later on Linux.

It is sent to the guest as text and is no file there; ``resident`` starts it and speaks with it. Three kinds of processes:

* The keeper waits for a controller, and keeps what the next task can use: the environment of a login and compiled code. It reads
  nothing of a task, and runs nothing of it.
* For each connection of a controller it forks a session, which reads requests, and is gone with all that they had in them.
* For each request the session forks the command: a program, or a module in this very interpreter.

What the keeper is told by a session it takes from root alone: a session never runs what came with a task.

A connection begins with a line of the controller, ``\\n\\0virtops NONCE VERSION\\n``, and the same with two processes as answer.
What was on the way before it is skipped. Then there are frames: a letter, the length of what follows in four bytes, and that: at
most 64 KiB.

From the controller: ``R`` request (JSON), ``I`` input (packed; empty at its end), ``C`` how much of the output has arrived (two
numbers of eight bytes), ``P`` ping, ``K`` end the command, ``Q`` no more requests. To it: ``S`` started (JSON), ``A`` how much of
the input has been passed on (eight bytes), ``O`` ``X`` output and errors, ``Z`` ended (JSON), ``N`` not run (JSON), ``p`` answer to
a ping.
"""

#: What a script on the standard input finds as its own, in this version of Python.
_MAIN = dict(globals(), __doc__=None)

import atexit
import base64
import binascii
import errno
import fcntl
import gc
import hashlib
import io
import json
import locale
import marshal
import os
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
import types
import zipfile
import zipimport
import zlib

# What modules import is there already when they begin.
for _name in "datetime grp logging.handlers platform pwd shlex socket stat syslog tempfile typing".split():
    __import__(_name)

VERSION = 3
MARK = b"\n\0virtops "
#: Most bytes of output, and of packed input, that are on the way unconfirmed; and after how many their passing on is told.
WINDOW = 512 * 1024
TOLD_AFTER = 64 * 1024
#: Of an answer over pipes: the first block has the length of all of it, so that the agent is never asked for more than there is.
BLOCK = 4096
#: Sources that the store of compiled code takes, in bytes.
STORE_MAX = 16 * 1024 * 1024
FRAME = struct.Struct(">cI")
#: Seconds between two looks at a port whose other end is not there.
PAUSE = 0.05
#: Names of locales in which Python takes any bytes from its standard streams.
_LENIENT = ("", "C", "POSIX", "C.UTF-8", "C.utf8", "UTF-8")


class Port:
    """A virtio port: a stream that sees the controller come and go."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def belongs_to(self, process):
        fcntl.fcntl(self.fd, fcntl.F_SETOWN, process)
        fcntl.fcntl(self.fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)

    def wait(self, seconds, behind):
        """Whether there is something to read within ``seconds``. The kernel says by a signal that the host's end was opened."""
        ends = time.monotonic() + seconds
        while not self.ready():
            left = ends - time.monotonic()
            if left <= 0:
                return False
            signal.sigtimedwait([signal.SIGIO], min(left, 1.0) if behind else left)
            if behind:
                break
        return True

    def ready(self):
        return self.state(select.POLLIN) & (select.POLLIN | select.POLLHUP) == select.POLLIN

    def there(self):
        """Whether a controller has the other end."""
        return not self.state(0) & select.POLLHUP

    def state(self, wanted):
        poll = select.poll()
        poll.register(self.fd, wanted)
        return dict(poll.poll(0)).get(self.fd, 0)

    def read(self):
        return _read(self.fd)

    def write(self, data):
        """Send the beginning of ``data``; how many bytes of it were sent."""
        return _write(self.fd, data[:65536])

    def begin(self):
        """Forget what an earlier connection has left."""

    def remove(self):
        pass


class Pipes:
    """Two named pipes in a directory of root's, which the agent opens like files."""

    def __init__(self, directory):
        self.directory = directory
        new = directory + ".new"
        os.mkdir(new, 0o700)
        for name in ("in", "out"):
            os.mkfifo(os.path.join(new, name), 0o600)
        self.fd, self.out = (os.open(os.path.join(new, name), os.O_RDWR | os.O_NONBLOCK) for name in ("in", "out"))
        os.rename(new, directory)
        self.room = 65536
        for fd in (self.fd, self.out):
            try:
                size = fcntl.fcntl(fd, getattr(fcntl, "F_SETPIPE_SZ", 1031), 1024 * 1024)
            except OSError:
                continue
            if fd == self.out:
                self.room = size

    def belongs_to(self, process):
        pass

    def wait(self, seconds, behind):
        return bool(select.select([self.fd] + [told.fd for told in behind], [], [], seconds)[0])

    def ready(self):
        return bool(select.select([self.fd], [], [], 0)[0])

    def there(self):
        return True

    def read(self):
        return _read(self.fd)

    def write(self, data):
        """The agent loses what it has read where it asks for more than there is. So each answer is written whole."""
        waiting = struct.unpack("i", fcntl.ioctl(self.out, 0x541B, b"\0" * 4))[0]  # FIONREAD
        if waiting:
            return 0
        piece = bytes(data[: min(self.room - BLOCK, 256 * 1024)])
        _write(self.out, (struct.pack(">I", len(piece)) + piece).ljust(BLOCK, b"\0"))
        return len(piece)

    def begin(self):
        while _read(self.out):
            pass

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)


def tidy_up(directory):
    """Remove the pipes beside it that nothing reads any more: those of residents that were killed."""
    place = os.path.dirname(directory)
    for name in filter(re.compile("virtops-[0-9a-f]{32}$").match, os.listdir(place)):
        try:
            os.close(os.open(os.path.join(place, name, "in"), os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno == errno.ENXIO:
                shutil.rmtree(os.path.join(place, name), ignore_errors=True)


def _read(fd):
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return b""


def _write(fd, data):
    try:
        return os.write(fd, data)
    except BlockingIOError:
        return 0


class Keeper:
    """Waits for controllers, and keeps what outlives a task."""

    def __init__(self, link, idle):
        self.link = link
        self.idle = idle
        #: sha256 of a source -> its code
        self.code = {}
        self.size = 0
        #: user -> what a login was found to be, with the state of the files that this came from
        self.logins = {}
        #: the last commands that were started
        self.started = []
        self.python = self.installed()
        #: sessions that only compile
        self.behind = []

    def run(self):
        told = self.session()
        while self.current() and self.link.wait(self.idle, self.behind):
            if self.catch_up():
                told.dismiss()
                told = self.session()
            if not self.link.ready():
                continue
            told.begin()
            self.hear(told)
            if not told.over and told.running:
                end(*told.running).wait()
            self.behind.append(told)
            told = self.session()
        told.dismiss()

    def session(self):
        """One that has what is known by now, forked before a controller waits for it. It begins when it is told to."""
        reading, writing = os.pipe()
        begins, begin = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            os.close(begin)
            _ends_with(lambda: os.read(begins, 1) and Session(self, writing).serve())
        os.close(writing)
        os.close(begins)
        return Told(reading, child, begin)

    def catch_up(self):
        """What sessions tell after they have let go of the link; whether one has ended that had compiled something."""
        for told in self.behind:
            self.hear(told)
        ended = [told for told in self.behind if told.closed]
        self.behind = [told for told in self.behind if not told.closed]
        for told in ended:
            told.dismiss()
        return any(told.compiled for told in ended)

    def hear(self, told):
        """What a session tells until it lets go of the link, and then what has come of it by now."""
        while told.read():
            for record in told.records():
                self.learn(record, told)

    @staticmethod
    def installed():
        """What changes when Python or its packages are upgraded."""
        return [_state(path) for path in [sys.executable, os.__file__] + sys.path if path]

    def current(self):
        return self.python == self.installed()

    def learn(self, record, told):
        kind = record[0]
        if kind == "started":
            self.started = self.started[-63:] + [record[1]]
            told.running = record[2:]
        elif kind == "ended":
            told.running = None
        elif kind == "over":
            told.over = True
            os.set_blocking(told.fd, False)
        elif kind == "login":
            self.logins[record[1]] = record[2]
        elif kind == "seen":
            told.compiled = True
            self.code[record[1]] = None
        elif kind == "code" and self.size + record[3] <= STORE_MAX:
            self.size += record[3]
            self.code[record[1]] = marshal.loads(record[2])


class Told:
    """What one session tells the keeper, and those that compile for it. Each write is a piece, and none comes between its bytes."""

    #: the process, whether it is the first and the last piece of a record, and its length
    HEAD = struct.Struct(">I??H")
    PIECE = select.PIPE_BUF - HEAD.size

    def __init__(self, fd, child, begin):
        self.fd = fd
        self.child = child
        self.begins = begin
        self.data = bytearray()
        #: process -> the pieces of a record that has not ended
        self.pieces = {}
        #: the link is free for the next connection; the session has ended; it was the first to see some code
        self.over = self.closed = self.compiled = False
        #: a command that has begun, and has not ended yet: its process, and the script that ends it
        self.running = None

    def begin(self):
        try:
            os.write(self.begins, b"b")
        except OSError:
            pass  # It was killed, as reading will show.

    def dismiss(self):
        """One that has not begun ends, and is waited for as one that has ended."""
        os.close(self.fd)
        os.close(self.begins)
        os.waitpid(self.child, 0)

    def read(self):
        """Whether something came."""
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.closed = not data
        self.data += data
        return bool(data)

    def records(self):
        while len(self.data) >= self.HEAD.size:
            process, first, last, length = self.HEAD.unpack_from(self.data)
            piece = bytes(self.data[self.HEAD.size : self.HEAD.size + length])
            if len(piece) < length:
                return
            del self.data[: self.HEAD.size + length]
            self.pieces[process] = piece if first else self.pieces.get(process, b"") + piece
            if last:
                yield marshal.loads(self.pieces.pop(process))


def plain(body):
    """What stands in a frame of the controller. There a NUL is followed by neither "v" nor 1, but for a 1 put between."""
    return body.replace(b"\0\1v", b"\0v").replace(b"\0\1\1", b"\0\1")


def end(pid, script):
    """End a command with all that belongs to it."""
    # pylint: disable-next=ansible-bad-function
    return subprocess.Popen(["/bin/sh", "-c", "G=%d\n%s" % (pid, script)], stdin=subprocess.DEVNULL)


class Session:
    """One connection of a controller."""

    def __init__(self, keeper, told):
        self.keeper = keeper
        self.link = keeper.link
        self.told = told
        self.received = bytearray()
        self.sending = bytearray()
        self.greeted = False
        #: the answer to a greeting is to be sent, before which nothing is begun: a controller without it takes nothing for begun
        self.unanswered = False
        self.run = None
        self.over = False
        #: since when no controller has been heard of, and for how long that may be so
        self.heard = time.monotonic()
        self.grace = 5.0
        self.texts = []
        for number in (signal.SIGIO, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        self.waking, wake = os.pipe()
        for fd in (self.waking, wake):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake)

    def tell(self, *record):
        data = marshal.dumps(record)
        for start in range(0, len(data), Told.PIECE):
            piece = data[start : start + Told.PIECE]
            os.write(self.told, Told.HEAD.pack(os.getpid(), not start, start + len(piece) == len(data), len(piece)) + piece)

    def serve(self):
        while not self.over and time.monotonic() - self.heard < self.grace:
            self.turn()
        if self.run:
            self.run.kill()
            ends = time.monotonic() + 10
            while self.run.status is None and time.monotonic() < ends:
                self.run.move(set())
                time.sleep(PAUSE)
        self.tell("over")
        self.keep_code()

    def turn(self):
        """Wait until something can move, and move it."""
        poll = select.poll()
        there = self.link.there()
        pause = 1.0
        if there:
            poll.register(self.link.fd, select.POLLIN)
        else:
            pause = PAUSE
        poll.register(self.waking, select.POLLIN)
        if self.run:
            self.run.register(poll)
        if self.sending:
            pause = 0.002
        ready = {fd for fd, _event in poll.poll(pause * 1000)}
        if self.waking in ready:
            _read(self.waking)
        if self.link.fd in ready:
            self.take(self.link.read())
        if self.run:
            self.run.move(ready)
            self.collect()
        if self.sending and there:
            del self.sending[: self.link.write(self.sending)]
            if self.unanswered and not self.sending:
                self.unanswered = False
                self.take(b"")
        if self.texts and not ready and not self.sending and not (self.run and not self.run.told_end):
            self.keep_code()

    def take(self, data):
        if data:
            self.heard = time.monotonic()
            self.received += data
        at = self.received.rfind(MARK)
        if at >= 0:
            self.greet(at)
        elif not self.greeted:
            del self.received[: -len(MARK)]
        while self.greeted and not self.unanswered and self.frame():
            pass

    def greet(self, at):
        """A connection begins, and what belongs to an earlier one is over. No frame can look like this line: see ``plain``."""
        line, newline, rest = bytes(self.received[at + len(MARK) :]).partition(b"\n")
        self.greeted = bool(newline)
        if newline:
            self.received = bytearray(rest)
            nonce, version = (line.split(b" ") + [b""])[:2]
            self.link.begin()
            if self.run:
                self.run.waits = True
            self.sending = bytearray(MARK + nonce + b" %d %s %s\n" % (VERSION, _named(os.getpid()), _named(os.getppid())))
            self.over = version != b"%d" % VERSION
            self.unanswered = True

    def frame(self):
        if len(self.received) < FRAME.size:
            return False
        kind, length = FRAME.unpack_from(self.received)
        if len(self.received) < FRAME.size + length:
            return False
        body = plain(bytes(self.received[FRAME.size : FRAME.size + length]))
        del self.received[: FRAME.size + length]
        if kind == b"R":
            self.request(json.loads(body.decode()))
        elif kind == b"P":
            self.send(b"p", b"")
        elif kind == b"Q":
            self.over = True
        elif self.run and kind == b"I":
            self.run.feed(body)
        elif self.run and kind == b"C":
            self.run.confirm(*struct.unpack(">QQ", body))
        elif self.run and kind == b"K":
            self.run.kill()
        return True

    def send(self, kind, body):
        self.sending += FRAME.pack(kind, len(body)) + body

    def request(self, request):
        self.grace = request.get("grace", self.grace)
        if self.run and self.run.id == request["id"]:
            self.run.resume(request.get("have", [0, 0]))
        elif self.run and not self.run.told_end:
            self.send(b"N", b'{"why": "busy"}')
        elif request["id"] in self.keeper.started:
            self.send(b"N", b'{"why": "lost"}')
        elif "have" in request:
            self.send(b"N", b'{"why": "unknown"}')
        else:
            self.run = Run(self, request)
            self.run.go()

    def collect(self):
        run = self.run
        if run.waits:
            return
        for place, kind in enumerate((b"O", b"X")):
            piece = run.next(place)
            while piece:
                self.send(kind, piece)
                piece = run.next(place)
        if run.finished() and not run.told_end:
            run.told_end = True
            self.send(b"Z", json.dumps(run.result()).encode())

    def keep_code(self):
        """Compile what the modules of this connection were made of, for the next ones; in a child, which has time."""
        literals = {literal for text in self.texts for literal in re.findall(rb"[A-Za-z0-9+/=\n]{2000,}", text)}
        self.texts = []
        found = {"zip " + hashlib.sha256(literal).hexdigest(): literal for literal in literals}
        new = [literal for digest, literal in found.items() if digest not in self.keeper.code]
        for digest in found:
            self.keeper.code[digest] = None
            self.tell("seen", digest)
        if new and not os.fork():
            _ends_with(lambda: self.compile_all(new))

    def compile_all(self, literals):
        os.nice(10)
        for literal in literals:
            self.compile(literal)

    def compile(self, literal):
        try:
            archive = zipfile.ZipFile(io.BytesIO(base64.b64decode(literal)))
        except (binascii.Error, ValueError, zipfile.BadZipFile):
            return
        for name in archive.namelist():
            source = archive.read(name)
            digest = hashlib.sha256(source).hexdigest()
            if not name.endswith(".py") or digest in self.keeper.code:
                continue
            try:
                code = compile(source.replace(b"\r\n", b"\n"), name, "exec", dont_inherit=True)
            except (SyntaxError, ValueError):
                continue
            self.keeper.code[digest] = code
            self.tell("code", digest, marshal.dumps(code), len(source))


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
        state = [_state(path) for path in files]
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
            _ends_with(lambda: self.child([pipes[0][0], pipes[1][1], pipes[2][1]], fails, module))
        for fd in (pipes[0][0], pipes[1][1], pipes[2][1], fails):
            os.close(fd)
        self.stdin, self.pipes = pipes[0][1], [pipes[1][0], pipes[2][0]]
        for fd in (self.stdin, *self.pipes):
            os.set_blocking(fd, False)
        self.process = _named(self.pid).decode()
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
        _execute(argv, os.environ)

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
        if request.get("exact") and not _found(request["argv"][0], place):
            return "program", argv
        return "", argv

    def module(self):
        """What ``python3`` does with a script on its standard input."""
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        _as_started_anew(self.request["python"])
        _use_compiled(self.session.keeper.code)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _run_as_main(bytes(self.input))

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


def _named(process):
    """Its number, and when it started: that is another one's after the next boot."""
    with open("/proc/%d/stat" % process, "rb") as file:
        return b"%d:%s" % (process, file.read().rpartition(b")")[2].split()[19])


def _state(path):
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_mtime_ns, found.st_ino, found.st_size]


def _found(program, place):
    if "/" in program:
        return os.access(os.path.join(place or ".", program), os.X_OK)
    return shutil.which(program) is not None


def _execute(argv, env):
    program = argv[0] if "/" in argv[0] else shutil.which(argv[0]) or argv[0]
    try:
        os.execve(program, argv, env)
    except OSError as error:
        if error.errno == errno.ENOEXEC:
            os.execve("/bin/sh", ["/bin/sh", program] + argv[1:], env)
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        os.write(2, os.fsencode("/bin/sh: 1: exec: %s: %s\n" % (argv[0], "not found" if missing else os.strerror(error.errno))))
        os._exit(127 if missing else 126)


def _as_started_anew(interpreter):
    """This process as a Python that begins: it is a fork of one that has run for a while."""
    atexit._clear()
    sys.argv, sys.executable = [""], interpreter
    sys.path_importer_cache.clear()
    time.tzset()
    try:
        name = locale.setlocale(locale.LC_CTYPE, "")
    except locale.Error:
        name = "C"
    if name in ("C", "POSIX"):  # as PEP 538 has it
        name = os.environ["LC_CTYPE"] = "C.UTF-8"
        locale.setlocale(locale.LC_CTYPE, name)
    lenient = "surrogateescape" if name in _LENIENT else "strict"
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", errors=lenient, closefd=False)
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", errors=lenient, closefd=False)
    sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    for stream, name in ((sys.stdin, "<stdin>"), (sys.stdout, "<stdout>"), (sys.stderr, "<stderr>")):
        stream.buffer.raw.name = name
    main = types.ModuleType("__main__")
    main.__dict__.clear()
    main.__dict__.update({name: {} if value == {} else value for name, value in _MAIN.items()})
    sys.modules["__main__"] = main


def _use_compiled(store):
    """What is imported from an archive is not compiled where the same source has been compiled before."""
    compiles = getattr(zipimport, "_compile_source", None)
    if compiles is None:
        return
    import _imp

    def look_up(path, source):
        code = store.get(hashlib.sha256(source).hexdigest())
        if code is None:
            return compiles(path, source)
        _imp._fix_co_filename(code, path)
        return code

    zipimport._compile_source = look_up


def _run_as_main(text):
    """Never returns."""
    main = sys.modules["__main__"]
    status = 0
    try:
        exec(compile(text, "<stdin>", "exec", dont_inherit=True), main.__dict__)
    except SystemExit as error:
        status = 0 if error.code is None else error.code
        if not isinstance(status, int):
            sys.stderr.write("%s\n" % (status,))
            status = 1
    except BaseException:
        kind, error, trace = sys.exc_info()
        traceback.print_exception(kind, error, trace and trace.tb_next)
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            status = status or 120
    os._exit(status & 0xFF)


def _ends_with(work):
    """In a child: ``work``, and never what comes after the fork."""
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(70)
    os._exit(0)


def main(config):
    """``config``: path of the port ("" for none), directory of the pipes where it cannot be had, and seconds of idleness."""
    tidy_up(config["directory"])
    try:
        link = Port(config["port"])
    except OSError:
        link = Pipes(config["directory"])
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.chdir("/")
    link.belongs_to(os.getpid())
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
    getattr(gc, "freeze", gc.collect)()
    try:
        Keeper(link, config["idle"]).run()
    finally:
        link.remove()
