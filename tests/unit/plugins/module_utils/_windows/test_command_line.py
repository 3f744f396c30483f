# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words as one command line, and back as a program of Windows takes them from it."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import InvalidInput
from ansible_collections.virtops.guest_agent.plugins.module_utils._windows import command_line
from ansible_collections.virtops.guest_agent.tests.unit.fakes.windows import arguments_of

#: What other systems' shells and cmd.exe itself stumble over.
AWKWARD = [
    *("plain", "", " ", "a b", "tab\there", "new\nline", '"', '""', 'say "hi"', "'single'", "back\\slash", "end\\", "end \\"),
    *(
        '\\"',
        '\\\\"b c',
        'a\\\\"b',
        "C:\\Program Files\\x\\",
        "\\\\server\\share",
        "%PATH%",
        "%",
        "^",
        "a^b",
        "&",
        "a&b",
        "|",
        "<",
        ">",
    ),
    *(
        "(x)",
        "!",
        "!PATH!",
        "*.txt",
        "?",
        "-",
        "/c",
        "--=x",
        ";",
        ",",
        "=",
        "@",
        "`",
        "$HOME",
        "zürich €",
        "日本語",
        "🙂",
        "a" * 500,
    ),
]


def test_there_are_forty_and_more() -> None:
    assert len(set(AWKWARD)) >= 40


@pytest.mark.parametrize("word", AWKWARD)
def test_a_word_arrives(word: str) -> None:
    assert arguments_of(f"x.exe {command_line.quoted(word)}") == ("x.exe", word)


@given(st.lists(st.text(alphabet=st.sampled_from('a \\"\t%^&')), max_size=6))
def test_words_arrive(words: list[str]) -> None:
    assert arguments_of(command_line.of(["x.exe", *words]).text) == ("x.exe", *words)


@pytest.mark.parametrize(
    ("program", "found"),
    [("whoami", "whoami.exe"), ("more.com", "more.com"), (r"C:\Program Files\x", r"C:\Program Files\x.exe"), ("dir", "dir.exe")],
)
def test_a_program_has_the_ending_that_windows_gives_it(program: str, found: str) -> None:
    assert arguments_of(command_line.of([program, "x"]).text) == (found, "x")


@pytest.mark.parametrize(
    "argv",
    [[r"C:\x.bat", "a&calc"], ["x.CMD"], ['a"b.exe'], ["C:\\"], ["x.exe", "a" * 9000], ["cmd.exe", "/d", "/s", "/c", "a\nb"]],
    ids=["batch file", "cmd file", "a quote in the name", "no name", "too long", "two lines for cmd"],
)
def test_what_cannot_be_said(argv: list[str]) -> None:
    with pytest.raises(InvalidInput):
        command_line.of(argv)


@pytest.mark.parametrize("text", ['echo "a b" & exit 3', "for %i in (1 2) do @echo %i", 'type "C:\\a b\\c" | more'])
@pytest.mark.parametrize("executable", [None, "cmd", r"C:\windows\system32\CMD.EXE"])
def test_a_text_for_cmd_is_not_touched(text: str, executable: str | None) -> None:
    line = command_line.of(command_line.shell(text + "\n", executable))
    assert line.text == f'"{executable or "cmd.exe"}" /d /s /c "{text}"'
    assert line.by_cmd


@pytest.mark.parametrize("executable", ["powershell.exe", "pwsh"])
def test_a_text_for_powershell_is_a_variable(executable: str) -> None:
    text = 'Write-Output "ü";\nexit 3'
    line = command_line.of(command_line.shell(text, executable))
    assert dict(line.env) == {"VIRTOPS_TEXT": text}
    assert arguments_of(line.text)[0] == executable
    assert "Invoke-Expression" in arguments_of(line.text)[-1]
    with pytest.raises(InvalidInput):
        command_line.of(command_line.shell("x" * 40_000, executable))


def test_no_other_shell() -> None:
    with pytest.raises(InvalidInput, match="no shell /bin/bash"):
        command_line.shell("true", "/bin/bash")


BATCH = ["cmd.exe", "/d", "/s", "/c"]
POWERSHELL = ["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File"]


@pytest.mark.parametrize(
    ("name", "before", "words"),
    [
        ("x.ps1", [], ["powershell.exe", *POWERSHELL, "P.ps1", "a b"]),
        ("x.PS1", ["pwsh"], ["pwsh", *POWERSHELL, "P.ps1", "a b"]),
        ("x.bat", [], [*BATCH, '"P.bat" "a b"']),
        ("x.cmd", ["cmd.exe"], [*BATCH, '"P.cmd" "a b"']),
        ("x.exe", [], ["P.exe", "a b"]),
        ("x.py", ["python.exe"], ["python.exe", "P.py", "a b"]),
        (None, ["powershell.exe"], ["powershell.exe", *POWERSHELL, "P.ps1", "a b"]),
        (None, ["cmd"], [*BATCH, '"P.bat" "a b"']),
    ],
)
def test_a_script_is_run_by_its_ending(name: str | None, before: list[str], words: list[str]) -> None:
    path = f"P{command_line.ending(name, before)}"
    assert command_line.script(path, before, ["a b"]) == words


@pytest.mark.parametrize(
    ("name", "args"), [(None, []), ("x.sh", []), ("x", []), ("x.bat", ['"']), ("x.bat", ["%PATH%"]), ("x.cmd", ["a\nb"])]
)
def test_a_script_that_nothing_runs(name: str | None, args: list[str]) -> None:
    with pytest.raises(InvalidInput):
        command_line.script(f"P{command_line.ending(name, [])}", [], args)


def test_options_have_no_quotes_for_programs_that_do_not_know_them_so() -> None:
    """cmd.exe and msiexec do not take their line apart as others do."""
    assert command_line.of(["cmd.exe", "/c", "ver"]) == command_line.Line('"cmd.exe" /c ver', by_cmd=True)
    line = command_line.of(["msiexec", "/i", "C:\\a b.msi", "DIR=C:\\x", "NAME=a b", "&"])
    assert line.text == '"msiexec.exe" /i "C:\\a b.msi" DIR=C:\\x "NAME=a b" "&"'
    assert not line.by_cmd
