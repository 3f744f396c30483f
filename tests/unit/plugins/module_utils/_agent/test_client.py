# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One guest's agent: no needless round trip, no second wait for one that hangs, and frozen is not blocked."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent import protocol, untrusted
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import FREEZE_ALLOWED, GuestAgent
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import VERSIONS, FakeGuest


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_value_and_the_time_it_may_take(version: str) -> None:
    guest = FakeGuest(version)
    agent = guest.agent(7)
    assert agent.call("guest-ping") == {}
    assert agent.call("guest-ping", timeout=3) == {}
    assert (guest.timeouts, agent.round_trips, agent.name) == ([7, 3], 2, "fake")


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("guest-set-time", _errors.CommandBlocked),
        ("guest-nonsense", _errors.CommandUnknown),
        ("guest-get-osinfo", None),
    ],
)
def test_what_it_would_refuse_is_not_sent(version: str, command: str, kind: type | None) -> None:
    guest = FakeGuest(version, block=["guest-set-time"])
    agent = guest.agent()
    assert agent.capabilities().commands
    assert agent.capabilities() is agent.capabilities()
    sent = len(guest.sent)
    if kind is None:
        agent.call(command)
        agent.require(command)
    else:
        with pytest.raises(_errors.CommandRefused) as called:
            agent.call(command)
        with pytest.raises(_errors.CommandRefused) as required:
            agent.require(command)
        assert called.value.__class__ is required.value.__class__ is kind
        assert (called.value.command, called.value.domain) == (command, "fake")
    assert guest.sent[sent:] == ([command] if kind is None else [])
    assert agent.can(command) is (kind is None)


@pytest.mark.parametrize("knows", [False, True], ids=["unasked", "after guest-info"])
@pytest.mark.parametrize(
    ("frozen", "command", "kind"),
    [
        (True, "guest-exec", _errors.GuestFrozen),
        (True, "guest-set-time", _errors.GuestFrozen),
        (True, "guest-fsfreeze-freeze", _errors.GuestFrozen),
        (False, "guest-set-time", _errors.CommandBlocked),
        (True, "guest-nonsense", _errors.CommandUnknown),
    ],
)
def test_frozen_is_told_from_blocked(version: str, knows: bool, frozen: bool, command: str, kind: type) -> None:
    guest = FakeGuest(version, block=["guest-set-time"])
    guest.frozen = frozen
    agent = guest.agent()
    if knows:
        agent.capabilities()
    with pytest.raises(_errors.CommandRefused) as caught:
        agent.call(command)
    assert caught.value.__class__ is kind
    assert (caught.value.command, caught.value.domain) == (command, "fake")


@pytest.mark.parametrize("block", [[], ["guest-set-time"]])
def test_what_a_frozen_agent_could_do_is_forgotten_after_the_thaw(version: str, block: list) -> None:
    guest = FakeGuest(version, block=block)
    guest.frozen = True
    agent = guest.agent()
    assert not agent.can("guest-get-osinfo")
    guest.frozen = False
    sent = len(guest.sent)
    assert agent.call("guest-get-osinfo")
    assert guest.sent[sent:] == ["guest-fsfreeze-status", "guest-info", "guest-get-osinfo"]
    assert agent.capabilities().blocked == FakeGuest(version, block=block).agent().capabilities().blocked
    if block:
        with pytest.raises(_errors.CommandBlocked):
            agent.call("guest-set-time")
    assert agent.call("guest-get-osinfo")
    assert guest.sent.count("guest-info") == 2


@pytest.mark.parametrize("command", ["guest-get-osinfo", "guest-nonsense"])
def test_thawed_and_still_refused(version: str, command: str) -> None:
    guest = FakeGuest(version, block=["guest-get-osinfo"])
    guest.frozen = True
    agent = guest.agent()
    agent.capabilities()
    guest.frozen = False
    with pytest.raises(_errors.CommandUnknown if command == "guest-nonsense" else _errors.CommandBlocked) as caught:
        agent.call(command)
    assert (caught.value.command, caught.value.domain) == (command, "fake")
    assert command not in guest.sent


def test_a_handle_that_is_not_found_is_no_unknown_command(version: str) -> None:
    with pytest.raises(_errors.CommandRefused) as caught:
        FakeGuest(version).agent().call("guest-file-read", {"handle": 99})
    assert caught.value.__class__ is _errors.CommandFailed


def test_all_blocked_is_not_frozen(version: str) -> None:
    everything = FakeGuest(version).agent().capabilities().commands.keys() - FREEZE_ALLOWED
    agent = FakeGuest(version, block=everything).agent()
    assert agent.capabilities().looks_frozen()
    with pytest.raises(_errors.CommandBlocked):
        agent.call("guest-exec")


def test_a_blocked_freeze_status_is_not_asked_for_ever() -> None:
    guest = FakeGuest(block=["guest-fsfreeze-status"])
    with pytest.raises(_errors.CommandBlocked):
        guest.agent().frozen()
    assert guest.sent == ["guest-fsfreeze-status"]


