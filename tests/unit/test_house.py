# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the house that no linter knows: which room may import which, and how long things may get.

Each rule is a function from one parsed file to sentences about what is wrong in it. Every rule is run over the whole
tree and over a made-up file that breaks it, so that a rule cannot go blind unnoticed.
"""

from __future__ import annotations

import ast
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins"

FILE_LINES = 400
FUNCTION_LINES = 40
MODULE_LINES = 120
#: Of a test file; a few are longer than other files may be.
TEST_LINES = 660
DOCUMENTATION = {"DOCUMENTATION", "EXAMPLES", "RETURN"}
HEADER = (
    "# Copyright (c) 2026, virtops contributors",
    "# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)",
    "# SPDX-License-" + "Identifier: GPL-3.0-or-later",  # in two, for REUSE reads it too
)

# Inside module_utils, from the ground up: a room may import itself and those on lower steps.
LADDER = (
    {"_errors", "_deadline"},
    {"_agent"},
    {"_task"},
    {"_libvirt"},
    {"_inside"},
    {"_windows"},
    {"_commands"},
    {"_reach"},
    {"_freeze"},
    {"_records", "_snapshot", "_backup"},
    {"_module"},
)
#: Of a room with a file for each module, what several modules share.
SHARED = {"run", "transfer", "online", "suspend", "answer", "wait_for_guest"}
#: At the top of module_utils; what is more belongs into a room.
TOP_MOST = 14
# Between the rooms of plugins/. Modules run on hypervisors, where plugin_utils is not; the action plugins run the
# modules' own code in the controller. A room that is not named here is a door like the inventory.
MAY_IMPORT = {
    "module_utils": {"module_utils"},
    "plugin_utils": {"module_utils", "plugin_utils"},
    "modules": {"module_utils"},
    "doc_fragments": set(),
    "action": {"modules", "module_utils", "plugin_utils"},
}
DOOR_MAY_IMPORT = {"module_utils", "plugin_utils"}
RUNS_ON_TARGETS = {"module_utils", "modules"}


class Source(t.NamedTuple):
    """A Python file; ``path`` is relative to plugins/."""

    path: Path
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def room(self) -> str:
        return self.path.parts[0]


class Imported(t.NamedTuple):
    """``name`` is dotted: from plugins/ on for what is ours, the full name of the module for everything else."""

    line: int
    name: str
    ours: bool


Rule = t.Callable[[Source], t.Iterator[str]]


def _sources() -> list[Source]:
    paths = sorted(path for path in PLUGINS.rglob("*.py") if "__pycache__" not in path.parts)
    return [Source(path.relative_to(PLUGINS), path.read_text(encoding="utf-8")) for path in paths]


def _others() -> list[Source]:
    """The Python files beside plugins/; their paths are relative to the checkout."""
    paths = sorted(path for folder in (".ci", "extensions", "tests") for path in (ROOT / folder).rglob("*.py"))
    mine = (path for path in paths if not {"__pycache__", "output"} & set(path.parts))
    return [Source(path.relative_to(ROOT), path.read_text(encoding="utf-8")) for path in mine]


def _imports(source: Source) -> t.Iterator[Imported]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Imported(node.lineno, alias.name, ours=False)
        elif isinstance(node, ast.ImportFrom):
            package = source.path.parts[: -node.level] if node.level else ()
            base = (*package, *(node.module or "").split("."))
            # "from . import _errors" names a module, "from ._errors import X" a thing in one: both are prefixes.
            for alias in node.names:
                yield Imported(node.lineno, ".".join(filter(None, (*base, alias.name))), ours=bool(node.level))


def _step(stem: str) -> int:
    return next((number for number, rooms in enumerate(LADDER) if stem in rooms), -1)


def rooms_point_inward(source: Source) -> t.Iterator[str]:
    allowed = MAY_IMPORT.get(source.room, DOOR_MAY_IMPORT)
    for line, name, ours in _imports(source):
        if ours and name.split(".")[0] not in allowed:
            yield f"{source.path}:{line}: {source.room} must not import {name}"


def storeys_are_climbed_down(source: Source) -> t.Iterator[str]:
    if source.room != "module_utils":
        return
    room = source.path.with_suffix("").parts[1]
    if _step(room) < 0:
        yield f"{source.path}: {room} is no room of the ladder"
    for line, name, ours in _imports(source):
        other = name.split(".")[1] if name.startswith("module_utils.") else room
        if ours and other != room and not 0 <= _step(other) < _step(room):
            yield f"{source.path}:{line}: {name} is no lower step than {room}"


def modules_share_what_is_shared(source: Source) -> t.Iterator[str]:
    if source.path.parts[:2] != ("module_utils", "_module"):
        return
    for line, name, ours in _imports(source):
        parts = name.split(".")
        if ours and parts[:2] == ["module_utils", "_module"] and parts[2] not in SHARED:
            yield f"{source.path}:{line}: {name} is another module's"


def a_door_has_its_own_folder(source: Source) -> t.Iterator[str]:
    if source.room == "plugin_utils":
        return
    for line, name, ours in _imports(source):
        parts = name.split(".")
        if ours and parts[0] == "plugin_utils" and parts[1] not in ("_compiled", "_guest_variables", f"_{source.room}"):
            yield f"{source.path}:{line}: {name} is another door's"


def imports_are_relative(source: Source) -> t.Iterator[str]:
    for line, name, ours in _imports(source):
        if not ours and name.startswith("ansible_collections.virtops.guest_agent"):
            yield f"{source.path}:{line}: a relative import, please"


def libvirt_has_one_door(source: Source) -> t.Iterator[str]:
    for line, name, ours in _imports(source):
        is_libvirt = not ours and name.split(".")[0] in ("libvirt", "libvirt_qemu", "libvirt_lxc")
        if is_libvirt and source.path.parts[:2] != ("module_utils", "_libvirt"):
            yield f"{source.path}:{line}: only module_utils/_libvirt imports libvirt"


def targets_have_no_controller(source: Source) -> t.Iterator[str]:
    for line, name, ours in _imports(source):
        is_ansible = not ours and name.split(".")[0] == "ansible"
        if is_ansible and source.room in RUNS_ON_TARGETS and not name.startswith("ansible.module_utils."):
            yield f"{source.path}:{line}: {name} is not there where modules run"


def ansible_module_has_one_door(source: Source) -> t.Iterator[str]:
    for line, name, _ours in _imports(source):
        if name.endswith(".AnsibleModule") and source.path != Path("module_utils/_task/run.py"):
            yield f"{source.path}:{line}: only module_utils/_task/run.py knows AnsibleModule"


def files_are_short(source: Source) -> t.Iterator[str]:
    documentation = sum(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for node in source.tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in DOCUMENTATION
    )
    lines = len(source.text.splitlines()) - documentation
    limit = MODULE_LINES if source.room == "modules" else FILE_LINES
    if source.room != "doc_fragments" and lines >= limit:
        yield f"{source.path}: {lines} lines without its documentation; fewer than {limit}, please"


def functions_are_short(source: Source) -> t.Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines >= FUNCTION_LINES:
                yield f"{source.path}:{node.lineno}: {node.name} has {lines} lines; fewer than {FUNCTION_LINES}, please"


# Each rule, with a path and a text that break it.
RULES: list[tuple[Rule, str, str]] = [
    (rooms_point_inward, "module_utils/_x.py", "from ..plugin_utils import _y"),
    (rooms_point_inward, "module_utils/_commands/x.py", "from ...inventory.libvirt import y"),
    (rooms_point_inward, "plugin_utils/_x.py", "from ..connection import agent"),
    (rooms_point_inward, "modules/x.py", "from ..plugin_utils._y import z"),
    (rooms_point_inward, "inventory/x.py", "from ..modules.y import z"),
    (storeys_are_climbed_down, "module_utils/_errors.py", "from ._agent.protocol import REPLY_MAX"),
    (storeys_are_climbed_down, "module_utils/_agent/client.py", "def f():\n    from .._libvirt import hypervisor"),
    (storeys_are_climbed_down, "module_utils/_records/x.py", "from .._snapshot import plan"),
    (storeys_are_climbed_down, "module_utils/_inside/x.py", "from .. import _needed"),
    (storeys_are_climbed_down, "module_utils/_needed.py", ""),
    (modules_share_what_is_shared, "module_utils/_module/x.py", "from . import run, restart"),
    (a_door_has_its_own_folder, "inventory/x.py", "from ..plugin_utils._connection import pace"),
    (imports_are_relative, "modules/x.py", "import ansible_collections.virtops.guest_agent.plugins.modules.y"),
    (libvirt_has_one_door, "module_utils/_agent/transport.py", "import libvirt"),
    (libvirt_has_one_door, "inventory/libvirt.py", "try:\n    from libvirt_qemu import x\nfinally:\n    pass"),
    (targets_have_no_controller, "module_utils/_x.py", "from ansible.errors import AnsibleError"),
    (targets_have_no_controller, "modules/x.py", "import ansible.plugins.loader"),
    (ansible_module_has_one_door, "modules/x.py", "from ansible.module_utils.basic import AnsibleModule"),
    (files_are_short, "module_utils/_x.py", "x = 1\n" * FILE_LINES),
    (files_are_short, "modules/x.py", "RETURN = '''\n'''\n" + "x = 1\n" * MODULE_LINES),
    (functions_are_short, "action/x.py", "class X:\n    def f(self):\n" + "        pass\n" * (FUNCTION_LINES - 1)),
]


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, _path, _text in RULES), ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rules(rule: Rule) -> None:
    assert not [sentence for source in _sources() for sentence in rule(source)]


def test_functions_are_short_everywhere() -> None:
    assert not [sentence for source in _others() for sentence in functions_are_short(source)]


def test_no_test_file_grows_beyond_its_limit() -> None:
    lines = {str(source.path): len(source.text.splitlines()) for source in _others()}
    assert {path: count for path, count in lines.items() if count >= TEST_LINES} == {}


@pytest.mark.parametrize(("rule", "path", "text"), RULES)
def test_a_rule_finds_what_breaks_it(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(Path(path), text)))


def _cycle(graph: dict[str, set[str]]) -> list[str]:
    """What is left when everything that imports nothing that is left is taken away, again and again."""
    left = dict(graph)
    while True:
        ends = {name for name, imported in left.items() if not imported & left.keys()}
        if not ends:
            return sorted(left)
        left = {name: imported for name, imported in left.items() if name not in ends}


def test_the_top_of_the_core_is_a_list_of_rooms() -> None:
    top = {path.name for path in (PLUGINS / "module_utils").iterdir() if path.name != "__pycache__"}
    assert len(top) <= TOP_MOST, sorted(top)


def test_no_circle_of_imports() -> None:
    sources = {".".join(source.path.with_suffix("").parts): source for source in _sources()}
    graph = {}
    for name, source in sources.items():
        imported = {found.name for found in _imports(source) if found.ours}
        graph[name] = {file for file in sources for found in imported if f"{found}.".startswith(f"{file}.")}
    assert _cycle(graph) == []


def test_a_circle_is_found() -> None:
    assert _cycle({"a": {"b"}, "b": {"a"}, "c": {"a"}, "d": set()}) == ["a", "b", "c"]


def test_the_action_group_and_the_routing_name_every_module_and_nothing_else() -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    modules = {path.stem for path in (PLUGINS / "modules").glob("[!_]*.py")}
    assert set(runtime["action_groups"]["guest_agent"]) == modules
    assert runtime["plugin_routing"]["modules"] == {
        module: {"action_plugin": "virtops.guest_agent.agent_command"} for module in sorted(modules)
    }


def _returned(documented: dict[str, t.Any]) -> t.Iterator[str]:
    for name, about in documented.items():
        yield name
        yield from _returned(about.get("contains") or {})


def _hidden_by_methods(text: str) -> list[str]:
    """Names in a module's RETURN that Jinja cannot reach by a dot, since every dictionary has a method of that name."""
    body = next((ast.literal_eval(node.value) for node in ast.parse(text).body if _assigns(node, "RETURN")), "")
    return [name for name in _returned(yaml.safe_load(body) or {}) if hasattr(dict, name)]


