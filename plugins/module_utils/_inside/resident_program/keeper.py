# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The process that stays."""

import gc
import marshal
import os
import signal
import sys

from .links import Pipes, Port, tidy_up
from .processes import end, ends_with, state_of
from .session import Session, Told
from .wire import STORE_MAX

#: What modules import is there already when they begin.
IMPORTED_BY_MODULES = "datetime grp logging.handlers platform pwd shlex socket stat syslog tempfile typing"


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
            ends_with(lambda: os.read(begins, 1) and Session(self, writing).serve())
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
        return [state_of(path) for path in [sys.executable, os.__file__] + sys.path if path]

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


def main(config):
    """``config``: path of the port ("" for none), directory of the pipes where it cannot be had, and seconds of idleness."""
    for name in IMPORTED_BY_MODULES.split():
        __import__(name)
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
