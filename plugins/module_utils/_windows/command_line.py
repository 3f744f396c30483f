# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Words -> the command line that a program of Windows takes them from, by the rules of CreateProcess; cmd.exe has its own. Pure."""

from __future__ import annotations

import ntpath
import re
import typing as t

from .._errors import InvalidInput

#: cmd.exe takes no longer line.
LINE_MAX: t.Final = 8000
#: What an environment variable may hold.
_VARIABLE_MAX: t.Final = 32000
_BATCH: t.Final = (".bat", ".cmd")
_CMD: t.Final = ("cmd", "cmd.exe")
_POWERSHELLS: t.Final = ("powershell", "powershell.exe", "pwsh", "pwsh.exe")
_POWERSHELL_OPTIONS: t.Final = ("-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass")
#: Before a text for cmd.exe, which then takes it as it is, up to the last quote.
_CMD_OPTIONS: t.Final = ("/d", "/s", "/c")
_TEXT: t.Final = "VIRTOPS_TEXT"
#: No text of any length has to be quoted when it is a variable.
_INVOKE: t.Final = f"$t = $env:{_TEXT}; Remove-Item Env:{_TEXT}; Invoke-Expression $t"
#: What all programs take for one word without quotes. cmd.exe, msiexec and others do not know their options in quotes.
_PLAIN: t.Final = re.compile(r"[A-Za-z0-9_./:\\+=,@-]+")
_SCRIPT: t.Final = "a script of several lines is for run_script, or executable=powershell.exe"


class Line(t.NamedTuple):
    text: str
    #: what the environment has for it
    env: t.Mapping[str, str] = {}
    #: cmd.exe is told what to do, and says itself that a program is not there
    by_cmd: bool = False


def quoted(word: str) -> str:
    """``word`` as one argument, for all programs that take their command line apart as Microsoft's C library does."""
    return '"' + re.sub(r'(\\*)("|\Z)', lambda found: found[1] * 2 + ("\\" + found[2] if found[2] else ""), word) + '"'


def of(argv: t.Sequence[str]) -> Line:
    """What runs the program ``argv[0]`` with the other words as its arguments: empty ones, quotes and all.

    :raise InvalidInput: Windows has no way to say that.
    """
    program, *arguments = argv
    name = ntpath.basename(program).lower()
    if '"' in program or not name:
        raise InvalidInput("this cannot be the name of a program on Windows")
    if name in _CMD and len(arguments) > 1 and tuple(arguments[:-1]) == _CMD_OPTIONS:
        return _cmd(program, arguments[-1])
    if name in _POWERSHELLS and tuple(arguments[:-2]) == _POWERSHELL_OPTIONS and arguments[-2] == "-Command":
        return _powershell(program, arguments[-1])
    if name.endswith(_BATCH):
        raise InvalidInput(
            "a batch file does not take its arguments as other programs do", hint="run it by shell, or by run_script"
        )
    # As CreateProcess does; and no name with an ending is one of cmd.exe's own commands.
    program = program if "." in name else f"{program}.exe"
    words = (word if _PLAIN.fullmatch(word) else quoted(word) for word in arguments)
    return _checked(" ".join([f'"{program}"', *words]))._replace(by_cmd=name in _CMD)


def shell(text: str, executable: str | None) -> list[str]:
    """The words that let cmd.exe or PowerShell run ``text``.

    :raise InvalidInput: it is for another shell.
    """
    program = executable or "cmd.exe"
    name = ntpath.basename(program).lower()
    if name in _CMD:
        return [program, *_CMD_OPTIONS, text.rstrip("\r\n")]
    if name in _POWERSHELLS:
        return [program, *_POWERSHELL_OPTIONS, "-Command", text]
    raise InvalidInput(f"Windows has no shell {executable}", hint="set executable to cmd.exe, powershell.exe or pwsh.exe")


def script(path: str, before: t.Sequence[str], args: t.Sequence[str]) -> list[str]:
    """The words that run the script or program ``path``, by its ending, or by ``before``.

    :raise InvalidInput: nothing runs a file of this name, or it does not take these arguments.
    """
    ending = ntpath.splitext(path)[1].lower()
    shell_name = ntpath.basename(before[0]).lower() if before else ""
    if ending == ".ps1" and (not before or shell_name in _POWERSHELLS):
        return [*(before or ["powershell.exe"]), *_POWERSHELL_OPTIONS, "-File", path, *args]
    if ending in _BATCH and (not before or shell_name in _CMD):
        for argument in args:
            if set(argument) & set('"%\r\n'):
                raise InvalidInput("a batch file cannot be given arguments with a quote, a percent sign or a line break")
        return ["cmd.exe", *_CMD_OPTIONS, " ".join(f'"{word}"' for word in (path, *args))]
    if ending in (".exe", ".com") or before:
        return [*before, path, *args]
    hint = "its name must end in .ps1, .bat, .cmd or .exe, or set executable to the program that runs it"
    raise InvalidInput("Windows does not know how to run this script", hint=hint)


def ending(name: str | None, before: t.Sequence[str]) -> str:
    """The end of the name that the copy of a script gets, which says what it is."""
    found = ntpath.splitext(name or "")[1].lower()
    if found or not before:
        return found
    shell_name = ntpath.basename(before[0]).lower()
    return ".ps1" if shell_name in _POWERSHELLS else ".bat" if shell_name in _CMD else ""


def _powershell(program: str, text: str) -> Line:
    if len(text) > _VARIABLE_MAX:
        raise InvalidInput(f"a text for PowerShell may have {_VARIABLE_MAX} characters", hint="use run_script")
    line = " ".join([f'"{program}"', *_POWERSHELL_OPTIONS, "-Command", quoted(_INVOKE)])
    return Line(line, {_TEXT: text})


def _cmd(program: str, text: str) -> Line:
    if "\n" in text or "\r" in text:
        raise InvalidInput("cmd.exe takes no line breaks in a command", hint=_SCRIPT)
    return _checked(f'"{program}" {" ".join(_CMD_OPTIONS)} "{text}"')._replace(by_cmd=True)


def _checked(line: str) -> Line:
    if len(line) > LINE_MAX:
        raise InvalidInput(f"a command line on Windows may have {LINE_MAX} characters", hint="use run_script, or stdin")
    return Line(line)
