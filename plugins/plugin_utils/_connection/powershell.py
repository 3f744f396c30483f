# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ansible-core makes of a task for PowerShell -> the words that run it. Core has texts for a shell, and here is none. Pure.

Core's own start PowerShell, with a text that is encoded or in a file. All others, such as those of ``raw``, are for PowerShell to
take apart.
"""

from __future__ import annotations

import base64
import ntpath
import re
import typing as t

_PROGRAMS: t.Final = ("powershell", "powershell.exe", "pwsh", "pwsh.exe")
#: What PowerShell does not take apart by more than its quotes.
_WORD: t.Final = r"""(?:'(?:[^']|'')*'|"[^"$`]*"|[^\s'"$`|&;<>(){},@#]+)"""
_STARTS: t.Final = re.compile(rf"(?:& )?({_WORD}(?: {_WORD})*)")
_PIPED: t.Final = re.compile(rf'type (?:"[^"%]*"|[^\s"%&|<>^]+) \| ({_WORD}(?: {_WORD})*)')
_TEXTS: t.Final = ("-encodedcommand", "-file")
_OPTIONS: t.Final = ("-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Unrestricted")
#: Otherwise it prints in the code page of the system. Without a console there is nothing to set, and it says so.
_BEFORE: t.Final = "try { [Console]::OutputEncoding = New-Object Text.UTF8Encoding } catch { }"
#: PowerShell alone would end with 1 for any other exit code of a program.
_AFTER: t.Final = "if (-not $?) { if ($LASTEXITCODE) { exit $LASTEXITCODE }; exit 1 }"


def words(command: str) -> list[str] | None:
    """The words of a command that is core's own; None for any other.

    With ANSIBLE_KEEP_REMOTE_FILES a file is piped into PowerShell, which only cmd.exe does without changing a byte of it.
    """
    piped = _PIPED.fullmatch(command)
    if piped and _starts_powershell(_split(piped[1])):
        return ["cmd.exe", "/d", "/s", "/c", command]
    found = _STARTS.fullmatch(command)
    split = _split(found[1]) if found else []
    return split if _starts_powershell(split) else None


def encoded(text: str) -> list[str]:
    """The words that let PowerShell run ``text``, as if typed at its prompt."""
    script = "\n".join((_BEFORE, text, _AFTER))
    return ["PowerShell", *_OPTIONS, "-EncodedCommand", base64.b64encode(script.encode("utf-16-le", "surrogatepass")).decode()]


def unquoted(path: str) -> str:
    """Up to ansible-core 2.20 paths come with quotes around them."""
    found = re.fullmatch(r"\s*(?:'(.*)'|\"(.*)\")\s*", path, re.DOTALL)
    return (found[1] or found[2] or "") if found else path


def _starts_powershell(split: t.Sequence[str]) -> bool:
    return bool(split) and ntpath.basename(split[0]).lower() in _PROGRAMS and any(word.lower() in _TEXTS for word in split)


def _split(text: str) -> list[str]:
    return [_bare(word) for word in re.findall(_WORD, text)]


def _bare(word: str) -> str:
    return word[1:-1].replace("''", "'") if word[0] == "'" else word.strip('"')
