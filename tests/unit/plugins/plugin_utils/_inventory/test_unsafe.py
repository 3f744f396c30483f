# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is plain, and what no template or conditional may run."""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.virtops.guest_agent.plugins.plugin_utils._inventory.unsafe import is_plain, untrusted

PLAIN = [
    "",
    "Debian GNU/Linux 12 (bookworm)",
    "Ubuntu 24.04.1 LTS (Noble Numbat)",
    "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)",
    "52:54:00:12:34:56",
    "10.0.2.15/24",
    "2001:db8::5/64",
    "db-1.example.com",
    "100 % of it",
    "(bookworm)",
    "x\\y $HOME `id`",
    "lookup",
]


LOOKUPS = [
    "lookup('ansible.builtin.pipe', 'touch EVIL')",
    'lookup("ansible.builtin.pipe", "touch EVIL")',
    "query('ansible.builtin.pipe', 'touch EVIL')",
    "q('ansible.builtin.pipe', 'touch EVIL')",
    "  lookup ( 'ansible.builtin.pipe' , 'touch EVIL' )  ",
    "lookup('ansible.builtin.pipe',\n'touch EVIL')",
    "((lookup('ansible.builtin.pipe', 'touch EVIL')))",
    "x, lookup('ansible.builtin.pipe', 'touch EVIL')",
    "[lookup('ansible.builtin.pipe', 'touch EVIL')]",
    "false or lookup('ansible.builtin.pipe', 'touch EVIL')",
    "'a' ~ lookup('ansible.builtin.pipe', 'touch EVIL')",
    "not lookup('ansible.builtin.pipe', 'touch EVIL')",
    "'touch EVIL' | map('upper') | list or lookup('ansible.builtin.pipe', 'touch EVIL')",
]


NOT_PLAIN = [
    *LOOKUPS,
    "range(999999999)",
    "vault_password.encode()",
    "vault_password | b64encode",
    "'a'|upper",
    "'/etc/shadow' is file",
    "x is file",
    "x is not defined",
    "9**9**9",
    "'x' * 999999999",
    "'%999999999d' % 1",
    "{",
    "}",
    "{{ x }}",
    "{% if x %}",
    "{# x #}",
    "#jinja2:variable_start_string:'[%'\n[% 1 %]",
    "#JINJA2: x",
]


@pytest.mark.parametrize(("text", "plain"), [*((text, True) for text in PLAIN), *((text, False) for text in NOT_PLAIN)])
def test_what_is_plain(text: str, plain: bool) -> None:
    assert is_plain(text) is plain


def _evaluate(conditional: str, text: t.Any) -> None:
    """``when: conditional`` as the running core evaluates it with ``guest_text``; what comes out of it does not matter."""
    variables = {"guest_text": text}
    templar = Templar(loader=DataLoader(), variables=variables)
    try:
        from ansible.template import trust_as_template
    except ImportError:  # ansible-core before 2.19
        from ansible.playbook.conditional import Conditional

        asked = Conditional(loader=DataLoader())
        asked.when = [conditional]
        with contextlib.suppress(AnsibleError):
            asked.evaluate_conditional(templar, variables)
    else:
        with contextlib.suppress(AnsibleError):
            templar.evaluate_conditional(trust_as_template(conditional))


@pytest.mark.parametrize("conditional", ["{{ guest_text }}", "guest_text", "{{ guest_text }} and true", "not {{ guest_text }}"])
@pytest.mark.parametrize("text", LOOKUPS)
def test_no_conditional_runs_what_a_guest_says(
    text: str, conditional: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _evaluate(conditional, untrusted([{"text": text}])[0]["text"])
    assert list(tmp_path.iterdir()) == []


def test_such_a_conditional_runs_what_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above would see if the text were marked as plain."""
    monkeypatch.chdir(tmp_path)
    text: t.Any = LOOKUPS[0]
    with contextlib.suppress(ImportError):
        from ansible.template import trust_as_template

        text = trust_as_template(text)
    _evaluate("{{ guest_text }}", text)
    assert [path.name for path in tmp_path.iterdir()] == ["EVIL"]


LOOKUP = "lookup('ansible.builtin.pipe', 'touch EVIL')"


@pytest.mark.parametrize(
    "text",
    [
        # a syntax error for one parser, and none for another, or too deep for one and not for another
        *(before + LOOKUP + after for before in ("", "v, ", ":") for after in ("", "-", ":", " +", "#", " if 1", "|string-")),
        *("(" * depth + LOOKUP + ")" * depth for depth in (1, 65, 300)),
        "a b " + LOOKUP,
        "x is sameas lookup (y)",
        "v['x'] (y)",
        "(lookup)(y)",
        "5.14.0 (mockbuild@x86-64) | gcc (GCC) 11.4.1",
    ],
)
def test_no_parser_is_asked_what_is_plain(text: str) -> None:
    assert not is_plain(text)
