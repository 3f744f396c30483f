# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One Ansible task: the only place that knows AnsibleModule, exit_json and fail_json."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ._argspec import Spec
from ._errors import GuestAgentError, InvalidInput

#: A year: what is longer is a mistake, and more than the clocks of some systems can count.
SECONDS_MAX: t.Final = 366 * 24 * 3600


class Task(t.NamedTuple):
    """What a module's ensure() or gather() gets to know of the task."""

    params: t.Mapping[str, t.Any]
    check_mode: bool
    warn: t.Callable[[str], None]


class Outcome(t.NamedTuple):
    """What it gives back. ``changed`` and ``diff`` follow from ``before`` and ``after``, nobody sets them."""

    result: t.Mapping[str, t.Any]
    before: t.Mapping[str, t.Any] = {}
    after: t.Mapping[str, t.Any] = {}


def run(spec: Spec, ensure: t.Callable[[Task], Outcome]) -> None:
    module = AnsibleModule(
        argument_spec=dict(spec.options),
        required_if=list(spec.required_if),
        mutually_exclusive=list(spec.mutually_exclusive),
        supports_check_mode=True,
    )
    try:
        _check(module.params)
        outcome = ensure(Task(module.params, module.check_mode, module.warn))
    except GuestAgentError as error:
        module.fail_json(msg=str(error), failure=error.failure())
    result = {**outcome.result, "changed": outcome.before != outcome.after}
    if module._diff and outcome.before != outcome.after:
        result["diff"] = {"before": dict(outcome.before), "after": dict(outcome.after)}
    module.exit_json(**result)


def _check(params: t.Mapping[str, t.Any]) -> None:
    for option, least in (("agent_timeout", 1), ("timeout", 1), ("max_seconds", 0), ("force_after", 0)):
        value = params.get(option)
        if value is not None and not least <= value <= SECONDS_MAX:
            raise InvalidInput(f"{option} must be from {least} to {SECONDS_MAX} seconds, and is {value:g}")
    if params.get("domain") == "":
        raise InvalidInput("domain is empty", hint="give the domain's name or UUID")
