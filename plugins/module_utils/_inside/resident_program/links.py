# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way to the controller: a virtio port of its own, or two pipes that the agent opens."""

import errno
import fcntl
import os
import re
import select
import shutil
import signal
import struct
import time

from .wire import BLOCK


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
        return read_now(self.fd)

    def write(self, data):
        """Send the beginning of ``data``; how many bytes of it were sent."""
        return write_now(self.fd, data[:65536])

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
        return read_now(self.fd)

    def write(self, data):
        """The agent loses what it has read where it asks for more than there is. So each answer is written whole."""
        waiting = struct.unpack("i", fcntl.ioctl(self.out, 0x541B, b"\0" * 4))[0]  # FIONREAD
        if waiting:
            return 0
        piece = bytes(data[: min(self.room - BLOCK, 256 * 1024)])
        write_now(self.out, (struct.pack(">I", len(piece)) + piece).ljust(BLOCK, b"\0"))
        return len(piece)

    def begin(self):
        while read_now(self.out):
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


def read_now(fd):
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return b""


def write_now(fd, data):
    try:
        return os.write(fd, data)
    except BlockingIOError:
        return 0
