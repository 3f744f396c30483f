# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scripts in the guest print, as values; and what a guest could print instead."""

from __future__ import annotations

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import report
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.report import (
    Collected,
    Ended,
    Files,
    Lost,
    Refused,
    Report,
    Stored,
    Unreadable,
)

N = "0123456789abcdef" * 2
STEM = f"/var/tmp/.virtops-{N}"
STARTED = f"{N} started 10.00\n"


def files(whole: bool = True, kept: bool = False) -> Files:
    return Files(STEM, whole, kept)


READ = {
    "nothing": ("", None),
    "another nonce": (f"{'f' * 32} ended 0 /run/x 1.00 2.00 0 0\n", None),
    "started only": (STARTED, None),
    "ended": (f"{STARTED}{N} ended 0 {STEM} 10.00 12.50 0 0\n", Ended(0, None, 2.5, files(), b"")),
    "ended without a start": (f"{N} ended 3 {STEM} 10.00 12.50 0 0\nbad\n", Ended(3, None, 2.5, files(), b"bad\n")),
    "kept": (f"{N} ended 0 {STEM} 10.00 10.00 0 1\n", Ended(0, None, 0.0, files(kept=True), b"")),
    "cut": (f"{N} ended 0 {STEM} 10.00 10.00 1 1\n", Ended(0, None, 0.0, files(False, True), b"")),
    "files gone": (f"{N} ended 0 {STEM} 10.00 10.00 2 0\n", Ended(0, None, 0.0, files(False), b"")),
    "a word for cut": (f"{N} ended 0 {STEM} 10.00 10.00 x 0\n", Ended(0, None, 0.0, files(False), b"")),
    "killed": (f"{STARTED}Killed\n{N} ended 137 {STEM} 1.00 2.00 0 0\n", Ended(137, 9, 1.0, files(), b"")),
    "killed, says bash": (f"{STARTED}[1]+ 77 Killed  x\n{N} ended 137 {STEM} 1.00 2.00 0 0\n", Ended(137, 9, 1.0, files(), b"")),
    "exit 137": (f"{STARTED}{N} ended 137 {STEM} 1.00 2.00 0 0\n", Ended(137, None, 1.0, files(), b"")),
    "exit 137, says bash": (
        f"{STARTED}[1]+ 77 Exit 137  x\n{N} ended 137 {STEM} 1.00 2.00 0 0\n",
        Ended(137, None, 1.0, files(), b""),
    ),
    "exit 128": (f"{STARTED}Killed\n{N} ended 128 {STEM} 1.00 2.00 0 0\n", Ended(128, None, 1.0, files(), b"")),
    "killed, says ksh93": (f"{N} ended 265 {STEM} 1.00 2.00 0 0\n", Ended(137, 9, 1.0, files(), b"")),
    "killed, says yash": (f"{N} ended 399 {STEM} 1.00 2.00 0 0\n", Ended(143, 15, 1.0, files(), b"")),
    "no uptime": (f"{N} ended 0 {STEM} 0 0 0 0\n", Ended(0, None, 0.0, files(), b"")),
    "a clock that runs back": (f"{N} ended 0 {STEM} 9.00 1.00 0 0\n", Ended(0, None, 0.0, files(), b"")),
    "a code of four digits": (f"{N} ended 1000 {STEM} 1.00 2.00 0 0\n", Unreadable()),
    "a value too many": (f"{N} ended 0 {STEM} 1.00 2.00 0 0 0\n", Unreadable()),
    "not the last line": (f"{N} ended 0 {STEM} 1.00 2.00 0 0\n{N} lost\nx", Ended(0, None, 1.0, files(), f"{N} lost\nx".encode())),
    "files went meanwhile": (f"{N} ended 0 {STEM} 1.00 2.00 0 1\nbad{N} lost\n", Lost()),
    "collected": (f"{N} collected {STEM} 12.00 0\nbad", Collected(files(), b"bad")),
    "collected, cut": (f"{N} collected {STEM} 12.00 1\n", Collected(files(False), b"")),
    "collected, short": (f"{N} collected {STEM}\n", Unreadable()),
    "refused": (f"{N} refused chdir\n", Refused("chdir", ())),
    "refused for space": (f"{N} refused space /tmp:full /run:shared\n", Refused("space", ("/tmp:full", "/run:shared"))),
    "refused without a reason": (f"{N} refused\n", Refused("", ())),
    "lost": (f"{N} lost\n", Lost()),
    "another word": (f"{N} begun\n", Unreadable()),
}


@pytest.mark.parametrize(("printed", "said"), READ.values(), ids=READ)
def test_reports(printed: str, said: Report | None) -> None:
    assert report.read(N, printed.encode()) == said
    assert type(report.read(N, printed.encode())) is type(said)


def test_a_report_may_be_no_text() -> None:
    assert report.read(N, b"\xff" + N.encode() + b" ended \xff\xfe\n\xff") == Unreadable()


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        pytest.param(f"{STEM}.i\n", Stored(STEM), id="stored"),
        pytest.param(f"{N} refused space /tmp:full\n", Refused("space", ("/tmp:full",)), id="refused"),
        pytest.param(f"{'f' * 32} refused space\n", Unreadable(), id="another nonce"),
        pytest.param("", Unreadable(), id="nothing"),
    ],
)
def test_what_is_stored(printed: str, said: Stored | Refused | Unreadable) -> None:
    assert report.stored(N, printed.encode()) == said


@pytest.mark.parametrize(
    ("printed", "sizes"),
    [
        pytest.param(b"12\n0\n", (12, 0), id="two"),
        pytest.param(b"12\n", None, id="one"),
        pytest.param(b"1\n2\n3\n", None, id="three"),
        pytest.param(b"1\n-2\n", None, id="negative"),
        pytest.param(b"1\n1234567890123456\n", None, id="too long"),
    ],
)
def test_sizes(printed: bytes, sizes: tuple[int, int] | None) -> None:
    assert report.sizes(printed) == sizes
