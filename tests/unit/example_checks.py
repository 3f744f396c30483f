# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong in an example, without a guest to run it on: as Ansible and the plugins themselves would say."""

from __future__ import annotations

import functools
import importlib
import json
import re
import typing as t

import jinja2
import yaml
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play import Play
from ansible.plugins.loader import connection_loader, fragment_loader, inventory_loader, module_loader
from ansible.utils.plugin_docs import get_docstring
from ansible.vars.manager import VariableManager

from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import InvalidInput
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.addresses import address_policy
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.query import Selection
from ansible_collections.virtops.guest_agent.plugins.plugin_utils._guest_variables import filled_in
from ansible_collections.virtops.guest_agent.plugins.plugin_utils._inventory import options as _options
from ansible_collections.virtops.guest_agent.tests.unit.example_blocks import ROOT, Block

OURS = "virtops.guest_agent."
#: Where a play runs that names the domains in its tasks. On all other hosts the host is the guest.
HYPERVISORS = re.compile(r"localhost|kvm\d|hypervisors")
_CONDITIONS = {"when", "failed_when", "changed_when", "until", "that"}
#: What a template may come to, by the type of its option.
_FITTING: dict[str, t.Any] = {"int": 1, "float": 1.0, "bool": True, "list": [], "dict": {}, "bytes": "1M", "path": "/x"}
#: Actions whose arguments may have any name.
_FREE = ("_role", "_tasks", "add_host", "meta", "set_fact")
_EXECUTION_ENVIRONMENT = {
    "version",
    "images",
    "dependencies",
    "additional_build_files",
    "additional_build_steps",
    "build_arg_defaults",
    "options",
}


def wrong(block: Block) -> list[str]:
    """Sentences about what is wrong in a block."""
    try:
        documents = [document for document in yaml.safe_load_all(block.text) if document is not None]
    except yaml.YAMLError as error:
        return [f"{block}: no YAML: {error}"]
    found = [sentence for document in documents for sentence in (*_of_document(document, block.where), *_of_templates(document))]
    return [f"{block}: {sentence}" for sentence in found or ([] if documents else ["it is empty"])]


def _of_document(document: t.Any, where: str) -> t.Iterator[str]:
    if isinstance(document, list) and all(isinstance(entry, dict) for entry in document):
        is_playbook = any("hosts" in entry or "import_playbook" in entry for entry in document)
        # A role's tasks have their guest from the play, and variables that are their own business.
        in_role = "tasks/" in where or "handlers/" in where
        plays = document if is_playbook else [{"hosts": "web1" if in_role else "localhost", "tasks": document}]
        for play in plays:
            yield from _of_play(play, where)
        yield from () if in_role else _of_role_variables(document)
    elif isinstance(document, dict) and "plugin" in document:
        yield from _of_source(document)
    elif isinstance(document, dict) and "all" in document:
        yield from _of_hosts(document)
    elif not (isinstance(document, dict) and document.keys() <= _EXECUTION_ENVIRONMENT and document.get("version") == 3):
        yield f"what is {str(document)[:60]!r}?"


def _of_play(play: dict[str, t.Any], where: str) -> t.Iterator[str]:
    """Ansible's own parser finds what is no module, role or keyword; of what it has parsed the arguments are checked."""
    if "import_playbook" in play:
        return
    loader = DataLoader()
    loader.set_basedir(str((ROOT / where).parent))
    variables = VariableManager(loader, InventoryManager(loader, ["localhost,"]))
    try:
        loaded = Play.load(dict(play), variable_manager=variables, loader=loader)
        # Its own tasks, without those of its roles.
        tasks = [task for name in ("pre_tasks", "tasks", "post_tasks", "handlers") for task in _tasks(getattr(loaded, name))]
    except AnsibleError as error:
        yield str(error)
        return
    guest = {} if HYPERVISORS.search(str(play["hosts"])) else {"domain": "web1"}
    for task in tasks:
        for sentence in _of_arguments(task.action, task.args, guest):
            yield f"{task.get_name()}: {task.action}: {sentence}"


def _tasks(blocks: t.Iterable[t.Any]) -> t.Iterator[t.Any]:
    for block in blocks:
        if hasattr(block, "block"):
            yield from _tasks((*block.block, *block.rescue, *block.always))
        else:
            yield block


def _of_arguments(action: str, args: dict[str, t.Any], guest: dict[str, t.Any]) -> t.Iterator[str]:
    if "{{" in str(args.get("_raw_params", "")) and len(args) == 1 and not action.startswith("ansible.builtin."):
        return  # all of them are a template
    if action.startswith(OURS):
        spec = importlib.import_module(f"ansible_collections.{OURS}plugins.modules.{action[len(OURS) :]}").SPEC
        yield from _refused(filled_in(args, guest, spec.options), **spec._asdict())
    elif not action.endswith(_FREE):
        unknown = args.keys() - _documented(action)
        yield from (f"{name} is no option of it" for name in sorted(unknown))


