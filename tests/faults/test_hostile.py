# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Promise 4: whatever an agent answers gets a typed error or bounded plain data, in inventory, connection and every module."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults import corpus
from tests.integration.ansible_cli import Ansible, write_inventory
from tests.integration.guests_by_agent import Plays, variables
from tests.integration.module_table import CASES
from tests.lab import Lab
from tests.lab.hostile import AgentError, ScriptedAgent, agent_info, default_replies

#: The short form takes what is farthest from each other.
SHORT = {"templates", "every value of another type", "an error with harm in it"}
#: What is not printable, or turns the text around. A failure's sentence is printed as it is.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
#: Some wait on their own for what they have begun; there are as many of them as that takes at most.
SECONDS_EACH = 10
GATHER = ["os", "hostname", "interfaces", "filesystems", "timezone", "users", "vcpus", "disks", "load"]
RESULT_BYTES = 2 * corpus.MIB

#: Commands that the healthy agent of the lab does not know. Asked to write a file or to run a program it says that it has.
MORE = {
    "guest-exec": {"pid": 1},
    "guest-exec-status": {"exited": True, "exitcode": 0, "out-data": base64.b64encode(b"out").decode(), "err-data": ""},
    "guest-file-open": 1000,
    "guest-file-close": {},
    "guest-file-read": {"count": 3, "buf-b64": base64.b64encode(b"abc").decode(), "eof": True},
    "guest-file-write": {"count": 3, "eof": False},
    "guest-file-flush": {},
    "guest-file-seek": {"position": 0, "eof": False},
    "guest-fstrim": {"paths": [{"path": "/", "trimmed": 4096, "minimum": 0}]},
    "guest-fsfreeze-thaw": 0,
    "guest-get-memory-blocks": [{"phys-index": 0, "online": True, "can-offline": False}],
    "guest-get-memory-block-info": {"size": 134217728},
    "guest-set-user-password": {},
    "guest-set-time": {},
    "guest-ssh-get-authorized-keys": {"keys": ["ssh-ed25519 AAAA somebody"]},
    "guest-ssh-add-authorized-keys": {},
    "guest-get-load": {"load1m": 0.1, "load5m": 0.1, "load15m": 0.1},
}
#: Without it libvirt itself takes the agent for dead and hands nothing on.
HONEST = {"guest-sync", "guest-sync-delimited"}


def lying(lie: corpus.Lie) -> dict[str, Any]:
    """The table of an agent that answers everything with this lie."""
    honest = {**default_replies(), **MORE}
    honest["guest-info"] = agent_info([*honest, "guest-info"])

    def handler(command: str) -> Callable[[dict[str, Any]], bytes]:
        def answer(request: dict[str, Any]) -> bytes:
            reply = honest[command]
            try:
                message = {"return": reply(request) if callable(reply) else reply}
            except AgentError as error:
                message = dict(error.reply)
            return lie({**message, **({"id": request["id"]} if "id" in request else {})})

        return answer

    return {command: handler(command) for command in honest if command not in HONEST}


def wrong(result: dict[str, Any]) -> str:
    """What is wrong with a result, "" for nothing."""
    text, sentence = json.dumps(result), str(result.get("msg", ""))
    failure = result.get("failure", {})
    problems = (
        ("a traceback", "Traceback (most recent" in str(result.get("exception"))),
        ("more than a sentence", "\n" in sentence or len(sentence) > 2000),
        ("what cannot be printed", bool(result.get("failed")) and bool(UNPRINTABLE.search(sentence))),
        ("a failure that names no guest", bool(failure) and not failure.get("domain")),
        ("a failure without its kind", bool(result.get("failed")) and not failure.get("kind")),
        ("too much", len(text) > RESULT_BYTES),
        ("an unreachable host, where only the agent is", bool(result.get("unreachable"))),
    )
    return ", ".join(what for what, is_so in problems if is_so)


@pytest.mark.parametrize("name", [name if name in SHORT else pytest.param(name, marks=pytest.mark.full) for name in corpus.ENTRIES])
def test_whatever_it_answers(
    lab: Lab, ansible: Ansible, start: Callable[..., str], options_file: Path, tmp_path: Path, name: str
) -> None:
    guest = start("it-liar", agent="relay")
    cases = [case for case in CASES if case.really and case.module != "agent_channel"]
    tasks = [{"name": case.module, f"virtops.guest_agent.{case.module}": dict(case.args)} for case in cases]
    host = variables(lab, guest, timeout=1, command_timeout=10)
    plays = Plays(ansible, tmp_path, {"guest": host, "localhost": {"ansible_python_interpreter": sys.executable}})
    with ScriptedAgent(lab.relay(guest), lying(corpus.ENTRIES[name])) as agent:
        found = plays.play(*tasks, hosts="guest", ignore_errors=True, timeout=SECONDS_EACH * len(tasks))
        assert len(found) == len(tasks), found[-1]
        problems = [f"{result['task']}: {what}: {str(result)[:600]}" for result in found if (what := wrong(result))]
        over = plays.play({"ansible.builtin.raw": "echo hello"}, hosts="guest", ignore_unreachable=True, ignore_errors=True)[0]
        if (over.get("failed") or over.get("unreachable")) and UNPRINTABLE.search(over["msg"].replace("\n", " ")):
            problems.append(f"raw: what cannot be printed: {over}")
        options = {"include": [f"libvirt.name == '{guest}'"], "hostnames": ["guest_hostname", "name"], "gather_subset": GATHER}
        write_inventory(options_file, uri=[lab.uri], agent_timeout=2, **options)
        hosts = ansible.inventory(options_file)["_meta"]["hostvars"]
        assert agent.requests
    assert not problems, "\n\n".join(problems)
    assert [found["libvirt_name"] for found in hosts.values()] == [guest]
    assert not list(Path.cwd().glob(corpus.TRACE))
    assert not list(tmp_path.rglob(corpus.TRACE))
