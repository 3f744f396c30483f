# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program within what ansible-core makes of a task: ``/bin/sh -c '/usr/bin/python3 && sleep 0'``.

SSH hands that to the user's login shell, and the pause keeps it from losing output. Here a shell of our own starts the command,
and loses nothing: each shell and the ``sleep`` are processes that the guest starts for no use. Pure.
"""

from __future__ import annotations

import re
import shlex
import typing as t

#: ansible-core appends it up to 2.20.
_PAUSE: t.Final = " && sleep 0"
_DEFAULT: t.Final = "/bin/sh"
_SHELL: t.Final = re.compile(r"/[A-Za-z0-9_./+-]+")
_RESERVED: t.Final = "case|coproc|do|done|elif|else|esac|fi|for|function|if|in|select|then|time|until|while"
#: Of such words a shell makes what ``shlex`` makes of them, and a list of them is one command: no operator, no comment, no line.
_WORD: t.Final = r"""(?:[A-Za-z0-9_./,:@%+=-]|'[^']*'|"[^"$`\\!]*")+"""
_PYTHON: t.Final = re.compile(r"/[A-Za-z0-9._/+-]*/(?:platform-)?python[0-9.]*")
_ASSIGNMENT: t.Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_COMMAND: t.Final = re.compile(f"(?!(?:{_RESERVED})(?: |$)){_WORD}(?: +{_WORD})*")


def unwrapped(executable: str, command: str) -> tuple[str, ...]:
    """What to run for ``executable -c command``: the same with fewer processes, or in doubt that itself."""
    inner = _inner(executable, command)
    if inner is None:
        return executable, "-c", command
    shell, text = inner
    simple = (text[: -len(_PAUSE)] if text.endswith(_PAUSE) else text).strip(" ")
    if not _COMMAND.fullmatch(simple):
        return shell, "-c", text
    words = shlex.split(simple)
    return tuple(words) if words[0].startswith("/") else (shell, "-c", simple)


def script_of(argv: t.Sequence[str]) -> tuple[str, dict[str, str]] | None:
    """The path of the Python that reads its script from the standard input, and what is added to its environment; None where
    ``argv``, which is ``unwrapped``, is anything else.
    """
    words = list(argv)
    if len(argv) == 3 and argv[1] == "-c" and _COMMAND.fullmatch(argv[2]):
        words = shlex.split(argv[2])
    *assignments, python = words
    found = [_ASSIGNMENT.fullmatch(word) for word in assignments]
    if not _PYTHON.fullmatch(python) or not all(found):
        return None
    return python, {match[1]: match[2] for match in found if match}


def _inner(executable: str, command: str) -> tuple[str, str] | None:
    """The shell that ``command`` starts, and what for; None where it is not exactly that. ``executable`` may be a shell that does
    something of its own, which is not left out.
    """
    try:
        shell, option, text = shlex.split(command)
    except ValueError:
        return None
    same = command == f"{shell} -c {shlex.quote(text)}"
    return (shell, text) if same and option == "-c" and _SHELL.fullmatch(shell) and executable in (shell, _DEFAULT) else None
