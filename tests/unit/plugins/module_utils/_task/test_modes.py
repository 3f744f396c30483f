# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modes as options, held against what AnsibleModule itself makes of the same symbols."""

from __future__ import annotations

import os
import stat
import typing as t

import pytest
from ansible.module_utils.basic import AnsibleModule

from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import InvalidInput
from ansible_collections.virtops.guest_agent.plugins.module_utils._task import modes

PRESENT = ("0000", "0600", "0644", "0755", "0711", "0640", "2750", "4755", "1777", "6421", "7777")
SYMBOLS = (
    "u=rw,g=r,o=",
    "u=rwX,g=rX,o=",
    "a=rX",
    "u+x",
    "ug+x,o-rwx",
    "go-w",
    "a-x,a+X",
    "+x",
    "+w",
    "-w",
    "=rw",
    "=rwx",
    "g=u",
    "o=g-w",
    "u=g,g=o",
    "u=rw-x+X",
    "u+s,g+s,o+t",
    "+t",
    "+s",
    "u=",
    "g=s",
    "o=rt",
    "a=",
    "u=rw+x-w",
)


@pytest.fixture
def umask() -> t.Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("symbols", SYMBOLS)
def test_symbols_mean_what_they_mean_to_ansible(symbols: str) -> None:
    assert modes.mode(symbols, "mode") == symbols
    for present in PRESENT:
        status = os.stat_result((stat.S_IFREG | int(present, 8), *[0] * 9))
        theirs = AnsibleModule._symbolic_mode_to_octal(status, symbols)
        assert modes.applied(symbols, present) == f"{theirs:04o}", present


@pytest.mark.parametrize(("symbols", "mode"), [("ua=r", "0444"), ("ug=r,o=", "0440"), ("au+w", "0666")])
def test_users_may_be_named_with_all(symbols: str, mode: str) -> None:
    assert modes.applied(symbols, "0444") == mode


@pytest.mark.parametrize(("given", "wanted"), [("644", "0644"), ("0644", "0644"), ("4755", "4755"), ("00600", "0600")])
def test_octal_digits_are_four(given: str, wanted: str) -> None:
    assert modes.applied(modes.mode(given, "mode"), "0755") == wanted


def test_no_mode_is_the_present_one() -> None:
    assert modes.applied("", "0750") == "0750"


@pytest.mark.parametrize("value", [420, None, ["u+x"], "", " ", "u", "u+x,", "u+q", "b+x", "u+x;id", "u+x\n", "77777", "9", "rw"])
def test_what_is_no_mode(value: object) -> None:
    with pytest.raises(InvalidInput, match=r"mode must be three or four octal digits in quotes, such as '0644', or symbolic"):
        modes.mode(value, "mode")
