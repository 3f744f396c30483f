# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The resident: a program that stays in a guest between tasks, and runs their commands. For Python 3.6 and later on Linux.

It is sent to the guest as one text, made of the files here, and is no file there; ``resident`` starts it and speaks with it. There
are three kinds of processes:

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
MAIN = dict(globals(), __doc__=None)

import struct

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


def plain(body):
    """What stands in a frame of the controller. There a NUL is followed by neither "v" nor 1, but for a 1 put between."""
    return body.replace(b"\0\1v", b"\0v").replace(b"\0\1\1", b"\0\1")