def test_blocked_with_a_blocked_freeze_status_is_blocked() -> None:
    guest = FakeGuest(block=["guest-fsfreeze-status", "guest-exec"])
    with pytest.raises(_errors.CommandBlocked):
        guest.agent().call("guest-exec")


def test_a_silent_agent_is_asked_once() -> None:
    guest = FakeGuest()
    guest.silent = {"guest-ping"}
    agent = guest.agent()
    for command in ("guest-ping", "guest-ping", "guest-get-osinfo"):
        with pytest.raises(_errors.AgentTimeout) as caught:
            agent.call(command)
        assert (caught.value.domain, caught.value.command) == ("fake", "guest-ping")
    assert guest.sent == ["guest-ping"]
    agent.retry()
    assert agent.call("guest-get-load")
    assert guest.sent == ["guest-ping", "guest-get-load"]


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (_errors.AgentTimeout("x"), True),
        (_errors.AgentDisappeared("x"), True),
        (_errors.AgentDisconnected("x"), True),
        (_errors.AgentBroken("x"), True),
        (_errors.ProtocolError("x"), False),
        (_errors.CommandFailed("x"), False),
        (_errors.CommandUnknown("x"), False),
    ],
)
def test_after_which_error_nothing_more_is_sent(error: _errors.GuestAgentError, final: bool) -> None:
    guest = FakeGuest()
    guest.raises["guest-ping"] = error
    agent = guest.agent()
    for _time in range(3):
        with pytest.raises(type(error)):
            agent.call("guest-ping")
    assert len(guest.sent) == (1 if final else 3)


def test_retry_forgets_what_it_could_do() -> None:
    guest = FakeGuest()
    agent = guest.agent()
    assert agent.known_commands() == {}
    guest.frozen = True
    assert not agent.can("guest-exec")
    assert agent.known_commands()["guest-exec"] is False
    guest.frozen = False
    agent.retry()
    assert agent.known_commands() == {}
    assert agent.can("guest-exec")


def test_an_agent_that_does_not_say_what_it_can_is_tried() -> None:
    agent = FakeGuest(block=["guest-info"]).agent()
    assert agent.can("guest-exec")
    agent.require("guest-exec")
    assert agent.call("guest-ping") == {}


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("guest-info", []),
        ("guest-info", {}),
        ("guest-info", {"version": "1", "supported_commands": [1]}),
        ("guest-info", {"version": 1, "supported_commands": []}),
        ("guest-info", {"version": "1", "supported_commands": [{"name": 1}]}),
        ("guest-fsfreeze-status", None),
        ("guest-fsfreeze-status", "half"),
        ("guest-fsfreeze-status", ["frozen"]),
    ],
)
def test_an_agent_that_lies_about_itself(command: str, reply: t.Any) -> None:
    guest = FakeGuest()
    guest.replies[command] = reply
    agent = guest.agent()
    with pytest.raises(_errors.ProtocolError):
        agent.capabilities() if command == "guest-info" else agent.frozen()


def test_what_it_says_of_itself_is_bounded() -> None:
    guest = FakeGuest()
    commands = [{"name": f"guest-{number}\x1b", "enabled": True} for number in range(5000)]
    guest.replies["guest-info"] = {"version": "9" * 1000, "supported_commands": commands}
    found = guest.agent().capabilities()
    assert (len(found.version), len(found.commands)) == (64, 512)
    assert all(name.isprintable() for name in found.commands)


class _Replies:
    """A transport that says what it was told to."""

    name = "liar"

    def __init__(self, reply: str) -> None:
        self._reply = reply

    def exchange(self, request: protocol.Request, seconds: int) -> str:
        return self._reply.replace("ID", str(request.id))


@pytest.mark.parametrize("reply", ["", "[]", '{"return": 1, "id": 0}', '{"id": ID}'])
def test_a_false_reply_is_an_error_that_says_whose(reply: str) -> None:
    with pytest.raises(_errors.ProtocolError, match="Domain liar: guest-ping: "):
        GuestAgent(_Replies(reply)).call("guest-ping")
    assert GuestAgent(_Replies('{"id": ID, "return": 5}')).call("guest-ping") == 5


@pytest.mark.parametrize("numbers", ["dropped", "refused"])
def test_agents_that_give_no_number_back(version: str, numbers: str) -> None:
    guest = FakeGuest(version, block=["guest-set-time"], numbers=numbers)
    agent = guest.agent()
    assert agent.call("guest-ping") == {}
    assert agent.call("guest-get-osinfo")["id"] == "debian"
    assert agent.can("guest-exec")
    with pytest.raises(_errors.CommandBlocked):
        agent.call("guest-set-time")
    with pytest.raises(_errors.CommandFailed):
        agent.call("guest-file-read", {"handle": 99})
    # Said once, and remembered, also when it could do other things.
    assert agent.round_trips == len(guest.sent) == (5 if numbers == "refused" else 4)
    agent.retry()
    assert agent.call("guest-ping") == {}
    assert agent.round_trips == (6 if numbers == "refused" else 5)


