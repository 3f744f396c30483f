# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge: changed and diff follow from before and after, every expected failure is one sentence and a mapping."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._task.run import Outcome, Task, run
from ansible_collections.virtops.guest_agent.plugins.module_utils._task.spec import AGENT_TIMEOUT, GUEST, Spec
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import run_module

SPEC = Spec(
    {**GUEST, "timeout": {"type": "float"}, "state": {"type": "str"}, "a": {}, "b": {}}, [("state", "x", ["a"])], [["a", "b"]]
)


def _main(ensure: t.Callable[[Task], Outcome]) -> t.Callable[[], None]:
    return lambda: run(SPEC, ensure)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ({}, {}, False),
        ({"state": "frozen"}, {"state": "frozen"}, False),
        ({"state": "frozen"}, {"state": "thawed"}, True),
        ({}, {"state": "thawed"}, True),
    ],
)
@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("diff", [False, True])
def test_changed_and_diff_are_derived(
    before: dict, after: dict, changed: bool, check: bool, diff: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def ensure(task: Task) -> Outcome:
        assert task.check_mode is check
        assert task.params["agent_timeout"] == 5
        return Outcome({"value": 5, "changed": "a lie"}, before, after)

    result = run_module(_main(ensure), capsys, check, diff, domain="web")
    assert (result["changed"], result["value"]) == (changed, 5)
    assert result.get("diff") == ({"before": before, "after": after} if diff and changed else None)


def test_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    error = _errors.AgentDisconnected("nobody listens", domain="web", command="guest-ping", hint="start it")

    def ensure(_task: Task) -> Outcome:
        raise error

    result = run_module(_main(ensure), capsys, domain="web")
    assert result["failed"] is True
    assert result["msg"] == "Domain web: guest-ping: nobody listens; start it."
    assert result["failure"] == error.failure()


def test_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    def ensure(task: Task) -> Outcome:
        task.warn("careful")
        return Outcome({})

    assert "careful" in run_module(_main(ensure), capsys, domain="web")["warned"]


def test_a_bug_of_ours_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    def ensure(_task: Task) -> Outcome:
        return Outcome({"value": 1 / 0})

    from ansible_collections.virtops.guest_agent.tests.unit.module_runs import _arguments

    with _arguments({"domain": "web"}), pytest.raises(ZeroDivisionError):
        _main(ensure)()


@pytest.mark.parametrize(
    ("arguments", "words", "ours"),
    [
        ({"domain": ""}, "domain is empty", True),
        ({"domain": "web", "agent_timeout": 0}, "agent_timeout must be from 1 to", True),
        ({"domain": "web", "agent_timeout": -3}, "agent_timeout must be from 1 to", True),
        ({"domain": "web", "ssh_persist": -1}, "ssh_persist must be from 0 to", True),
        ({"domain": "web", "timeout": 0.5}, "timeout must be from 1 to", True),
        ({}, "missing required arguments: domain", False),
        ({"domain": "web", "state": "x"}, "state is x but all of the following are missing: a", False),
        ({"domain": "web", "a": 1, "b": 2}, "mutually exclusive", False),
    ],
)
def test_options_that_cannot_be(arguments: dict, words: str, ours: bool, capsys: pytest.CaptureFixture[str]) -> None:
    def ensure(_task: Task) -> Outcome:
        raise AssertionError

    result = run_module(_main(ensure), capsys, **arguments)
    assert words in result["msg"]
    assert result.get("failure", {}).get("kind") == ("invalid_input" if ours else None)


def test_the_agents_time_has_a_default() -> None:
    assert AGENT_TIMEOUT["agent_timeout"]["default"] == 5
