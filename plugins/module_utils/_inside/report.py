# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the scripts of ``login_shell`` and ``spool`` print, as values. Pure: nothing of it is trusted.

The reports of a script in the guest, each on a line of its own:

====================================================  =====================
``NONCE started UPTIME``                              the command is started
``NONCE ended RC STEM UPTIME UPTIME CUT KEPT``        ``Ended``
``NONCE collected STEM UPTIME CUT``                   ``Collected``
``NONCE refused WORD ...``                            ``Refused``
``NONCE lost``                                        ``Lost``
====================================================  =====================
"""

from __future__ import annotations

import re
import typing as t

_UPTIME: t.Final = re.compile(r"[0-9]{1,12}\.[0-9]{2}")
_RC: t.Final = re.compile("[0-9]{1,3}")
_SIZE: t.Final = re.compile(b"[0-9]{1,15}")
_JOB: t.Final = re.compile(rb"^\[\d+\][+-]?\s+\d+\s+([A-Z]\w*)", re.MULTILINE)
#: A shell's exit code is this and the number of the signal that ended its child.
SIGNALLED: t.Final = 128
#: What is more tells of a signal for sure: ksh93 adds 256 to its number, and yash 384.
_EXIT_CODE_MAX: t.Final = 255


class Files(t.NamedTuple):
    """The files with a command's output. Their ``stem`` is what the guest says, and is no path to use before it is checked."""

    stem: str
    #: all that the command printed is in them
    whole: bool
    #: they stay until the reader removes them
    kept: bool


class Ended(t.NamedTuple):
    rc: int
    #: None where the shell said nothing of a signal
    signal: int | None
    #: by the guest's clock; 0 where it does not tell
    seconds: float
    files: Files
    #: the beginning of what the command printed there
    stderr: bytes


class Collected(t.NamedTuple):
    """What is left of a command that has taken the shell around it along."""

    files: Files
    stderr: bytes


class Refused(t.NamedTuple):
    """The command was not run. ``word`` says why, and ``more`` where or for lack of what."""

    word: str
    more: tuple[str, ...]


class Lost(t.NamedTuple):
    """Nothing in the guest knows how the command ended."""


class Unreadable(t.NamedTuple):
    """A line with the nonce, and none of those above."""


class Stored(t.NamedTuple):
    """Where input waits."""

    stem: str


Report = t.Union[Ended, Collected, Refused, Lost, Unreadable]


def read(nonce: str, stderr: bytes) -> Report | None:
    """The last line with the nonce; None where there is no such line, or only that which says that the command is started."""
    mark = nonce.encode() + b" "
    said, _found, rest = stderr.partition(mark)
    if rest.startswith(b"started "):
        said, _found, rest = rest.partition(b"\n")[2].partition(mark)
    if rest.endswith(mark + b"lost\n"):  # the files went while they were read
        return Lost()
    line, _newline, behind = rest.partition(b"\n")
    word, *values = line.decode("utf-8", "replace").split(" ")
    if not word:
        return None
    if word == "refused":
        return _refused(values)
    if word == "lost":
        return Lost()
    if word == "ended" and len(values) == 6 and _RC.fullmatch(values[0]):
        code, stem, before, after, cut, kept = values
        rc = int(code)
        if rc > _EXIT_CODE_MAX:
            signal: int | None = rc % SIGNALLED
            rc = SIGNALLED + rc % SIGNALLED
        else:
            signal = rc - SIGNALLED if rc > SIGNALLED and _tells_a_signal(said) else None
        return Ended(rc, signal, _seconds(before, after), Files(stem, cut == "0", kept == "1"), behind)
    if word == "collected" and len(values) == 3:
        stem, _uptime, cut = values
        return Collected(Files(stem, cut == "0", False), behind)
    return Unreadable()


def stored(nonce: str, stdout: bytes) -> Stored | Refused | Unreadable:
    """What ``spool.store`` prints."""
    text = stdout.decode("utf-8", "replace").strip()
    if text.startswith(f"{nonce} refused "):
        return _refused(text.split(" ")[2:])
    return Stored(text[: -len(".i")]) if text.endswith(".i") else Unreadable()


def sizes(stdout: bytes) -> tuple[int, int] | None:
    """The lengths of output and errors that ``login_shell.sizes`` prints; None for anything else."""
    words = stdout.split()
    if len(words) != 2 or not all(_SIZE.fullmatch(word) for word in words):
        return None
    return int(words[0]), int(words[1])


def _refused(values: list[str]) -> Refused:
    word, *more = values or [""]
    return Refused(word, tuple(more))


def _tells_a_signal(said: bytes) -> bool:
    """Whether this is what a shell says of a child that a signal ended. bash speaks of its jobs, whatever ended them."""
    states = _JOB.findall(said)
    return states[-1] not in (b"Done", b"Exit", b"Running") if states else bool(said.strip())


def _seconds(before: str, after: str) -> float:
    """Between two times that the guest's /proc/uptime gave."""
    if not _UPTIME.fullmatch(before) or not _UPTIME.fullmatch(after):
        return 0.0
    return max(0.0, round(float(after) - float(before), 2))
