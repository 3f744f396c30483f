# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""racer.py MINE TREASURE: runs in a guest as a user without rights, and exchanges what is in his directory until he is killed.

x is a file of his, a link to root's file or directory, or nothing; sub is a directory or a link to root's. A directory that
somebody else begins to use in between is taken away, and a link or a directory for all takes its place.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import sys
from collections.abc import Callable


def put_link(target: str, name: str) -> None:
    os.symlink(target, "made")
    os.rename("made", name)


def put_file() -> None:
    with open("made", "w", encoding="ascii") as file:
        file.write("mine")
    os.rename("made", "x")


def put_directory() -> None:
    os.unlink("sub")
    os.mkdir("sub")


def take(name: str, treasure: str, number: int) -> None:
    os.rename(name, f"taken-{number}")
    if number % 2:
        os.symlink(treasure, name)
    else:
        os.mkdir(name)
        os.chmod(name, 0o777)
        for inner in ("x", "new", "old"):
            os.symlink(f"{treasure}/x", f"{name}/{inner}")


def main() -> None:
    mine, treasure = sys.argv[1:]
    os.chdir(mine)
    steps: list[Callable[[], object]] = [
        put_file,
        lambda: put_link(f"{treasure}/x", "x"),
        lambda: put_link(treasure, "x"),
        lambda: os.link(f"{treasure}/x", "made") or os.rename("made", "x"),  # type: ignore[func-returns-value]
        lambda: os.unlink("x"),
        lambda: os.rename("sub", "was") or os.symlink(treasure, "sub"),  # type: ignore[func-returns-value]
        put_directory,
        lambda: os.rmdir("was"),
    ]
    for number in itertools.count():
        with contextlib.suppress(OSError):
            random.choice(steps)()
        for name in os.listdir("."):
            if name.startswith(".virtops-") and random.random() < 0.02:
                with contextlib.suppress(OSError):
                    take(name, treasure, number)


if __name__ == "__main__":
    main()
