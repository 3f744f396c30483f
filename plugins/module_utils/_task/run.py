# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One Ansible task, on whatever edge it runs; and the edge of a module, the only place that knows AnsibleModule."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from .._errors import GuestAgentError, InvalidInput
from . import values
from .spec import WITHHELD, Spec

if t.TYPE_CHECKING:
    from .._agent.client import GuestAgent

#: Options in seconds, and the least that each may be.
_SECONDS: t.Final = {
    "agent_timeout": 1,
    "timeout": 1,
    "patience": 1,
    "merge_timeout": 1,
    "backup_timeout": 1,
    "revert_timeout": 1,
    "max_seconds": 0,
    "force_after": 0,
    "ssh_persist": 0,
}


class Task(t.NamedTuple):
    """What a module's ensure() or gather() gets to know of the task."""

    params: t.Mapping[str, t.Any]
    check_mode: bool
    diff: bool
    warn: t.Callable[[str], None]
    #: says how far it is, on the way: at -v where the controller runs it, else to the log of the host that does
    tell: t.Callable[[str], None] = lambda _progress: None

    def warn_of_left_out(self, agent: GuestAgent) -> None:
        """Say what of the agent's answers made no sense."""
        for sentence in agent.left_out():
            self.warn(f"Domain {agent.name}: {sentence}.")


class Outcome(t.NamedTuple):
    """What it gives back. ``changed`` and ``diff`` follow from ``before`` and ``after``, and are never set."""

    result: t.Mapping[str, t.Any]
    before: t.Mapping[str, t.Any] = {}
    after: t.Mapping[str, t.Any] = {}
    #: how to show the difference, where there is a better way than both as they are
    diff: t.Mapping[str, t.Any] | None = None
    #: why the task fails although it has a result
    failure: GuestAgentError | None = None


class _Module(AnsibleModule):  # type: ignore[misc]
    def add_path_info(self, kwargs: dict[str, t.Any]) -> dict[str, t.Any]:
        """Nothing: a result's ``dest`` is a path of the guest, and this would describe the hypervisor's file of that name."""
        return kwargs


def run(spec: Spec, ensure: t.Callable[[Task], Outcome]) -> None:
    """The edge of a module."""
    module = _Module(
        argument_spec=dict(spec.options),
        required_if=list(spec.required_if),
        mutually_exclusive=list(spec.mutually_exclusive),
        required_one_of=list(spec.required_one_of),
        supports_check_mode=True,
    )
    told = _withhold(module, spec) if spec.echoes else {}
    result = perform(ensure, Task(module.params, module.check_mode, module._diff, module.warn, module.log))
    (module.fail_json if "failure" in result else module.exit_json)(**result, **told)


def perform(ensure: t.Callable[[Task], Outcome], task: Task) -> dict[str, t.Any]:
    """The task's result, with ``failure`` and ``msg`` if it failed: the same on every edge."""
    try:
        _check(task.params)
        outcome = ensure(task)
    except GuestAgentError as error:
        outcome = Outcome({}, failure=error)
    changed = outcome.before != outcome.after
    result = {**outcome.result, "changed": changed}
    if task.diff and changed:
        result["diff"] = outcome.diff or {"before": dict(outcome.before), "after": dict(outcome.after)}
    if outcome.failure is not None:
        result.update(msg=str(outcome.failure), failure=outcome.failure.failure())
    return result


def withheld(spec: Spec, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """``params`` for the reader, without what options with no_log say."""
    secret = {name for name, option in spec.options.items() if option.get("no_log")}
    return {name: WITHHELD if name in secret and value is not None else value for name, value in params.items()}


def _withhold(module: AnsibleModule, spec: Spec) -> dict[str, t.Any]:
    """The ``invocation`` to return, without what options with no_log say; the rest of the result is left as it is."""
    module.no_log_values.clear()
    return {"invocation": {"module_args": withheld(spec, module.params)}}


def _check(params: t.Mapping[str, t.Any]) -> None:
    for option, least in _SECONDS.items():
        value = params.get(option)
        if value is not None:
            values.in_range(value, option, least)
    if params.get("domain") == "":
        raise InvalidInput("domain is empty", hint="set domain to a name or UUID")
