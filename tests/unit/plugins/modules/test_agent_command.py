# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""agent_command from its arguments to its result, over libvirt and a guest in memory."""

from __future__ import annotations

import base64
import json
import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible.module_utils import basic
from ansible.module_utils.common.parameters import PASS_VARS

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import (
    agent_command as _agent_command,
)
from ansible_collections.virtops.guest_agent.plugins.modules import agent_command
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import Program
from ansible_collections.virtops.guest_agent.tests.unit.fakes.hardware import Hardware
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.harmless import harmless, texts
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run

SECRET = "correct-horse-battery-staple"


@pytest.fixture
def domains() -> list[Domain]:
    return [Domain(guest=Hardware.skewed())]


def test_a_reply_is_given_as_data(guest: Hardware, run: Run) -> None:
    result = run(agent_command, command="guest-get-timezone")
    assert (result["changed"], result["response"]) == (False, {"offset": 0, "zone": "UTC"})
    assert "request" not in result


READING = ["guest-ping", "guest-info", "guest-get-osinfo", "guest-network-get-interfaces", "guest-fsfreeze-status"]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("command", READING)
def test_commands_that_change_nothing_are_always_sent(guest: Hardware, run: Run, command: str, check: bool) -> None:
    result = run(agent_command, command=command, check=check)
    assert (result["changed"], "request" in result) == (False, False)
    assert guest.sent[-1] == command


@pytest.mark.parametrize(
    ("command", "read_only"),
    [
        *((command, True) for command in READING),
        ("guest-exec-status", True),
        ("guest-ssh-get-authorized-keys", True),
        ("guest-network-get-route", True),
        ("guest-exec", False),
        ("guest-set-time", False),
        ("guest-file-read", False),
        ("guest-ssh-add-authorized-keys", False),
        ("guest-fsfreeze-thaw", False),
        ("guest-get-", False),
        ("guest-pings", False),
        ("xguest-ping", False),
    ],
)
def test_which_commands_change_nothing(command: str, read_only: bool) -> None:
    assert _agent_command.is_read_only(command) is read_only


@pytest.mark.parametrize(("command", "changed"), [("guest-get-time", True), ("guest-fstrim", False)])
def test_what_the_user_says_of_a_change(guest: Hardware, run: Run, command: str, changed: bool) -> None:
    assert run(agent_command, command=command, changed=changed)["changed"] is changed
    assert run(agent_command, command=command, changed=changed, check=True)["changed"] is changed


def test_the_user_cannot_talk_check_mode_into_a_change(guest: Hardware, run: Run) -> None:
    run(agent_command, command="guest-fstrim", changed=False, check=True)
    assert "guest-fstrim" not in guest.sent