def test_a_command_is_not_sent_again_to_an_agent_that_took_numbers_before() -> None:
    guest = FakeGuest()
    agent = guest.agent()
    agent.call("guest-ping")
    guest.raises["guest-get-osinfo"] = _errors.NumberRefused("the agent does not accept numbered requests")
    with pytest.raises(_errors.NumberRefused):
        agent.call("guest-get-osinfo")
    del guest.raises["guest-get-osinfo"]
    guest.numbers = "dropped"
    with pytest.raises(_errors.ProtocolError, match="no number, unlike those before it"):
        agent.call("guest-get-osinfo")
    assert guest.sent == ["guest-ping", "guest-get-osinfo", "guest-get-osinfo"]
    agent.retry()  # another agent may have come
    assert agent.call("guest-get-osinfo")


def test_an_agent_that_refuses_all_requests_is_asked_twice() -> None:
    error = {"class": "GenericError", "desc": "QMP input object member 'id' is unexpected"}
    agent = GuestAgent(_Replies(json.dumps({"error": error})))
    for round_trips in (2, 3):
        with pytest.raises(_errors.NumberRefused, match="Domain liar: guest-ping: "):
            agent.call("guest-ping")
        assert agent.round_trips == round_trips


def test_an_agent_that_is_silent_on_commands_it_does_not_know() -> None:
    guest = FakeGuest()
    guest.silent = {"guest-info", "guest-get-users"}
    agent = guest.agent(5)
    assert agent.can("guest-exec")
    agent.require("guest-exec")
    assert guest.sent == ["guest-info", "guest-ping"]
    assert guest.timeouts == [4, 1]  # no more than the time of one command
    assert agent.call("guest-get-host-name")
    for _time in range(2):
        with pytest.raises(_errors.CommandUnknown, match="Domain fake: guest-get-users: the agent does not answer this") as caught:
            agent.call("guest-get-users")
        assert caught.value.hint
    assert guest.sent[2:] == ["guest-get-host-name", "guest-get-users", "guest-ping"]
    agent.retry()
    guest.silent = set()
    assert agent.call("guest-get-users") == []


def test_what_may_have_been_done_is_never_taken_for_unknown() -> None:
    guest = FakeGuest()
    guest.silent = {"guest-info", "guest-exec", "guest-exec-status"}
    agent = guest.agent()
    agent.can("guest-exec")
    with pytest.raises(_errors.AgentTimeout):
        agent.call("guest-exec", {"path": "true"})
    assert guest.sent == ["guest-info", "guest-ping", "guest-exec"]


def test_an_agent_that_has_said_what_it_can_is_slow_and_not_ignorant() -> None:
    guest = FakeGuest()
    guest.silent = {"guest-get-users"}
    agent = guest.agent()
    agent.capabilities()
    with pytest.raises(_errors.AgentTimeout):
        agent.call("guest-get-users")
    assert guest.sent == ["guest-info", "guest-get-users"]


def test_a_request_that_is_too_long_is_not_sent() -> None:
    guest = FakeGuest()
    agent = guest.agent()
    with pytest.raises(_errors.InvalidInput, match=r"Domain fake: guest-exec: .* are safe to send"):
        agent.call("guest-exec", {"path": "x" * protocol.REQUEST_MAX})
    assert guest.sent == []
    assert agent.call("guest-ping") == {}


def test_who_reads_an_answer_names_neither_guest_nor_command() -> None:
    agent = FakeGuest().agent()
    with pytest.raises(_errors.ProtocolError) as caught, agent.named():
        untrusted.text(agent.call("guest-get-host-name"), "the host name")
    assert (caught.value.domain, caught.value.command) == ("fake", "guest-get-host-name")
    assert str(caught.value).startswith("Domain fake: guest-get-host-name: ")


def test_what_an_error_names_already_stays() -> None:
    agent = FakeGuest().agent()
    with pytest.raises(_errors.ProtocolError) as caught, agent.named():
        raise _errors.ProtocolError("x", domain="other", command="guest-file-read")
    assert (caught.value.domain, caught.value.command) == ("other", "guest-file-read")


def test_an_agent_that_does_not_come_back_is_waited_for_once() -> None:
    agent, clock = FakeGuest().agent(5), FakeClock()
    gone = _errors.AgentDisappeared("gone")
    agent._transport.renew = _raise(_errors.ConnectionLost("lost"))  # type: ignore[method-assign]
    began = clock.monotonic()
    for _what_is_left in range(3):
        agent.await_return(gone, clock)
    assert 5 <= clock.monotonic() - began < 6


def _raise(error: Exception) -> t.Callable[[float], None]:
    def renew(_seconds: float) -> None:
        raise error

    return renew
