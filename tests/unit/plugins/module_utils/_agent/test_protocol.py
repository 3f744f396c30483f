# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests are bounded and numbered; whatever comes back is a value or a GuestAgentError."""

from __future__ import annotations

import json
import string
import typing as t

import pytest
from hypothesis import given, strategies as st

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent import protocol
from ansible_collections.virtops.guest_agent.tests.unit.harmless import harmless

REQUEST = protocol.Request("guest-ping", 7, "")


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (None, {"execute": "guest-x"}),
        ({}, {"execute": "guest-x"}),
        ({"a": [1, None, True, "ü\x1b"]}, {"execute": "guest-x", "arguments": {"a": [1, None, True, "ü\x1b"]}}),
    ],
)
def test_a_request_is_one_line_of_ascii(arguments: t.Any, body: dict) -> None:
    request = protocol.build("guest-x", arguments)
    assert json.loads(request.text) == {**body, "id": request.id}
    assert request.command == "guest-x"
    assert request.text.isascii()
    assert "\n" not in request.text


def test_numbers_are_never_used_again() -> None:
    assert len({protocol.build("guest-x").id for _number in range(100)}) == 100


def _of_size(size: int, fill: str) -> dict[str, str]:
    empty = len(protocol.build("guest-x", {"a": ""}).text) + 2  # the number may grow by two digits
    return {"a": fill * ((size - empty) // len(json.dumps(fill).strip('"')))}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (_of_size(protocol.REQUEST_MAX + 100, "x"), "are safe to send"),
        (_of_size(protocol.REQUEST_MAX + 100, "ü"), "are safe to send"),
        ({"a": b"bytes"}, "cannot be sent"),
        ({"a": {1, 2}}, "cannot be sent"),
    ],
)
def test_what_cannot_be_sent_is_refused(arguments: t.Any, words: str) -> None:
    with pytest.raises(_errors.InvalidInput, match=words) as caught:
        protocol.build("guest-x", arguments)
    assert caught.value.command == "guest-x"


@pytest.mark.parametrize("fill", ["x", "ü"])
def test_what_just_fits_is_sent(fill: str) -> None:
    assert len(protocol.build("guest-x", _of_size(protocol.REQUEST_MAX, fill)).text) <= protocol.REQUEST_MAX


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ('{"return": {}, "id": 7}', {}),
        ('{"id": 7, "return": null}', None),
        ('{"id": 7, "return": [1, "a\\u0000b"]}', [1, "a\0b"]),
        ('{"id": 7, "return": "\\udc00"}', "\udc00"),
        ('{"id": 7, "return": 123456789012345678901234}', 123456789012345678901234),
    ],
)
def test_values(reply: str, value: t.Any) -> None:
    assert protocol.parse(REQUEST, reply).value == value


@pytest.mark.parametrize("reply", ['{"return": {}}', '{"return": {}, "id": null}'])
def test_a_reply_without_a_number_is_of_an_agent_before_4_0(reply: str) -> None:
    assert protocol.parse(REQUEST, reply) == ({}, False)
    with pytest.raises(_errors.ProtocolError, match="no number, unlike those before it"):
        protocol.parse(REQUEST, reply, must_be_numbered=True)


def test_a_request_without_a_number() -> None:
    request = protocol.build("guest-x", {"a": 1}, numbered=False)
    assert request == ("guest-x", None, '{"execute":"guest-x","arguments":{"a":1}}')
    assert protocol.parse(request, '{"return": 5}', must_be_numbered=True) == (5, False)
    with pytest.raises(_errors.ProtocolError, match="another request"):
        protocol.parse(request, '{"return": 5, "id": 7}')


@pytest.mark.parametrize("words", ["QMP input object member 'id' is unexpected", "QMP input member 'id' is unexpected"])
def test_agents_that_take_no_number(words: str) -> None:
    assert isinstance(protocol.refusal("guest-x", words), _errors.NumberRefused)
    assert protocol.is_refusal(words)
    about_another = protocol.refusal("guest-x", words.replace("'id'", "'ids'"))
    assert about_another.__class__ is _errors.CommandFailed