def _refused(
    args: t.Mapping[str, t.Any],
    options: dict[str, t.Any],
    required_if: t.Any = (),
    mutually_exclusive: t.Any = (),
    required_one_of: t.Any = (),
    **_other: t.Any,
) -> list[str]:
    """What AnsibleModule would say of ``args``, where a template is taken for what it should come to."""
    validator = ArgumentSpecValidator(
        dict(options),
        required_if=list(required_if),
        mutually_exclusive=list(mutually_exclusive),
        required_one_of=list(required_one_of),
    )
    settled = {name: _settled(value, options.get(name, {})) for name, value in args.items()}
    return list(validator.validate(settled).error_messages)


def _settled(value: t.Any, option: t.Mapping[str, t.Any]) -> t.Any:
    if isinstance(value, list):
        return [_settled(member, {**option, "type": option.get("elements", "str")}) for member in value]
    if isinstance(value, dict):
        return {name: _settled(member, (option.get("options") or {}).get(name, {})) for name, member in value.items()}
    if not isinstance(value, str) or "{{" not in value:
        return value
    return option["choices"][0] if option.get("choices") else _FITTING.get(option.get("type", "str"), value)


@functools.cache
def _documented(action: str) -> set[str]:
    """The names of a module's options, its aliases, and what ``module: TEXT`` is read as."""
    documentation = get_docstring(module_loader.find_plugin(action, mod_type=".py"), fragment_loader)[0]
    options = documentation["options"]
    names = {name for option, about in options.items() for name in (option, *about.get("aliases", ()))}
    return names | {"_raw_params"} if {"free_form", "cmd"} & names else names


def _of_role_variables(document: t.Any) -> t.Iterator[str]:
    for name, value in _variables(document):
        role = next((role for role in _roles() if name.startswith(f"{role}_")), None)
        if role is not None:
            options = _roles()[role]
            optional = {option: {**about, "required": False} for option, about in options.items()}
            yield from (f"{name}: role {role}: {sentence}" for sentence in _refused({name: value}, optional))


def _variables(document: t.Any) -> t.Iterator[tuple[str, t.Any]]:
    """Of every ``vars``, wherever it stands."""
    for name, value in document.items() if isinstance(document, dict) else enumerate(document):
        if name == "vars":
            yield from value.items()
        elif isinstance(value, (dict, list)):
            yield from _variables(value)


@functools.cache
def _roles() -> dict[str, dict[str, t.Any]]:
    """Role -> the options of all its entries."""
    found = {}
    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
        found[path.parts[-3]] = {name: about for entry in entries.values() for name, about in entry["options"].items()}
    return found


def _of_source(source: dict[str, t.Any]) -> t.Iterator[str]:
    """What the inventory plugin would say of its options, before it asks a hypervisor."""
    plugin = inventory_loader.get(source["plugin"])
    if plugin is None:
        yield f"there is no inventory plugin {source['plugin']}"
        return
    known = get_docstring(plugin._original_path, fragment_loader)[0]["options"]
    yield from (f"{name} is no option of {source['plugin']}" for name in sorted(source.keys() - known.keys()))
    try:
        plugin.set_options(direct=source)
        selection = Selection(plugin.get_option("include"), plugin.get_option("exclude"))
        _options.plan(plugin.get_option, selection, address_policy(plugin.get_option))
    except (AnsibleError, InvalidInput) as error:
        yield str(error)


def _of_hosts(inventory: dict[str, t.Any]) -> t.Iterator[str]:
    """Of the variables of hosts, those of the connection plugin."""
    plugins = (connection_loader.find_plugin(f"{OURS}{name}") for name in ("agent", "ssh_or_agent", "windows"))
    options = [option for plugin in plugins for option in get_docstring(plugin, fragment_loader)[0]["options"].values()]
    known = {variable["name"] for option in options for variable in option.get("vars", ())}
    said = set(re.findall(r'"(ansible_guest_agent_\w+)":', json.dumps(inventory)))
    yield from (f"{name} is no variable of the connection" for name in sorted(said - known))


def _of_templates(value: t.Any, key: t.Any = None) -> t.Iterator[str]:
    """Of templates and conditions, those that Jinja cannot read."""
    if isinstance(value, (dict, list)):
        for name, member in value.items() if isinstance(value, dict) else ((key, member) for member in value):
            yield from _of_templates(member, name)
    elif isinstance(value, str):
        text = f"{{{{ {value} }}}}" if key in _CONDITIONS and "{{" not in value else value
        try:
            jinja2.Environment(extensions=["jinja2.ext.do"]).parse(text)
        except jinja2.TemplateError as error:
            yield f"{value!r}: {error}"
