# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of each ansible-core for PowerShell, as words; and the texts that are for PowerShell itself."""

from __future__ import annotations

import base64
import re
import typing as t

import pytest
from ansible.plugins.loader import shell_loader

from ansible_collections.virtops.guest_agent.plugins.module_utils._windows import command_line
from ansible_collections.virtops.guest_agent.plugins.plugin_utils._connection import powershell

CODE = "RQB4AGkAdAAgADMA"
OPTIONS = ["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Unrestricted"]


def core_s_own() -> dict[str, str]:
    """What the shell plugin of this very ansible-core makes."""
    shell: t.Any = shell_loader.get("powershell")
    commands = {"remove": shell.remove("C:\\it's & x", True), "expand": shell.expand_user("~"), "exists": shell.exists("C:\\x")}
    commands["temporary"] = shell.mkdtemp("x", tmpdir="%TEMP%")
    try:
        commands["module"] = shell.build_module_command("", "", "")
        commands["kept"] = shell.build_module_command("", "#!powershell", '"C:\\x y\\m.ps1"')
        commands["binary"] = shell.build_module_command("", None, '"C:\\x y\\m.exe"', "C:\\x y\\args")
    except IndexError:  # ansible-core 2.21 starts modules itself
        from ansible._internal._powershell import _script

        commands["module"] = shell.join(_script.get_pwsh_encoded_cmdline("x", override_execution_policy=True))
        commands["kept"] = shell.join(
            _script.get_pwsh_encoded_cmdline("x", args=["C:\\x y\\m.ps1"], pwsh_path="C:\\x y\\pwsh.exe", disable_input=True)
        )
    return commands


@pytest.mark.parametrize("name", sorted(core_s_own()))
def test_core_s_own_commands_are_not_encoded_again(name: str) -> None:
    command = core_s_own()[name]
    words = powershell.words(command)
    assert words is not None
    assert len(command_line.of(words).text) <= command_line.LINE_MAX
    if words[0] == "cmd.exe":
        assert words == ["cmd.exe", "/d", "/s", "/c", command]
        return
    assert re.fullmatch(r"(.*\\)?(powershell|pwsh)(\.exe)?", words[0].lower())
    text = base64.b64decode(words[words.index("-EncodedCommand") + 1]).decode("utf-16-le")
    assert text.isprintable() or "\n" in text


ROWS = {
    "plain": (f"PowerShell -NoProfile -EncodedCommand {CODE}", ["PowerShell", "-NoProfile", "-EncodedCommand", CODE]),
    "call": (
        f"& 'C:\\it''s\\pwsh.exe' -EncodedCommand '{CODE}' -EncodedArguments 'AA=='",
        ["C:\\it's\\pwsh.exe", "-EncodedCommand", CODE, "-EncodedArguments", "AA=="],
    ),
    "file": (
        'PowerShell -NoProfile -File "C:\\x y\\m.ps1" "C:\\x y\\args"',
        ["PowerShell", "-NoProfile", "-File", "C:\\x y\\m.ps1", "C:\\x y\\args"],
    ),
    "kept": (
        f'type "C:\\x y\\m.ps1" | PowerShell -EncodedCommand {CODE}',
        ["cmd.exe", "/d", "/s", "/c", f'type "C:\\x y\\m.ps1" | PowerShell -EncodedCommand {CODE}'],
    ),
}


@pytest.mark.parametrize(("command", "words"), ROWS.values(), ids=ROWS)
def test_words(command: str, words: list[str]) -> None:
    assert powershell.words(command) == words


@pytest.mark.parametrize(
    "command",
    [
        "dir",
        "",
        "powershell -Command dir",
        f"PowerShell -EncodedCommand {CODE}; calc",
        f"PowerShell -EncodedCommand {CODE} | calc",
        f"PowerShell -EncodedCommand {CODE}\ncalc",
        f"PowerShell -EncodedCommand $(calc) {CODE}",
        f'type "C:\\%x%" | PowerShell -EncodedCommand {CODE}',
        f"type C:\\x & calc | PowerShell -EncodedCommand {CODE}",
        f"type C:\\x | PowerShell -EncodedCommand {CODE} & calc",
        f"calc.exe -EncodedCommand {CODE}",
        "& 'powershell",
    ],
)
def test_texts_of_others_are_for_powershell_itself(command: str) -> None:
    assert powershell.words(command) is None


def test_a_text_is_encoded_with_its_lines_and_blanks() -> None:
    text = "@'\n  zürich €\n\n'@ ; exit 3"
    program, *options, last = powershell.encoded(text)
    assert (program, options) == ("PowerShell", [*OPTIONS, "-EncodedCommand"])
    assert f"\n{text}\n" in base64.b64decode(last).decode("utf-16-le")
    assert powershell.words(" ".join([program, *options, last])) == [program, *options, last]


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("C:\\x", "C:\\x"),
        ("'C:\\x y'", "C:\\x y"),
        (' "C:\\x y" ', "C:\\x y"),
        ("'C:\\x", "'C:\\x"),
        ("''", ""),
        ("C:\\it's", "C:\\it's"),
    ],
)
def test_paths_without_their_quotes(given: str, path: str) -> None:
    assert powershell.unquoted(given) == path
