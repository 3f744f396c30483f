# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong in a command of a guide, without running it: the program, its options, and what its words name."""

from __future__ import annotations

import re
import shlex
import typing as t

from ansible_collections.virtops.guest_agent.tests.unit.guide_pages import ROOT

OURS = "virtops.guest_agent."
#: Options of the programs, and whether a value follows.
_OPTIONS = {
    "ansible": {"-i": True, "-m": True, "-a": True},
    "ansible-playbook": {"-i": True, "-e": True, "--limit": True, "--check": False, "--diff": False},
    "ansible-inventory": {"-i": True, "--graph": False, "--list": False, "--host": True},
    "ansible-galaxy": {},
    "ansible-doc": {"-t": True},
    "ansible-builder": {"--tag": True, "--squash": True},
    "ansible-runner": {
        "-p": True,
        "--process-isolation": False,
        "--container-image": True,
        "--container-volume-mount": True,
        "--container-option": True,
    },
    "cp": {"-r": False},
    "make": {},
    "mkdir": {"-p": False},
    "molecule": {},
    "pip": {},
    "python3": {"-m": True, "--system-site-packages": False},
    "apt": {},
    ".": {},
}
_PACKAGES = {"python3-venv", "python3-libvirt", "qemu-utils"}
#: Words of a line that a shell would read: none of them is run by a test.
_SHELL = re.compile(r"[;&|<>$`]")
_FOLDERS = {"module": "modules"}
Values = dict[str, list[str]]


def wrong(line: str, files: t.Collection[str] = ()) -> list[str]:
    """Sentences about a command; ``files`` are those that the guide has written before it."""
    if not line.startswith("$ ") or _SHELL.search(line[2:]):
        return [f"{line!r} is no plain command after '$ '"]
    words = shlex.split(line[2:])
    while words and (words[0] == "sudo" or re.match(r"[A-Z_]+=", words[0])):
        del words[0]
    program = words[0] if words else ""
    if program not in _OPTIONS:
        return [f"no test knows the program {program!r}"]
    options, arguments, unknown = _taken(words[1:], _OPTIONS[program])
    sentences = [f"no test knows the option {name} of {program}" for name in unknown]
    return sentences or list(_CHECKS[program](arguments, options, set(files)))


def _taken(words: list[str], known: dict[str, bool]) -> tuple[Values, list[str], list[str]]:
    """Options with their values, arguments, and what is neither."""
    options: Values = {}
    arguments: list[str] = []
    unknown: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if known.get(name) and equals:
            options.setdefault(name, []).append(value)
        elif word in known:
            options.setdefault(word, []).append(next(rest, "") if known[word] else "")
        else:
            (unknown if word.startswith("-") else arguments).append(word)
    return options, arguments, unknown


def _missing(names: t.Iterable[str], files: set[str]) -> t.Iterator[str]:
    known = (name for name in names if name not in files and not (ROOT / name).exists())
    yield from (f"there is no {name}, in the checkout or in the guide before" for name in known)


def _playbook(arguments: list[str], options: Values, files: set[str]) -> t.Iterator[str]:
    if len(arguments) != 1:
        yield f"one playbook at a time: {arguments}"
        return
    ours = arguments[0].startswith(OURS)
    playbook = f"playbooks/{arguments[0][len(OURS) :]}.yml" if ours else arguments[0]
    yield from _missing([playbook, *options.get("-i", [])], files)
    path = ROOT / playbook
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    for variable in options.get("-e", []):
        name = variable.partition("=")[0]
        if text and not re.search(rf"\b{re.escape(name)}\b", text):
            yield f"{playbook} has no variable {name}"


def _inventory(arguments: list[str], options: Values, files: set[str]) -> t.Iterator[str]:
    yield from _missing(options.get("-i", []), files)
    if arguments:
        yield f"what are {arguments}?"


def _adhoc(arguments: list[str], options: Values, files: set[str]) -> t.Iterator[str]:
    yield from _missing(options.get("-i", []), files)
    for module in options.get("-m", []):
        if module.startswith(OURS):
            yield from _missing([f"plugins/modules/{module[len(OURS) :]}.py"], set())
        elif not module.startswith("ansible.builtin."):
            yield f"what is the module {module}?"


def _galaxy(arguments: list[str], _options: Values, _files: set[str]) -> t.Iterator[str]:
    if arguments not in (["collection", "build"], ["collection", "install", "."]):
        yield f"what is {arguments}?"


def _doc(arguments: list[str], options: Values, _files: set[str]) -> t.Iterator[str]:
    kind = options.get("-t", ["module"])[0]
    for name in arguments:
        short = name[len(OURS) :] if name.startswith(OURS) else name
        place = f"roles/{short}" if kind == "role" else f"plugins/{_FOLDERS.get(kind, kind)}/{short}.py"
        yield from _missing([place], set())


def _make(arguments: list[str], _options: Values, _files: set[str]) -> t.Iterator[str]:
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    yield from (f"make has no target {name}" for name in arguments if name not in targets)


def _pip(arguments: list[str], _options: Values, _files: set[str]) -> t.Iterator[str]:
    wanted = [*ROOT.glob("tests/requirements*.txt"), ROOT / "meta/ee-requirements.txt"]
    known = {line for path in wanted for line in re.findall(r"^[\w-]+", path.read_text(encoding="utf-8"), re.MULTILINE)}
    if arguments[:1] != ["install"]:
        yield f"what is pip {arguments}?"
    yield from (f"{name} is in no requirements file" for name in arguments[1:] if name not in known)


def _apt(arguments: list[str], _options: Values, _files: set[str]) -> t.Iterator[str]:
    if arguments[:1] != ["install"]:
        yield f"what is apt {arguments}?"
    yield from (f"no test knows the package {name}" for name in arguments[1:] if name not in _PACKAGES)


def _venv(_arguments: list[str], options: Values, _files: set[str]) -> t.Iterator[str]:
    if options.get("-m") != ["venv"]:
        yield "python3 only makes a venv"


def _sources(arguments: list[str], _options: Values, files: set[str]) -> t.Iterator[str]:
    yield from _missing(arguments[:-1], files)


def _runner(arguments: list[str], options: Values, files: set[str]) -> t.Iterator[str]:
    if arguments[:1] != ["run"] or len(arguments) != 2:
        yield "ansible-runner run DIRECTORY"
    yield from _missing(options.get("-p", []), files)


def _builder(arguments: list[str], _options: Values, files: set[str]) -> t.Iterator[str]:
    if arguments != ["build"]:
        yield f"what is ansible-builder {arguments}?"
    yield from _missing(["execution-environment.yml"], files)


def _molecule(arguments: list[str], _options: Values, _files: set[str]) -> t.Iterator[str]:
    if arguments not in (["test"], ["converge"], ["destroy"]):
        yield f"what is molecule {arguments}?"


def _anything(_arguments: list[str], _options: Values, _files: set[str]) -> t.Iterator[str]:
    return iter(())


_CHECKS: dict[str, t.Callable[[list[str], Values, set[str]], t.Iterator[str]]] = {
    "ansible": _adhoc,
    "ansible-playbook": _playbook,
    "ansible-inventory": _inventory,
    "ansible-galaxy": _galaxy,
    "ansible-doc": _doc,
    "ansible-builder": _builder,
    "ansible-runner": _runner,
    "cp": _sources,
    "make": _make,
    "mkdir": _anything,
    "molecule": _molecule,
    "pip": _pip,
    "python3": _venv,
    "apt": _apt,
    ".": _anything,
}