SECRETS = [
    ("guest-set-user-password", {"username": "root", "password": base64.b64encode(SECRET.encode()).decode(), "crypted": False}),
    ("guest-exec", {"path": "/bin/true", "input-data": SECRET, "env": [f"A={SECRET}"]}),
    ("guest-file-write", {"handle": 1, "buf-b64": SECRET}),
    ("guest-exec", {"path": "/bin/true", "arg": ["-p", SECRET]}),
    ("guest-exec", {"path": "/bin/true", "Credentials": SECRET}),
    ("guest-exec", {"path": "/bin/true", "nested": [{"deep": {"api_token": SECRET}}]}),
]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(("command", "arguments"), SECRETS)
def test_secrets_appear_nowhere(
    guest: Hardware, run: Run, command: str, arguments: dict, check: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(basic, "has_journal", False)
    monkeypatch.setattr(basic.syslog, "syslog", lambda _level, text: logged.append(text))
    # Since ansible-core 2.20 the invocation is returned on demand.
    demand = {"_ansible_inject_invocation": True} if "inject_invocation" in PASS_VARS else {}
    result = run(agent_command, command=command, arguments=arguments, check=check, diff=True, **demand)
    assert "Invoked with" in logged[0]
    assert SECRET not in json.dumps([logged, result])
    assert result["invocation"]["module_args"]["command"] == command
    if check:
        assert result["request"]["execute"] == command
        assert set(result["request"]["arguments"]) == set(arguments)


def test_an_answer_may_say_what_an_argument_said(guest: Hardware, run: Run) -> None:
    guest.replies["guest-exec"] = {"path": "/bin/true"}
    assert run(agent_command, command="guest-exec", arguments={"path": "/bin/true"})["response"] == {"path": "/bin/true"}


def test_a_number_that_a_template_made_a_text(guest: Hardware, run: Run) -> None:
    result = run(agent_command, command="guest-exec-status", arguments={"pid": "17"})
    assert "expected: integer" in result["msg"]
    assert "as one template" in result["failure"]["hint"]


def test_an_unknown_command_has_a_hint(guest: Hardware, run: Run) -> None:
    result = run(agent_command, command="guest-get-vcpu")
    assert result["failure"]["kind"] == "command_unknown"
    assert "guest-get-vcpus" in result["failure"]["hint"]
    assert "newer" in run(agent_command, command="zzz")["failure"]["hint"]


def test_an_agent_that_does_not_say_what_it_can_do_is_asked_all_the_same(guest: Hardware, run: Run) -> None:
    guest.blocked.add("guest-info")
    assert run(agent_command, command="guest-get-timezone")["response"]
    assert run(agent_command, command="guest-no-such")["failure"]["kind"] == "command_unknown"


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("guest-sync", {"id": 1}, "synchronises the channel"),
        ("guest-sync-delimited", {"id": 1}, "synchronises the channel"),
        ("guest-ping\n", {}, "not the name"),
        ("{{ x }}", {}, "not the name"),
        ("", {}, "not the name"),
        ("guest-file-read", {"handle": 1, "count": 10_000_000}, "count may be"),
        ("guest-file-write", {"handle": 1, "buf-b64": "x" * 200_000}, "are safe to send"),
    ],
)
def test_requests_that_would_do_harm(guest: Hardware, run: Run, command: str, arguments: dict, words: str) -> None:
    result = run(agent_command, command=command, arguments=arguments)
    assert result["failure"]["kind"] == "invalid_input"
    assert words in result["msg"]
    assert command not in guest.sent


@pytest.mark.parametrize("command", sorted(_agent_command.NO_REPLY))
def test_no_reply_is_what_some_commands_give(guest: Hardware, run: Run, command: str) -> None:
    guest.silent.add(command)
    result = run(agent_command, command=command)
    assert (result.get("failed"), result["changed"], result["response"]) == (None, True, None)


@pytest.mark.parametrize("error", [_errors.ConnectionLost, _errors.StillInFlight])
def test_what_may_not_have_been_heard_is_no_success(guest: Hardware, error: type[_errors.GuestAgentError]) -> None:
    guest.raises["guest-shutdown"] = error("nobody knows")
    with pytest.raises(error):
        agent_command._send(guest.agent(), "guest-shutdown", {})


def test_a_program_by_hand(host: Hypervisor, run: Run) -> None:
    host.domains[0].guest = Hardware(programs={("/bin/true",): Program(0)})
    pid = run(agent_command, command="guest-exec", arguments={"path": "/bin/true"})["response"]["pid"]
    ended = run(agent_command, command="guest-exec-status", arguments={"pid": pid})
    assert (ended["changed"], ended["response"]) == (False, {"exited": True, "exitcode": 0})


def test_a_hostile_answer_is_plain_and_bounded(guest: Hardware, run: Run) -> None:
    nested: t.Any = "deep"
    for _level in range(100):
        nested = [nested]
    guest.replies["guest-get-osinfo"] = {
        "name": "a\x1b[31mb\u202e\ud800\nc",
        "__ansible_unsafe": "x",
        "key\x1b": 1,
        "nested": nested,
        "long": "x" * 100_000,
    }
    response = run(agent_command, command="guest-get-osinfo")["response"]
    assert all(harmless(text) for text in texts(response))
    assert "__ansible_unsafe" not in response
    assert len(response["long"]) == 100_000
    assert json.dumps(response["nested"]).count("[") < 40
