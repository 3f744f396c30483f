# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module's own code in the controller's process: what AnsibleModule does around it, without another Python."""

from __future__ import annotations

import typing as t

from ansible import constants
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.module_utils.errors import UnsupportedError

from ...module_utils._task.run import Outcome, Task, perform, withheld
from ...module_utils._task.spec import Spec


def run(
    name: str,
    spec: Spec,
    ensure: t.Callable[[Task], Outcome],
    args: t.Mapping[str, t.Any],
    check_mode: bool,
    diff: bool,
    tell: t.Callable[[str], None] = lambda _progress: None,
) -> dict[str, t.Any]:
    """The result of the module ``name`` with ``args``, as it would be had it been sent to a host."""
    validator = ArgumentSpecValidator(
        dict(spec.options),
        required_if=list(spec.required_if),
        mutually_exclusive=list(spec.mutually_exclusive),
        required_one_of=list(spec.required_one_of),
    )
    valid = validator.validate(_decrypted(dict(args)))
    params = valid.validated_parameters
    told = {"invocation": {"module_args": withheld(spec, params)}}
    for error in valid.errors.errors[:1]:
        unsupported = f"Unsupported parameters for ({name}) module: " if isinstance(error, UnsupportedError) else ""
        message = f"{unsupported}{error.msg}"
        return _without(valid, {"failed": True, "msg": message}) | told
    warnings: list[str] = []
    task_params = {**params, "ansible_home": constants.config.get_config_value("ANSIBLE_HOME")}
    result = perform(ensure, Task(task_params, check_mode, diff, warnings.append, tell))
    result["failed"] = "failure" in result
    # As Ansible does with what comes back from a host.
    result.update({f"{name}_lines": result[name].splitlines() for name in ("stdout", "stderr") if name in result})
    if warnings:
        result["warnings"] = warnings
    return (result if spec.echoes else _without(valid, result)) | told


def _decrypted(value: t.Any) -> t.Any:
    """What Ansible decrypts when it sends a module to a host: before 2.19 ``!vault`` in a task is an object until then."""
    if getattr(value, "__ENCRYPTED__", False):
        return str(value)
    if isinstance(value, dict):
        return {key: _decrypted(member) for key, member in value.items()}
    return [_decrypted(member) for member in value] if isinstance(value, list) else value


def _without(valid: t.Any, result: dict[str, t.Any]) -> dict[str, t.Any]:
    """``result`` without what options with no_log say, to the last letter, as AnsibleModule does it."""
    return t.cast("dict[str, t.Any]", remove_values(result, valid._no_log_values))