def _assigns(node: ast.stmt, name: str) -> t.TypeGuard[ast.Assign]:
    return isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name


@pytest.mark.parametrize("path", sorted((PLUGINS / "modules").glob("[!_]*.py")), ids=lambda path: path.stem)
def test_what_a_module_returns_is_reached_by_a_dot(path: Path) -> None:
    assert _hidden_by_methods(path.read_text(encoding="utf-8")) == []


def test_a_name_that_is_hidden_is_found() -> None:
    assert _hidden_by_methods("RETURN = 'guests: {contains: {items: {type: list}}}'") == ["items"]


def test_the_execution_environment_names_files_that_exist() -> None:
    environment = yaml.safe_load((ROOT / "meta" / "execution-environment.yml").read_text(encoding="utf-8"))
    missing = [name for name in environment["dependencies"].values() if not (ROOT / name).is_file()]
    assert missing == []


def _has_header(text: str) -> bool:
    lines = text.splitlines()
    if lines and lines[0].startswith("#!"):
        del lines[0]
    return tuple(lines[: len(HEADER)]) == HEADER


def _programs() -> t.Iterator[Path]:
    """Python files and scripts, by their ending or their first line."""
    for folder in (".ci", "extensions", "plugins", "tests"):
        for path in sorted((ROOT / folder).rglob("*")):
            if not path.is_file() or {"__pycache__", "output"} & set(path.parts):
                continue
            with path.open("rb") as file:
                starts = file.read(2)
            if starts == b"#!" or (path.suffix == ".py" and starts):
                yield path


def test_every_program_says_its_licence() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in _programs()}
    assert [str(path.relative_to(ROOT)) for path, text in texts.items() if not _has_header(text)] == []


def test_a_missing_header_is_found() -> None:
    header = "\n".join(HEADER)
    assert _has_header(f"#!/bin/sh\n{header}\n")
    assert not _has_header("#!/bin/sh\n")
    assert not _has_header(f"import os\n{header}\n")
