# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module's main() as ansible-core would, in this process."""

from __future__ import annotations

import contextlib
import json
import typing as t

import pytest
from ansible.module_utils import basic

Run = t.Callable[..., dict[str, t.Any]]


@contextlib.contextmanager
def _arguments(arguments: dict[str, t.Any]) -> t.Iterator[None]:
    try:
        from ansible.module_utils.testing import patch_module_args
    except ImportError:  # ansible-core before 2.19
        before = basic._ANSIBLE_ARGS
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
        try:
            yield
        finally:
            basic._ANSIBLE_ARGS = before
    else:
        with patch_module_args(arguments):
            yield


def run_module(
    main: t.Callable[[], None], capsys: pytest.CaptureFixture[str], check: bool = False, diff: bool = False, **arguments: t.Any
) -> dict[str, t.Any]:
    """What it printed as its result; ``failed`` and the exit status must agree. ``warned`` is all that it warned of.

    Since ansible-core 2.19 a module that runs where plugins are loaded shows its warnings instead of returning them.
    """
    given = {**arguments, "_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_remote_tmp": "/tmp"}
    with _arguments(given), pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    result = json.loads(said.out.splitlines()[-1])
    assert bool(ended.value.code) is bool(result.get("failed"))
    return {**result, "warned": " ".join(f"{result.get('warnings')} {said.err}".split())}