NO_REPLIES = [
    ("", "not JSON"),
    ("hello", "not JSON"),
    ('{"return": {}, "id": 7', "not JSON"),
    ('{"return": NaN, "id": 7}', "not JSON"),
    ('{"return": Infinity, "id": 7}', "not JSON"),
    ('{"return": -Infinity, "id": 7}', "not JSON"),
    ('{"return": ' + "1" * 25 + ', "id": 7}', "not JSON"),
    ('{"return": ' + "1" * 1_000_000 + ', "id": 7}', "not JSON"),
    ("[" * 200_000, "not JSON"),
    ('{"return": ' + "[" * 100_000 + "]" * 100_000 + ', "id": 7}', "not JSON"),
    ("[]", "not a JSON object"),
    ('"text"', "not a JSON object"),
    ("null", "not a JSON object"),
    ('{"return": {}, "id": 8}', "another request"),
    ('{"return": {}, "id": "7"}', "another request"),
    ('{"return": {}, "id": [7]}', "another request"),
    ('{"error": {"class": "GenericError", "desc": "x"}, "id": 8}', "another request"),
    ('{"id": 7}', "neither"),
    ('{"event": "x", "id": 7}', "neither"),
    (" " * (protocol.REPLY_MAX + 1), "longer than"),
]


@pytest.mark.parametrize(("reply", "words"), NO_REPLIES)
def test_what_is_no_reply(reply: str, words: str) -> None:
    with pytest.raises(_errors.ProtocolError, match=words) as caught:
        protocol.parse(REQUEST, reply)
    assert caught.value.command == "guest-ping"


@pytest.mark.parametrize(("number", "reply"), [(1, "true"), (0, "false")])
def test_a_boolean_is_no_number(number: int, reply: str) -> None:
    with pytest.raises(_errors.ProtocolError, match="another request"):
        protocol.parse(protocol.Request("guest-ping", number, ""), f'{{"return": {{}}, "id": {reply}}}')


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        ({"class": "CommandNotFound", "desc": "The command x has not been found"}, _errors.CommandUnknown, "not know"),
        ({"class": "CommandNotFound", "desc": "Command x has been disabled"}, _errors.CommandBlocked, "refuses"),
        (
            {"class": "CommandNotFound", "desc": "Command x has been disabled: the agent is in frozen state"},
            _errors.CommandBlocked,
            "refuses",
        ),
        ({"class": "CommandNotFound", "desc": "Befehl unbekannt"}, _errors.CommandBlocked, "refuses"),
        ({"class": "CommandNotFound"}, _errors.CommandBlocked, "refuses"),
        ({"class": "GenericError", "desc": "no such file"}, _errors.CommandFailed, "the agent says: no such file"),
        # words of the command's own, or of its arguments
        ({"class": "GenericError", "desc": "handle '99' has not been found"}, _errors.CommandFailed, "handle '99' has"),
        (
            {"class": "GenericError", "desc": "failed to open file '/x has been disabled' (mode: 'r'): No such file"},
            _errors.CommandFailed,
            "the agent says: failed to open",
        ),
        ({"class": "GenericError", "desc": "x: The command y has not been found"}, _errors.CommandFailed, "the agent says: x"),
        ({"class": "CommandNotFound", "desc": "x has not been found"}, _errors.CommandBlocked, "refuses"),
        (
            {"class": "CommandNotFound", "desc": "The command x has been disabled for this instance"},
            _errors.CommandBlocked,
            "refuses",
        ),
        ({"class": "GenericError", "desc": "a\x1b[31m\nb\u202e" + "x" * 999}, _errors.CommandFailed, "the agent says: a"),
        ({"class": "GenericError"}, _errors.CommandFailed, "no reason given"),
        ({"desc": 5}, _errors.CommandFailed, "no reason given"),
        ({}, _errors.CommandFailed, "no reason given"),
        ("text", _errors.CommandFailed, "no reason given"),
        (None, _errors.CommandFailed, "no reason given"),
    ],
)
def test_refusals(error: t.Any, kind: type, words: str) -> None:
    with pytest.raises(_errors.CommandRefused, match=words) as caught:
        protocol.parse(REQUEST, json.dumps({"error": error, "return": {}, "id": 7}))
    assert caught.value.__class__ is kind
    assert len(str(caught.value)) < 700
    assert str(caught.value).isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
REPLIES = (
    st.text(max_size=200)
    | st.text(alphabet='{}[]":,0123456789truefalsn eE.+-\\u' + string.hexdigits, max_size=60)
    | JSON.map(json.dumps)
    | st.fixed_dictionaries(
        {}, optional={"id": st.just(7) | JSON, "return": JSON, "error": JSON | st.fixed_dictionaries({"desc": JSON})}
    ).map(json.dumps)
)


@given(REPLIES)
def test_no_reply_does_any_other_harm(reply: str) -> None:
    said = ""
    try:
        protocol.parse(REQUEST, reply)
    except _errors.GuestAgentError as error:
        said = str(error)
    assert len(said) < 700
    assert harmless(said)
