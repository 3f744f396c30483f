# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task's keywords come to where its module runs in the controller's process."""

from __future__ import annotations

import getpass
import os
import types
import typing as t

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task as PlaybookTask
from ansible.plugins.loader import become_loader, connection_loader
from ansible.template import Templar

from ansible_collections.virtops.guest_agent.plugins.action import agent_command
from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import PermissionDenied
from ansible_collections.virtops.guest_agent.plugins.module_utils._task.run import Outcome, Task
from ansible_collections.virtops.guest_agent.plugins.module_utils._task.spec import GUEST, Spec

GUEST_VARIABLES = {"inventory_hostname": "web1", "ansible_guest_agent_domain": "web1"}
RunTask = t.Callable[..., "dict[str, t.Any]"]


def _told(task: Task) -> Outcome:
    if task.params["uri"] == "refused:///":
        raise PermissionDenied("access denied", domain=task.params["domain"])
    return Outcome(
        {"pid": os.getpid(), "who": getpass.getuser(), "x": os.environ.get("X"), "path": os.environ["PATH"], **task.params}
    )


@pytest.fixture
def run_task(monkeypatch: pytest.MonkeyPatch) -> RunTask:
    spec = Spec({**GUEST, "user": {"type": "str", "default": "root"}})
    module = types.SimpleNamespace(SPEC=spec, ensure=_told)
    monkeypatch.setattr(agent_command.ActionModule, "_module", lambda _self: module)

    def run(args: dict[str, t.Any] | None = None, become_user: str | None = None, **keywords: t.Any) -> dict[str, t.Any]:
        context, loader = PlayContext(), DataLoader()
        task = PlaybookTask.load({"action": "virtops.guest_agent.run_command", "args": args or {}, **keywords})
        connection = connection_loader.get("local", context, "/dev/null")
        if task.become:
            plugin = become_loader.get("sudo")
            plugin.set_options(task_keys={"become_user": become_user or "root"})
            connection.set_become_plugin(plugin)
        templar = Templar(loader, variables=GUEST_VARIABLES)
        action = agent_command.ActionModule(task, connection, context, loader, templar, None)
        own = {"inventory_hostname": "kvm1", "ansible_connection": "ssh"} if task.delegate_to else GUEST_VARIABLES
        return action.run(task_vars={**own, "ansible_delegated_vars": {"web1": GUEST_VARIABLES}})

    return run


def test_it_runs_in_this_process_as_this_user(run_task: RunTask) -> None:
    result = run_task(become=True, become_user="nobody", remote_user="deploy")
    assert (result["pid"], result["who"]) == (os.getpid(), getpass.getuser())
    assert result["domain"] == "web1"
    assert result["user"] == "root"


def test_the_environment_of_the_task_is_not_set(run_task: RunTask) -> None:
    result = run_task(environment={"X": "1", "PATH": "/of/the/guest"})
    assert (result["x"], result["path"]) == (None, os.environ["PATH"])


@pytest.mark.parametrize(
    ("args", "keywords", "warned"),
    [
        ({}, {}, False),
        ({}, {"become": True}, False),
        ({}, {"become": True, "become_user": "postgres"}, True),
        ({"uri": "refused:///"}, {}, False),
        ({"uri": "refused:///"}, {"become": True}, True),
    ],
)
def test_become_in_vain_is_warned_of(run_task: RunTask, args: dict[str, t.Any], keywords: dict[str, t.Any], warned: bool) -> None:
    result = run_task(args, **keywords)
    assert result["failed"] is (args != {})
    assert ["become has no effect" in warning for warning in result.get("warnings", [])] == [True] * warned


def test_name_is_a_name_of_the_domain(run_task: RunTask) -> None:
    assert run_task({"name": "web2"})["domain"] == "web2"


@pytest.mark.parametrize(("args", "here"), [({}, True), ({"domain": "x"}, False), ({"name": "x"}, False)])
def test_a_guest_that_is_delegated_to_may_be_a_hypervisor(
    run_task: RunTask, monkeypatch: pytest.MonkeyPatch, args: dict[str, t.Any], here: bool
) -> None:
    monkeypatch.setattr(agent_command.NormalAction, "run", lambda *_args: {"sent": True})
    assert ("sent" in run_task(args, delegate_to="web1")) is not here


def test_async_is_refused(run_task: RunTask) -> None:
    assert "delegate_to: localhost" in run_task(**{"async": 5})["msg"]
