# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An ssh that runs commands on this computer, or fails as it is told. It notes what it was called with."""

from __future__ import annotations

import typing as t
from pathlib import Path

_PROGRAM = r"""#!/bin/sh
state={state}
for last; do :; done
case " $* " in
*" -O check "*) word=check ;;
*" -O stop "*) word=stop ;;
*" -G "*) word=config ;;
*) word=$last ;;
esac
printf '%s\n' "$word" >>$state/log
case $word in
check) test -e $state/master && exit 0; echo "Control socket connect: No such file or directory" >&2; exit 255 ;;
stop) rm -f $state/master; exit 0 ;;
config) test ! -e $state/resolving || exec sleep 600; echo "user ann"; echo "hostname web1"; exit 0 ;;
esac
test ! -e $state/master || test ! -e $state/deaf || exec sleep 600
test ! -s $state/trouble || {{ cat $state/trouble >&2; exit 255; }}
test ! -e $state/trouble-later || mv $state/trouble-later $state/trouble
exec sh -c "$last"
"""


class FakeSsh:
    def __init__(self, place: Path) -> None:
        self._state = place / "ssh-state"
        self._state.mkdir()
        self.executable = place / "ssh"
        self.executable.write_text(_PROGRAM.format(state=self._state), encoding="utf-8")
        self.executable.chmod(0o755)

    def fails(self, said: str, later: bool = False) -> None:
        """From now on, or after the next command, as by these words of ssh's; with "" it works again."""
        (self._state / ("trouble-later" if later else "trouble")).write_text(said, encoding="utf-8")

    def has_master(self, deaf: bool = False) -> None:
        """There is a persistent connection. One that is ``deaf`` gives no answer."""
        (self._state / "master").touch()
        if deaf:
            (self._state / "deaf").touch()

    def resolves_for_ever(self) -> None:
        """It does not come to tell its configuration."""
        (self._state / "resolving").touch()

    def called(self) -> list[str]:
        """What it was asked since this was last asked: check, stop, config, or a command for the guest."""
        log = self._state / "log"
        lines: t.Final = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        log.write_text("", encoding="utf-8")
        return lines
