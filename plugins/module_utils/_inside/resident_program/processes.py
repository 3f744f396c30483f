# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes in the guest: what they are called, how they begin and end."""

import errno
import os
import shutil
import subprocess
import traceback


def named(process):
    """Its number, and when it started: that is another one's after the next boot."""
    with open("/proc/%d/stat" % process, "rb") as file:
        return b"%d:%s" % (process, file.read().rpartition(b")")[2].split()[19])


def state_of(path):
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_mtime_ns, found.st_ino, found.st_size]


def is_found(program, place):
    if "/" in program:
        return os.access(os.path.join(place or ".", program), os.X_OK)
    return shutil.which(program) is not None


def execute(argv, env):
    program = argv[0] if "/" in argv[0] else shutil.which(argv[0]) or argv[0]
    try:
        os.execve(program, argv, env)
    except OSError as error:
        if error.errno == errno.ENOEXEC:
            os.execve("/bin/sh", ["/bin/sh", program] + argv[1:], env)
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        os.write(2, os.fsencode("/bin/sh: 1: exec: %s: %s\n" % (argv[0], "not found" if missing else os.strerror(error.errno))))
        os._exit(127 if missing else 126)


def end(pid, script):
    """End a command with all that belongs to it."""
    # pylint: disable-next=ansible-bad-function
    return subprocess.Popen(["/bin/sh", "-c", "G=%d\n%s" % (pid, script)], stdin=subprocess.DEVNULL)


def ends_with(work):
    """In a child: ``work``, and never what comes after the fork."""
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(70)
    os._exit(0)
