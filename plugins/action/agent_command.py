# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every module of this collection begins here (meta/runtime.yml): which guest it is about, and in which process it runs.

* On a guest of the inventory it runs in the controller's process, over libvirt as the guest's variables say: no file is sent,
  no Python is started, none is needed in the guest.
* Delegated by a guest to another host, it runs there as a module that knows its guest.
* On any other host it is a module like any other.

It bears the name of the most general of them, since ansible-test wants every action plugin to have a module's.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import typing as t

from ansible import constants as C
from ansible.errors import AnsibleError
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.utils.display import Display

from ..plugin_utils import _compiled  # pylint: disable=unused-import  # noqa: F401

# isort: split
from ..plugin_utils._action import become, in_process
from ..plugin_utils._guest_variables import NAMES, OVER_AGENT, SETTINGS, elsewhere, filled_in, guest_of, host_of, names_of

_MODULES: t.Final = __name__.rpartition(".action.")[0] + ".modules."
_SETTINGS: t.Final = ("action", "virtops.guest_agent.agent_command")
_NOT_ASYNC: t.Final = (
    "runs in the controller's own process on a guest of the inventory, which cannot continue in the background;"
    " for async add delegate_to: localhost"
)


class ActionModule(NormalAction):
    """One task of one of this collection's modules."""

    def run(self, tmp: object = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        delegate = self._task.delegate_to
        # A guest that is a hypervisor itself is told which of its own domains is meant.
        nested = delegate and self._task.args.keys() & names_of("domain", self._module().SPEC.options)
        by_agent = self._connection.transport in OVER_AGENT or self._connection.ansible_name in OVER_AGENT
        guest = None if nested else self._guest(host_of(variables, delegate), by_agent)
        if guest is not None:
            return self._in_process(guest)
        if delegate and (own := self._guest(variables, self._own_connection(variables) in OVER_AGENT)) is not None:
            known = own if self._connection.transport == "local" else elsewhere(own)
            self._task.args = filled_in(self._task.args, known, self._module().SPEC.options)
        return t.cast("dict[str, t.Any]", super().run(tmp, variables))

    def _in_process(self, guest: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        name = self._task.action
        if self._task.async_val:
            return {"failed": True, "msg": f"{name} {_NOT_ASYNC}"}
        module = self._module()
        args = self._searched(filled_in(self._task.args, guest, module.SPEC.options), module.SPEC.searched)
        ensure = getattr(module, "ensure", None) or module.gather
        tell = functools.partial(Display().v, host=self._play_context.remote_addr or "")
        result = in_process.run(name, module.SPEC, ensure, args, self._task.check_mode, self._task.diff, tell)
        acts_as = module.SPEC.options.get("user", {}).get("default") or ""
        if vain := become.in_vain(name, self._become_user(), acts_as, result.get("failure", {}).get("kind", "")):
            result.setdefault("warnings", []).append(vain)
        return result

    def _become_user(self) -> str:
        """Whom the task becomes; "" where it does not."""
        plugin = self._connection.become
        return str(plugin.get_option("become_user", playcontext=self._play_context) or "root") if plugin else ""

    def _searched(self, args: dict[str, t.Any], options: t.Mapping[str, str]) -> dict[str, t.Any]:
        """``args`` with relative paths of files replaced by where the role or the playbook has them."""
        for option, place in options.items():
            # What is nowhere, the module itself says better.
            with contextlib.suppress(AnsibleError):
                if isinstance(args.get(option), str) and not os.path.isabs(os.path.expanduser(args[option])):
                    args[option] = self._find_needle(place, args[option])
        return args

    def _module(self) -> t.Any:
        return importlib.import_module(_MODULES + self._task.action.rpartition(".")[2])

    def _own_connection(self, variables: t.Mapping[str, t.Any]) -> t.Any:
        """How the host that delegates is reached: where it does not say that, Ansible has noted how the delegate is."""
        said = self._templar.template(variables.get("ansible_connection"))
        return self._task.get_play().connection if said in (None, self._connection._load_name) else said

    def _guest(self, host: t.Mapping[str, t.Any], by_agent: bool) -> dict[str, t.Any] | None:
        variables = {name: self._templar.template(host[name]) for name in NAMES if name in host}
        return guest_of(variables, by_agent, _settings())


def _settings() -> dict[str, t.Any]:
    """What the environment and ansible.cfg say for all guests."""
    kind, name = _SETTINGS
    C.config.initialize_plugin_configuration_definitions(kind, name, SETTINGS)
    return {option: C.config.get_config_value(option, plugin_type=kind, plugin_name=name) for option in SETTINGS}
