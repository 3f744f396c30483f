# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's process as an edge: word for word what AnsibleModule makes of the same SPEC and the same ensure()."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import AgentDisconnected
from ansible_collections.virtops.guest_agent.plugins.module_utils._task.run import Outcome, Task, run as run_as_module
from ansible_collections.virtops.guest_agent.plugins.module_utils._task.spec import GUEST, Spec
from ansible_collections.virtops.guest_agent.plugins.plugin_utils._action import in_process
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import run_module

SECRET = "correct-horse"
OPTIONS: dict[str, dict[str, t.Any]] = {
    **GUEST,
    "state": {"type": "str", "choices": ["x", "y"]},
    "size": {"type": "int", "aliases": ["length"]},
    "secret": {"type": "str", "no_log": True},
    "a": {"type": "str"},
    "b": {"type": "str"},
}
SPEC = Spec(OPTIONS, [("state", "x", ["a"])], [["a", "b"]])


def _ensure(task: Task) -> Outcome:
    if task.params["b"] == "fail":
        raise AgentDisconnected("nobody listens", domain=task.params["domain"], command="guest-ping", hint="start it")
    task.warn("beware")
    before, after = {"size": 0}, {"size": task.params["size"]}
    return Outcome({"check": task.check_mode, "said": f"it is {task.params['secret']}"}, before, after)


ARGS: list[dict[str, t.Any]] = [
    {"domain": "web"},
    {"domain": "web", "size": "7"},
    {"domain": "web", "length": 0},
    {"domain": "web", "secret": SECRET},
    {"domain": "web", "b": "fail"},
    {"domain": "web", "b": "fail", "secret": "nobody"},
    {},
    {"domain": "web", "nonsense": 1},
    {"domain": "web", "state": "z"},
    {"domain": "web", "state": "x"},
    {"domain": "web", "a": "1", "b": "2"},
    {"domain": "web", "size": "many"},
    {"domain": "", "size": 1},
    {"domain": "web", "agent_timeout": 0},
]


@pytest.mark.parametrize("args", ARGS, ids=str)
@pytest.mark.parametrize("echoes", [False, True])
@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("diff", [False, True])
def test_both_edges_say_the_same(
    args: dict[str, t.Any],
    echoes: bool,
    check: bool,
    diff: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["a.module"])
    spec = SPEC._replace(echoes=echoes)
    theirs = run_module(lambda: run_as_module(spec, _ensure), capsys, check, diff, **args)
    ours = in_process.run("a.module", spec, _ensure, args, check, diff)
    for result in (theirs, ours):
        result.pop("warnings", None)
        result.pop("warned", None)
    told = ours.pop("invocation")
    # Since ansible-core 2.21 a module tells it only when it is asked to.
    assert theirs.pop("invocation", told) == told
    # AnsibleModule's name for itself depends on how it was started; it says nothing of what failed before it ran.
    assert _plain(ours) == _plain(theirs)


def _plain(result: dict[str, t.Any]) -> dict[str, t.Any]:
    return {"failed": False, "changed": False, **result, "msg": str(result.get("msg", "")).rpartition(") module: ")[2]}


class _Vaulted(str):
    """What ``!vault`` is before ansible-core 2.19: an object that is decrypted when it becomes a text."""

    __slots__ = ()
    __ENCRYPTED__ = True

    def __str__(self) -> str:
        return SECRET


def test_what_is_encrypted_in_the_task_is_decrypted() -> None:
    args = {"domain": "web", "secret": _Vaulted("$ANSIBLE_VAULT"), "b": _Vaulted("$ANSIBLE_VAULT")}
    seen: list[t.Any] = []

    def ensure(task: Task) -> Outcome:
        seen.extend(type(task.params[name]) for name in ("secret", "b"))
        return Outcome({"said": task.params["secret"], "b": task.params["b"]})

    result = in_process.run("m", SPEC._replace(echoes=True), ensure, args, False, False)
    assert seen == [str, str]
    assert (result["said"], result["b"]) == (SECRET, SECRET)


def test_output_is_there_in_lines_too() -> None:
    result = in_process.run("m", SPEC, lambda _task: Outcome({"stdout": "a\nb", "stderr": ""}), {"domain": "web"}, False, False)
    assert (result["stdout_lines"], result["stderr_lines"]) == (["a", "b"], [])


def test_warnings_are_told() -> None:
    assert in_process.run("m", SPEC, _ensure, {"domain": "web"}, False, False)["warnings"] == ["beware"]


def test_progress_is_told_at_once() -> None:
    told: list[str] = []

    def ensure(task: Task) -> Outcome:
        task.tell("half of it")
        return Outcome({"told": list(told)})

    assert in_process.run("m", SPEC, ensure, {"domain": "web"}, False, False, told.append)["told"] == ["half of it"]
    assert in_process.run("m", SPEC, ensure, {"domain": "web"}, False, False)["told"] == ["half of it"]


@pytest.mark.parametrize("echoes", [False, True])
def test_a_secret_is_in_a_result_only_where_results_may_echo(echoes: bool) -> None:
    result = in_process.run("m", SPEC._replace(echoes=echoes), _ensure, {"domain": "web", "secret": SECRET}, False, False)
    assert SECRET not in str(result["invocation"])
    assert (SECRET in result["said"]) == echoes
