# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A connection of a controller, and what it tells the keeper."""

import base64
import binascii
import hashlib
import io
import json
import marshal
import os
import re
import select
import signal
import struct
import time
import zipfile

from .command import Run
from .links import read_now
from .processes import ends_with, named
from .wire import FRAME, MARK, PAUSE, VERSION, plain


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
            read_now(self.waking)
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
            self.sending = bytearray(MARK + nonce + b" %d %s %s\n" % (VERSION, named(os.getpid()), named(os.getppid())))
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
            ends_with(lambda: self.compile_all(new))

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
